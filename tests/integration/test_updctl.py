# SPDX-License-Identifier: MIT
"""updctl against a stand-in for the daemon: its command line, its screens and its exit codes."""
import json
import os
import pathlib
import re
import socket
import subprocess
import threading
import time

import pytest

import fake_updd
from daemon import BUILD, ROOT, SANITIZER, SLOW
from fake_updd import FakeUpdd, job, stamp, step
from terminal import Terminal

UPDCTL = BUILD / "client/updctl/updctl"
MAN = ROOT / "client/updctl/updctl.1"


@pytest.fixture
def built():
    """Here only updctl is needed."""
    assert UPDCTL.exists(), f"not built: {UPDCTL} (set UPDD_BUILD to the build directory)"


@pytest.fixture
def fake(built, tmp_path):
    server = FakeUpdd(tmp_path / "sock").start()
    yield server
    server.stop()


def environment(path, **more):
    keep = {k: v for k, v in os.environ.items() if k in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS")}
    return {**keep, "HOME": "/nonexistent", "LANG": "C.UTF-8", "TZ": "UTC", "TERM": "xterm",
            "UPDD_SOCKET": str(path), **more}


def ctl(path, *args, code=None, stdin=None, **env):
    path = getattr(path, "path", path)
    done = subprocess.run([str(UPDCTL), *map(str, args)], capture_output=True, text=True,
                          input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
                          env=environment(path, **env), timeout=60 * SLOW)
    assert not SANITIZER.search(done.stderr), done.stderr
    if code is not None:
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def terminal(fake, *args, **env):
    return Terminal([str(UPDCTL), *map(str, args)], environment(fake.path, **env))


def gate(**more):
    return {"id": "w1", "kind": "gate", "step": "accept", "since": stamp(60), "deadline": stamp(-3600),
            "ask": "Business checks passed?", "on_timeout": "hold",
            "items": [{"text": "chat works"}, {"text": "history is there"}], **more}


def question(**more):
    return {"id": "w2", "kind": "question", "step": "install", "since": stamp(5), "prompt": "Password:",
            "echo": False, "k": 1, **more}


def failed(**more):
    return job(state="failed", ended=stamp(), actions=[], failure={
        "step": "start", "phase": "main", "direction": "do", "message": "proxy is not healthy",
        "hint": "look at its port", "tail": ["one", "two"], "services": {"proxy": ["port in use"]},
        "running": ["database"], "undone": ["code", "stop"],
        "left": [{"step": "install", "why": "undo: none"}], "pending_undo": ["backup"],
        "next": ["updctl retry 42", "updctl rollback 42 --strategy full"]}, **more)


STRATEGIES = [
    {"name": "full", "loses": "what was written", "lost": {"since": stamp(47 * 60), "for": "47m"},
     "situations": [], "undo": [{"step": "code", "what": "git: back to the recorded commit"},
                                {"step": "stop", "what": "stop: start what ran"}], "keep": []},
    {"name": "code", "loses": "nothing", "situations": ["application bug"], "keep": ["data"],
     "undo": [{"step": "code", "what": "git: back to the recorded commit"}]},
]


# ---- the daemon that is not there -------------------------------------------------------------------


def test_a_daemon_that_is_not_there_is_told_at_once(built, tmp_path):
    begun = time.monotonic()
    for verb in ([], ["status"], ["start", "x"], ["list"], ["watch", "1"], ["confirm", "1"], ["health"]):
        done = ctl(tmp_path / "none", *verb, code=7)
        assert "cannot reach updd" in done.stderr and "hint: " in done.stderr
    assert time.monotonic() - begun < 7 * 3 * SLOW


def test_a_daemon_that_accepts_and_says_nothing_is_given_up(built, tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen(4)
        begun = time.monotonic()
        assert "does not answer" in ctl(tmp_path / "sock", "plans", code=7).stderr
        assert time.monotonic() - begun < 15 * SLOW


def test_every_post_has_a_fresh_key_and_is_sent_again_under_it_when_its_answer_was_lost(fake):
    fake.put(job(state="waiting", waits=[gate(items=[])]))
    fake.drop = 1
    ctl(fake, "confirm", code=0)
    ctl(fake, "confirm", code=0)
    keys = [h["Idempotency-Key"] for m, _, _, h in fake.requests if m == "POST"]
    assert len(keys) == 3 and keys[0] == keys[1] != keys[2]
    assert all(re.fullmatch("[0-9a-f]{32}", k) for k in keys)


def test_a_request_that_may_have_been_carried_out_is_told_so(fake):
    fake.put(job(state="waiting", waits=[gate(items=[])]))
    fake.drop = 2
    done = ctl(fake, "confirm", code=7)
    assert "may have been carried out" in done.stderr
    assert len(fake.posted("/confirm")) == 2


# ---- the command line -------------------------------------------------------------------------------


@pytest.mark.parametrize("args, hint", [
    (["strat"], "did you mean 'start'?"), (["rolback"], "did you mean 'rollback'?"),
    (["start", "x", "--detatch"], "did you mean --detach?"),
    (["start", "x", "--overide", "y"], "did you mean --override?"),
    (["list", "--tick", "x"], "see updctl help list"), (["help", "lisst"], "did you mean 'list'?"),
    (["show"], "updctl show PLAN"), (["plans", "x"], "updctl plans"),
    (["start", "x", "-i", "novalue"], "KEY=VALUE"), (["list", "--limit", "none"], "--limit"),
    (["token", "ad", "x"], "did you mean 'add'?"), (["start", "x", "-i"], "needs a value"),
    (["log", "1", "x", "--attempt", "0"], "--attempt")])
def test_a_wrong_command_line_is_2_with_what_was_probably_meant(fake, args, hint):
    assert hint in ctl(fake, *args, code=2).stderr
    assert not fake.requests or args[0] == "token"


def test_options_may_stand_anywhere(fake):
    fake.put(job())
    for args in (["--json", "status", "42"], ["status", "--json", "42"], ["status", "42", "--json"],
                 ["--socket", fake.path, "status", "42", "--json"]):
        assert json.loads(ctl(fake, *args, code=0).stdout)["id"] == 42


def test_help_table_and_man_page_tell_the_same(built, tmp_path):
    text = MAN.read_text().replace("\\-", "-")
    listed = ctl(tmp_path, "help", code=0).stdout.split("with any command")
    verbs = set(re.findall(r"^  ([a-z]+)\b", listed[0], re.M))
    assert len(verbs) > 15
    assert set(re.findall(r"^\.It Cm ([a-z]+)", text, re.M)) == verbs
    told = set()
    for verb in verbs:
        told |= set(re.findall(r"--[a-z-]+", ctl(tmp_path, "help", verb, code=0).stdout))
        assert ctl(tmp_path, verb, "--help", code=0).stdout == ctl(tmp_path, "help", verb).stdout
        # What the verb's paragraph says it takes.
        paragraph = re.search(rf"^\.It Cm {verb}\b.*?(?=^\.It Cm|^\.El)", text, re.M | re.S)[0]
        own = ctl(tmp_path, "help", verb).stdout.split("with any command")[0]
        assert set(re.findall(r"--[a-z-]+", own)) <= set(re.findall(r"--[a-z-]+", paragraph)), verb
    entries = re.findall(r"^\.It Sy .*", text, re.M)
    assert {o for e in entries for o in re.findall(r"--[a-z-]+", e)} == told
    codes = set(re.findall(r"= (\d),", (ROOT / "api/exits.h").read_text()))
    assert set(re.findall(r"^\.It (\d+)$", text, re.M)) == codes | {"130"}
    assert {c for c in re.findall(r"\b(\d) [a-z]", listed[1].split("exit codes")[1])} >= codes


def test_every_line_of_the_help_fits_into_80_columns(built, tmp_path):
    whole = ctl(tmp_path, "help", code=0).stdout
    for verb in re.findall(r"^  ([a-z]+)\b", whole.split("with any command")[0], re.M):
        whole += ctl(tmp_path, "help", verb, code=0).stdout
    assert [line for line in whole.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("line, offered", [
    (["st"], {"start", "status"}), (["start", "--r"], {"--reason"}), (["start", "k"], {"kimi-proxy-v2"}),
    (["confirm", ""], {"42"}), (["token", "r"], {"remove"}), (["list", "--state", "st"], {"stuck"})])
def test_the_shell_completes_verbs_options_plans_and_jobs(fake, line, offered):
    fake.put(job())
    words = " ".join(f"'{w}'" for w in ["updctl", *line])
    script = (f"compopt() {{ :; }}; . {ROOT}/client/updctl/updctl.bash; COMP_WORDS=({words}); "
              f"COMP_CWORD={len(line)}; _updctl; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=environment(
        fake.path, PATH=f"{UPDCTL.parent}:{os.environ['PATH']}"))
    assert set(done.stdout.split()) == offered and done.stderr == ""


# ---- exit codes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state, status, watch", [
    ("queued", 0, None), ("running", 0, None), ("rolling_back", 0, None), ("succeeded", 0, 0),
    ("failed", 3, 3), ("rolled_back", 4, 4), ("cancelled", 4, 4), ("waiting", 5, 5), ("stuck", 6, 6),
    ("abandoned", 6, 6)])
def test_the_exit_code_tells_the_state(fake, state, status, watch):
    fake.put(job(state=state, waits=[gate()] if state == "waiting" else []))
    ctl(fake, "status", "42", code=status)
    if watch is not None:
        ctl(fake, "watch", "42", code=watch)


def test_a_refusal_is_1_and_says_why_and_what_to_do(fake):
    fake.fixed["POST", "/v1/jobs"] = fake.problem(409, "target-busy", "kimi-proxy has an unfinished job",
                                                  job=41)[:2]
    done = ctl(fake, "start", "kimi-proxy-v2", code=1)
    assert done.stderr == ("updctl: kimi-proxy has an unfinished job\n"
                           "hint: see it with: updctl status 41\n")
    assert "did you mean 'kimi-proxy-v2'" in ctl(fake, "start", "kimi", code=1).stderr
    fake.fixed["POST", "/v1/jobs"] = fake.problem(
        422, "bad-inputs", "the inputs do not fit",
        faults=[{"input": "version", "message": "must match ^v2[.]"}])[:2]
    assert "input version: must match ^v2[.]" in ctl(fake, "start", "kimi-proxy-v2", code=1).stderr
    done = ctl(fake, "start", "kimi-proxy-v2", "--json", code=1)
    assert json.loads(done.stdout)["type"] == "urn:updd:problem:bad-inputs"


def test_lint_tells_faults_as_a_compiler_does(fake, tmp_path):
    (tmp_path / "p.yaml").write_text("steps: x\n")
    fake.fixed["POST", "/v1/plans:check"] = (200, {"ok": False, "unsupported": [], "faults": [
        {"severity": "error", "code": "c", "message": "unknown key 'stpes'", "file": "p.yaml", "line": 3,
         "column": 1, "path": "/stpes", "hint": "did you mean 'steps'?"}]})
    done = ctl(fake, "lint", tmp_path / "p.yaml", code=1)
    assert done.stdout == "p.yaml:3:1: error: unknown key 'stpes' (did you mean 'steps'?)\n"
    assert fake.requests[-1][2] == "steps: x\n" and "?file=" in fake.requests[-1][1]
    two = ctl(fake, "lint", "--json", tmp_path / "p.yaml", tmp_path / "p.yaml", code=1)
    assert len(json.loads(two.stdout)) == 2
    assert "No such file" in ctl(fake, "lint", tmp_path / "none", code=1).stderr


# ---- start and follow -------------------------------------------------------------------------------


def advance(fake, *states, wait=0.2):
    """Once the job is there, takes it through the states, with a pause before each."""
    def run():
        while 42 not in fake.jobs:
            time.sleep(0.02)
        for new, *events in states:
            time.sleep(wait)
            fake.put(new, *events)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_following_off_a_terminal_appends_a_line_for_each_event(fake):
    steps = [step("stop", "done", attempts=1), step("install", "done", attempts=1)]
    advance(fake, (job(steps=steps), ("step_started", "stop"), ("step_done", "stop"),
                   ("step_started", "install")),
            (job(steps=steps, state="succeeded", ended=stamp(), waits=[],
                 way_back={"open": True, "until": stamp(-86400)}),
             ("step_done", "install"), ("state", None, {"from": "running", "to": "succeeded"})))
    done = ctl(fake, "start", "kimi-proxy-v2", code=0)
    lines = done.stdout.splitlines()
    assert lines[0] == "job 42: kimi-proxy 1 to v2.0"
    assert re.fullmatch(r"\d\d:\d\d:\d\d done    stop \(\d+\.\ds\)", lines[1]), lines
    assert re.fullmatch(r"\d\d:\d\d:\d\d done    install \(\d+\.\ds\)", lines[2]), lines
    assert re.fullmatch(r"\d\d:\d\d:\d\d job     succeeded", lines[3]), lines
    assert re.fullmatch(r"job 42 succeeded after 1m0\ds", lines[4]), lines
    assert "updctl rollback 42" in lines[5]
    assert "\033" not in done.stdout


def test_start_returns_5_with_the_command_that_is_needed(fake):
    advance(fake, (job(state="waiting", waits=[gate()]), ("wait_opened", "accept")))
    done = ctl(fake, "start", "kimi-proxy-v2", "--yes", code=5)
    assert "Business checks passed?" in done.stdout and "chat works" in done.stdout
    assert "  updctl confirm 42 --all\n" in done.stdout and "then hold" in done.stdout


def test_a_window_is_no_person_and_is_waited_for(fake):
    window = {"id": "w9", "kind": "window", "since": stamp()}
    advance(fake, (job(state="waiting", waits=[window]),), (job(state="succeeded", ended=stamp()),))
    ctl(fake, "start", "kimi-proxy-v2", code=0)


def test_a_window_that_is_over_is_a_persons_to_decide_about(fake):
    window = {"id": "w9", "kind": "window", "since": stamp(), "overdue": True, "can": ["retry"],
              "why": "the window has closed"}
    advance(fake, (job(state="waiting", waits=[window]),))
    done = ctl(fake, "start", "kimi-proxy-v2", code=5)
    assert "its window is over" in done.stdout and "the window has closed" in done.stdout
    assert "  updctl retry 42 --reason TEXT\n" in done.stdout


def test_a_failure_tells_everything_and_the_next_commands(fake):
    advance(fake, (failed(),))
    for done in (ctl(fake, "start", "kimi-proxy-v2", code=3), ctl(fake, "status", "42", code=3)):
        for text in ("start failed", "proxy is not healthy", "two", "log of service proxy",
                     "port in use", "hint: look at its port", "runs now database",
                     "undone code, stop", "left as is install: undo: none",
                     "still to undo backup", " updctl retry 42\n",
                     " updctl rollback 42 --strategy full\n"):
            assert text in re.sub(" +", " ", done.stdout), (text, done.stdout)


def test_detach_prints_the_number_alone_and_json_one_document(fake):
    assert ctl(fake, "start", "kimi-proxy-v2", "--detach", code=0).stdout == "42\n"
    assert json.loads(ctl(fake, "start", "kimi-proxy-v2", "--detach", "--json", code=0).stdout)["id"] == 42
    advance(fake, (failed(),))
    assert json.loads(ctl(fake, "start", "kimi-proxy-v2", "--json", code=3).stdout)["state"] == "failed"


def test_what_is_given_to_start_reaches_the_daemon(fake):
    ctl(fake, "start", "kimi-proxy-v2", "--detach", "-i", "version=v2.1", "--input=root=/a=b", "--label",
        "ticket=4711", "--override", "backup is fresh", "--reason", "why not", "--dry-run", code=0)
    assert fake.posted("/v1/jobs")[-1] == {
        "inputs": {"version": "v2.1", "root": "/a=b"}, "labels": {"ticket": "4711"},
        "overrides": ["backup is fresh"], "reason": "why not", "dry_run": True, "secrets": {},
        "plan": "kimi-proxy-v2"}


def test_a_plan_of_ones_own_is_sent_as_a_document(fake, tmp_path):
    (tmp_path / "own.yaml").write_text("format: 1\n")
    fake.fixed["POST", "/v1/plans:check"] = (200, {"ok": True, "plan": "own", "faults": []})
    ctl(fake, "start", tmp_path / "own.yaml", "--detach", code=0)
    assert fake.posted("/v1/jobs")[-1]["document"] == "format: 1\n"


def test_secrets_come_from_files_stdin_and_the_environment_never_from_the_command_line(fake, tmp_path):
    done = ctl(fake, "start", "kimi-proxy-v2", "--secret", "token=hunter2", code=2)
    assert "hunter2" not in done.stdout + done.stderr and not fake.posted("/v1/jobs")
    (tmp_path / "token").write_text("from a file\n")
    start = ["start", "kimi-proxy-v2", "--detach"]
    ctl(fake, *start, "--secret", f"token=@{tmp_path}/token", code=0, KIMI_TOKEN="from the environment")
    ctl(fake, *start, "--secret", "token=@-", stdin="from stdin\n", code=0)
    ctl(fake, *start, code=0, KIMI_TOKEN="from the environment")
    assert [b["secrets"]["token"] for b in fake.posted("/v1/jobs")] == [
        "from a file", "from stdin", "from the environment"]


def test_a_daemon_that_goes_away_while_a_job_is_followed_is_awaited(fake):
    fake.put(job())
    following = subprocess.Popen([str(UPDCTL), "watch", "42"], env=environment(fake.path), text=True,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
    time.sleep(0.5)
    fake.stop()
    time.sleep(1.5)
    fake.start()
    fake.put(job(state="succeeded", ended=stamp()))
    said, errors = following.communicate(timeout=30)
    assert following.returncode == 0, (said, errors)
    assert "succeeded" in said and "waiting for it to come back" in errors


# ---- which job, which wait --------------------------------------------------------------------------


def test_a_job_is_named_by_number_plan_target_or_not_at_all(fake):
    fake.put(job())
    for word in ([], ["42"], ["kimi-proxy-v2"], ["kimi-proxy"]):
        assert "job 42" in ctl(fake, "status", *word, code=0).stdout
    assert ctl(fake, "status", "nobody", code=1).stderr.startswith("updctl: no job has 'nobody'")
    fake.put(job(43, plan="other", target="a place/with a slash"))
    assert "job 43" in ctl(fake, "status", "a place/with a slash", code=0).stdout
    several = ctl(fake, "status", code=2)
    assert "several unfinished jobs" in several.stderr and "other" in several.stderr


def test_no_unfinished_job_is_told(fake):
    fake.put(job(state="succeeded", ended=stamp()))
    assert "there is no unfinished job" in ctl(fake, "watch", code=1).stderr
    assert "No unfinished job" in ctl(fake, code=0).stdout


def test_a_wait_is_named_by_updctl_itself(fake):
    fake.put(job(state="waiting", waits=[question(), gate(items=[])]))
    ctl(fake, "confirm", code=0)
    ctl(fake, "answer", "42", "-", stdin="a secret\n", code=0)
    assert fake.posted("/confirm") == [{"wait": "w1"}]
    assert fake.posted("/answer") == [{"wait": "w2", "text": "a secret"}]
    fake.put(job(state="waiting", waits=[
        {"id": "w3", "kind": "retry-or-skip", "step": "a", "since": stamp(), "can": ["retry", "skip"]},
        {"id": "w4", "kind": "retry-or-skip", "step": "b", "since": stamp(), "can": ["retry", "skip"]}]))
    several = ctl(fake, "retry", code=2)
    assert "--wait w3" in several.stderr and "--wait w4" in several.stderr
    ctl(fake, "skip", "--wait", "w4", "--reason", "not needed", code=0)
    assert fake.posted("/skip") == [{"wait": "w4", "reason": "not needed"}]
    assert "allowed now: rollback, cancel" in ctl(fake, "confirm", code=1).stderr
    assert "no open wait 'w7'" in ctl(fake, "skip", "--wait", "w7", "--reason", "x", code=1).stderr


def test_items_are_ticked_by_text_beginning_or_number(fake):
    fake.put(job(state="waiting", waits=[gate()]))
    assert "--tick each" in ctl(fake, "confirm", code=2).stderr
    ctl(fake, "confirm", "--tick", "chat works", "--tick", "2", code=0)
    ctl(fake, "confirm", "--tick", "hist", code=0)
    ctl(fake, "confirm", "--all", "--reason", "seen", code=0)
    assert fake.posted("/confirm") == [
        {"wait": "w1", "ticks": ["chat works", "history is there"]},
        {"wait": "w1", "ticks": ["history is there"]}, {"wait": "w1", "all": True, "reason": "seen"}]
    assert "did you mean 'chat works'?" in ctl(fake, "confirm", "--tick", "chat work5", code=2).stderr


def test_what_is_still_to_be_ticked_is_told(fake):
    def tick(now, verb, body):
        now["waits"][0]["items"][0]["ticked"] = {"by": "uid:0 (root)", "at": stamp()}
        return now
    fake.on_post = tick
    fake.put(job(state="waiting", waits=[gate()]))
    assert "accept: 1 of 2 items are ticked" in ctl(fake, "confirm", "--tick", "1", code=0).stdout
    assert "[x] 1  chat works (uid:0 (root)" in ctl(fake, "status", code=5).stdout


def test_a_text_that_must_be_typed_is_asked_for(fake):
    fake.put(job(state="waiting", waits=[gate(items=[], type="PRODUCTION")]))
    assert "--type 'PRODUCTION'" in ctl(fake, "confirm", code=2).stderr
    ctl(fake, "confirm", "--type", "PRODUCTION", code=0)
    assert fake.posted("/confirm") == [{"wait": "w1", "typed": "PRODUCTION"}]


def test_an_answer_that_must_not_be_seen_is_not_taken_from_the_command_line(fake):
    fake.put(job(state="waiting", waits=[question()]))
    ctl(fake, "answer", "42", "hunter2", code=2)
    assert not fake.posted("/answer")
    fake.put(job(state="waiting", waits=[question(echo=True)]))
    ctl(fake, "answer", "42", "yes", code=0)
    assert fake.posted("/answer") == [{"wait": "w2", "text": "yes"}]


def test_confirm_can_follow_and_then_tells_how_the_job_ended(fake):
    fake.put(job(state="waiting", waits=[gate(items=[])]))
    fake.on_post = lambda now, verb, body: {**now, "state": "running", "waits": []}
    threading.Timer(0.8, lambda: fake.put(failed())).start()
    assert "proxy is not healthy" in ctl(fake, "confirm", "--follow", code=3).stdout


# ---- the ways back ----------------------------------------------------------------------------------


def test_rollback_shows_every_way_back_and_what_it_loses_in_clock_time(fake):
    fake.put(job(strategies=STRATEGIES))
    done = ctl(fake, "rollback", code=2)
    since = re.search(r"loses     what was written: writes since (\d\d:\d\d|.* \d\d:\d\d), 47 min\n",
                      done.stderr)
    assert since, done.stderr
    assert re.search(r"1\.  code +git: back to the recorded commit\n +2\.  stop", done.stderr)
    assert "loses     nothing" in done.stderr and "for       application bug" in done.stderr
    assert "keeps     data" in done.stderr and "--strategy NAME" in done.stderr
    assert not fake.posted("/rollback")


def test_rollback_takes_the_strategy_that_is_named_or_full_with_yes(fake):
    fake.put(job(strategies=STRATEGIES))
    ctl(fake, "rollback", "--strategy", "code", "--reason", "a bug", code=0)
    ctl(fake, "rollback", "--yes", code=0)
    fake.put(job(strategies=STRATEGIES[:1]))
    ctl(fake, "rollback", code=0)
    assert fake.posted("/rollback") == [{"strategy": "code", "reason": "a bug"}, {"strategy": "full"},
                                        {"strategy": "full"}]


def test_a_way_back_that_is_none_is_told_with_those_there_are(fake):
    fake.put(job(strategies=STRATEGIES))
    assert "there is: full, code" in ctl(fake, "rollback", "--strategy", "cod", code=1).stderr
    assert not fake.posted("/rollback")


def test_a_strategy_that_wants_a_text_typed_gets_it(fake):
    fake.put(job(strategies=[{**STRATEGIES[0], "type": "RESET"}]))
    assert "--type 'RESET'" in ctl(fake, "rollback", code=2).stderr
    ctl(fake, "rollback", "--type", "RESET", code=0)
    assert fake.posted("/rollback") == [{"strategy": "full", "typed": "RESET"}]


def test_a_job_that_cannot_go_back_says_what_it_can(fake):
    fake.put(job(actions=["finalise"]))
    done = ctl(fake, "rollback", code=1)
    assert "cannot be rolled back now" in done.stderr and "allowed now: finalise" in done.stderr


def test_going_back_as_asked_is_0(fake):
    fake.put(job(strategies=STRATEGIES))
    fake.on_post = lambda now, verb, body: {**now, "state": "rolled_back", "ended": stamp()}
    ctl(fake, "rollback", "--yes", "--follow", code=0)


# ---- other decisions --------------------------------------------------------------------------------


def test_retry_may_change_inputs_plan_and_secrets_and_shows_the_difference(fake, tmp_path):
    (tmp_path / "new.yaml").write_text("format: 1\n")
    (tmp_path / "token").write_text("s3cret")
    wait = {"id": "w3", "kind": "missing-secret", "since": stamp(), "secrets": ["token"], "can": ["retry"]}
    fake.put(job(state="waiting", waits=[wait], inputs={"n": 1}))
    assert "updctl retry 42 --secret token=@FILE" in ctl(fake, "status", code=5).stdout
    fake.on_post = lambda now, verb, body: {**now, "inputs": {"n": 2}, "sha256": "b" * 64}
    done = ctl(fake, "retry", "-i", "n=2", "--plan", tmp_path / "new.yaml", "--secret",
               f"token=@{tmp_path}/token", code=0)
    assert fake.posted("/retry") == [{"wait": "w3", "document": "format: 1\n", "inputs": {"n": "2"},
                                      "secrets": {"token": "s3cret"}}]
    assert "n  1 -> 2\n" in done.stdout and "plan  aaaaaaaaaaaa -> bbbbbbbbbbbb\n" in done.stdout


def test_skip_and_abandon_need_a_reason_and_the_others_do_not(fake):
    fake.put(job(state="stuck", actions=["retry", "skip", "abandon"]))
    for verb in ("skip", "abandon"):
        assert "--reason TEXT" in ctl(fake, verb, code=2).stderr
        ctl(fake, verb, "--reason", "it must be", code=0)
        assert fake.posted("/" + verb) == [{"reason": "it must be"}]
    for verb in ("cancel", "finalise", "retry"):
        ctl(fake, verb, code=0)
        assert fake.posted("/" + verb) == [{}]


def test_a_token_is_printed_alone(fake):
    fake.fixed["POST", "/v1/tokens"] = (201, {"name": "grafana", "role": "view", "token": "t0ken"})
    fake.fixed["DELETE", "/v1/tokens/grafana"] = (204, {})
    assert ctl(fake, "token", "add", "grafana", "--role", "view", code=0).stdout == "t0ken\n"
    assert "removed" in ctl(fake, "token", "remove", "grafana", code=0).stdout
    assert "--role" in ctl(fake, "token", "add", "grafana", code=2).stderr


def test_health_tells_what_is_not_well(fake):
    fake.fixed["GET", "/v1/health"] = (200, {"ok": True, "store": "ok", "version": "1", "jobs": {}})
    assert ctl(fake, "health", code=0).stdout.startswith("well: updd 1")
    fake.fixed["GET", "/v1/health"] = (503, {"ok": False, "store": "disk full", "jobs": {}})
    assert "store disk full" in ctl(fake, "health", code=1).stdout


# ---- looking ----------------------------------------------------------------------------------------


def test_updctl_alone_tells_what_was_interrupted_what_was_decided_and_whom_it_waits_for(fake):
    steps = [step("install", "interrupted", attempts=1, started=stamp(30), ended=stamp(20))]
    fake.put(job(state="waiting", waits=[gate()], steps=steps, decided="asking, because on_crash says so"))
    fake.put(job(43, plan="other", target="other"))
    said = ctl(fake, code=0).stdout
    for text in ("job 42", "since", "by uid:0 (root)", "install was interrupted at",
                 "decided: asking, because on_crash says so", "accept waits for a confirmation since",
                 "updctl confirm 42 --all", "job 43", "install is running for 10s"):
        assert text in said, said


def test_list_pages_and_filters(fake):
    for n in range(1, 26):
        fake.put(job(n, state="succeeded", ended=stamp(), target=f"t{n}"))
    done = ctl(fake, "list", code=0)
    assert len(done.stdout.splitlines()) == 21 and "--limit N or --all" in done.stdout
    assert len(json.loads(ctl(fake, "list", "--all", "--json", code=0).stdout)["jobs"]) == 25
    assert len(ctl(fake, "list", "--limit", "3", code=0).stdout.splitlines()) == 4
    assert len(ctl(fake, "list", "--target", "t7", code=0).stdout.splitlines()) == 1
    assert ctl(fake, "list", "--state", "failed", code=0).stdout == "No such job.\n"


def test_json_is_the_apis_unchanged(fake):
    fake.put(job(note="\u00e9 \u0001"))
    assert json.loads(ctl(fake, "status", "--json", code=0).stdout) == fake.jobs[42]
    assert json.loads(ctl(fake, "show", "kimi-proxy-v2", "--json", code=0).stdout) == fake_updd.PLAN
    assert len(json.loads(ctl(fake, "events", "--json", code=0).stdout)["events"]) == 1
    assert json.loads(ctl(fake, "--json", code=0).stdout)["jobs"][0]["id"] == 42


def test_the_card_fills_in_what_is_given(fake):
    said = ctl(fake, "show", "kimi-proxy-v2", code=0).stdout
    for text in ("kimi-proxy 1 to v2.0\n", "hash       0123456789ab\n", "expected   20m",
                 "root = /srv/kimi-proxy", "your variable KIMI_TOKEN", "new code, v2.0",
                 "Business checks passed? (within 24h, else hold)",
                 "loses: what was written since the stop", "for: application bug"):
        assert text in said, said


def test_a_log_comes_out_byte_for_byte_off_a_terminal(fake):
    fake.put(job())
    fake.logs[42, "install"] = (b"one\n\033[31mtwo\033[0m\r\n\xff", False)
    done = subprocess.run([str(UPDCTL), "log", "42", "install"], capture_output=True,
                          env=environment(fake.path))
    assert done.stdout == b"one\n\033[31mtwo\033[0m\r\n\xff"
    fake.logs[42, "stop"] = (b"stopped\n", False)
    fake.put(job(), ("step_started", "stop"), ("step_started", "install"), ("step_undoing", "watch"))
    said = subprocess.run([str(UPDCTL), "log"], capture_output=True, env=environment(fake.path)).stdout
    assert said == b"== stop ==\nstopped\n== install ==\none\n\033[31mtwo\033[0m\r\n\xff"
    # One word is a step of the only unfinished job when it is no job.
    assert ctl(fake, "log", "stop", code=0).stdout == "stopped\n"
    assert json.loads(ctl(fake, "log", "42", "stop", "--json", code=0).stdout)["log"] == "stopped\n"


def test_a_log_is_followed_until_its_attempt_ends(fake):
    fake.put(job())
    fake.logs[42, "install"] = (b"one\n", True)

    def more():
        fake.logs[42, "install"] = (b"one\ntwo\n", True)
        time.sleep(0.5)
        fake.logs[42, "install"] = (b"one\ntwo\nthree\n", False)
    threading.Timer(0.5, more).start()
    assert ctl(fake, "log", "-f", "42", "install", code=0).stdout == "one\ntwo\nthree\n"


def test_events_are_shown_and_followed_to_the_end(fake):
    fake.put(job(), ("created", None), ("step_done", "stop"))
    assert len(ctl(fake, "events", code=0).stdout.splitlines()) == 2
    threading.Timer(0.6, lambda: fake.put(job(state="succeeded", ended=stamp()),
                                          ("step_done", "install"))).start()
    lines = ctl(fake, "events", "--follow", "--json", code=0).stdout.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3]


# ---- at a terminal ----------------------------------------------------------------------------------


def test_start_shows_the_card_asks_and_starts_nothing_without_a_yes(fake):
    with terminal(fake, "start", "kimi-proxy-v2") as t:
        t.until("Start this job? [y/N]")
        t.send("n\n")
        assert t.end() == 1
        assert "nothing was started" in t.screen() and not fake.posted("/v1/jobs")


def test_the_steps_are_redrawn_in_place_and_fit_into_80_columns(fake):
    note = "a very long note that cannot possibly fit into a window of eighty columns, can it?"
    steps = [step("stop", "done", attempts=1, started=stamp(9), ended=stamp(8)),
             step("install", "running", attempts=1, started=stamp(8), note=note), step("watch")]
    done = [{**s, "state": "done", "ended": stamp()} for s in steps]
    advance(fake, (job(steps=steps),), (job(steps=steps, progress={"done": 1, "total": 3}),),
            (job(state="waiting", steps=steps, waits=[gate(ask="A long question " * 12)]),),
            (job(state="succeeded", steps=done, ended=stamp()),), wait=0.8)
    with terminal(fake, "start", "kimi-proxy-v2", "-y") as t:
        assert t.end() == 0
        screen = t.screen()
    assert "Start this job?" not in screen
    after = screen[screen.index("ways back"):]
    for once in ("stop", "install", "watch"):
        assert len(re.findall(rf"^  . +{once}\b", after, re.M)) == 1, screen
    assert "job 42 succeeded" in after and after.count("job 42") == 1, screen
    assert "A long question" not in after
    assert t.widest <= 80


def test_ctrl_c_leaves_the_job_running_and_says_how_to_come_back(fake):
    with terminal(fake, "start", "kimi-proxy-v2", "--yes") as t:
        t.until("pip install")
        t.send("\x03")
        assert t.end() == 130
        assert "Come back with: updctl watch 42" in t.screen()
    assert fake.jobs[42]["state"] == "running" and not fake.posted("/cancel")


def test_a_question_is_asked_in_place_without_echo(fake):
    fake.put(job(state="waiting", waits=[question()]))
    fake.on_post = lambda now, verb, body: {**now, "state": "succeeded", "waits": [], "ended": stamp()}
    with terminal(fake, "watch") as t:
        t.until("answer: ")
        t.send("hunter2\n")
        assert t.end() == 0
        assert "hunter2" not in t.raw.decode()
        # What was asked and answered stays, and the redrawing has taken nothing of it back.
        assert re.search(r"Password:\n  updctl answer 42 .*\nanswer: *\n  . +stop ", t.screen()), t.screen()
    assert fake.posted("/answer") == [{"wait": "w2", "text": "hunter2"}]


def test_ctrl_c_at_a_hidden_question_gives_the_echo_back(fake):
    fake.put(job(state="waiting", waits=[question()]))
    with terminal(fake, "answer") as t:
        t.until("answer: ")
        assert not t.echo()
        t.send("\x03")
        assert t.end() == 1 and t.echo()
    assert not fake.posted("/answer")


def test_a_gate_is_ticked_item_by_item(fake):
    fake.put(job(state="waiting", waits=[gate()]))
    with terminal(fake, "confirm") as t:
        t.until("chat works? [y/N]")
        t.send("y\n")
        t.until("history is there? [y/N]")
        t.send("n\n")
        assert t.end() == 0
    assert fake.posted("/confirm") == [{"wait": "w1", "ticks": ["chat works"]}]


def test_rollback_asks_which_way(fake):
    fake.put(job(strategies=STRATEGIES))
    with terminal(fake, "rollback") as t:
        t.until("Which way back?")
        t.send("code\n")
        assert t.end() == 0
    assert fake.posted("/rollback") == [{"strategy": "code"}]
    with terminal(fake, "rollback") as t:
        t.until("Which way back?")
        t.send("\n")
        assert t.end() == 1 and "nothing was changed" in t.screen()


EVIL = "\033]0;owned\a\033[2J\033[31mred\033[0m \x9b5m\u009b1m\u202eback\x07 \033Pq\033\\end"


def test_no_escape_sequence_of_a_step_reaches_the_terminal(fake):
    now = failed(title=EVIL, reason=EVIL, decided=EVIL)
    now["failure"]["tail"] = [EVIL, "50%\r100%"]
    now["failure"]["services"] = {"proxy": [EVIL]}
    now["steps"][1].update(note=EVIL, error={"type": "x", "message": EVIL})
    fake.put(now)
    fake.logs[42, "install"] = ((EVIL + "\n").encode("latin1", "replace"), False)
    for args in (["status", "42"], ["watch", "42"], ["log", "42", "install"], ["list"],
                 ["status", "42", "--json"], ["events", "42"]):
        with terminal(fake, *args, NO_COLOR="1") as t:
            t.end()
        moves = re.findall(rb"\x1b(?!\[\d+A|\[J)", t.raw)
        assert not moves, (args, t.raw)
        assert b"\x07" not in t.raw and "\u009b".encode() not in t.raw and b"\x9b" not in t.raw
        assert "\u202e".encode() not in t.raw and b"owned" not in t.raw.split(b'"title"')[0], t.raw
    assert "red" in t.raw.decode() or args[0] == "events"


@pytest.mark.parametrize("env, args", [({"NO_COLOR": "1"}, []), ({"TERM": "dumb"}, []),
                                       ({}, ["--no-color"])])
def test_colours_can_be_refused(fake, env, args):
    fake.put(failed())
    with terminal(fake, "status", "42", *args, **env) as t:
        t.end()
    assert b"\x1b[" not in t.raw
    with terminal(fake, "status", "42") as t:
        t.end()
    assert b"\x1b[1;31m" in t.raw


def test_a_dumb_terminal_is_followed_line_by_line(fake):
    advance(fake, (job(), ("step_started", "install")),
            (job(state="succeeded", ended=stamp()), ("step_done", "install")))
    with terminal(fake, "start", "kimi-proxy-v2", "--yes", TERM="dumb") as t:
        assert t.end() == 0
    assert b"\x1b" not in t.raw and re.search(rb"done    install", t.raw)


# ---- from elsewhere ---------------------------------------------------------------------------------


def test_a_url_is_called_with_the_token_of_the_environment_or_a_file(built, tmp_path):
    seen = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        for _ in range(2):
            connection, _ = listener.accept()
            seen.append(connection.recv(65536).decode())
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"plans\":[]}")
            connection.close()
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    (tmp_path / "token").write_text("from-a-file\n")
    ctl("", "--url", url, "plans", code=0, UPDD_TOKEN="from-the-environment")
    ctl("", "plans", "--token-file", tmp_path / "token", code=0, UPDD_URL=url)
    thread.join(10)
    listener.close()
    assert "GET /v1/plans HTTP/1.1\r\n" in seen[0] and f"Host: {url[7:-1]}\r\n" in seen[0]
    assert "Authorization: Bearer from-the-environment\r\n" in seen[0]
    assert "Authorization: Bearer from-a-file\r\n" in seen[1]


SSH = """#!/usr/bin/env python3
import os, socket, sys, threading
assert sys.argv[-2:] == ["--", "root@far"], sys.argv
here, there = sys.argv[sys.argv.index("-L") + 1].split(":")
open(os.environ["SSH_SEEN"], "w").write(f"{os.getpid()} {here} {there}")
listener = socket.socket(socket.AF_UNIX)
listener.bind(here)
listener.listen(8)
def copy(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
while True:
    near, _ = listener.accept()
    far = socket.socket(socket.AF_UNIX)
    far.connect(os.environ["SSH_FAR"])
    threading.Thread(target=copy, args=(near, far), daemon=True).start()
    threading.Thread(target=copy, args=(far, near), daemon=True).start()
"""


def test_another_machine_is_reached_through_ssh_which_ends_with_updctl(fake, tmp_path):
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin/ssh"
    ssh.write_text(SSH)
    ssh.chmod(0o755)
    fake.put(job())
    done = ctl("/nonexistent", "-H", "root@far", "status", code=0, SSH_FAR=fake.path,
               SSH_SEEN=str(tmp_path / "seen"), PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert "job 42" in done.stdout
    pid, here, there = (tmp_path / "seen").read_text().split()
    assert there == "/run/updd/updd.sock"
    assert not pathlib.Path(here).parent.exists()
    assert not pathlib.Path(f"/proc/{pid}").exists()
    ssh.write_text("#!/bin/sh\necho no route to host >&2\nexit 255\n")
    failed_ssh = ctl("/nonexistent", "-H", "root@far", "status", code=7,
                     PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert "no route to host" in failed_ssh.stderr and "root@far" in failed_ssh.stderr


# ---- the daemon's own steps, checks, dry runs -------------------------------------------------------


def checks(*results):
    return step("@checks", "failed", phase="checks", attempts=1, started=stamp(3), ended=stamp(2),
                checks=list(results), error={"type": "check", "message": "a: too old; b: gone"})


def test_checks_that_refuse_are_told_together_each_with_its_hint(fake):
    bad = checks({"name": "python3", "check": "tool", "ok": False, "message": "3.8 is older than 3.10",
                  "hint": "apt install python3"},
                 {"name": "disk", "check": "disk", "ok": True},
                 {"name": "backup", "check": "path", "ok": False, "message": "is 30 h old", "warn": True})
    fake.put(job(state="failed", ended=stamp(), steps=[bad], failure={
        "step": "@checks", "phase": "checks", "direction": "do", "tail": [], "services": {}, "next": [],
        "message": "python3: 3.8 is older than 3.10"}))
    said = ctl(fake, "status", "42", code=3).stdout
    assert "checks failed\n    NOT  python3: 3.8 is older than 3.10\n         hint: apt install" in said
    assert "    warn  backup: is 30 h old\n" in said and "disk" not in said and "@" not in said
    fake.logs[42, "%40checks"] = (b"looked\n", False)
    assert ctl(fake, "log", "42", "checks", code=0).stdout == "looked\n"


def test_a_dry_run_shows_each_action_with_its_values(fake):
    would = {"verb": "git", "args": {"checkout": "v2.0", "fetch": "origin"}}
    fake.put(job(state="succeeded", ended=stamp(), dry_run=True, steps=[step("code", "done", would=would)]))
    for verb in ("status", "watch"):
        said = ctl(fake, verb, "42", code=0).stdout
        assert "would git: checkout=v2.0 fetch=origin\n" in said, said
