# SPDX-License-Identifier: MIT
"""
Steps as units of a systemd that is really running: what they are, that they outlive the daemon, that
nothing of them outlives their end, and that the machine may lose power under them.
"""
import datetime
import json

import pytest

from daemon import SLOW

# Leaves the session, forgets whose it was, and does not want to go.
HIDES = ("setsid -f env -i sh -c 'trap \"\" TERM HUP; echo $$ >hidden; while :; do sleep 1; done'")


def unit_of(machine, updd, job, step, n=1):
    """The unit of an attempt that runs, by its id."""
    task = updd.state / "jobs" / str(job) / step / str(n) / "task.json"
    return f"updd-{json.loads(task.read_text())['id']}.service"


def begun(updd, tiny, job, name="began"):
    updd.until(lambda: tiny.exists(name), 30, lambda: updd.tell(job))


def nothing_left(machine):
    assert machine.units("updd-*.service") == []


# ---- what they are ------------------------------------------------------------------------------


def test_an_attempt_is_a_service_in_its_jobs_slice_with_the_plans_limits(machine, updd, tiny):
    job = updd.begin(tiny.plan(
        tiny.act("a", "touch began; while ! test -e go; do sleep 0.1; done"),
        limits={"memory": "200M", "cpu": "150%", "tasks": 40, "io": "100M"}))
    begun(updd, tiny, job)
    unit = unit_of(machine, updd, job, "a")
    shown = machine.show(unit, "MemoryMax", "CPUQuotaPerSecUSec", "TasksMax", "Slice", "ActiveState",
                         "After", "User", "OOMPolicy", "KillMode")
    assert shown["MemoryMax"] == str(200 * 1024 * 1024)
    assert shown["CPUQuotaPerSecUSec"] == "1.500000s" or shown["CPUQuotaPerSecUSec"] == "1.500s"
    assert shown["TasksMax"] == "40"
    assert shown["Slice"] == f"updd-job{job}.slice" and shown["ActiveState"] == "active"
    assert "multi-user.target" in shown["After"].split()
    assert (shown["OOMPolicy"], shown["KillMode"]) == ("continue", "mixed")
    assert machine.show(f"updd-job{job}.slice", "Slice")["Slice"] == "updd.slice"
    tiny.touch("go")
    updd.wait_for(job, "succeeded")
    updd.until(lambda: not machine.units("updd-*.service"), 10, "the unit stays")


def test_a_limit_of_tasks_bites(machine, updd, tiny):
    step = tiny.act("a", "for i in $(seq 60); do sleep 60 & done; wait")
    job = updd.begin(tiny.plan(step, limits={"tasks": 20}))
    updd.wait_for(job, "rolled_back", timeout=60)
    assert "fork" in updd.log(job, "a", attempt=1)
    nothing_left(machine)


def test_output_stands_in_the_log_and_in_the_journal(machine, updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", "echo a line for both"), plan="told"))
    updd.wait_for(job, "succeeded")
    assert "a line for both\n" in updd.log(job, "a")
    machine.run("journalctl", "--sync")
    assert "a line for both" in machine.journal(f"UPDD_JOB={job}", "UPDD_STEP=a", "UPDD_PLAN=told")


def test_a_secret_reaches_its_step_and_nothing_else(machine, updd, tiny):
    machine.write("/root/token", "very-secret-token\n", 0o600)
    job = updd.begin(tiny.plan(
        {"id": "use", "run": ["sh", "-c", "echo ${#TOKEN} is its length, it is $$TOKEN; sleep 1"
                              .replace("$$", "$").replace("${", "$${").replace("$T", "$$T")],
         "env": {"TOKEN": "${secret.token}"}, "undo": "none"},
        secrets={"token": {"file": "/root/token"}}))
    updd.wait_step(job, "use", "running")
    unit = unit_of(machine, updd, job, "use")
    shown = machine.run("systemctl", "show", unit) + machine.ask("systemctl", "cat", unit).stdout
    updd.wait_for(job, "succeeded")
    machine.run("journalctl", "--sync")
    assert "17 is its length" in updd.log(job, "use")
    for text in (shown, updd.log(job, "use"), machine.journal()):
        assert "very-secret-token" not in text


# ---- they outlive the daemon ----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["restart", "kill", "stop"])
def test_a_step_outlives_the_daemon_and_its_end_is_heard_of(machine, updd, tiny, how):
    job = updd.begin(tiny.plan(tiny.act("a", "touch began; sleep 2; touch ended"), tiny.act("b")))
    begun(updd, tiny, job)
    unit = unit_of(machine, updd, job, "a")
    pid = machine.show(unit, "MainPID")["MainPID"]
    if how == "kill":
        updd.kill9()
    elif how == "restart":
        machine.run("systemctl", "restart", "updd.service")
    else:
        machine.run("systemctl", "stop", "updd.service", "updd.socket")
        assert machine.show(unit, "MainPID")["MainPID"] == pid
        updd.until(lambda: tiny.exists("ended"), 20, "the step did not go on")
        machine.run("systemctl", "start", "updd.socket", "updd.service")
    updd.wait_up().wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-b"]
    updd.invariants(job)
    nothing_left(machine)


# ---- nothing outlives them ------------------------------------------------------------------------


def hidden_pid(machine, tiny):
    """Its pid as systemd of the machine counts it."""
    return int((tiny.folder / "hidden").read_text())


def test_what_a_dead_attempt_left_is_killed_before_the_job_goes_on(machine, updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", HIDES + "; touch began; sleep 300")))
    begun(updd, tiny, job, "hidden")
    begun(updd, tiny, job)
    pid = hidden_pid(machine, tiny)
    machine.run("test", "-d", f"/proc/{pid}")
    machine.run("kill", "-9", machine.show(unit_of(machine, updd, job, "a"), "MainPID")["MainPID"])
    updd.wait_for(job, "rolled_back", timeout=60)
    assert machine.ask("test", "-d", f"/proc/{pid}").returncode != 0
    assert tiny.done() == ["do-a", "undo-a"]
    nothing_left(machine)


def test_a_cancel_ends_the_step_and_what_it_hid(machine, updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", HIDES + "; touch began; sleep 300")))
    begun(updd, tiny, job, "hidden")
    begun(updd, tiny, job)
    pid = hidden_pid(machine, tiny)
    updd.post(job, "cancel", reason="enough")
    updd.wait_for(job, "rolled_back", timeout=60)
    assert machine.ask("test", "-d", f"/proc/{pid}").returncode != 0
    nothing_left(machine)


def test_a_step_program_that_cannot_be_run_fails_the_step_and_is_said(machine, updd, tiny):
    program = machine.sh("ls /usr/local/libexec/updd/updd-step /usr/libexec/updd/updd-step "
                         "2>/dev/null || true").split()[0]
    machine.run("mv", program, program + ".away")
    try:
        job = updd.begin(tiny.plan(tiny.act("a")))
        updd.wait_for(job, "stuck", "rolled_back", "failed", timeout=60)
    finally:
        machine.run("mv", program + ".away", program)
    assert tiny.done() == []
    assert "could not be started" in updd.job(job)["failure"]["message"]


# ---- the machine goes down ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut", "power_off"])
def test_the_machine_goes_down_under_a_step_and_the_job_goes_back(machine, updd, tiny, how):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act("b", "touch began; sleep 300")))
    begun(updd, tiny, job)
    getattr(machine, how)()
    machine.boot()
    updd.wait_up().wait_for(job, "rolled_back", timeout=60)
    assert tiny.done() == ["do-a", "do-b", "undo-b", "undo-a"]
    assert "interrupted" in [e["type"] for e in updd.events(job) if e.get("step") == "b"] or \
        updd.step(job, "b")["state"] == "undone"
    updd.invariants(job)


def test_the_machine_goes_down_under_a_step_that_may_run_again(machine, updd, tiny):
    step = tiny.act("a", "test -e began && exit 0; touch began; sync began; sleep 300",
                    on_crash="rerun")
    job = updd.begin(tiny.plan(step, tiny.gate("go"), tiny.act("b")))
    begun(updd, tiny, job)
    machine.cut()
    machine.boot()
    wait = updd.wait_up().wait_open(job, "gate", timeout=60)
    machine.power_off()
    machine.boot()
    updd.wait_up().post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-a", "do-b"]


# ---- in a maintenance window --------------------------------------------------------------------


def test_a_window_that_closes_ends_the_steps_unit_and_the_job_goes_back(machine, updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act("b", f"{HIDES}; touch began; sleep 300"),
                               tiny.act("c"), window={"at_end": "rollback"}),
                     window={"length": f"{round(8 * SLOW)}s"})
    begun(updd, tiny, job)
    unit = unit_of(machine, updd, job, "b")
    now = updd.wait_for(job, "rolled_back", timeout=60)
    assert now["window"]["state"] == "closed" and "the window has closed" in now["decided"]
    assert tiny.done() == ["do-a", "do-b", "undo-b", "undo-a"]
    assert machine.show(unit, "ActiveState")["ActiveState"] == "inactive"
    nothing_left(machine)
    updd.invariants(job)


def test_a_window_opens_after_the_machine_went_down_before_it(machine, updd, tiny):
    begins = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=25)
    job = updd.begin(tiny.plan(tiny.act("a")),
                     window={"begins": begins.isoformat(), "length": "1h"})
    updd.wait_open(job, "window")
    machine.cut()
    machine.boot()
    now = updd.wait_up().wait_for(job, "succeeded", timeout=90)
    assert tiny.done() == ["do-a"]
    assert datetime.datetime.fromisoformat(now["started"].replace("Z", "+00:00")) >= begins
    updd.invariants(job)


# ---- the service itself ---------------------------------------------------------------------------


def test_plain_is_refused_under_the_service(machine, updd):
    machine.write("/etc/systemd/system/updd.service.d/plain.conf",
                  "[Service]\nExecStart=\nRestart=no\nExecStart=" + machine.sh(
                      "systemctl show -p ExecStart updd | sed 's/.*path=\\([^ ;]*\\).*/\\1/'").strip()
                  + " --steps-in plain\n")
    try:
        machine.run("systemctl", "daemon-reload")
        assert machine.ask("systemctl", "restart", "updd.service").returncode != 0
        assert "plain is refused under updd.service" in updd.said()
    finally:
        machine.run("rm", "-r", "/etc/systemd/system/updd.service.d")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "reset-failed", "updd.service")
        machine.run("systemctl", "restart", "updd.service")
    updd.wait_up()


def test_the_watchdog_bites_a_daemon_that_hangs_and_jobs_go_on(machine, updd, tiny):
    machine.write("/etc/systemd/system/updd.service.d/watchdog.conf", "[Service]\nWatchdogSec=2s\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "updd.service")
    try:
        job = updd.wait_up().begin(tiny.plan(tiny.act("a", "touch began; sleep 5"), tiny.act("b")))
        begun(updd, tiny, job)
        pid = updd.main_pid()
        machine.run("kill", "-STOP", pid)
        updd.until(lambda: updd.main_pid() not in (0, pid), 60, updd.said)
        updd.wait_up().wait_for(job, "succeeded", timeout=60)
        assert tiny.done() == ["do-a", "do-b"]
    finally:
        machine.run("rm", "-r", "/etc/systemd/system/updd.service.d")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", "updd.service")


def test_the_units_are_sound_and_closed(machine):
    for unit in ("updd.service", "updd.socket", "updd.slice"):
        done = machine.ask("systemd-analyze", "--man=no", "verify", unit)
        assert done.returncode == 0 and "updd" not in done.stderr, done.stderr
    machine.run("systemd-analyze", "security", "--threshold=10", "--no-pager", "updd.service")


def test_the_socket_is_for_root_and_the_group(machine, updd):
    told = machine.sh("stat -c '%U:%G %a' /run/updd/updd.sock; stat -c '%a' /var/lib/updd").split()
    assert told == ["root:updd", "660", "700"]
    health = ("updctl", "--socket", "/run/updd/updd.sock", "health")
    machine.sh("id alice >/dev/null 2>&1 || useradd -m alice; id bob >/dev/null 2>&1 || "
               "useradd -m -G updd bob")
    assert machine.ask("runuser", "-u", "bob", "--", *health).returncode == 0
    assert machine.ask("runuser", "-u", "alice", "--", *health).returncode != 0


def test_a_stop_of_the_daemon_is_clean(machine, updd):
    machine.run("systemctl", "restart", "updd.service")
    updd.wait_up()
    assert machine.show("updd.service", "Result", "NRestarts")["Result"] == "success"
