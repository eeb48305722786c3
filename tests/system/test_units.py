# SPDX-License-Identifier: MIT
"""
Services that are units: PostgreSQL as Debian runs it and a small HTTP service that needs it. Stopped
and started in order, and on the way back exactly as they were, whatever enabled or masked them, and
whatever happens meanwhile to the machine, to systemd and to the bus.
"""
import json
import threading

import pytest

from units import DB, start, stop

WEB_NEEDS_DB = f"After={DB}"


@pytest.fixture
def site(machine, units):
    """The web service, enabled and running before a running PostgreSQL."""
    machine.until(lambda: units.active(DB) == ["active"], 60, "PostgreSQL does not run")
    units.add("shop", port=8080, database="postgres", unit=WEB_NEEDS_DB)
    machine.run("systemctl", "enable", "--now", "shop.service")
    health(machine, "1")
    return units


SERVICES = {
    "db": {"unit": DB},
    "web": {"unit": "shop", "health": [{"http": {"url": "http://127.0.0.1:8080/health",
                                                  "json": {"status": "ok"}}}]},
}


def health(machine, version):
    def look():
        done = machine.ask("curl", "-fsS", "http://127.0.0.1:8080/health")
        return done.returncode == 0 and f'"version": "{version}"' in done.stdout
    machine.until(look, 30, lambda: machine.ask("systemctl", "status", "shop").stdout)


def version(text):
    """A step that installs another version of the web service, and takes it away again."""
    return {"id": "code", "run": ["sh", "-c", f"cp /srv/shop/version old; echo {text} "
                                  ">/srv/shop/version"],
            "undo": {"run": ["cp", "old", "/srv/shop/version"]}}


# ---- there, and back --------------------------------------------------------------------------------


def test_an_upgrade_stops_and_starts_units_in_order(machine, updd, tiny, site):
    before, db = site.state("shop.service"), site.state(DB)
    job = updd.begin(tiny.plan(
        stop("web", "db"),
        tiny.look("down", f"! systemctl is-active -q shop {DB} && ! systemctl is-enabled -q shop "
                          f"&& ! systemctl start {DB} && ! systemctl is-active -q {DB}"),
        version("2"), start("db", "web"), services=SERVICES))
    updd.wait_for(job, "succeeded", timeout=90)
    health(machine, "2")
    assert site.state("shop.service") == before and site.state(DB) == db
    log = updd.log(job, "stop")
    assert log.index("web: stopped") < log.index("db: stopped")
    log = updd.log(job, "start")
    assert log.index("db: up and healthy") < log.index("web: up and healthy")
    updd.invariants(job)


def test_a_unit_that_fails_tells_why_and_all_is_as_it_was(machine, updd, tiny, site):
    before, db = site.state("shop.service"), site.state(DB)
    job = updd.begin(tiny.plan(stop("web", "db"), version("broken"), start("db", "web"),
                               services=SERVICES))
    now = updd.wait_for(job, "rolled_back", timeout=120)
    assert now["failure"]["step"] == "start"
    assert "web is not up" in now["failure"]["message"]
    assert "exit-code, its main process ended with code 3" in now["failure"]["message"]
    lines = now["failure"]["services"]["web"]
    assert "shop cannot read its settings" in lines and "shop broken starts" in lines, lines
    assert "shop 1 starts" not in lines, "lines of an earlier run"
    health(machine, "1")
    assert site.state("shop.service") == before and site.state(DB) == db
    updd.invariants(job)


def test_what_did_not_run_is_not_started_by_the_way_back(machine, updd, tiny, units):
    for name in ("idle", "broken", "loose"):
        units.add(name, version="broken" if name == "broken" else "1")
    machine.run("systemctl", "enable", "idle.service", "broken.service")
    machine.ask("systemctl", "start", "broken.service")
    machine.run("systemctl", "start", "loose.service")  # runs, and is not enabled
    machine.until(lambda: units.active("broken.service") == ["failed"], 20, "it did not fail")
    names = ("idle", "broken", "loose")
    before = {n: units.state(f"{n}.service") for n in names}
    job = updd.begin(tiny.plan(stop(*names), tiny.fail("a"),
                               services={n: {"unit": f"{n}.service"} for n in names}))
    updd.wait_for(job, "rolled_back", timeout=90)
    assert updd.step(job, "stop")["outputs"]["ran"] == ["loose"]
    assert {n: units.state(f"{n}.service") for n in names} == before


# ---- enablement and masks -----------------------------------------------------------------------------


def enabled(machine, units):
    machine.run("systemctl", "enable", "odd.service")


def enabled_until_the_next_boot(machine, units):
    machine.run("systemctl", "enable", "--runtime", "odd.service")


def enabled_by_hand_too(machine, units):
    machine.run("systemctl", "enable", "odd.service")
    machine.sh("mkdir -p /etc/systemd/system/remote-fs.target.wants; ln -s ../odd.service "
               "/etc/systemd/system/remote-fs.target.wants/odd.service")


def enabled_with_a_friend(machine, units):
    units.write("friend.service", "[Service]\nExecStart=/bin/sleep inf\n"
                                  "[Install]\nWantedBy=multi-user.target\n")
    machine.sh("printf 'Also = friend.service\\nAlias=strange.service\\n' "
               ">>/etc/systemd/system/odd.service; systemctl daemon-reload")
    machine.run("systemctl", "enable", "odd.service")


def linked_from_elsewhere(machine, units):
    machine.sh("mkdir -p /opt/odd; mv /etc/systemd/system/odd.service /opt/odd/; "
               "systemctl daemon-reload; systemctl enable /opt/odd/odd.service")


def masked(machine, units):
    machine.sh("mv /etc/systemd/system/odd.service /usr/lib/systemd/system/; "
               "systemctl daemon-reload; systemctl start odd; systemctl mask odd")


def masked_until_the_next_boot(machine, units):
    machine.sh("mv /etc/systemd/system/odd.service /usr/lib/systemd/system/; "
               "systemctl daemon-reload; systemctl start odd; systemctl mask --runtime odd")


def part_of_a_target(machine, units):
    machine.sh("mv /etc/systemd/system/odd.service /usr/lib/systemd/system/; "
               "mkdir -p /usr/lib/systemd/system/multi-user.target.wants; "
               "ln -s ../odd.service /usr/lib/systemd/system/multi-user.target.wants/; "
               "sed -i '/Install/,$d' /usr/lib/systemd/system/odd.service; "
               "systemctl daemon-reload")


WAYS = [enabled, enabled_until_the_next_boot, enabled_by_hand_too, enabled_with_a_friend,
        linked_from_elsewhere, masked, masked_until_the_next_boot, part_of_a_target]


# A unit that is masked is not to be started: that has a test of its own.
@pytest.mark.parametrize("way, back", [(w, True) for w in WAYS] + [
    (w, False) for w in WAYS if not w.__name__.startswith("masked")],
    ids=lambda v: v.__name__ if callable(v) else "undone" if v else "started")
def test_enablement_comes_back_link_by_link(machine, updd, tiny, units, way, back):
    units.add("odd")
    way(machine, units)
    try:
        machine.ask("systemctl", "start", "odd.service")
        before = units.state("odd.service"), units.state("friend.service")
        assert before[0][0] == "active"
        down = "! systemctl is-active -q odd && case $(systemctl is-enabled odd 2>&1) in " \
               "enabled*) exit 1;; static) ! systemctl start odd;; esac"
        steps = [stop("odd"), tiny.look("down", down)]
        job = updd.begin(tiny.plan(*steps, tiny.fail("a") if back else start("odd"),
                                   services={"odd": {"unit": "odd.service"}}))
        updd.wait_for(job, "rolled_back" if back else "succeeded", timeout=90)
        assert updd.step(job, "down")["state"] == ("undone" if back else "done"), updd.tell(job)
        assert (units.state("odd.service"), units.state("friend.service")) == before
        assert not list((updd.state / "jobs" / str(job)).glob(".held/unit-*"))
    finally:
        machine.sh("systemctl unmask odd; systemctl unmask --runtime odd; "
                   "systemctl disable --now odd || true; rm -rf /opt/odd "
                   "/usr/lib/systemd/system/odd.service /etc/systemd/system/*/odd.service "
                   "/run/systemd/system/*/odd.service "
                   "/usr/lib/systemd/system/multi-user.target.wants/odd.service")


def test_a_unit_that_there_is_none_of_is_refused(machine, updd, tiny):
    job = updd.begin(tiny.plan(stop("odd"), services={"odd": {"unit": "updd-test-none.service"}}))
    updd.wait_for(job, "rolled_back", timeout=60)
    assert updd.step(job, "stop")["error"]["type"] == "no-unit", updd.tell(job)


@pytest.mark.parametrize("back", [True, False], ids=["undone", "started"])
def test_what_an_earlier_version_noted_is_understood(machine, updd, tiny, units, back):
    units.add("odd")
    machine.run("systemctl", "enable", "--now", "odd.service")
    before = units.state("odd.service")
    job = updd.begin(tiny.plan(stop("odd"), tiny.gate("go"), start("odd"),
                               services={"odd": {"unit": "odd.service"}}))
    wait = updd.wait_open(job, "gate", timeout=60)
    folder = updd.state / "jobs" / str(job)
    [entry] = [json.loads(line) for line in (folder / "stop/undo").read_text().splitlines()]
    del entry["links"], entry["also"]
    (folder / "stop/undo").write_text(json.dumps(entry) + "\n")
    (folder / ".held/unit-odd.service").write_text('"enabled"')
    if back:
        updd.post(job, "rollback", strategy="full")
    else:
        updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "rolled_back" if back else "succeeded", timeout=60)
    assert units.state("odd.service") == before


def as_earlier(updd, job, unit, note):
    """Makes of what this job noted about odd.service what an earlier version had."""
    folder = updd.state / "jobs" / str(job)
    [entry] = [json.loads(line) for line in (folder / "stop/undo").read_text().splitlines()]
    del entry["triggers"]
    (folder / "stop/undo").write_text(json.dumps({**entry, "unit": unit}) + "\n")
    for file in folder.glob(".held/*"):
        file.unlink()
    (folder / f".held/unit-{unit.removesuffix('.service')}.service").write_text(json.dumps(note))


def kept_by_a_mask(machine, units):
    part_of_a_target(machine, units)
    return "odd.service", "systemctl mask odd"


def named_by_an_alias(machine, units):
    machine.sh("mv /etc/systemd/system/odd.service /usr/lib/systemd/system/; "
               "ln -s odd.service /usr/lib/systemd/system/strange.service; "
               "systemctl daemon-reload; systemctl enable odd")
    return "strange", ":"


@pytest.mark.parametrize("back", [True, False], ids=["undone", "started"])
@pytest.mark.parametrize("way", [kept_by_a_mask, named_by_an_alias], ids=lambda v: v.__name__)
def test_what_an_earlier_version_held_is_given_back(machine, updd, tiny, units, way, back):
    units.add("odd")
    name, hold = way(machine, units)
    try:
        machine.run("systemctl", "start", "odd.service")
        before = units.state("odd.service"), units.state("strange.service")
        job = updd.begin(tiny.plan(stop("odd"), tiny.gate("go"), start("odd"), tiny.gate("well"),
                                   services={"odd": {"unit": name}}))
        wait = updd.wait_open(job, "gate", timeout=60)["id"]
        as_earlier(updd, job, name, {"enabled": before[0][1], "also": [], "links": [
            [f"/{link}", target] for link, target in map(str.split, before[0][2])]})
        machine.sh(f"rm -rf /etc/systemd/system/odd.service.d; systemctl daemon-reload; {hold}")
        if not back:
            updd.post(job, "confirm", wait=wait)
            updd.wait_step(job, "start", "done", timeout=60)
            assert (units.state("odd.service"), units.state("strange.service")) == before
        updd.wait_open(job, "gate", timeout=60)
        updd.post(job, "rollback", strategy="full")  # of its start too, once there was one
        updd.wait_for(job, "rolled_back", timeout=60)
        assert (units.state("odd.service"), units.state("strange.service")) == before
        assert not list((updd.state / "jobs" / str(job)).glob(".held/unit-*"))
    finally:
        machine.sh("systemctl unmask odd; systemctl disable --now odd || true; rm -f "
                   "/usr/lib/systemd/system/odd.service /usr/lib/systemd/system/strange.service "
                   "/usr/lib/systemd/system/multi-user.target.wants/odd.service; "
                   "systemctl daemon-reload")


def test_a_masked_unit_is_not_started_and_that_is_said(machine, updd, tiny, units):
    units.add("odd")
    machine.sh("mv /etc/systemd/system/odd.service /usr/lib/systemd/system/; "
               "systemctl daemon-reload; systemctl mask odd")
    try:
        job = updd.begin(tiny.plan(start("odd"), services={"odd": {"unit": "odd.service"}}))
        now = updd.wait_for(job, "rolled_back", timeout=60)
        assert "odd.service is masked" in now["failure"]["message"]
        assert "systemctl unmask odd.service" in now["failure"]["hint"]
        assert units.state("odd.service")[:2] == ("inactive", "masked")
    finally:
        machine.sh("systemctl unmask odd; rm /usr/lib/systemd/system/odd.service")


# ---- what is stopped stays stopped ---------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut", "power_off"])
def test_what_a_job_stopped_stays_stopped_over_a_boot(machine, updd, tiny, site, how):
    before, db = site.state("shop.service"), site.state(DB)
    job = updd.begin(tiny.plan(stop("web", "db"), tiny.gate("go"), start("db", "web"),
                               services=SERVICES))
    updd.wait_open(job, "gate", timeout=60)
    getattr(machine, how)()
    machine.boot()
    updd.wait_up().wait_open(job, "gate", timeout=60)
    assert site.active("shop.service", DB) == ["inactive", "inactive"]
    updd.post(job, "rollback", strategy="full")
    updd.wait_for(job, "rolled_back", timeout=90)
    health(machine, "1")
    assert site.state("shop.service") == before and site.state(DB) == db
    updd.invariants(job)


def test_a_person_who_started_it_meanwhile_finds_it_enabled_after_the_job(machine, updd, tiny, site):
    before = site.state("shop.service")
    job = updd.begin(tiny.plan(stop("web"), tiny.gate("go"), start("web"), services=SERVICES))
    updd.wait_open(job, "gate", timeout=60)
    assert site.state("shop.service")[1] == "disabled"
    machine.run("systemctl", "start", "shop.service")
    health(machine, "1")
    updd.post(job, "confirm", wait=updd.wait_open(job, "gate")["id"])
    updd.wait_for(job, "succeeded", timeout=60)
    assert site.state("shop.service") == before


def test_a_stop_that_was_killed_halfway_is_undone(machine, updd, tiny, units):
    units.add("slow", service="User=postgres\nExecStop=/bin/sleep 4")
    machine.run("systemctl", "enable", "--now", "slow.service")
    before = units.state("slow.service")
    job = updd.begin(tiny.plan(stop("slow"), tiny.fail("a"),
                               services={"slow": {"unit": "slow.service"}}))
    updd.until(lambda: units.active("slow.service") == ["deactivating"], 30, lambda: updd.tell(job))
    task = updd.state / "jobs" / str(job) / "stop/1/task.json"
    machine.run("systemctl", "kill", "-s", "KILL",
                f"updd-{json.loads(task.read_text())['id']}.service")
    updd.wait_for(job, "rolled_back", timeout=60)
    assert "step_interrupted" in [e["type"] for e in updd.events(job) if e.get("step") == "stop"]
    assert units.state("slow.service") == before and before[0] == "active"


def test_what_goes_down_with_a_unit_comes_back_with_it(machine, updd, tiny, units):
    units.add("base")
    units.add("above", unit="Requires=base.service\nAfter=base.service")
    machine.run("systemctl", "start", "above.service")
    services = {"base": {"unit": "base.service"}}
    job = updd.begin(tiny.plan(stop("base"), tiny.look("down", "! systemctl is-active above.service"),
                               tiny.fail("a"), services=services))
    updd.wait_for(job, "rolled_back", timeout=90)
    assert "above.service goes down with base.service" in updd.log(job, "stop", attempt=1)
    assert units.active("base.service", "above.service") == ["active", "active"]
    job = updd.begin(tiny.plan(stop("base"), start("base"), services=services))
    updd.wait_for(job, "succeeded", timeout=60)
    assert units.active("base.service", "above.service") == ["active", "active"]


# ---- starts that take their time, or fail ---------------------------------------------------------------


def test_a_unit_whose_need_does_not_start_names_it(machine, updd, tiny, units):
    units.add("base", service="User=postgres\nType=notify\nTimeoutStartSec=2")
    units.add("above", unit="Requires=base.service\nAfter=base.service")
    job = updd.begin(tiny.plan(start("above"), services={"above": {"unit": "above.service"}}))
    now = updd.wait_for(job, "rolled_back", timeout=60)
    assert "base.service, which it needs, is not up" in now["failure"]["message"], now["failure"]
    assert "timeout" in now["failure"]["message"]


def test_a_unit_that_hangs_while_it_starts_is_told_within_the_steps_time(machine, updd, tiny, units):
    units.add("slow", service="User=postgres\nExecStartPre=/bin/sleep 300")
    job = updd.begin(tiny.plan(start("slow", timeout="6s"),
                               services={"slow": {"unit": "slow.service"}}))
    now = updd.wait_for(job, "rolled_back", timeout=60)
    assert "slow is not up within the step's time: it is activating (start-pre)" \
        in now["failure"]["message"]
    assert units.active("slow.service") == ["inactive"]


def test_a_unit_file_that_a_step_replaced_is_read_again(machine, updd, tiny, units):
    units.add("fresh")
    machine.run("systemctl", "start", "fresh.service")
    edit = {"id": "edit", "run": ["sed", "-i", "s/^User=.*/User=postgres\\nEnvironment=NEW=1/",
                                  "/etc/systemd/system/fresh.service"], "undo": "none"}
    job = updd.begin(tiny.plan(stop("fresh"), edit, start("fresh"),
                               services={"fresh": {"unit": "fresh.service"}}))
    updd.wait_for(job, "succeeded", timeout=60)
    assert machine.show("fresh.service", "Environment")["Environment"] == "NEW=1"


@pytest.mark.parametrize("how", ["reexec", "bus"])
def test_a_bus_that_is_lost_under_a_start_is_found_again(machine, updd, tiny, units, how):
    units.add("slow", service="User=postgres\nExecStartPre=/bin/sleep 5")
    job = updd.begin(tiny.plan(start("slow"), services={"slow": {"unit": "slow.service"}}))
    updd.until(lambda: units.active("slow.service") == ["activating"], 20, lambda: updd.tell(job))
    if how == "reexec":
        machine.run("systemctl", "daemon-reexec")
    else:
        machine.run("kill", "-9", machine.show("dbus.service", "MainPID")["MainPID"])
    updd.wait_for(job, "succeeded", timeout=60)
    assert units.active("slow.service") == ["active"]
    machine.until(lambda: machine.ask("busctl", "status").returncode == 0, 30, "no bus again")


def test_a_cancel_does_not_wait_for_a_unit_that_hangs(machine, updd, tiny, units):
    units.add("slow", service="User=postgres\nExecStartPre=/bin/sleep 300")
    job = updd.begin(tiny.plan(start("slow", timeout="10m"),
                               services={"slow": {"unit": "slow.service"}}))
    updd.until(lambda: units.active("slow.service") == ["activating"], 20, lambda: updd.tell(job))
    threading.Thread(target=updd.post, args=(job, "cancel"), kwargs={"reason": "enough"}).start()
    updd.wait_for(job, "rolled_back", timeout=30)
    assert units.active("slow.service") == ["inactive"]


def test_a_start_that_only_waits_for_its_turn_is_taken_back_too(machine, updd, tiny, units):
    units.add("base", service="User=postgres\nExecStartPre=/bin/sleep 8")
    units.add("above", unit="Wants=base.service\nAfter=base.service")
    job = updd.begin(tiny.plan(start("above"), services={"above": {"unit": "above.service"}}))
    updd.until(lambda: units.active("base.service") == ["activating"], 20, lambda: updd.tell(job))
    assert units.active("above.service") == ["inactive"]
    updd.post(job, "cancel", reason="enough")
    updd.wait_for(job, "rolled_back", timeout=60)
    assert machine.show("above.service", "Job").get("Job", "") in ("", "0")
    machine.until(lambda: units.active("base.service") == ["active"], 30, "base does not start")
    assert units.active("above.service") == ["inactive"]
