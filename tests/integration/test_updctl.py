# SPDX-License-Identifier: MIT
"""updctl against a stand-in for the daemon: its command line, its exit codes and what it shows."""
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
from ctltool import MAN, UPDCTL, ctl, environment, gate
from daemon import ROOT, SLOW
from fake_updd import job, stamp, step

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
