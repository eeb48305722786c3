# SPDX-License-Identifier: MIT
"""
The attempt protocol as updd-step keeps it: the real program over hand-written task folders.
"""
import json
import os
import pathlib
import pwd
import signal
import subprocess
import time

import pytest

import steptool
from steptool import alive, everything_written, marked, task_id, until

# ---- claim and lock ---------------------------------------------------------------------------


def test_of_twenty_instances_exactly_one_runs(step, script):
    folder = step.new_dir("race")
    argv = script(f"echo ran >> {step.cwd}/count; sleep 0.2")
    op = step.op("race", "run", {"argv": argv}, "do", {})
    task = {"format": 1, "id": "0" * 31 + "1", "job": 42, "step": "race", "n": 1,
            "direction": "do", "dir": str(folder), "record": str(folder.parent),
            "job_dir": str(step.job_dir), "ops": [op], "context": {"scope": step.scope}}
    (folder / "task.json").write_text(json.dumps(task))
    all_of_them = [step.start(folder, task["id"], {}) for _ in range(20)]
    for process in all_of_them:
        assert process.wait(30) == 0
        process.stderr.close()
    assert (step.cwd / "count").read_text() == "ran\n"
    assert json.loads((folder / "result.json").read_text())["state"] == "done"
    assert not list(folder.glob("claim.*"))


def test_a_withdrawn_attempt_is_left_alone(step, script):
    argv = script(f"touch {step.cwd}/ran")
    folder = step.new_dir("s")
    folder.rmdir()

    def withdraw_first(f, attempt_id, secrets, start=step.start):
        (f / "claim").write_text(json.dumps({"id": attempt_id, "by": "daemon"}))
        return start(f, attempt_id, secrets)

    step.start = withdraw_first
    result = step.do("s", "run", {"argv": argv})
    assert result["state"] == "gone" and result["exit_of_step"] == 0
    assert not (step.cwd / "ran").exists()
    assert {p.name for p in (step.record_dir("s") / "1").iterdir()} == {"task.json", "claim"}


def test_a_foreign_id_is_refused(step, script):
    argv = script(f"touch {step.cwd}/ran")
    start = step.start
    step.start = lambda folder, _, secrets: start(folder, "f" * 32, secrets)
    result = step.do("s", "run", {"argv": argv})
    assert result["state"] == "gone" and result["exit_of_step"] == 1
    assert "another attempt" in result["stderr"]
    assert not (step.cwd / "ran").exists()


def test_the_claim_names_the_process_and_the_boot(step, script):
    running = step.do("s", "run", {"argv": script("exec sleep 30")}, wait=False)
    running.until(lambda: (running.dir / "claim").exists())
    claim = json.loads((running.dir / "claim").read_text())
    assert claim["pid"] == running.process.pid and claim["id"] == task_id(running)
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    assert claim["boot"] == boot
    running.kill()


# ---- ends ---------------------------------------------------------------------------------------


def test_no_process_survives_the_kill_of_the_supervisor(step, script):
    running = step.do("s", "run", {"argv": ["sleep", "300"]}, wait=False)
    until(lambda: any(alive(p) for p in marked(task_id(running))))
    running.kill()
    until(lambda: not any(alive(p) for p in marked(task_id(running))), timeout=5)
    assert not (running.dir / "result.json").exists()


def test_the_time_limit_reaches_a_grandchild_that_ignores_term(step, script):
    pid_file = step.cwd / "pid"
    argv = script(f"""\
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.environ.clear()
        open("{pid_file}.new", "w").write(str(os.getpid()))
        os.rename("{pid_file}.new", "{pid_file}")
        time.sleep(300)
    os._exit(0)
os.wait()
time.sleep(300)
""", "fork.py", "python3")
    begin = time.monotonic()
    result = step.do("s", "run", {"argv": argv}, timeout_ms=1500, grace_ms=500)
    assert result["state"] == "failed" and result["reason"] == "timeout", result
    assert "1s500ms" in result["error"]["message"]
    assert time.monotonic() - begin < 10
    assert not alive(int(pid_file.read_text()))


def test_what_a_run_leaves_behind_ends_with_it(step, script):
    pid_file = step.cwd / "pid"
    argv = script(f"setsid sh -c 'echo $$ > {pid_file}; exec sleep 300' & sleep 0.3; echo ready")
    result = step.do("s", "run", {"argv": argv})
    assert result["state"] == "done", result
    assert not alive(int(pid_file.read_text()))


def test_term_with_a_stop_file_is_a_wanted_stop(step, script):
    running = step.do("s", "run", {"argv": ["sleep", "300"]}, wait=False)
    until(lambda: any(alive(p) for p in marked(task_id(running))))
    (running.dir / "stop").write_text('{"why": "cancel"}')
    running.process.send_signal(signal.SIGTERM)
    result = running.wait(10)
    assert (result["state"], result["reason"]) == ("failed", "stopped")


def test_term_without_a_stop_file_is_an_interruption(step, script):
    running = step.do("s", "run", {"argv": script("trap 'exit 0' TERM; sleep 300 & wait")},
                      wait=False)
    until(lambda: len(marked(task_id(running))) >= 2)
    running.process.send_signal(signal.SIGTERM)
    result = running.wait(10)
    # The program ended with 0, but nobody may take that for its work being done.
    assert result["state"] == "interrupted", result


def test_hangup_is_ignored(step, script):
    running = step.do("s", "run", {"argv": script("sleep 1; echo through")}, wait=False)
    running.until(lambda: (running.dir / "progress").exists())
    running.process.send_signal(signal.SIGHUP)
    assert running.wait()["state"] == "done"


def test_a_failure_names_the_code_the_last_line_and_the_hint(step, script):
    argv = script("echo begin; echo 'database is locked' >&2; exit 3")
    result = step.do("s", "run", {"argv": argv},
                     context={"hints": {"never": "no", "database is lock": "stop the writer"}})
    assert (result["state"], result["reason"], result["exit"]) == ("failed", "exit", 3)
    assert result["error"]["message"] == "sh ended with code 3: database is locked"
    assert result["hint"] == "stop the writer" and result["op"] == 0
    assert "database is locked" in result["tail"]
    assert result["outputs"]["exit"] == 3


def test_a_child_killed_by_a_signal_is_told(step, script):
    result = step.do("s", "run", {"argv": script("kill -SEGV $$")})
    assert (result["state"], result["reason"], result["signal"]) == ("failed", "signal", 11)


def test_a_command_that_does_not_exist_is_told(step):
    result = step.do("s", "run", {"argv": ["no-such-program-at-all"]})
    assert (result["state"], result["reason"]) == ("failed", "spawn")
    assert "no-such-program-at-all" in result["error"]["message"]


def test_the_result_has_times_and_usage(step, script):
    before = time.time() * 1000
    result = step.do("s", "run", {"argv": script("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done")})
    assert before - 1 <= result["started"] <= result["ended"] <= time.time() * 1000 + 1
    assert result["rusage"]["user_us"] > 0 and result["rusage"]["maxrss_kib"] > 500


def test_expectations_hold_over_both_streams(step, script):
    argv = script("echo fine; echo 'Error: bad' >&2")
    assert step.do("a", "run", {"argv": argv, "has": ["^fine", "bad$"]})["state"] == "done"
    refused = step.do("b", "run", {"argv": argv, "lacks": "Error"})
    assert (refused["state"], refused["reason"]) == ("failed", "check")
    assert step.do("c", "run", {"argv": script("exit 4"), "exit": [0, 4]})["state"] == "done"


def test_retries_within_a_list_are_kept_to(step, script):
    argv = script(f"echo x >> {step.cwd}/tries; test $(wc -l < {step.cwd}/tries) -ge 3")
    result = step.do("s", "run", {"argv": argv},
                     retry={"tries": 3, "first": "10ms", "factor": 2, "max": "1s"})
    assert result["state"] == "done", result
    assert (step.cwd / "tries").read_text() == "x\n" * 3


def test_the_first_failing_op_ends_the_attempt(step, script):
    ops = [step.op("u", "run", {"argv": ["sh", "-c", f"echo {n} >> {step.cwd}/order; exit {n}"]},
                   "do", {}) for n in (0, 1, 2)]
    result = step.attempt("u", ops, "undo", {})
    assert (result["state"], result["op"], result["exit"]) == ("failed", 1, 1)
    assert (step.cwd / "order").read_text() == "0\n1\n"


# ---- verify and probe ---------------------------------------------------------------------------


def path_check(path, **more):
    return {"check": "path", "args": {"path": str(path)}, **more}


def test_a_failed_verification_fails_what_was_done(step):
    good = step.do("a", "run", {"argv": ["touch", "made"]},
                   verify=[path_check(step.cwd / "made", name="it was made")])
    assert (good["state"], good["phase"]) == ("done", "verify")
    assert [c["ok"] for c in good["checks"]] == [True]
    bad = step.do("b", "run", {"argv": ["true"]}, verify=[
        path_check(step.cwd / "no", name="it is there", hint="make it"),
        path_check(step.cwd / "made"), path_check("relative-to-the-op")])
    assert (bad["state"], bad["phase"], bad["reason"]) == ("failed", "verify", "check")
    assert [c["ok"] for c in bad["checks"]] == [False, True, False]
    assert bad["checks"][0]["hint"] == "make it" and "it is there" in bad["error"]["message"]
    assert "op" not in bad


def test_a_probe_tells_whether_it_happened(step):
    checks = [path_check(step.cwd / "made")]
    assert step.attempt("s", [], "probe", {"probe": checks})["state"] == "failed"
    (step.cwd / "made").touch()
    result = step.attempt("s", [], "probe", {"probe": checks})
    assert (result["state"], result["phase"]) == ("done", "probe")


def test_an_override_that_was_given_is_recorded(step):
    result = step.do("s", "run", {"argv": ["true"]}, overrides=["stale"],
                     verify=[path_check(step.cwd / "no", override="stale")])
    assert result["state"] == "done" and result["checks"][0]["overridden"] is True


# ---- the log -------------------------------------------------------------------------------------


def test_the_log_is_bounded_and_keeps_both_ends(step, script):
    argv = script("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done")
    result = step.do("s", "run", {"argv": argv}, log_bytes=20000)
    log = result["log"]
    assert result["state"] == "done"
    assert log.startswith("line 0\nline 1\n") and log.endswith("line 19999\n")
    assert len(log) < 20200 and result["log_bytes"] == len(log)
    assert f"{result['log_dropped']} bytes of output were dropped" in log
    total = sum(len(f"line {i}\n") for i in range(20000))
    assert result["log_dropped"] == total - 20000
    assert result["tail"] == [f"line {i}" for i in range(19980, 20000)]
    assert not (pathlib.Path(result["dir"]) / "log.tail").exists()


def test_the_log_can_be_read_while_it_grows(step, script):
    running = step.do("s", "run", {"argv": script("printf 'Working on it: '; exec sleep 300")},
                      wait=False)
    running.until(lambda: running.log == "Working on it: ")
    running.kill()


def test_binary_output_is_logged_as_it_is_and_told_as_text(step, script):
    argv = script(r"printf 'a\377\000b\n\303\251\n'")
    result = step.do("s", "run", {"argv": argv})
    assert (pathlib.Path(result["dir"]) / "log").read_bytes() == b"a\xff\x00b\n\xc3\xa9\n"
    assert result["tail"] == ["a��b", "é"]
    assert result["outputs"]["stdout"] == "a��b\né"


def test_output_may_be_kept_out_of_the_log(step, script):
    result = step.do("s", "run", {"argv": script("echo hush"), "log": False})
    assert result["state"] == "done" and "hush" not in result["log"]
    assert result["outputs"]["stdout"] == "hush"


# ---- children ------------------------------------------------------------------------------------


def test_the_environment_is_exactly_the_planned_one(step, script):
    (step.cwd / "env").write_text("# comment\nexport FILE_A='one two'\nBOTH=file\nQ=\"a\\\"b\"\n\n")
    os.environ["LEAKED_FROM_THE_DAEMON"] = "1"
    try:
        result = step.do("s", "run", {"argv": ["env", "-0"]}, env_file="env",
                         env={"BOTH": "env", "MY": "x=y"})
    finally:
        del os.environ["LEAKED_FROM_THE_DAEMON"]
    out = result["outputs"]["stdout"].replace("�", "\0")
    env = dict(line.split("=", 1) for line in out.split("\0") if line)
    assert set(env) == {"PATH", "HOME", "USER", "LOGNAME", "LANG", "UPDD_ATTEMPT", "UPDD_JOB",
                        "UPDD_STEP", "UPDD_PLAN", "UPDD_TARGET", "UPDD_DIRECTION", "UPDD_RECORD",
                        "FILE_A", "BOTH", "Q", "MY"}
    assert (env["FILE_A"], env["BOTH"], env["Q"], env["MY"]) == ("one two", "env", 'a"b', "x=y")
    assert env["UPDD_RECORD"] == str(step.record_dir("s")) and env["UPDD_JOB"] == "42"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change users")
def test_a_command_runs_as_its_user_and_cannot_reach_the_attempt(step, script):
    nobody = pwd.getpwnam("nobody")
    op = step.op("s", "run", {"argv": ["sh", "-c", "id -u; id -G; echo $USER; grep Groups "
                                       "/proc/self/status; ls -la $UPDD_RECORD; true"]}, "do",
                 {"cwd": "/"})
    op["user"] = "nobody"
    result = step.attempt("s", [op], "do", {})
    lines = result["outputs"]["stdout"].splitlines()
    assert lines[:3] == [str(nobody.pw_uid), str(nobody.pw_gid), "nobody"], result
    assert "Permission denied" in result["log"]


def test_there_are_no_inherited_descriptors(step):
    """Neither from the small program nor from the one that it becomes for `sql`."""
    look = step.op("s", "run", {"argv": ["ls", "/proc/self/fd"]}, "do", {})
    other = step.op("s", "sql", {"db": "x", "query": "SELECT 1"}, "do", {})
    (step.tmp / "x.db").touch()
    context = {"databases": {"x": {"url": f"sqlite:{step.tmp}/x.db"}}}
    for ops in ([look], [other, look]):
        result = step.attempt("s", ops, "undo", {"context": dict(context)})
        assert result["outputs"]["stdout"] == "0\n1\n2\n3", result  # 3 is the folder it lists


def test_standard_input_is_what_the_plan_says_or_nothing(step):
    assert step.do("a", "run", {"argv": ["cat"], "stdin": "one\ntwo"})["outputs"]["stdout"] == \
        "one\ntwo"
    assert step.do("b", "run", {"argv": ["cat"]})["outputs"]["stdout"] == ""


# ---- disks that are full -------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_full_disk_does_not_lose_the_result(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk]).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        step = steptool.StepRunner(disk)
        argv = ["sh", "-c", f"dd if=/dev/zero of={disk}/fill bs=1k 2>/dev/null; "
                "head -c 200000 /dev/zero | tr '\\0' x; exit 7"]
        result = step.do("s", "run", {"argv": argv})
        assert (result["state"], result["exit"]) == ("failed", 7)
        assert result["log_dropped"] > 0
    finally:
        subprocess.run(["umount", disk], check=True)


# ---- two programs ---------------------------------------------------------------------------------


def test_what_each_attempt_starts_loads_no_large_library():
    libraries = subprocess.run(["ldd", steptool.step_program()], capture_output=True, text=True,
                               check=True).stdout
    assert "libjansson" in libraries
    for large in ("libcurl", "libarchive", "libsqlite3", "libssl"):
        assert large not in libraries


def test_a_verb_with_a_large_library_runs_under_the_same_rules(step, tmp_path):
    """`sql` is in updd-step-worker only: limits, masks and secrets hold there too."""
    database = tmp_path / "x.db"
    database.touch()
    context = {"databases": {"x": {"url": f"sqlite:{database}"}}}
    result = step.do("s", "sql", {"db": "x", "exec": {"$secret": [
        "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('", {"name": "pw"}, "')"]}},
        context=context, secrets={"pw": "hunter22"})
    assert result["state"] == "done", result
    found = step.do("t", "sql", {"db": "x", "query": "SELECT a FROM t"}, context=context,
                    secrets={"pw": "hunter22"})
    assert found["outputs"]["a"] == "********"
    assert b"hunter22" not in everything_written(step.record_dir("t"))


# ---- compose -------------------------------------------------------------------------------------


def test_compose_addresses_the_project(step, tmp_path):
    """A stand-in `docker` shows the command line that updd-step builds; a real engine is the
    business of the sesame tests."""
    bin_dir, project = tmp_path / "bin", tmp_path / "project"
    bin_dir.mkdir()
    project.mkdir()
    docker = bin_dir / "docker"
    docker.write_text('#!/bin/sh\n[ "$*" = "compose version" ] && exit 0\n'
                      'echo "args: $*"; echo "in: $PWD"; echo "A=$A"\n')
    docker.chmod(0o755)
    result = step.do("s", "compose", {"project": "web", "args": ["ps", "-q"], "has": "ps -q"},
                     env={"PATH": f"{bin_dir}:{os.environ['PATH']}"},
                     context={"compose": {"web": {"dir": str(project), "files": ["a.yml", "b.yml"],
                                                  "name": "w", "env_file": "x.env",
                                                  "env": {"A": {"$secret": [{"name": "a"}]}}}}},
                     secrets={"a": "top-secret-a"})
    assert result["outputs"]["stdout"].splitlines() == [
        "args: compose -p w -f a.yml -f b.yml --env-file x.env ps -q", f"in: {project}",
        "A=********"], result
