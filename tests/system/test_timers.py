# SPDX-License-Identifier: MIT
"""
Schedules on a systemd that is really running: its parser judges them, its timers elapse, a job starts
once for each elapse, and all of it survives the loss of power and leaves nothing behind.
"""
import concurrent.futures
import datetime
import itertools
import json
import re
import time

import pytest

UTC = datetime.timezone.utc
NEVER = "*-02-30"
COUNT = itertools.count(1)


class Schedule:
    """A schedule of its own for each test, and the plan that it starts."""

    def __init__(self, machine, updd, name):
        self.machine, self.updd, self.name = machine, updd, name
        self.timer, self.service = f"updctl-start@{name}.timer", f"updctl-start@{name}.service"
        self.plan({"id": "a", "run": ["true"], "undo": "none"})

    def plan(self, *steps, **top):
        self.machine.write(f"/etc/updd/plans/{self.name}.yaml", json.dumps(
            {"format": 1, "plan": self.name, "inputs": {"to": {"type": "string", "default": "x"}},
             "steps": list(steps), **top}))

    def ctl(self, *words, check=0):
        done = self.machine.ask("updctl", "schedule", *words)
        assert done.returncode == check, (words, done, self.updd.tell(self.updd.api(
            "GET", "/v1/jobs?limit=1")["jobs"][0]["id"]))
        return done

    def add(self, on, *more, check=0):
        return self.ctl("add", self.name, "--plan", self.name, "--on", on, *more, check=check)

    def view(self):
        return self.updd.api("GET", f"/v1/schedules/{self.name}")

    def jobs(self):
        return self.updd.api("GET", f"/v1/jobs?plan={self.name}")["jobs"]

    def elapsed(self):
        """The first job that the timer started; the timer does not elapse again."""
        self.updd.until(self.jobs, 40, lambda: self.machine.ask(
            "systemctl", "status", self.timer, self.service).stdout)
        self.machine.run("systemctl", "stop", self.timer)
        return self.jobs()[0]["id"]

    def files(self):
        return self.machine.sh("find /etc/systemd /run/systemd/transient /var/lib/systemd -name "
                               f"'*updctl-start@{self.name}.*' | sort").split()


@pytest.fixture
def schedule(machine, updd, request):
    name = f"{re.sub(r'[^a-z]+', '-', request.node.name)[5:40].strip('-')}-{next(COUNT)}"
    # Closed as it is, the service cannot be looked through for leaks; a build without sanitizers
    # does not read this.
    machine.write("/etc/systemd/system/updctl-start@.service.d/leaks.conf",
                  "[Service]\nEnvironment=ASAN_OPTIONS=detect_leaks=0\n")
    machine.run("systemctl", "daemon-reload")
    s = Schedule(machine, updd, name)
    yield s
    machine.ask("updctl", "schedule", "remove", name)


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def by_systemd(machine, on):
    """When systemd says that a calendar event comes next; None: never."""
    said = machine.run("env", "TZ=UTC", "systemd-analyze", "calendar", "--", on)
    found = re.search(r"Next elapse: \w+ (\S+ \S+) UTC", said)
    return datetime.datetime.fromisoformat(found[1]).replace(tzinfo=UTC) if found else None


# ---- set, shown, removed ------------------------------------------------------------------------


def test_the_units_are_as_systemd_wants_them(machine):
    machine.sh("cd /usr/local/lib/systemd/system && systemd-analyze verify --man=no "
               "./updctl-start@x.timer ./updctl-start@x.service")


@pytest.mark.parametrize("on", ["Sun *-*-* 03:00 Europe/Pari", "every day", "*-*-* 25:00"])
def test_what_systemd_cannot_read_is_refused_in_its_own_words(machine, updd, schedule, on):
    words = machine.ask("systemd-analyze", "calendar", "--", on).stderr.strip()
    assert words.startswith("Failed to parse")
    said = schedule.add(on, check=1).stderr
    assert words.splitlines()[0] in said, said
    assert schedule.files() == []
    updd.refuse(404, "no-such-schedule", "GET", f"/v1/schedules/{schedule.name}")
    change = updd.api("GET", "/v1/jobs?plan=updd-schedule&limit=1")["jobs"][0]
    assert (change["state"], change["target"]) == ("failed", f"schedule:{schedule.name}")


@pytest.mark.parametrize("body,kind,status", [
    ({"on": "daily\nExecStart=x"}, "bad-calendar", 422), ({"on": ""}, "bad-calendar", 422),
    ({"on": "%H"}, "bad-calendar", 422), ({"plan": "no-such"}, "no-such-plan", 404),
    ({"inputs": {"nput": "x"}}, "bad-inputs", 422), ({"missed": "maybe"}, "bad-request", 400),
    ({"window": "2"}, "bad-window", 422)],
    ids=["newline", "empty", "specifier", "plan", "input", "missed", "window"])
def test_what_could_not_be_started_is_refused_at_once(updd, schedule, body, kind, status):
    before = updd.api("GET", "/v1/jobs?limit=1")["jobs"]
    updd.refuse(status, kind, "PUT", f"/v1/schedules/{schedule.name}",
                {"plan": schedule.name, "on": "daily", **body})
    assert updd.api("GET", "/v1/jobs?limit=1")["jobs"] == before


def test_a_gate_that_nobody_may_attend_is_refused_beforehand(schedule):
    schedule.plan({"id": "ok", "confirm": {"ask": "Go on?"}})
    said = schedule.add("daily", "--window", "1h", check=1).stderr
    assert "gate 'ok'" in said, said


def test_what_is_set_is_shown_with_what_systemd_knows(machine, updd, schedule):
    said = schedule.add("Sun *-*-* 03:00 Europe/Paris", "--window", "2h", "-i", "to=y", "--label",
                        "who=me").stdout
    assert said.startswith(f"schedule {schedule.name} is set; next: ")
    view = schedule.view()
    assert moment(view["next"]) == by_systemd(machine, "Sun *-*-* 03:00 Europe/Paris")
    assert view["last"] is None and "change" not in view and "job" not in view
    assert {k: view[k] for k in ("state", "plan", "on", "window", "inputs", "labels", "missed")} == {
        "state": "active", "plan": schedule.name, "on": "Sun *-*-* 03:00 Europe/Paris",
        "window": "2h", "inputs": {"to": "y"}, "labels": {"who": "me"}, "missed": "skip"}
    assert machine.show(schedule.timer, "ActiveState", "UnitFileState") == {
        "ActiveState": "active", "UnitFileState": "enabled"}
    assert schedule.name in schedule.ctl("list").stdout
    assert "Europe/Paris" in schedule.ctl("show", schedule.name).stdout
    assert json.loads(schedule.ctl("show", schedule.name, "--json").stdout) == view


def test_a_schedule_that_is_removed_leaves_no_file(machine, updd, schedule):
    schedule.add("daily", "--missed", "run")
    assert len(schedule.files()) == 3, schedule.files()  # drop-in, enablement, Persistent='s stamp
    schedule.ctl("remove", schedule.name)
    assert schedule.files() == []
    assert machine.show(schedule.timer, "ActiveState", "DropInPaths") == {
        "ActiveState": "inactive", "DropInPaths": ""}
    updd.refuse(404, "no-such-schedule", "GET", f"/v1/schedules/{schedule.name}")
    schedule.ctl("remove", schedule.name, check=1)


def test_a_change_takes_the_place_of_what_was_and_one_that_fails_does_not(machine, schedule):
    schedule.add("daily")
    schedule.add("*-*-* 04:00 UTC", "--missed", "run")
    view = schedule.view()
    assert moment(view["next"]).hour == 4 and view["missed"] == "run"
    schedule.add("no day", check=1)
    assert schedule.view() == view
    assert machine.show(schedule.timer, "ActiveState")["ActiveState"] == "active"


def test_a_timer_that_cannot_be_started_is_undone_and_leaves_nothing(machine, updd, schedule):
    machine.run("systemctl", "mask", schedule.timer)
    try:
        said = schedule.add("daily", check=1).stderr
        assert "masked" in said, said
        change = updd.api("GET", "/v1/jobs?plan=updd-schedule&limit=1")["jobs"][0]
        assert change["state"] == "rolled_back", updd.tell(change["id"])
        assert schedule.files() == [f"/etc/systemd/system/{schedule.timer}"]  # the mask
    finally:
        machine.run("systemctl", "unmask", schedule.timer)
    updd.refuse(404, "no-such-schedule", "GET", f"/v1/schedules/{schedule.name}")


def test_what_somebody_else_added_to_a_timer_stays(machine, schedule):
    own = f"/etc/systemd/system/{schedule.timer}.d/own.conf"
    schedule.add("daily")
    machine.write(own, "[Timer]\nAccuracySec=1s\n")
    try:
        schedule.ctl("remove", schedule.name)
        assert machine.sh(f"ls -A {own.rpartition('/')[0]}").split() == ["own.conf"]
        schedule.add("daily")
        assert "AccuracyUSec=1s" in machine.run("systemctl", "show", schedule.timer)
    finally:
        machine.run("rm", own)
    schedule.ctl("remove", schedule.name)
    assert schedule.files() == []


def test_a_masked_timer_is_removed_and_stays_masked(machine, schedule):
    schedule.add("daily")
    machine.run("systemctl", "mask", schedule.timer)
    try:
        schedule.ctl("remove", schedule.name)
        assert schedule.files() == [f"/etc/systemd/system/{schedule.timer}"]  # the mask
        assert machine.show(schedule.timer, "ActiveState")["ActiveState"] == "inactive"
    finally:
        machine.run("systemctl", "unmask", schedule.timer)


def test_a_change_of_a_masked_timer_fails_and_leaves_it_as_it_was(machine, schedule):
    schedule.add("daily")
    machine.sh(f"mkdir -p /etc/systemd/system/remote-fs.target.wants; ln -s ../updctl-start@.timer "
               f"/etc/systemd/system/remote-fs.target.wants/{schedule.timer}")
    machine.run("systemctl", "mask", schedule.timer)
    try:
        before = schedule.files(), schedule.view()
        assert "masked" in schedule.add("*-*-* 04:00", check=1).stderr
        assert (schedule.files(), schedule.view()) == before
        assert len(before[0]) == 4, before  # drop-in, mask, and two links
    finally:
        machine.run("systemctl", "unmask", schedule.timer)
        machine.ask("rm", f"/etc/systemd/system/remote-fs.target.wants/{schedule.timer}")


def test_what_an_earlier_version_noted_of_a_timer_is_understood(machine, updd, schedule):
    schedule.add("daily")
    own = f"/etc/systemd/system/{schedule.timer}.d/own.conf"
    machine.write(own, "[Unit]\nAssertPathExists=!/run/timer-is-broken\n")
    machine.sh("systemctl daemon-reload; touch /run/timer-is-broken")
    try:
        before = schedule.files(), schedule.view()
        schedule.add("*-*-* 04:00", check=6)
        change = updd.api("GET", "/v1/jobs?plan=updd-schedule&limit=1")["jobs"][0]["id"]
        updd.wait_for(change, "stuck", timeout=60)
        record = updd.state / f"jobs/{change}/timer/undo"
        entries = [json.loads(line) for line in record.read_text().splitlines()]
        assert [e["undo"] for e in entries].count("timer") == 1, entries
        old = {"undo": "timer", "enabled": True, "active": True}
        record.write_text("".join(
            json.dumps(old if e["undo"] == "timer" else e) + "\n" for e in entries))
        machine.run("rm", "/run/timer-is-broken")
        updd.post(change, "retry")
        updd.wait_for(change, "rolled_back", timeout=60)
        assert (schedule.files(), schedule.view()) == before
        assert machine.show(schedule.timer, "ActiveState")["ActiveState"] == "active"
    finally:
        machine.run("rm", "-f", own, "/run/timer-is-broken")


@pytest.mark.parametrize("then", ["changed", "removed"])
def test_a_timer_whose_service_runs_is(machine, schedule, then):
    folder = f"/etc/systemd/system/{schedule.service}.d"
    machine.write(f"{folder}/slow.conf", "[Service]\nExecStartPre=/bin/sleep 60\n")
    try:
        schedule.add("*:*:*")
        machine.until(lambda: machine.show(schedule.timer, "SubState")["SubState"] == "running", 20,
                      "it does not elapse")
        if then == "changed":
            schedule.add("daily")
            assert machine.show(schedule.timer, "ActiveState")["ActiveState"] == "active"
        else:
            schedule.ctl("remove", schedule.name)
            assert machine.show(schedule.timer, "ActiveState", "DropInPaths") == {
                "ActiveState": "inactive", "DropInPaths": ""}
        assert machine.show(schedule.service, "ActiveState")["ActiveState"] == "activating"
    finally:
        machine.ask("systemctl", "stop", schedule.timer, schedule.service)
        machine.run("rm", "-r", folder)


def test_a_change_goes_on_when_the_daemon_is_killed(updd, schedule):
    answer = updd.call("PUT", f"/v1/schedules/{schedule.name}",
                       {"plan": schedule.name, "on": "daily"})
    assert answer.status == 202 and answer.body["state"] == "pending", answer
    assert answer.headers["location"] == f"/v1/jobs/{answer.body['change']['job']}"
    updd.kill9()
    updd.wait_for(answer.body["change"]["job"], "succeeded")
    assert schedule.view()["state"] == "active"


# ---- elapses ------------------------------------------------------------------------------------


def test_the_timer_starts_one_job_for_an_elapse_however_often_it_fires(machine, updd, schedule):
    schedule.add("*:*:0/5", "--window", "2h", "-i", "to=y", "--label", "who=me")
    job = schedule.elapsed()
    view, before = updd.wait_for(job, "succeeded"), [j["id"] for j in schedule.jobs()]
    for _ in range(2):
        machine.run("systemctl", "start", schedule.service)
    answer = updd.call("POST", f"/v1/schedules/{schedule.name}/run",
                       {"elapse": schedule.view()["last"]})  # with another key, or none
    assert (answer.status, answer.body["id"]) == (201, before[0])
    assert [j["id"] for j in schedule.jobs()] == before
    assert view["inputs"] == {"to": "y"} and view["reason"] == f"schedule {schedule.name}"
    assert view["labels"] == {"schedule": schedule.name, "who": "me"}
    assert schedule.view()["job"] == before[0]
    elapse = moment(view["window"]["begins"])
    assert elapse.second % 5 == 0 and elapse.microsecond == 0, elapse  # as the calendar has it
    assert moment(view["window"]["ends"]) - elapse == datetime.timedelta(hours=2)


def named(when):
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_an_elapse_that_comes_again_with_the_clock_set_back_gives_the_same_job(updd, schedule):
    """systemd lets it come once more then: it fires at another time, for the same moment."""
    schedule.add(NEVER, "--window", "2h")
    elapse = datetime.datetime.now(UTC).replace(microsecond=0)

    def run(elapse, late=None):
        at = {} if late is None else {"at": named(elapse + datetime.timedelta(seconds=late))}
        job = updd.api("POST", f"/v1/schedules/{schedule.name}/run",
                       {"elapse": named(elapse), **at})["id"]
        return updd.wait_for(job, "succeeded")
    first = run(elapse, 0.2)
    assert moment(first["window"]["begins"]) == elapse
    assert {run(elapse, 0.7)["id"], run(elapse)["id"]} == {first["id"]}
    earlier = [run(elapse - datetime.timedelta(minutes=m), 0.3)["id"] for m in range(1, 4)]
    assert len(set(earlier)) == 3 and first["id"] not in earlier
    updd.kill9()
    assert run(elapse, 0.4)["id"] == first["id"]
    assert run(elapse - datetime.timedelta(minutes=2), 0.9)["id"] == earlier[1]
    updd.refuse(400, "bad-request", "POST", f"/v1/schedules/{schedule.name}/run",
                {"at": named(elapse)})


def test_an_elapse_that_is_made_up_for_has_its_whole_window(updd, schedule):
    schedule.add(NEVER, "--window", "1h")
    now = datetime.datetime.now(UTC).replace(microsecond=0)
    job = updd.api("POST", f"/v1/schedules/{schedule.name}/run",
                   {"elapse": named(now - datetime.timedelta(hours=5)), "at": named(now)})["id"]
    assert moment(updd.wait_for(job, "succeeded")["window"]["begins"]) == now


def test_a_start_that_cannot_reach_updd_is_made_again(machine, updd, schedule):
    schedule.add("*:*:0/5")
    updd.wait_for(schedule.elapsed(), "succeeded")
    before = [j["id"] for j in schedule.jobs()]
    machine.run("systemctl", "stop", "updd.service", "updd.socket")
    machine.run("systemctl", "mask", "--runtime", "updd.service", "updd.socket")
    try:
        machine.run("systemctl", "start", "--no-block", schedule.service)
        updd.until(lambda: int(machine.show(schedule.service, "NRestarts")["NRestarts"]) >= 1, 40,
                   "nobody starts it again")
    finally:
        machine.run("systemctl", "unmask", "--runtime", "updd.service", "updd.socket")
        machine.run("systemctl", "start", "updd.socket", "updd.service")
    updd.wait_up()
    updd.until(lambda: machine.show(schedule.service, "ActiveState", "Result") == {
        "ActiveState": "inactive", "Result": "success"}, 40, lambda: machine.ask(
            "systemctl", "status", schedule.service).stdout)
    assert [j["id"] for j in schedule.jobs()] == before


@pytest.mark.parametrize("missed", ["run", "skip"])
def test_a_new_calendar_event_has_missed_nothing(machine, updd, schedule, missed):
    """It would have elapsed since the old one did last; to change it is no reason to start."""
    schedule.add("*:*:0/5", "--missed", missed)
    updd.wait_for(schedule.elapsed(), "succeeded")
    last, before = moment(schedule.view()["last"]), [j["id"] for j in schedule.jobs()]
    machine.run("systemctl", "start", schedule.timer)
    time.sleep(max(0, (last - datetime.datetime.now(UTC)).total_seconds() + 3))
    schedule.add(f"*-*-* {last + datetime.timedelta(seconds=2):%H:%M:%S} UTC", "--missed", missed)
    time.sleep(2)
    view, jobs = schedule.view(), [j["id"] for j in schedule.jobs()]
    assert moment(view["next"]) > last + datetime.timedelta(hours=23), (last, view)
    assert (view["last"], jobs) == (None, before), (last, view)


def test_a_timer_that_finds_the_daemon_stopped_has_it_started(machine, updd, schedule):
    schedule.add("*:*:0/10")
    machine.run("systemctl", "stop", "updd.service", "updd.socket")
    updd.until(lambda: machine.show("updd.service", "ActiveState")["ActiveState"] == "active", 40,
               "nobody started it")
    updd.wait_up().wait_for(schedule.elapsed(), "succeeded")


def test_run_now_needs_no_timer(updd, schedule):
    schedule.add(NEVER, "--window", "1h")
    job = int(schedule.ctl("run-now", schedule.name, "--reason", "because").stdout)
    view = updd.wait_for(job, "succeeded")
    assert view["reason"] == "because" and view["window"]["length"] == "1h"
    assert schedule.view()["job"] == job and schedule.view()["last"] is None
    schedule.ctl("fire", schedule.name, check=1)  # no elapse, no job
    assert len(schedule.jobs()) == 1


def test_an_elapse_whose_window_has_passed_starts_nothing(updd, schedule):
    schedule.add(NEVER, "--window", "1h")
    elapse = datetime.datetime.now(UTC) - datetime.timedelta(hours=2)
    updd.refuse(422, "bad-window", "POST", f"/v1/schedules/{schedule.name}/run",
                {"elapse": elapse.isoformat(timespec="milliseconds").replace("+00:00", "Z")})
    assert schedule.jobs() == []


def test_a_row_that_cannot_be_read_is_shown_and_mended(machine, updd, schedule):
    schedule.add("daily")
    machine.run("systemctl", "stop", "updd.service", "updd.socket")
    machine.run("sqlite3", "/var/lib/updd/updd.db",
                f"UPDATE schedule SET data = 'odd' WHERE name = '{schedule.name}'")
    machine.run("systemctl", "start", "updd.socket", "updd.service")
    updd.wait_up()
    assert schedule.view()["state"] == "stuck"
    updd.refuse(409, "not-now", "POST", f"/v1/schedules/{schedule.name}/run", {})
    schedule.add("daily")
    assert schedule.view()["state"] == "active"


def test_a_bus_that_hangs_leaves_the_times_unknown_and_holds_nobody_up(machine, updd, schedule):
    schedule.add("daily")
    bus = machine.show("dbus.service", "MainPID")["MainPID"]
    machine.run("kill", "-STOP", bus)
    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = pool.submit(schedule.view)
            began = time.monotonic()
            updd.api("GET", "/v1/health")
            assert time.monotonic() - began < 3 and not asked.done()
            view = asked.result()
    finally:
        machine.run("kill", "-CONT", bus)
    assert view["state"] == "active" and "next" not in view and "last" not in view
    updd.until(lambda: schedule.view().get("next"), 20, "the times stay unknown")


def test_a_start_that_is_refused_is_told_by_the_service(machine, updd, schedule):
    schedule.plan({"id": "ok", "confirm": {"ask": "Go on?"}})
    schedule.add(NEVER)
    job = int(schedule.ctl("run-now", schedule.name).stdout)
    updd.wait_open(job, "gate")
    said = schedule.ctl("run-now", schedule.name, check=1).stderr
    assert f"Job {job} is not finished" in said, said
    updd.post(job, "cancel")
    updd.wait_for(job, "rolled_back", "cancelled")


# ---- who is told ahead ----------------------------------------------------------------------------


def notifying(schedule, before, **window):
    """A plan that tells some time before its window opens, and where it tells."""
    told = f"/var/tmp/{schedule.name}.told"
    schedule.plan({"id": "a", "run": ["true"], "undo": "none"},
                  window={"notify_before": before, **window},
                  hooks={"notice": [{"run": ["sh", "-c", f"cat >>{told}; echo >>{told}"]}]})

    def notices():
        lines = schedule.machine.ask("cat", told).stdout.splitlines()
        return [json.loads(line)["window"]["begins"] for line in lines if line]
    return notices


def in_seconds(seconds):
    when = datetime.datetime.now(UTC).replace(microsecond=0) + datetime.timedelta(seconds=seconds)
    return when, f"{when:%Y-%m-%d %H:%M:%S} UTC"


@pytest.mark.parametrize("killed", [False, True], ids=["plain", "killed"])
def test_the_notice_of_a_schedule_goes_out_before_its_timer_elapses(machine, updd, schedule, killed):
    notices = notifying(schedule, "20s")
    when, on = in_seconds(32)
    schedule.add(on, "--window", "1h")
    assert schedule.jobs() == []
    if killed:
        updd.kill9()
    updd.until(schedule.jobs, 30, "no job is made ahead")
    job = schedule.jobs()[0]["id"]
    updd.until(notices, 10, lambda: updd.tell(job))
    assert datetime.datetime.now(UTC) < when
    view = updd.api("GET", f"/v1/jobs/{job}")
    assert (view["state"], view["window"]["state"]) == ("waiting", "ahead"), view
    assert moment(view["window"]["begins"]) == when
    if killed:
        updd.kill9()
    updd.wait_for(job, "succeeded")
    assert datetime.datetime.now(UTC) >= when
    updd.until(lambda: schedule.view()["last"], 20, "the timer did not elapse")
    updd.until(lambda: machine.show(schedule.service, "ActiveState", "Result") == {
        "ActiveState": "inactive", "Result": "success"}, 20, "its service has not ended")
    machine.run("systemctl", "start", schedule.service)
    assert [j["id"] for j in schedule.jobs()] == [job]
    assert [moment(n) for n in notices()] == [when]


def test_a_timer_that_fires_late_in_the_window_finds_the_job_that_was_made_ahead(updd, schedule):
    """The machine was off, and what is made up for then names another moment."""
    notices = notifying(schedule, "1h")
    when, on = in_seconds(15)
    schedule.add(on, "--window", "1h", "--missed", "run")
    updd.until(notices, 20, "nobody is told")
    schedule.machine.run("systemctl", "stop", schedule.timer)
    job = schedule.jobs()[0]["id"]
    updd.wait_for(job, "succeeded")
    assert schedule.view()["last"] is None

    def run(minutes):
        late = named(when + datetime.timedelta(minutes=minutes))
        return updd.call("POST", f"/v1/schedules/{schedule.name}/run", {"elapse": late, "at": late})
    assert run(5).body["id"] == job
    assert run(9).body["id"] not in (job, None)  # once: this is another elapse


@pytest.mark.parametrize("missed,length,reserve", [("run", 20, 0), ("skip", 5, 0), ("skip", 5, 600)],
                         ids=["run", "skip", "reserve"])
def test_a_job_that_was_made_ahead_goes_when_the_machine_is_off_in_its_window(
        machine, updd, schedule, missed, length, reserve):
    """What is made up for is another job, with a window of its own; nothing waits for a person."""
    notices = notifying(schedule, "1h", reserve=f"{reserve}s")
    when, on = in_seconds(15)
    schedule.add(on, "--window", f"{length + reserve}s", "--missed", missed)
    updd.until(notices, 20, "nobody is told")
    first = schedule.jobs()[0]["id"]
    machine.cut()
    assert datetime.datetime.now(UTC) < when, "the machine was too slow for this"
    ends = when + datetime.timedelta(seconds=length)
    time.sleep((ends - datetime.datetime.now(UTC)).total_seconds() + 1)
    machine.boot()
    updd.wait_up()
    view = updd.wait_for(first, "cancelled")
    assert "the window closed before its first step" in view["decided"], view
    if missed == "run":
        view = updd.wait_for(schedule.elapsed(), "succeeded")
        assert moment(view["window"]["begins"]) > ends
        assert [j["id"] for j in schedule.jobs()] == [view["id"], first]
        updd.until(lambda: machine.show(schedule.service, "ActiveState", "Result") == {
            "ActiveState": "inactive", "Result": "success"}, 20, "its service has not ended")
    else:
        now = named(datetime.datetime.now(UTC))
        assert [j["id"] for j in schedule.jobs()] == [first]
        job = updd.api("POST", f"/v1/schedules/{schedule.name}/run", {"elapse": now})["id"]
        assert job != first and updd.wait_for(job, "succeeded")


def test_an_elapse_whose_window_updd_slept_through_has_another_job(machine, updd, schedule):
    """As after a suspend: the timer fires for the moment that has passed, and is heard first."""
    notices = notifying(schedule, "1h")
    when, on = in_seconds(12)
    schedule.add(on, "--window", "3s")
    updd.until(notices, 20, "nobody is told")
    first = schedule.jobs()[0]["id"]
    machine.run("systemctl", "stop", schedule.timer)
    machine.run("systemctl", "kill", "--signal=STOP", "updd.service")
    assert datetime.datetime.now(UTC) < when, "the machine was too slow for this"
    time.sleep((when - datetime.datetime.now(UTC)).total_seconds() + 4)
    late = when + datetime.timedelta(minutes=2)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(updd.call, "POST", f"/v1/schedules/{schedule.name}/run",
                            {"elapse": named(when), "at": named(late)})
        time.sleep(0.5)
        machine.run("systemctl", "kill", "--signal=CONT", "updd.service")
        answer = asked.result()
    assert answer.status == 201 and answer.body["id"] != first, answer
    assert answer.body["window"]["begins"] == named(late)
    updd.wait_for(first, "cancelled")
    again = updd.api("POST", f"/v1/schedules/{schedule.name}/run",
                     {"elapse": named(when), "at": named(late)})["id"]
    assert again == answer.body["id"] and len(schedule.jobs()) == 2
    updd.post(again, "cancel")


def test_a_timer_with_a_random_delay_finds_the_job_that_was_made_ahead(machine, updd, schedule):
    """systemd draws another delay whenever it reads its units; the elapse is the same."""
    machine.write(f"/etc/systemd/system/{schedule.timer}.d/own.conf",
                  "[Timer]\nRandomizedDelaySec=15s\n")
    notices = notifying(schedule, "1h")
    when, on = in_seconds(12)
    try:
        schedule.add(on, "--window", "1h")
        updd.until(notices, 20, "nobody is told")
        job = schedule.jobs()[0]["id"]
        machine.run("systemctl", "daemon-reload")
        updd.until(lambda: schedule.view()["last"], 40, "the timer did not elapse")
        updd.until(lambda: machine.show(schedule.service, "ActiveState", "Result") == {
            "ActiveState": "inactive", "Result": "success"}, 20, lambda: machine.ask(
                "systemctl", "status", schedule.service).stdout)
        assert moment(updd.wait_for(job, "succeeded", timeout=40)["window"]["begins"]) >= when
        assert [j["id"] for j in schedule.jobs()] == [job]
    finally:
        machine.run("rm", f"/etc/systemd/system/{schedule.timer}.d/own.conf")


def test_a_job_that_was_made_ahead_goes_with_its_schedule(updd, schedule):
    notices = notifying(schedule, "3d")
    schedule.add(in_seconds(24 * 3600)[1], "--window", "1h")
    updd.until(notices, 20, "nobody is told")
    first = schedule.jobs()[0]["id"]
    when, on = in_seconds(36 * 3600)
    schedule.add(on, "--window", "1h")
    assert "its schedule was changed" in updd.wait_for(first, "cancelled")["decided"]
    updd.until(lambda: len(notices()) == 2, 20, "nobody is told of the other time")
    second = schedule.jobs()[0]
    assert second["id"] != first and moment(notices()[1]) == when
    schedule.add("no day", check=1)
    schedule.ctl("remove", schedule.name)
    updd.wait_for(second["id"], "cancelled")
    assert len(schedule.jobs()) == 2


def test_a_job_that_cannot_be_made_ahead_is_made_when_the_timer_elapses(machine, updd, schedule):
    """Its target was busy when its notice was due."""
    schedule.plan({"id": "ok", "confirm": {"ask": "Go on?"}})
    busy = updd.api("POST", "/v1/jobs", {"plan": schedule.name})["id"]
    updd.wait_open(busy, "gate")
    notices = notifying(schedule, "1h")
    when, on = in_seconds(15)
    schedule.add(on, "--window", "1h")
    updd.until(lambda: "cannot be made" in machine.journal("-u", "updd"), 10, "nothing is said of it")
    updd.post(busy, "cancel")
    updd.wait_for(busy, "rolled_back", "cancelled")
    assert datetime.datetime.now(UTC) < when and notices() == []
    updd.until(lambda: len(schedule.jobs()) == 2, 30, "no job is made")
    view = updd.wait_for(schedule.jobs()[0]["id"], "succeeded")
    assert moment(view["window"]["begins"]) == when


# ---- the calendar ---------------------------------------------------------------------------------

@pytest.mark.parametrize("on,utc", [
    ("2027-03-27 02:30 Europe/Paris", "2027-03-27T01:30"),  # the last night of winter time
    ("2027-03-28 03:00 Europe/Paris", "2027-03-28T01:00"),  # the hour that follows 02:00 at once
    ("2027-03-29 02:30 Europe/Paris", "2027-03-29T00:30"),
    ("2027-03-28 02:30 Europe/Paris", None),                # an hour that there is not
    ("2027-10-31 02:30 Europe/Paris", None)],               # and one that comes twice
    ids=["before", "after", "summer", "skipped", "twice"])
def test_summer_time_is_what_systemd_says_it_is(machine, schedule, on, utc):
    schedule.add(on)
    shown = schedule.view()["next"]
    assert (moment(shown) if shown else None) == by_systemd(machine, on)
    if utc:
        assert moment(shown) == datetime.datetime.fromisoformat(utc).replace(tzinfo=UTC)


# ---- the machine ------------------------------------------------------------------------------------


def test_schedules_survive_the_loss_of_power_and_what_was_missed_is_run_or_skipped(machine, updd,
                                                                                   schedule):
    """Of three schedules one elapses while the machine is off, twice over: run, and skip."""
    others = [Schedule(machine, updd, schedule.name + end) for end in ("-run", "-skip")]
    schedule.add("Sun *-*-* 03:00 Europe/Paris")
    before = schedule.view()
    when = datetime.datetime.now(UTC) + datetime.timedelta(seconds=12)
    for other, missed in zip(others, ("run", "skip")):
        other.add(f"{when:%Y-%m-%d %H:%M:%S} UTC", "--missed", missed)
    machine.cut()
    assert datetime.datetime.now(UTC) < when, "the machine was too slow for this"
    time.sleep((when - datetime.datetime.now(UTC)).total_seconds() + 1)
    machine.boot()
    updd.wait_up()
    assert schedule.view() == before
    job = others[0].elapsed()
    view = updd.wait_for(job, "succeeded")
    assert moment(view["created"]) > when
    assert others[1].jobs() == [] and others[1].view()["next"] is None
    for other in others:
        assert other.view()["state"] == "active"
        other.ctl("remove", other.name)
        assert other.files() == []
