# SPDX-License-Identifier: MIT
"""stop and start on services that are commands: exactly what ran comes back, and no more."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

import steptool

# Ends at once on TERM, tells what it is, and answers on a port if it is given one.
SERVER = """\
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("serving, as process", os.getpid(), flush=True)
if os.path.exists("broken"):
    sys.exit("cannot read the settings")
if os.environ.get("PORT"):
    s = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while True:
    time.sleep(60)
"""
# Puts the server into the background and writes the pid file itself, as old programs do.
CONTROL = """\
case $1 in
start) nohup python3 server.py >>own.log 2>&1 & echo $! >server.pid ;;
stop) kill "$(cat server.pid)"; rm -f server.pid; echo asked to stop >>stopped ;;
esac
"""


@pytest.fixture
def step(tmp_path):
    assert os.access(steptool.step_program(), os.X_OK), "updd-step is not built"
    runner = steptool.StepRunner(tmp_path)
    (runner.cwd / "server.py").write_text(SERVER)
    (runner.cwd / "control.sh").write_text(CONTROL)
    runner.services = runner.context["services"]
    try:
        yield runner
    finally:
        for pid in servers(runner):
            os.kill(pid, signal.SIGKILL)


def servers(step):
    """Pids of all servers of this test: they have its folder as theirs."""
    found = []
    for p in pathlib.Path("/proc").iterdir():
        try:
            if p.name.isdigit() and os.readlink(p / "cwd") == str(step.cwd) \
                    and b"server.py" in (p / "cmdline").read_bytes():
                found.append(int(p.name))
        except OSError:
            continue
    return sorted(found)


def foreground(step, name="app", **more):
    step.services[name] = {"command": {"start": ["python3", "server.py"],
                                       "pid_file": "server.pid"}, **more}


def background(step, name="app", **more):
    step.services[name] = {"command": {"start": ["sh", "control.sh", "start"],
                                       "stop": ["sh", "control.sh", "stop"],
                                       "pid_file": "server.pid"}, **more}


def start_by_hand(step):
    p = subprocess.Popen(["python3", "server.py"], cwd=step.cwd, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, start_new_session=True)
    (step.cwd / "server.pid").write_text(f"{p.pid}\n")
    return p


def done(result):
    assert result["state"] == "done", (result.get("error"), result["log"])
    return result


STOP, START = {"services": ["app"]}, {"services": ["app"]}


def test_a_foreground_command_is_started_and_gets_a_pid_file(step):
    foreground(step)
    result = done(step.do("start", "start", START))
    assert result["outputs"]["started"] == ["app"]
    [pid] = servers(step)
    assert (step.cwd / "server.pid").read_text() == f"{pid}\n"
    assert done(step.check("healthy", {"services": ["app"]}))
    assert "serving, as process" in (step.job_dir / "svc-app.log").read_text()
    assert done(step.check("logs", {"services": ["app"], "has": f"process {pid}"}))


def test_a_background_command_writes_its_own_pid_file(step):
    background(step)
    done(step.do("start", "start", START))
    [pid] = servers(step)
    assert (step.cwd / "server.pid").read_text() == f"{pid}\n"


def test_the_undo_of_start_stops_what_it_started(step):
    foreground(step)
    done(step.do("start", "start", START))
    done(step.undo("start", "start", START))
    assert servers(step) == [] and not (step.cwd / "server.pid").exists()
    done(step.undo("start", "start", START))
    done(step.check("stopped", {"services": ["app"]}))


def test_what_is_up_already_is_left_alone_by_start_and_by_its_undo(step):
    foreground(step)
    p = start_by_hand(step)
    time.sleep(1.2)
    result = done(step.do("start", "start", START))
    assert result["outputs"]["started"] == []
    done(step.undo("start", "start", START))
    assert p.poll() is None


def test_a_start_twice_starts_once(step):
    foreground(step)
    done(step.do("start", "start", START))
    done(step.do("start", "start", START))
    assert len(servers(step)) == 1


def test_stop_ends_it_and_its_undo_brings_it_back(step):
    foreground(step)
    p = start_by_hand(step)
    result = done(step.do("stop", "stop", STOP))
    assert result["outputs"]["ran"] == ["app"] and p.wait(5) in (0, -signal.SIGTERM)
    [entry] = step.record("stop")
    assert entry["stopped"] == "app" and entry["ran"] is True and entry["pid"] == p.pid
    done(step.check("stopped", {"services": ["app"]}))
    done(step.undo("stop", "stop", STOP))
    assert len(servers(step)) == 1
    done(step.undo("stop", "stop", STOP))
    assert len(servers(step)) == 1, "an undo may be repeated"


def test_what_did_not_run_is_not_started_by_the_undo(step):
    foreground(step)
    result = done(step.do("stop", "stop", STOP))
    assert result["outputs"]["ran"] == []
    done(step.undo("stop", "stop", STOP))
    assert servers(step) == []


def test_a_repeated_stop_still_knows_what_ran_at_first(step):
    foreground(step)
    start_by_hand(step)
    done(step.do("stop", "stop", STOP))
    assert done(step.do("stop", "stop", STOP))["outputs"]["ran"] == ["app"]
    assert len(step.record("stop")) == 1
    done(step.undo("stop", "stop", STOP))
    assert len(servers(step)) == 1


def test_the_services_own_stop_command_is_used(step):
    background(step)
    done(step.do("start", "start", START))
    done(step.do("stop", "stop", STOP))
    assert (step.cwd / "stopped").read_text() == "asked to stop\n"
    assert servers(step) == []
    done(step.undo("stop", "stop", STOP))
    assert len(servers(step)) == 1


def test_a_process_that_does_not_listen_to_term_is_killed(step):
    (step.cwd / "server.py").write_text("import signal, time\nsignal.signal(signal.SIGTERM, "
                                        "signal.SIG_IGN)\nopen('ready', 'w')\ntime.sleep(1000)\n")
    foreground(step)
    start_by_hand(step)
    while not (step.cwd / "ready").exists():
        time.sleep(0.02)
    result = done(step.do("stop", "stop", STOP))
    assert "killing it" in result["log"] and servers(step) == []


def test_a_number_that_another_process_has_by_now_is_not_killed(step):
    foreground(step)
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as other:
        try:
            (step.cwd / "server.pid").write_text(f"{other.pid}\n")
            hour_ago = time.time() - 3600
            os.utime(step.cwd / "server.pid", (hour_ago, hour_ago))
            assert done(step.do("stop", "stop", STOP))["outputs"]["ran"] == []
            time.sleep(0.2)
            assert other.poll() is None
        finally:
            other.kill()


def test_services_go_down_in_order_and_come_back_in_the_other(step):
    for name in ("one", "two"):
        step.services[name] = {"command": {
            "start": ["sh", "-c", f"echo start {name} >>order; exec sleep 1000"],
            "stop": ["sh", "-c", f"echo stop {name} >>order; kill $(cat {name}.pid)"],
            "pid_file": f"{name}.pid"}}
    args = {"services": ["one", "two"]}
    try:
        done(step.do("start", "start", args))
        done(step.do("stop", "stop", args))
        done(step.undo("stop", "stop", args))
        assert (step.cwd / "order").read_text().split("\n")[:-1] == [
            "start one", "start two", "stop one", "stop two", "start two", "start one"]
    finally:
        done(step.do("end", "stop", args))


def test_a_service_that_dies_fails_the_start_and_its_last_lines_are_told(step):
    (step.cwd / "broken").write_text("")
    foreground(step)
    began = time.monotonic()
    result = step.do("start", "start", START, timeout_ms=60000)
    assert result["state"] == "failed", result
    assert "app is not up" in result["error"]["message"]
    assert "cannot read the settings" in "\n".join(result["services"]["app"])
    assert time.monotonic() - began < 20, "it does not wait for the whole time limit"


def port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def test_each_is_healthy_before_the_next(step):
    p = port()
    foreground(step, health=[{"check": "tcp", "args": {"to": f"127.0.0.1:{p}"}}])
    step.services["next"] = {"command": {
        "start": ["python3", "-c", f"import socket, time; "
                  f"socket.create_connection(('127.0.0.1', {p})); open('met', 'w'); "
                  f"time.sleep(1000)  # server.py"]}}
    done(step.do("start", "start", {"services": ["app", "next"]}, env={"PORT": str(p)}))
    assert (step.cwd / "met").exists()


def test_a_service_that_stays_unhealthy_fails_before_the_time_limit_is_over(step):
    foreground(step, health=[{"check": "tcp", "args": {"to": f"127.0.0.1:{port()}"}}])
    result = step.do("start", "start", START, timeout_ms=5000)
    assert result["state"] == "failed" and result.get("reason") != "timeout", result
    assert "app is not up within the step's time" in result["error"]["message"]
    assert "serving, as process" in "\n".join(result["services"]["app"])
    done(step.undo("start", "start", START))
    assert servers(step) == []


def test_the_undo_of_stop_demands_no_more_health_than_there_was(step):
    foreground(step, health=[{"check": "tcp", "args": {"to": f"127.0.0.1:{port()}"}}])
    start_by_hand(step)
    done(step.do("stop", "stop", STOP))
    assert step.record("stop")[0]["checks_held"] is False
    done(step.undo("stop", "stop", STOP, timeout_ms=10000))
    assert len(servers(step)) == 1


def test_the_undo_of_stop_demands_the_health_that_there_was(step):
    p = port()
    foreground(step, health=[{"check": "tcp", "args": {"to": f"127.0.0.1:{p}"}}])
    done(step.do("start", "start", START, env={"PORT": str(p)}))
    done(step.do("stop", "stop", STOP))
    assert step.record("stop")[0]["checks_held"] is True
    result = step.undo("stop", "stop", STOP, timeout_ms=5000)  # no PORT: it will not listen
    assert result["state"] == "failed" and "app is not up" in result["error"]["message"], result


def test_stop_notices_that_something_else_answers_in_its_place(step):
    with socket.create_server(("127.0.0.1", 0)) as other:
        foreground(step, health=[
            {"check": "tcp", "args": {"to": f"127.0.0.1:{other.getsockname()[1]}"}}])
        start_by_hand(step)
        result = step.do("stop", "stop", STOP)
    assert result["state"] == "failed" and "something else answers" in result["error"]["message"]


def test_what_updd_started_outlives_the_attempt_and_does_not_carry_its_mark(step):
    foreground(step)
    result = done(step.do("start", "start", START))
    [pid] = servers(step)
    assert b"UPDD_ATTEMPT" not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    assert os.getsid(pid) == pid and result["state"] == "done"


def test_by_picks_when_a_service_can_be_run_in_several_ways(step):
    foreground(step, unit="no-such.service", by="command")
    done(step.do("start", "start", START))
    assert len(servers(step)) == 1


def test_a_service_that_the_plan_does_not_have_is_named(step):
    result = step.do("start", "start", {"services": ["nobody"]})
    assert result["state"] == "failed" and "nobody" in result["error"]["message"]


@pytest.mark.parametrize("at", ["record", "half", "up"])
def test_a_start_that_was_killed_is_undone_from_a_partial_record(step, at):
    background(step)
    running = step.do("start", "start", START, wait=False)
    running.until({"record": lambda: step.record("start"),
                   "half": lambda: (step.cwd / "server.pid").exists(),
                   "up": lambda: len(servers(step)) == 1}[at])
    running.kill()
    time.sleep(0.3)
    done(step.undo("start", "start", START))
    time.sleep(0.3)
    assert servers(step) == [], json.dumps(step.record("start"))
