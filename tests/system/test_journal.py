# SPDX-License-Identifier: MIT
"""
The system's journal tells a job's whole story: its states, its steps with what they print, who
decided what, in order and over restarts of the daemon, each kind explained by the catalogue.
"""
import json
import time

import pytest

from daemon import SLOW
from test_steps import begun


def entries(machine, *match):
    """The journal's entries, oldest first."""
    machine.run("journalctl", "--sync")
    text = machine.run("journalctl", "--no-pager", "-o", "json", "--output-fields="
                       "MESSAGE,MESSAGE_ID,PRIORITY,UPDD_JOB,UPDD_PLAN,UPDD_TARGET,UPDD_STEP,"
                       "UPDD_STATE,UPDD_EVENT,UPDD_SEQ,UPDD_TRY,UPDD_BY,_SYSTEMD_UNIT", *match)
    return [json.loads(line) for line in text.splitlines()]


def told(machine, updd, job):
    """The job's entries by the daemon; each of its events is one, with its number, in order."""
    found = [e for e in entries(machine, f"UPDD_JOB={job}") if "UPDD_SEQ" in e]
    events = updd.events(job)
    assert [(int(e["UPDD_SEQ"]), e["UPDD_EVENT"]) for e in found] == [
        (e["seq"], e["type"]) for e in events]
    assert [e.get("UPDD_STEP") for e in found] == [e.get("step") for e in events]
    assert [e.get("UPDD_BY") for e in found] == [e.get("by") for e in events]
    return found


@pytest.fixture(scope="module", autouse=True)
def catalogue(machine):
    machine.run("journalctl", "--update-catalog")


def test_a_jobs_entries_are_its_events_in_order(machine, updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", "echo says a; sleep 0.5"),
                               tiny.gate("accept"), tiny.act("b", "echo says b"), plan="story",
                               target="the-target"), reason="for the test")
    wait = updd.wait_open(job, "gate")
    updd.post(job, "confirm", wait=wait["id"], reason="looks fine")
    updd.wait_for(job, "succeeded")
    found = told(machine, updd, job)
    assert {(e["UPDD_PLAN"], e["UPDD_TARGET"]) for e in found} == {("story", "the-target")}
    assert [e["UPDD_STATE"] for e in found if e["UPDD_EVENT"] == "state"] == [
        "running", "waiting", "running", "succeeded"]
    assert [(e["UPDD_STEP"], e["UPDD_STATE"]) for e in found
            if e["UPDD_EVENT"] in ("step_started", "step_done") and e["UPDD_STEP"] in "ab"] == [
        ("a", "running"), ("a", "done"), ("b", "running"), ("b", "done")]
    closed = next(e for e in found if e["UPDD_EVENT"] == "wait_closed")
    assert "looks fine" in closed["MESSAGE"] and closed["UPDD_BY"] in closed["MESSAGE"]
    messages = [e["MESSAGE"] for e in entries(machine, f"UPDD_JOB={job}")]
    places = [messages.index(m) for m in (f"job {job} step a: has begun", "says a",
                                          f"job {job} step a: is done", "says b")]
    assert places == sorted(places)


def test_the_story_goes_on_over_a_restart_of_the_daemon(machine, updd, tiny):
    job = updd.begin(tiny.plan(
        tiny.act("a", "touch began; while ! test -e go; do sleep 0.1; done"), tiny.fail("b")))
    begun(updd, tiny, job)
    machine.run("systemctl", "restart", "updd.service")
    updd.wait_up()
    tiny.touch("go")
    updd.wait_for(job, "rolled_back", timeout=60)
    found = told(machine, updd, job)
    failed = next(e for e in found if e["UPDD_EVENT"] == "step_failed")
    assert (failed["UPDD_STEP"], failed["UPDD_STATE"], failed["PRIORITY"]) == ("b", "failed", "3")
    assert [e["UPDD_STEP"] for e in found if e["UPDD_STATE"] == "undone"
            and "UPDD_STEP" in e] == ["b", "a"]


def test_updctl_log_reads_what_the_journal_has(machine, updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", "seq 80000; echo to stderr >&2; printf 'no newline'")))
    updd.wait_for(job, "succeeded")
    log = machine.run("updctl", "log", job, "a")
    # The journal reads it when it comes to it.
    updd.until(lambda: "no newline" in machine.journal(f"UPDD_JOB={job}", "UPDD_STEP=a", "-n", "5"),
               60, "the end did not come to the journal")
    lines = [e["MESSAGE"] for e in entries(machine, f"UPDD_JOB={job}", "UPDD_STEP=a")
             if "UPDD_SEQ" not in e and "MESSAGE_ID" not in e]
    assert len(lines) > 80000 and lines == log.splitlines()


@pytest.mark.parametrize("event, says", [
    ("step_failed", "updctl log"), ("state", "updctl report"), ("step_undone", "is as it was")],
    ids=["failed", "state", "undone"])
def test_the_catalogue_says_what_to_do(machine, updd, tiny, event, says):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.fail("b")))
    updd.wait_for(job, "rolled_back", timeout=60)
    machine.run("journalctl", "--sync")
    text = machine.run("journalctl", "--no-pager", "-x", f"UPDD_JOB={job}", f"UPDD_EVENT={event}")
    assert says in text and f"of job {job} " in text or f"Job {job} " in text
    assert "Defined-By: updd" in text and "@UPDD_" not in text


def test_each_number_of_the_daemon_is_in_the_machines_catalogue(machine, updd):
    listed = machine.run("journalctl", "--list-catalog").splitlines()
    ids = {e["MESSAGE_ID"] for e in entries(machine, "_SYSTEMD_UNIT=updd.service")
           if "MESSAGE_ID" in e and e.get("_SYSTEMD_UNIT") == "updd.service"}
    assert ids and ids <= {line.split()[0] for line in listed if "updd" in line}


def test_the_daemons_own_life_is_told(machine, updd):
    updd.kill9()
    found = entries(machine, "-u", "updd.service", "-n", "40")
    died = [e for e in found if "did not end, it died" in e["MESSAGE"] and "MESSAGE_ID" in e]
    assert died and died[-1]["PRIORITY"] == "4"


@pytest.fixture
def hung(machine):
    """The journal takes nothing until the test lets it go on, and no entry is held up for good."""
    pid = machine.show("systemd-journald.service", "MainPID")["MainPID"]
    machine.run("kill", "-STOP", pid)

    def go_on():
        machine.run("kill", "-CONT", pid)
    yield go_on
    go_on()


def test_a_journal_that_hangs_holds_no_job_up(machine, updd, tiny, hung):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act("b")))
    updd.wait_for(job, "succeeded", timeout=60)
    hung()
    told(machine, updd, job)


def fill(machine, updd, tiny):
    """A job with more events than the journal's queue holds."""
    skipped = [tiny.act(f"s{i}", when="'a' == 'b'") for i in range(1500)]
    job = updd.begin(tiny.plan(tiny.act("a"), *skipped))
    updd.wait_for(job, "succeeded", timeout=60)
    return job


def missed(machine, updd, *jobs):
    """How many of the jobs' events the journal has not."""
    found = [e for job in jobs for e in entries(machine, f"UPDD_JOB={job}") if "UPDD_SEQ" in e]
    return sum(len(updd.events(job)) for job in jobs) - len(found)


def note(n):
    return f"the journal missed {n} entries"


def test_one_that_took_no_more_is_told_how_much_it_missed(machine, updd, tiny, hung):
    job = fill(machine, updd, tiny)
    hung()
    n = missed(machine, updd, job)
    assert n > 0, "the journal's queue holds more than this test gives it"
    # Nothing else happens: it is told all the same.
    updd.until(lambda: note(n) in machine.journal("-u", "updd.service"), 20, updd.said)
    after = updd.begin(tiny.plan(tiny.act("b")))
    updd.wait_for(after, "succeeded")
    told(machine, updd, after)


def test_the_daemon_waits_once_for_one_that_takes_no_more(machine, updd, tiny, hung):
    job, waited = fill(machine, updd, tiny), []
    for _ in range(20):
        # What it says of a reload is an entry of its own, and so is each event of the jobs.
        machine.run("kill", "-HUP", updd.main_pid())
        begin = time.monotonic()
        assert updd.call("GET", "/v1/health").status == 200
        waited.append(time.monotonic() - begin)
    assert sorted(waited)[10] < 0.06 * SLOW, "it waits a tenth of a second for each"
    jobs = [job] + [updd.begin(tiny.plan(tiny.act(f"c{i}"), plan=f"tiny-{i}")) for i in range(10)]
    for one in jobs[1:]:
        updd.wait_for(one, "succeeded", timeout=60)
    hung()
    n = missed(machine, updd, *jobs)
    updd.until(lambda: note(n) in machine.journal("-u", "updd.service"), 20, updd.said)


def test_what_one_missed_is_told_over_a_restart_of_the_daemon(machine, updd, tiny, hung):
    job = fill(machine, updd, tiny)
    machine.run("systemctl", "--no-block", "restart", "updd.service")
    pid = updd.main_pid()
    updd.until(lambda: updd.main_pid() not in (0, pid), 30, "it is not there again")
    updd.wait_up()
    hung()
    n = missed(machine, updd, job)
    updd.until(lambda: note(n) in machine.journal("-u", "updd.service"), 20, updd.said)
