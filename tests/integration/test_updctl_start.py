# SPDX-License-Identifier: MIT
"""updctl starts a job and follows it."""
import json
import re
import subprocess
import time

import pytest

from ctltool import STRATEGIES, UPDCTL, advance, ctl, environment, failed, gate, question, terminal
from fake_updd import job, stamp, step

# ---- start and follow -------------------------------------------------------------------------------


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
