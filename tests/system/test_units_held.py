# SPDX-License-Identifier: MIT
"""
Units that a job holds down: by whatever name the plan knows them and whatever would start them again,
a boot, another unit, a socket, a timer, they stay down; their own way of stopping is heeded, and
nobody else's links and masks are touched on the way back.
"""
import json
import time

import pytest

from units import start, stop

ODD = {"odd": {"unit": "odd.service"}}


@pytest.fixture
def shipped(machine, units):
    """odd.service as a distribution has it: its file is not in /etc."""
    path = units.add("odd", path="/usr/lib/systemd/system/odd.service")
    yield path
    machine.sh("systemctl unmask odd; systemctl unmask --runtime odd")


def parked(updd, plan):
    """A job that stands at its gate, and that gate's wait."""
    job = updd.begin(plan)
    return job, updd.wait_open(job, "gate", timeout=60)["id"]


def go_back(updd, job, timeout=60):
    updd.post(job, "rollback", strategy="full")
    updd.wait_for(job, "rolled_back", timeout=timeout)


def kill_attempt(machine, updd, job, step, n=1):
    task = json.loads((updd.state / f"jobs/{job}/{step}/{n}/task.json").read_text())
    machine.run("systemctl", "kill", "-s", "KILL", f"updd-{task['id']}.service")


def break_it(name):
    """A step that fails, and leaves behind what keeps that unit from starting."""
    return {"id": "a", "run": ["sh", "-c", f"touch /run/{name}-is-broken; exit 3"], "undo": "none"}


def unless_broken(name):
    return f"ExecStartPre=/bin/test ! -e /run/{name}-is-broken"


# ---- its name -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("back", [True, False], ids=["undone", "started"])
def test_a_unit_that_the_plan_names_by_an_alias_goes_down_and_comes_back(machine, updd, tiny, units,
                                                                          back):
    units.add("odd", install="Alias=strange.service")
    machine.run("systemctl", "enable", "--now", "odd.service")
    before = units.state("odd.service"), units.state("strange.service")
    job, wait = parked(updd, tiny.plan(
        stop("odd"), tiny.look("down", "! systemctl is-active -q odd"), tiny.gate("go"),
        {"id": "seen", "check": [{"stopped": ["odd"]}]}, start("odd"),
        {"id": "up", "check": [{"healthy": ["odd"]}]}, services={"odd": {"unit": "strange"}}))
    assert units.active("odd.service") == ["inactive"]
    assert units.state("odd.service")[1:] == ("disabled", [])
    if back:
        go_back(updd, job)
    else:
        updd.post(job, "confirm", wait=wait)
        updd.wait_for(job, "succeeded", timeout=60)
    assert (units.state("odd.service"), units.state("strange.service")) == before


def test_a_unit_that_ran_and_is_not_to_be_found_does_not_count_as_stopped(machine, updd, tiny, units):
    units.add("odd", service="User=postgres\nExecStop=/bin/sleep 5")
    machine.run("systemctl", "start", "odd.service")
    job = updd.begin(tiny.plan(stop("odd", on_crash="rerun"), tiny.act("a"), services=ODD))
    updd.until(lambda: units.active("odd.service") == ["deactivating"], 30, lambda: updd.tell(job))
    machine.run("systemctl", "stop", "updd.service")
    kill_attempt(machine, updd, job, "stop")
    machine.until(lambda: units.active("odd.service") == ["inactive"], 30, "it does not stop")
    machine.sh("mv /etc/systemd/system/odd.service /root/; systemctl daemon-reload; "
               "systemctl start updd")
    updd.wait_up().wait_for(job, "stuck", "rolled_back", timeout=60)
    machine.sh("mv /root/odd.service /etc/systemd/system/; systemctl daemon-reload")
    now = updd.job(job)
    assert updd.step(job, "stop")["error"]["type"] == "no-unit", updd.tell(job)
    assert now["state"] == "stuck", "a unit that is not to be found cannot have been started"
    updd.post(job, "retry")
    updd.wait_for(job, "rolled_back", timeout=60)
    assert units.active("odd.service") == ["active"]


# ---- what would start it again --------------------------------------------------------------------------


def wanted_by_another(machine, units):
    units.add("odd")
    units.add("puller", unit="Wants=odd.service")
    machine.run("systemctl", "enable", "--now", "puller.service")
    return "systemctl restart puller"


def needed_by_another(machine, units):
    units.add("odd")
    units.add("puller", unit="Requires=odd.service\nAfter=odd.service")
    machine.run("systemctl", "enable", "--now", "puller.service")
    return "systemctl start puller; systemctl stop puller"


def behind_a_socket(machine, units):
    units.add("odd")
    units.write("odd.socket", "[Socket]\nListenStream=/run/odd.sock\n"
                              "[Install]\nWantedBy=sockets.target\n")
    machine.sh("systemctl daemon-reload; systemctl enable --now odd.socket; systemctl start odd")
    return "python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"/run/odd.sock\")'"


def by_a_timer(machine, units):
    units.add("odd")
    units.write("odd.timer", "[Timer]\nOnUnitInactiveSec=1s\nOnActiveSec=1s\nAccuracySec=1ms\n"
                             "[Install]\nWantedBy=timers.target\n")
    machine.sh("systemctl daemon-reload; systemctl enable --now odd.timer; systemctl start odd")
    return "sleep 3"


def by_a_path(machine, units):
    units.add("odd")
    units.write("odd.path", "[Path]\nPathExists=/run/odd\n[Install]\nWantedBy=paths.target\n")
    machine.sh("systemctl daemon-reload; systemctl enable --now odd.path; systemctl start odd")
    return "touch /run/odd; sleep 1; rm /run/odd"


WAYS = [wanted_by_another, needed_by_another, behind_a_socket, by_a_timer, by_a_path]
NAMES = ("odd.service", "odd.socket", "odd.timer", "odd.path", "puller.service")


@pytest.mark.parametrize("way, back", [(w, True) for w in WAYS] + [(w, False) for w in WAYS[:3:2]],
                         ids=lambda v: v.__name__ if callable(v) else "undone" if v else "started")
def test_what_would_start_a_unit_again_does_not(machine, updd, tiny, units, way, back):
    lure = way(machine, units)
    machine.until(lambda: units.active("odd.service") == ["active"], 20, "odd does not run")
    before = [units.state(n) for n in NAMES]
    job, wait = parked(updd, tiny.plan(stop("odd"), tiny.gate("go"), start("odd"), services=ODD))
    machine.ask("sh", "-c", lure)
    assert units.active("odd.service") == ["inactive"], machine.ask("systemctl", "status", "odd")
    if back:
        go_back(updd, job)
    else:
        updd.post(job, "confirm", wait=wait)
        updd.wait_for(job, "succeeded", timeout=60)
    assert [units.state(n) for n in NAMES] == before
    assert not machine.sh("find /etc/systemd/system -name 'updd-job-*'").split()
    assert not list((updd.state / "jobs" / str(job)).glob(".held/unit-*"))


@pytest.mark.parametrize("runs", [True, False], ids=["runs", "idle"])
@pytest.mark.parametrize("back", [True, False], ids=["undone", "started"])
def test_a_socket_that_the_plan_names_beside_its_service_comes_back_before_it(
        machine, updd, tiny, units, back, runs):
    behind_a_socket(machine, units)
    units.add("above", unit="Requires=odd.socket\nAfter=odd.socket")
    machine.sh("systemctl start above" + ("" if runs else "; systemctl stop odd.service"))
    names = ("odd.service", "odd.socket", "above.service")
    before = [units.state(n) for n in names]
    assert [b[0] for b in before] == ["active" if runs else "inactive", "active", "active"]
    job, wait = parked(updd, tiny.plan(
        stop("sock"), {"id": "between", "run": ["true"],
                       "undo": {"run": ["sh", "-c", "systemctl is-active odd.socket >socket; :"]}},
        {"id": "rest", "stop": ["odd"]}, tiny.gate("go"), start("odd", "sock"),
        services={**ODD, "sock": {"unit": "odd.socket"}}))
    assert units.active(*names) == ["inactive"] * 3
    if back:
        go_back(updd, job)
        said = (tiny.folder / "socket").read_text().strip()
        assert said == ("active" if runs else "inactive"), "nothing is to wake it before its turn"
    else:
        updd.post(job, "confirm", wait=wait)
        updd.wait_for(job, "succeeded", timeout=60)
    after = [units.state(n) for n in names]
    assert after[1:] == before[1:] and after[0] == ("active" if not back else before[0][0],
                                                    *before[0][1:])
    assert not list((updd.state / "jobs" / str(job)).glob(".held/unit-*"))


def test_another_job_that_would_start_it_is_told_what_keeps_it_down(machine, updd, tiny, units):
    wanted_by_another(machine, units)
    units.add("idle")
    job, _ = parked(updd, tiny.plan(stop("odd"), tiny.gate("go"), services=ODD))
    other = updd.begin(tiny.plan(start("odd"), services=ODD, plan="another"))
    now = updd.wait_for(other, "rolled_back", timeout=60)
    assert "it is inactive (dead), since an assertion of its files does not hold" in \
        now["failure"]["message"]
    go_back(updd, job)
    assert units.active("odd.service") == ["active"]
    idle = updd.begin(tiny.plan({"id": "up", "check": [{"healthy": ["idle"]}]}, plan="another",
                                services={"idle": {"unit": "idle.service"}}))
    said = updd.wait_for(idle, "rolled_back", timeout=60)["failure"]["message"]
    assert said.endswith("idle: it is inactive (dead)"), "nobody has asked it to start"


@pytest.mark.parametrize("then", ["up", "just begun", "undone"])
def test_a_person_who_started_it_meanwhile_finds_its_triggers_after_the_job(machine, updd, tiny, units,
                                                                           then):
    behind_a_socket(machine, units)
    units.write("odd.timer", "[Timer]\nOnCalendar=*-02-30\n[Install]\nWantedBy=timers.target\n")
    machine.sh("systemctl daemon-reload; systemctl enable --now odd.timer")
    before = [units.state(n) for n in NAMES]
    job, wait = parked(updd, tiny.plan(stop("odd"), tiny.gate("go"), start("odd"), services=ODD))
    machine.run("systemctl", "start", "odd.service")
    if then == "undone":
        go_back(updd, job)
    else:
        time.sleep(1.5 if then == "up" else 0)  # when it counts as such
        updd.post(job, "confirm", wait=wait)
        updd.wait_for(job, "succeeded", timeout=60)
    if then == "up":  # it is left alone, and its socket is refused for as long as it runs
        assert "odd.socket, which starts it, is not up again" in updd.log(job, "start")
        machine.run("systemctl", "stop", "odd.service")
        machine.run("systemctl", "start", "odd.socket", "odd.service")
    assert [units.state(n) for n in NAMES] == before


def test_a_timer_that_cannot_be_given_back_is_told_though_a_socket_is_refused(machine, updd, tiny,
                                                                              units):
    behind_a_socket(machine, units)
    units.write("odd.timer", "[Timer]\nOnCalendar=*-02-30\n[Install]\nWantedBy=odd.target\n")
    machine.sh("systemctl daemon-reload; systemctl enable --now odd.timer")
    before = [units.state(n) for n in NAMES]
    job, wait = parked(updd, tiny.plan(stop("odd"), tiny.gate("go"), start("odd"), services=ODD,
                                       on_failure={"default": "hold"}))
    note = updd.state / f"jobs/{job}/.held/unit-odd.service"
    held = json.loads(note.read_text())
    held["triggers"].sort(key=lambda t: t["unit"])  # the socket's refusal is the first error
    note.write_text(json.dumps(held))
    machine.run("systemctl", "start", "odd.service")
    time.sleep(1.5)  # when it counts as up
    wants = "/etc/systemd/system/odd.target.wants"
    machine.sh(f"mkdir -p {wants}; mount -t tmpfs -o ro tmpfs {wants}")
    try:
        updd.post(job, "confirm", wait=wait)
        wait = updd.wait_open(job, "retry-or-skip", timeout=60)["id"]
        error = updd.step(job, "start")["error"]
        assert error["type"] == "write-failed" and f"{wants}/odd.timer" in error["message"], error
    finally:
        machine.run("umount", wants)
    updd.post(job, "retry", wait=wait)
    updd.wait_for(job, "succeeded", timeout=60)
    assert "odd.socket, which starts it, is not up again" in updd.log(job, "start")
    machine.run("systemctl", "stop", "odd.service")
    machine.run("systemctl", "start", "odd.socket", "odd.service")
    assert [units.state(n) for n in NAMES] == before


def test_all_of_it_stays_down_over_a_boot(machine, updd, tiny, units):
    for name in ("needed", "waked", "named"):
        units.add(name, install="Alias=known.service" if name == "named" else "")
    units.add("puller", unit="Wants=needed.service")
    units.write("waked.timer", "[Timer]\nOnActiveSec=1s\nAccuracySec=1ms\n"
                               "[Install]\nWantedBy=timers.target\n")
    names = ("needed.service", "waked.service", "waked.timer", "named.service", "puller.service")
    machine.sh("systemctl daemon-reload; systemctl enable --now puller named waked.timer; "
               "systemctl start waked")
    before = [units.state(n) for n in names]
    assert [b[0] for b in before] == ["active"] * 5, before
    job, _ = parked(updd, tiny.plan(stop("a", "b", "c"), tiny.gate("go"), services={
        "a": {"unit": "needed"}, "b": {"unit": "waked"}, "c": {"unit": "known"}}))
    machine.cut()
    machine.boot()
    updd.wait_up().wait_open(job, "gate", timeout=60)
    assert units.active(*names) == ["inactive"] * 4 + ["active"]
    go_back(updd, job)
    assert [units.state(n) for n in names] == before


def test_what_the_job_stops_as_well_is_held_by_its_being_disabled(machine, updd, tiny, units):
    units.add("odd")
    units.add("above", unit="Requires=odd.service\nAfter=odd.service")
    machine.run("systemctl", "enable", "--now", "above.service")
    job, wait = parked(updd, tiny.plan(
        stop("above", "odd"), tiny.gate("go"), start("above"),
        services={**ODD, "above": {"unit": "above.service"}}))
    assert units.active("odd.service", "above.service") == ["inactive", "inactive"]
    updd.post(job, "confirm", wait=wait)  # which brings up what it needs
    updd.wait_for(job, "succeeded", timeout=60)
    assert units.active("odd.service", "above.service") == ["active", "active"]


# ---- how it is stopped ---------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["linked", "pulled"])
def test_a_unit_is_stopped_as_its_own_file_says(machine, updd, tiny, units, where):
    path = {"linked": "/opt/odd/odd.service", "pulled": "/usr/lib/systemd/system/odd.service"}[where]
    units.add("odd", path=path, service="ExecStop=/bin/touch /run/odd-was-stopped")
    try:
        if where == "linked":
            machine.run("systemctl", "enable", "--now", path)
        else:
            units.add("puller", unit="Wants=odd.service")
            machine.run("systemctl", "enable", "--now", "puller.service")
        before = units.state("odd.service")
        job = updd.begin(tiny.plan(stop("odd"), tiny.look("said", "rm /run/odd-was-stopped"),
                                   tiny.fail("a"), services=ODD))
        updd.wait_for(job, "rolled_back", timeout=60)
        assert updd.step(job, "said")["state"] == "undone", updd.tell(job)
        assert units.state("odd.service") == before and before[0] == "active"
    finally:
        machine.ask("rm", "-rf", "/opt/odd")


@pytest.mark.parametrize("when", ["activating", "deactivating"])
def test_a_unit_that_does_its_work_and_ends_is_back_when_it_has(machine, updd, tiny, units, when):
    line = "ExecStart" if when == "activating" else "ExecStopPost"
    units.write("odd.service", f"[Service]\nType=oneshot\nExecStart=/bin/true\n{line}=/bin/sleep 4\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "--no-block", "odd.service")
    machine.until(lambda: units.active("odd.service") == [when], 20, "odd does not begin")
    job = updd.begin(tiny.plan(stop("odd"), tiny.fail("a"), services=ODD))
    updd.wait_for(job, "rolled_back", timeout=40)
    assert updd.step(job, "stop")["outputs"]["ran"] == (["odd"] if when == "activating" else [])
    assert units.active("odd.service") == ["inactive"]


# ---- what others have done ------------------------------------------------------------------------------


def test_links_that_cannot_be_read_are_not_taken_for_none(machine, updd, tiny, units):
    units.add("odd")
    machine.run("systemctl", "start", "odd.service")
    machine.run("ln", "-s", "round.target.wants", "/etc/systemd/system/round.target.wants")
    try:
        job = updd.begin(tiny.plan(stop("odd"), services=ODD))
        updd.wait_for(job, "rolled_back", timeout=60)
        error = updd.step(job, "stop")["error"]
        assert error["type"] == "read-failed" and "which links" in error["message"], error
        assert units.active("odd.service") == ["active"]
    finally:
        machine.run("rm", "/etc/systemd/system/round.target.wants")


def test_a_link_that_was_not_there_before_goes_on_the_way_back(machine, updd, tiny, units):
    units.add("odd")
    machine.run("systemctl", "enable", "--now", "odd.service")
    before = units.state("odd.service")
    more = {"id": "more", "run": ["systemctl", "add-wants", "remote-fs.target", "odd.service"],
            "undo": "none"}
    job = updd.begin(tiny.plan(stop("odd"), more, tiny.fail("a"), services=ODD))
    updd.wait_for(job, "rolled_back", timeout=60)
    assert units.state("odd.service") == before
    job = updd.begin(tiny.plan(stop("odd"), more, start("odd"), services=ODD))
    updd.wait_for(job, "succeeded", timeout=60)
    assert len(units.state("odd.service")[2]) == len(before[2]) + 1, "an upgrade may add some"


def test_a_mask_that_is_not_the_jobs_own_stays(machine, updd, tiny, units, shipped):
    machine.run("systemctl", "enable", "--now", "odd.service")
    before = units.state("odd.service")
    job, wait = parked(updd, tiny.plan(stop("odd"), tiny.gate("go"), start("odd"), services=ODD))
    machine.run("systemctl", "mask", "odd.service")
    updd.post(job, "confirm", wait=wait)
    updd.wait_for(job, "stuck", timeout=60)
    assert updd.step(job, "start")["error"]["type"] == "unit-masked", updd.tell(job)
    assert units.state("odd.service")[:2] == ("inactive", "masked")
    machine.run("systemctl", "unmask", "odd.service")
    updd.post(job, "retry")
    updd.wait_for(job, "rolled_back", timeout=60)
    assert units.state("odd.service") == before


def test_a_mask_that_was_lifted_for_a_start_is_there_again_when_that_fails(machine, updd, tiny, units):
    units.add("odd", path="/usr/lib/systemd/system/odd.service", service=unless_broken("odd"))
    machine.run("systemctl", "start", "odd.service")
    machine.run("systemctl", "mask", "odd.service")
    before = units.state("odd.service")
    assert before[:2] == ("active", "masked")
    job = updd.begin(tiny.plan(stop("odd", timeout="8s"), break_it("odd"), services=ODD))
    updd.wait_for(job, "stuck", timeout=120)
    assert units.state("odd.service")[1:] == before[1:], "it is not masked any more"
    machine.run("rm", "/run/odd-is-broken")
    updd.post(job, "retry")
    updd.wait_for(job, "rolled_back", timeout=60)
    assert units.state("odd.service") == before


def test_a_mask_of_a_socket_is_there_again_when_its_start_fails(machine, updd, tiny, units):
    units.add("odd")
    units.write("odd.socket", f"[Socket]\nListenStream=/run/odd.sock\n{unless_broken('odd')}\n",
                "/usr/lib/systemd/system/odd.socket")
    machine.sh("systemctl daemon-reload; systemctl start odd.socket; systemctl start odd")
    # Read by systemd, the mask would hide what the socket starts.
    machine.run("ln", "-s", "/dev/null", "/etc/systemd/system/odd.socket")
    before = units.state("odd.socket"), units.state("odd.service")
    assert [b[0] for b in before] == ["active"] * 2 and len(before[0][2]) == 1, before
    job = updd.begin(tiny.plan(stop("odd", timeout="8s"), break_it("odd"), services=ODD))
    updd.wait_for(job, "stuck", timeout=120)
    assert "odd.socket, which starts it, is not up again" in \
        updd.step(job, "stop")["error"]["message"], updd.tell(job)
    assert units.state("odd.socket")[2] == before[0][2], "it is not masked any more"
    machine.run("rm", "/run/odd-is-broken")
    updd.post(job, "retry")
    updd.wait_for(job, "rolled_back", timeout=60)
    after = units.state("odd.socket"), units.state("odd.service")
    assert [a[::2] for a in after] == [b[::2] for b in before]


# ---- what went down with it -----------------------------------------------------------------------------


def test_what_went_down_with_a_unit_comes_back_after_a_start_that_failed_at_first(machine, updd, tiny,
                                                                                 units):
    units.add("odd", service=unless_broken("odd"))
    units.add("above", unit="Requires=odd.service\nAfter=odd.service")
    machine.run("systemctl", "start", "above.service")
    job, wait = parked(updd, tiny.plan(
        stop("odd"), tiny.gate("go"), start("odd"), services=ODD, on_failure={"default": "hold"}))
    machine.run("touch", "/run/odd-is-broken")
    updd.post(job, "confirm", wait=wait)
    wait = updd.wait_open(job, "retry-or-skip", timeout=60)["id"]
    machine.run("rm", "/run/odd-is-broken")
    updd.post(job, "retry", wait=wait)
    updd.wait_for(job, "succeeded", timeout=60)
    machine.until(lambda: units.active("odd.service", "above.service") == ["active", "active"], 10,
                  "above.service did not come back")


def test_what_runs_without_the_unit_that_it_is_part_of_runs_on(machine, updd, tiny, units):
    units.add("odd")
    units.add("above", unit="PartOf=odd.service")
    machine.run("systemctl", "start", "above.service")
    before = machine.show("above.service", "ActiveState", "InvocationID")
    job, _ = parked(updd, tiny.plan(stop("odd"), tiny.gate("go"), services=ODD))
    assert machine.show("above.service", "ActiveState", "InvocationID") == before
    go_back(updd, job)
    assert units.active("odd.service", "above.service") == ["inactive", "active"]


def test_what_needs_its_socket_goes_down_with_that_and_comes_back(machine, updd, tiny, units):
    behind_a_socket(machine, units)
    units.add("above", unit="Requires=odd.socket\nAfter=odd.socket")
    machine.sh("systemctl stop odd.service; systemctl start above")
    assert units.active("odd.service", "odd.socket", "above.service") == ["inactive"] + ["active"] * 2
    job, _ = parked(updd, tiny.plan(stop("odd"), tiny.gate("go"), services=ODD))
    assert units.active("odd.socket", "above.service") == ["inactive", "inactive"]
    go_back(updd, job)
    assert units.active("odd.service", "odd.socket", "above.service") == ["inactive"] + ["active"] * 2


def test_what_went_down_with_a_unit_comes_back_after_a_start_that_was_killed(machine, updd, tiny, units):
    units.add("odd", service="ExecStartPre=/bin/sleep 4")
    units.add("above", unit="Requires=odd.service\nAfter=odd.service")
    machine.run("systemctl", "enable", "odd.service")
    machine.run("systemctl", "start", "above.service")
    job = updd.begin(tiny.plan(stop("odd"), start("odd", on_crash="rerun"), services=ODD))
    updd.until(lambda: units.active("odd.service") == ["activating"], 30, lambda: updd.tell(job))
    kill_attempt(machine, updd, job, "start")
    updd.wait_for(job, "succeeded", timeout=60)
    assert "step_interrupted" in [e["type"] for e in updd.events(job) if e.get("step") == "start"]
    machine.until(lambda: units.active("odd.service", "above.service") == ["active", "active"], 10,
                  "above.service did not come back")


def test_a_way_back_that_leaves_one_of_them_down_says_so(machine, updd, tiny, units):
    units.add("odd")
    units.add("above", unit="Requires=odd.service\nAfter=odd.service",
              service=unless_broken("above"))
    machine.run("systemctl", "start", "above.service")
    job = updd.begin(tiny.plan(stop("odd", timeout="10s"), break_it("above"), services=ODD))
    updd.wait_for(job, "stuck", timeout=120)
    said = updd.step(job, "stop")["error"]["message"]
    assert "above.service, which went down with it, is not up: it is failed" in said, said
    machine.run("rm", "/run/above-is-broken")
    updd.post(job, "retry")
    updd.wait_for(job, "rolled_back", timeout=60)
    assert units.active("odd.service", "above.service") == ["active", "active"]
