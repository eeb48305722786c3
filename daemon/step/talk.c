/* SPDX-License-Identifier: MIT */
/* Talking over a terminal: see talk.h. */
#include "daemon/step/talk.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <termios.h>

#include "api/text.h"
#include "daemon/step/match.h"

#define HEARD_MAX (64 * 1024)
#define PROMPT_MAX 1000
#define QUIET_US (700 * 1000)             /* a program that reads its terminal has asked */
#define QUIET_UNSURE_US (2 * 1000 * 1000) /* one of which that cannot be told */
#define THINK_EVERY_US (100 * 1000)
#define READER_TRIES 20
#define READER_PAUSE_MS 10

struct Talk {
        Step *s;
        const json_t *answers;
        int64_t *left; /* how often each answer may still be given */
        int master;
        pid_t pid;
        char *heard; /* since the last answer */
        size_t size;
        int64_t heard_us;
        bool fresh;        /* something came since the answers were last tried */
        int64_t look_us;   /* earliest time at which to look for a prompt again */
        unsigned question; /* open one, or 0 */
        bool question_echo;
};

Talk *talk_new(Step *s, const json_t *answers, int master, pid_t pid) {
        Talk *t = calloc(1, sizeof(Talk));
        json_t *answer;
        size_t i;

        if (!t)
                return NULL;
        *t = (Talk){.s = s, .answers = answers, .master = master, .pid = pid};
        t->left = calloc(json_array_size(answers) + 1, sizeof(int64_t));
        t->heard = malloc(HEARD_MAX + 1);
        if (!t->left || !t->heard) {
                talk_free(t);
                return NULL;
        }
        t->heard_us = now_mono_us();
        json_array_foreach ((json_t *) answers, i, answer) {
                t->left[i] = 1;
                (void) !args_int(answer, "times", 1, &t->left[i], NULL);
        }
        return t;
}

void talk_free(Talk *t) {
        if (!t)
                return;
        if (t->question)
                ask_end(t->s, t->question);
        free(t->left);
        free(t->heard);
        free(t);
}

int talk_heard(Talk *t, const char *data, size_t size) {
        if (size > HEARD_MAX) {
                data += size - HEARD_MAX;
                size = HEARD_MAX;
        }
        if (t->size + size > HEARD_MAX) {
                size_t drop = t->size + size - HEARD_MAX;

                memmove(t->heard, t->heard + drop, t->size - drop);
                t->size -= drop;
        }
        memcpy(t->heard + t->size, data, size);
        t->size += size;
        t->heard[t->size] = '\0';
        t->heard_us = now_mono_us();
        t->fresh = true;
        if (t->question) {
                /* It goes on by itself: the prompt was none. */
                ask_end(t->s, t->question);
                t->question = 0;
        }
        return 0;
}

/* Enter on a terminal is a carriage return; the line discipline makes a newline of it. */
static int say(Talk *t, const char *text, bool enter, Error *reterr) {
        _cleanup_free_ char *line = strf("%s%s", text, enter ? "\r" : "");
        size_t done = 0, size;

        if (!line)
                return error_oom(reterr);
        size = strlen(line);
        while (done < size) {
                ssize_t n = write(t->master, line + done, size - done);

                if (n < 0 && errno == EAGAIN) {
                        if (step_sleep(t->s, 10) < 0)
                                return error_set(reterr, ECANCELED, "stopped", "Stopped");
                        continue;
                }
                if (n < 0 && errno != EINTR)
                        return errno == EIO ? 0 /* it has ended meanwhile */
                                            : error_set(reterr, errno, "answer",
                                                        "The answer cannot be given: %s",
                                                        strerror(errno));
                done += n > 0 ? (size_t) n : 0;
        }
        t->size = 0;
        t->heard[0] = '\0';
        t->fresh = false;
        t->heard_us = now_mono_us();
        return 0;
}

typedef enum Reading { READING_NO, READING_UNSURE, READING_YES } Reading;

static bool is_terminal_of(pid_t pid, long fd, const char *terminal) {
        _cleanup_free_ char *path = strf("/proc/%d/fd/%ld", (int) pid, fd);
        char target[64];
        ssize_t n = path ? readlink(path, target, sizeof(target) - 1) : -1;

        if (n < 0)
                return false;
        target[n] = '\0';
        return streq(target, terminal) || streq(target, "/dev/tty");
}

/* What one process waits for, as /proc/PID/syscall tells: "NUMBER ARG0 …" or "running". */
static Reading process_reads(pid_t pid, const char *terminal) {
        _cleanup_free_ char *path = strf("/proc/%d/syscall", (int) pid), *text = NULL;
        long number, fd;

        if (!path || file_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
                return READING_UNSURE;
        if (sscanf(text, "%ld 0x%lx", &number, &fd) != 2)
                return READING_NO;
#ifdef __x86_64__
        if (number == 0)
                return is_terminal_of(pid, fd, terminal) ? READING_YES : READING_NO;
        if (number == 61 || number == 247 || number == 35 || number == 230) /* wait, sleep */
                return READING_NO;
#endif
        return READING_UNSURE;
}

static int process_group(const char *pid) {
        _cleanup_free_ char *path = strf("/proc/%s/stat", pid), *text = NULL;
        const char *p;
        int group;

        if (!path || file_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
                return -1;
        p = strrchr(text, ')');
        return p && sscanf(p + 1, " %*c %*d %d", &group) == 1 ? group : -1;
}

/* Does a process in the terminal's foreground wait for input from it? */
static Reading somebody_reads(const Talk *t) {
        _cleanup_(closedirp) DIR *dir = opendir("/proc");
        pid_t group = tcgetpgrp(t->master);
        char terminal[64];
        Reading found = READING_NO;
        struct dirent *entry;

        if (!dir || group <= 0 || ptsname_r(t->master, terminal, sizeof(terminal)) != 0)
                return READING_UNSURE;
        while ((entry = readdir(dir)) && found != READING_YES)
                if (isdigit((unsigned char) entry->d_name[0]) &&
                    process_group(entry->d_name) == group)
                        found = MAX(found, process_reads(atoi(entry->d_name), terminal));
        return found;
}

/* Some programs print their prompt and only then turn the echo off or empty the input: an answer
 * that comes before would be shown, or lost. */
static void wait_for_reader(const Talk *t) {
        for (unsigned i = 0; i < READER_TRIES && somebody_reads(t) == READING_NO; i++)
                if (step_sleep(t->s, READER_PAUSE_MS) < 0)
                        return;
}

/* 1 when one of the plan's answers was given. */
static int try_answers(Talk *t, Error *reterr) {
        json_t *answer;
        size_t i;

        json_array_foreach ((json_t *) t->answers, i, answer) {
                const char *expect = args_text(answer, "expect", "");
                bool enter = true;
                int r;

                if (t->left[i] == 0)
                        continue;
                r = match_text(expect, t->heard, t->size, NULL, reterr);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                t->left[i]--;
                wait_for_reader(t);
                r = args_bool(answer, "enter", true, &enter, reterr);
                if (r >= 0)
                        r = say(t, args_text(answer, "send", ""), enter, reterr);
                return r < 0 ? r : 1;
        }
        return 0;
}

/* The last line when it is not ended: what a person is shown. Caller frees; NULL: no prompt. */
static char *find_prompt(const Talk *t) {
        size_t from = t->size;

        while (from > 0 && t->heard[from - 1] != '\n' && t->size - from < PROMPT_MAX)
                from--;
        for (size_t i = from; i < t->size; i++)
                if (!isspace((unsigned char) t->heard[i]))
                        return utf8_clean(t->heard + from, t->size - from);
        return NULL;
}

static bool echo_is_on(const Talk *t) {
        struct termios attributes;

        return tcgetattr(t->master, &attributes) < 0 || (attributes.c_lflag & ECHO);
}

static int ask_if_prompt(Talk *t) {
        int64_t quiet = now_mono_us() - t->heard_us;
        _cleanup_free_ char *prompt = NULL;
        Reading reading;

        if (quiet < QUIET_US || t->size == 0 || now_mono_us() < t->look_us)
                return 0;
        t->look_us = now_mono_us() + quiet / 10; /* the longer it is quiet, the less it matters */
        prompt = find_prompt(t);
        if (!prompt)
                return 0;
        reading = somebody_reads(t);
        if (reading == READING_NO || (reading == READING_UNSURE && quiet < QUIET_UNSURE_US))
                return 0;
        t->question_echo = echo_is_on(t);
        t->question = ask_begin(t->s, prompt, t->question_echo);
        return 0;
}

static int look_for_answer(Talk *t, Error *reterr) {
        _cleanup_free_ char *answer = NULL;
        int r = ask_poll(t->s, t->question, t->question_echo, &answer);

        if (r == 0)
                return 0;
        ask_end(t->s, t->question);
        t->question = 0;
        if (r < 0)
                return error_set(reterr, -r, "answer", "The answer cannot be read: %s",
                                 strerror(-r));
        return say(t, answer, true, reterr);
}

int talk_think(Talk *t, Error *reterr) {
        int r;

        if (t->question)
                return look_for_answer(t, reterr);
        while (t->fresh) {
                t->fresh = false;
                r = try_answers(t, reterr);
                if (r < 0)
                        return r;
        }
        return ask_if_prompt(t);
}

int64_t talk_wait_us(const Talk *t) {
        return THINK_EVERY_US;
}
