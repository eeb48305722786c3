# SPDX-License-Identifier: MIT
"""plans/qubeless-systemd.yaml (rows Q7, Q11, Q12 as units) on a booted machine, there and back again."""
import pytest

from qubeless import NAMES, ROOT, Qubeless


@pytest.fixture
def app(machine):
    machine.until(lambda: machine.show("postgresql@15-main.service", "ActiveState")["ActiveState"]
                  == "active", 60, machine.said)
    made = Qubeless(machine)
    try:
        yield made
    finally:
        made.remove()


def begin(updd, release, **more):
    return updd.begin("qubeless-systemd", {"release": release, "settle": "2s", "watch": "3s", **more})


def accept(updd, job):
    wait = updd.wait_open(job, "gate", "accept", timeout=120)
    updd.post(job, "confirm", wait=wait["id"], all=True)


def test_a_new_release_is_started_in_order_watched_and_accepted(machine, updd, app):
    before = app.look()
    job = begin(updd, app.release("2"), settle="5s")
    updd.wait_open(job, "gate", "accept", timeout=120)
    assert app.version() == "2"
    log = updd.log(job, "start")
    assert log.index("api: up and healthy") < log.index("worker: up and healthy") \
        < log.index("web: up and healthy")
    entered = [int(machine.show(name, "ActiveEnterTimestampMonotonic")
                   ["ActiveEnterTimestampMonotonic"]) for name in NAMES]
    assert entered[1] - entered[0] >= 5_000_000 and entered[2] - entered[1] >= 5_000_000
    accept(updd, job)
    updd.wait_for(job, "succeeded", timeout=60)
    after = app.look()
    assert after[0] == before[0] and after[1:] == ("2", f"{ROOT}/releases/2")
    updd.invariants(job)
    assert "the password" not in machine.journal()


def test_at_the_gate_it_goes_back_and_loses_nothing(machine, updd, app):
    before = app.look()
    job = begin(updd, app.release("2"))
    updd.wait_open(job, "gate", "accept", timeout=120)
    [full] = updd.job(job)["strategies"]
    assert full["loses"] == "nothing"
    updd.post(job, "rollback", strategy="full", reason="version 2 is not for us")
    updd.wait_for(job, "rolled_back", timeout=90)
    assert app.look() == before
    updd.invariants(job)


@pytest.mark.parametrize("part, what, said", [
    ("worker", "broken", "worker cannot read its settings"),
    ("api", "noisy", "The log of api has"),
], ids=["broken", "noisy"])
def test_a_release_that_is_not_well_goes_back_by_itself(machine, updd, app, part, what, said):
    before = app.look()
    job = begin(updd, app.release("2", **{part: what}))
    now = updd.wait_for(job, "rolled_back", timeout=120)
    assert now["failure"]["step"] == ("logs" if what == "noisy" else "start")
    assert said in str(now["failure"]), now["failure"]
    assert app.look() == before
    updd.until(lambda: machine.ask("sh", "-c", f"ls {ROOT}/incident-*.log").returncode == 0, 20,
               "no incident log")


def test_errors_of_the_old_release_are_not_held_against_the_new_one(machine, updd, app):
    machine.run("ln", "-sfn", app.release("noisy"), f"{ROOT}/current")
    machine.run("systemctl", "restart", *NAMES)
    machine.until(lambda: app.version() == "noisy", 30, machine.said)
    job = begin(updd, app.release("2"))
    accept(updd, job)
    updd.wait_for(job, "succeeded", timeout=60)


@pytest.mark.parametrize("who, name", [
    ("runuser -u postgres -- psql -d qubeless -c 'SELECT pg_sleep(120)'", "nobody else is connected"),
    (f"cd {ROOT}/current/apps/worker && runuser -u qubeless -- node server.js worker 0 -",
     "no process is left"),
], ids=["connection", "process"])
def test_what_is_left_when_all_is_stopped_is_found(machine, updd, app, who, name):
    before = app.look()
    machine.sh(f"({who}) >/dev/null 2>&1 </dev/null & sleep 1")
    try:
        job = begin(updd, app.release("2"))
        now = updd.wait_for(job, "rolled_back", timeout=120)
        assert now["failure"]["step"] == "stop" and name in str(now["failure"]), now["failure"]
        assert app.look() == before
    finally:
        machine.ask("sh", "-c", "pkill -f '^psql .*pg_sleep'; pkill -u qubeless -f 'worker 0 -$'")


def test_a_dry_run_looks_at_everything_and_changes_nothing(machine, updd, app):
    before, pids = app.look(), [machine.show(n, "MainPID") for n in NAMES]
    job = updd.begin("qubeless-systemd", {"release": app.release("2")}, dry_run=True)
    updd.wait_for(job, "succeeded", timeout=60)
    assert app.look() == before and [machine.show(n, "MainPID") for n in NAMES] == pids
