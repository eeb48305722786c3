/* SPDX-License-Identifier: MIT */
/* The top level, its sections, and the keys that stand beside every verb. */
#include "daemon/plan/fields.h"

const Spec retry_spec = {
        "retry",
        "How a failed step is tried again",
        FIELDS({"tries", TYPE_INT, FIELD_REQUIRED | FIELD_LITERAL, NULL, "How often in all"},
               {"first", TYPE_DURATION, FIELD_LITERAL, "1s", "The first pause"},
               {"factor", TYPE_INT, FIELD_LITERAL, "2", "Each pause is so many times the last"},
               {"max", TYPE_DURATION, FIELD_LITERAL, "1m", "The longest pause"}),
        NULL,
};

const Spec limits_spec = {
        "limits",
        "What a step may use",
        FIELDS({"memory", TYPE_SIZE, 0, NULL, "Memory"},
               {"cpu", TYPE_SHARE, 0, NULL, "Processor time; 100% is one processor"},
               {"tasks", TYPE_INT, 0, NULL, "Processes and threads"},
               {"io", TYPE_SIZE, 0, NULL, "Bytes read and written in a second"},
               {"log", TYPE_SIZE, 0, "64M",
                "Size of the step's log; its first and last part stay"}),
        NULL,
};

const Spec step_spec = {
        "step",
        "Keys that stand beside every verb",
        FIELDS({"id", TYPE_ID, FIELD_LITERAL, "the verb and a number", "Its name in this plan"},
               {"title", TYPE_TEXT, 0, NULL, "What people read"},
               {"when", TYPE_EXPRESSION, 0, NULL, "Carried out only when this is true"},
               {"cwd", TYPE_PATH, FIELD_OUTER_CWD, "of the group, the plan",
                "Where relative paths begin and commands run; without one they run in /"},
               {"env", TYPE_TEXT_MAP, FIELD_SECRET, NULL, "Further environment variables"},
               {"env_file", TYPE_PATH, 0, NULL, "A file of further environment variables"},
               {"user", TYPE_TEXT, 0, "of the group, the plan", "The user that commands run as"},
               {"timeout", TYPE_DURATION, 0, "of the group, the plan", "The step's time limit"},
               {"retry", TYPE_RETRY, 0, NULL, "Try again after a failure", NULL, &retry_spec},
               {"verify", TYPE_CHECKS, FIELD_OWN, NULL, "What must hold afterwards"},
               {"undo", TYPE_UNDO, FIELD_OWN, NULL, "How it is undone"},
               {"probe", TYPE_CHECKS, 0, NULL, "After a crash: it has happened if these hold"},
               {"on_crash", TYPE_ENUM, FIELD_LITERAL, "of the verb", "What an interruption means",
                WORDS("probe", "rerun", "ask", "undo")},
               {"limits", TYPE_OBJECT, 0, "of the plan", "What it may use", NULL, &limits_spec},
               {"dry_run", TYPE_STEPS, 0, NULL, "Run instead in a dry run"}),
        NULL,
};

static const Spec window_spec = {
        "window",
        "The maintenance window",
        FIELDS({"expected", TYPE_DURATION, 0, NULL,
                "How long the job should take; with `reserve` it must fit into the window"},
               {"reserve", TYPE_DURATION, 0, "0s",
                "Time kept for a way back: the window closes for steps so long before its end"},
               {"notify_before", TYPE_DURATION, 0, "when the job is started",
                "How long before the window opens the hooks `notice` run"},
               {"at_end", TYPE_ENUM, FIELD_LITERAL, "hold",
                "What a job that is not past its last gate does when it closes",
                WORDS("hold", "rollback")}),
        NULL,
};

static const Spec input_spec = {
        "inputs",
        "A value that the person gives",
        FIELDS({"type", TYPE_ENUM, FIELD_LITERAL, "string", "What it is",
                WORDS("string", "int", "bool", "path", "url", "enum", "duration", "backup")},
               {"default", TYPE_SCALAR, FIELD_INPUTS, "none: it must be given",
                "Used when it is not given; may use other inputs"},
               {"values", TYPE_TEXTS, FIELD_LITERAL, NULL, "What it may be"},
               {"match", TYPE_REGEX, FIELD_LITERAL, NULL, "Must match it"},
               {"min", TYPE_SCALAR, FIELD_LITERAL, NULL, "The smallest int or duration"},
               {"max", TYPE_SCALAR, FIELD_LITERAL, NULL, "The largest int or duration"}),
        NULL,
};

static const Spec secret_spec = {
        "secrets",
        "A value that is never written down: the first source that exists",
        FIELDS({"credential", TYPE_TEXT, FIELD_INPUTS, NULL, "A systemd credential"},
               {"env", TYPE_TEXT, FIELD_INPUTS, NULL, "A variable of updctl's caller"},
               {"env_file", TYPE_PATH, FIELD_INPUTS, NULL, "A file of variables"},
               {"key", TYPE_TEXT, FIELD_INPUTS, NULL, "The variable in `env_file`"},
               {"file", TYPE_PATH, FIELD_INPUTS, NULL, "A file that holds it"}),
        RULES({RULE_ANY_OF, {"credential", "env", "env_file", "file"}},
              {RULE_TOGETHER, {"env_file", "key"}}, {RULE_TOGETHER, {"key", "env_file"}}),
};

static const Spec database_spec = {
        "databases",
        "A database",
        FIELDS({"url", TYPE_DATABASE_URL, FIELD_REQUIRED | FIELD_SECRET, NULL,
                "sqlite:PATH or postgresql://USER@HOST/NAME"},
               {"password", TYPE_TEXT, FIELD_SECRET, NULL, "Its password"}),
        NULL,
};

static const Spec store_spec = {
        "stores",
        "An object store",
        FIELDS({"url", TYPE_TEXT, FIELD_REQUIRED | FIELD_SECRET, NULL, "Its url"},
               {"access_key", TYPE_TEXT, FIELD_SECRET, NULL, "The access key"},
               {"secret_key", TYPE_TEXT, FIELD_SECRET, NULL, "The secret key"}),
        NULL,
};

static const Spec compose_spec = {
        "compose",
        "A docker compose project",
        FIELDS({"dir", TYPE_PATH, FIELD_REQUIRED, NULL, "Its folder"},
               {"files", TYPE_PATHS, 0, "compose's own", "Its files"},
               {"env_file", TYPE_PATH, 0, NULL, "A file of variables for compose"},
               {"name", TYPE_TEXT, 0, "compose's own", "The project's name"},
               {"env", TYPE_TEXT_MAP, FIELD_SECRET, NULL, "Variables for compose"}),
        NULL,
};

static const Spec kube_spec = {
        "kube",
        "The Kubernetes cluster",
        FIELDS({"config", TYPE_PATH, 0, NULL, "The kubeconfig"},
               {"context", TYPE_TEXT, 0, NULL, "The context in it"},
               {"namespace", TYPE_TEXT, 0, NULL, "The namespace"}),
        NULL,
};

static const Spec command_spec = {
        "command",
        "A service that is a program",
        FIELDS({"start", TYPE_ARGV, FIELD_REQUIRED, NULL, "Starts it"},
               {"stop", TYPE_ARGV, 0, "TERM to its process", "Stops it"},
               {"pid_file", TYPE_PATH, 0, NULL, "The file that holds its process id"}),
        NULL,
};

static const Spec service_spec = {
        "services",
        "A service: a systemd unit, (services of) a compose project, or a command",
        FIELDS({"unit", TYPE_TEXT, 0, NULL, "A systemd unit"},
               {"compose", TYPE_COMPOSE_SERVICE, 0, NULL, "Services of a compose project"},
               {"except", TYPE_TEXTS, 0, NULL, "Services of the project that do not count"},
               {"remove", TYPE_BOOL, 0, "no", "Stopping removes the containers too"},
               {"command", TYPE_OBJECT, 0, NULL, "Programs that start and stop it", NULL,
                &command_spec},
               {"by", TYPE_ENUM, 0, NULL, "Which of the three counts, when several are given",
                WORDS("unit", "compose", "command")},
               {"health", TYPE_CHECKS, 0,
                "unit active, container healthy or running, process alive",
                "What must hold when it is up"}),
        RULES({RULE_ANY_OF, {"unit", "compose", "command"}}, {RULE_TOGETHER, {"except", "compose"}},
              {RULE_TOGETHER, {"remove", "compose"}}),
};

static const Spec rollback_spec = {
        "rollbacks",
        "A strategy: undoes everything except what it keeps; `full` always exists",
        FIELDS({"loses", TYPE_TEXT, FIELD_REQUIRED | FIELD_INPUTS, NULL,
                "What is lost: 'nothing' or words that say it"},
               {"situations", TYPE_TEXTS, FIELD_INPUTS, NULL, "When it is the right one"},
               {"keep", TYPE_STEP_LIST, FIELD_LITERAL, NULL, "Steps that are not undone"},
               {"instead", TYPE_STEPS_MAP, 0, NULL, "Other ways to undo, by step id"},
               {"then", TYPE_STEPS, 0, NULL, "Steps at the end"},
               {"when", TYPE_EXPRESSION, 0, NULL, "Allowed only when this is true"},
               {"type", TYPE_TEXT, FIELD_INPUTS, NULL, "Text that the person must type"}),
        NULL,
};

const Spec plan_spec = {
        "plan",
        "The top level. Keys that begin with `x-` are ignored",
        FIELDS({"format", TYPE_INT, FIELD_REQUIRED | FIELD_LITERAL, NULL,
                "The grammar's number: 1"},
               {"plan", TYPE_ID, FIELD_REQUIRED | FIELD_LITERAL, NULL, "The plan's name"},
               {"title", TYPE_TEXT, FIELD_INPUTS, NULL, "What people read"},
               {"about", TYPE_TEXT, FIELD_INPUTS, NULL, "What it does, in some sentences"},
               {"target", TYPE_TEXT, FIELD_INPUTS, "the plan's name",
                "What is upgraded: one unfinished job at a time"},
               {"cwd", TYPE_PATH, FIELD_OUTER_CWD, NULL, "Where relative paths begin"},
               {"user", TYPE_TEXT, 0, "updd's", "The user that commands run as"},
               {"env", TYPE_TEXT_MAP, FIELD_SECRET, NULL, "Environment variables of all steps"},
               {"env_file", TYPE_PATH, 0, NULL, "A file of environment variables"},
               {"timeout", TYPE_DURATION, FIELD_LITERAL, "1h", "The time limit of each step"},
               {"limits", TYPE_OBJECT, 0, NULL, "What each step may use", NULL, &limits_spec},
               {"window", TYPE_OBJECT, 0, NULL, "The maintenance window", NULL, &window_spec},
               {"way_back", TYPE_DURATION, FIELD_LITERAL, "7d",
                "How long a succeeded job can still be rolled back"},
               {"inputs", TYPE_OBJECT_MAP, 0, NULL, "Values that the person gives", NULL,
                &input_spec},
               {"secrets", TYPE_OBJECT_MAP, 0, NULL, "Values that are never written down", NULL,
                &secret_spec},
               {"databases", TYPE_OBJECT_MAP, 0, NULL, "Databases", NULL, &database_spec},
               {"stores", TYPE_OBJECT_MAP, 0, NULL, "Object stores", NULL, &store_spec},
               {"compose", TYPE_OBJECT_MAP, 0, NULL, "Docker compose projects", NULL,
                &compose_spec},
               {"kube", TYPE_OBJECT, 0, NULL, "The Kubernetes cluster", NULL, &kube_spec},
               {"services", TYPE_OBJECT_MAP, 0, NULL, "Services", NULL, &service_spec},
               {"checks", TYPE_CHECKS, 0, NULL,
                "What must hold before anything is touched; all failures are told together"},
               {"steps", TYPE_STEPS, FIELD_REQUIRED, NULL, "The upgrade"},
               {"finalise", TYPE_STEPS, 0, NULL, "Carried out once the way back is closed"},
               {"rollbacks", TYPE_OBJECT_MAP, 0, NULL, "Strategies of going back", NULL,
                &rollback_spec},
               {"on_failure", TYPE_ON_FAILURE, FIELD_LITERAL, "{default: full}",
                "Which strategy a failure takes; an entry holds from its step until a later one's"},
               {"hooks", TYPE_HOOKS, 0, NULL, "Who is told, by event",
                WORDS("notice", "started", "waiting", "failed", "rolling_back", "rolled_back",
                      "stuck", "ended")},
               {"hints", TYPE_REGEX_MAP, FIELD_LITERAL, NULL,
                "Text that is shown when a failing step's log matches"}),
        NULL,
};
