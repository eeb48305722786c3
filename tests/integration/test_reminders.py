# SPDX-License-Identifier: MIT
"""Who is told of a window that comes, of a wait that lasts, and of a deadline that is near."""
import sqlite3

import pytest

from clock import DAY, HOUR, MINUTE
from windows import ahead, heard, hears, hears_of, kinds, seconds_of, stays, updd


# ---- who is told --------------------------------------------------------------------------------


def test_the_notice_goes_out_once_before_the_window(updd, tiny):
    job = ahead(updd, tiny, hours=6, hooks=hears("notice"), window={"notify_before": "2h"})
    updd.sleep(4 * HOUR - 2 * MINUTE)
    stays(updd, job, "waiting")
    assert heard(tiny, "notice") == []
    updd.sleep(3 * MINUTE)
    told = hears_of(updd, tiny, job, "notice", 1)
    assert told["window"]["begins"] == updd.job(job)["window"]["begins"]
    assert told["type"] == "notice" and told["state"] == "waiting" and told["seq"] > 1
    updd.kill9()
    updd.start()
    updd.sleep(2 * HOUR)
    updd.wait_for(job, "succeeded")
    hears_of(updd, tiny, job, "notice", 1)
    assert kinds(updd, job).count("notice") == 1


def test_a_notice_survives_a_boot(updd, tiny):
    job = ahead(updd, tiny, hours=6, hooks=hears("notice"), window={"notify_before": "2h"})
    updd.power_off()
    updd.boot(off=5 * HOUR)
    hears_of(updd, tiny, job, "notice", 1)
    assert updd.job(job)["window"]["state"] == "ahead"


def test_a_notice_that_was_missed_goes_out_when_the_window_opens(updd, tiny):
    job = ahead(updd, tiny, hours=6, hooks=hears("notice"), window={"notify_before": "2h"})
    updd.power_off()
    updd.boot(off=6 * HOUR + MINUTE)
    updd.wait_for(job, "succeeded")
    hears_of(updd, tiny, job, "notice", 1)


def test_without_a_time_the_notice_goes_out_at_once(updd, tiny):
    job = ahead(updd, tiny, hooks=hears("notice"))
    hears_of(updd, tiny, job, "notice", 1)


def test_a_window_that_is_open_at_once_has_no_notice(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), hooks=hears("notice", "ended"),
                               window={"notify_before": "2h"}), window={"length": "1h"})
    updd.wait_for(job, "succeeded")
    hears_of(updd, tiny, job, "ended", 1)
    assert heard(tiny, "notice") == []


def test_who_is_waited_for_is_reminded_ever_more_rarely(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate(), hooks=hears("waiting")))
    updd.wait_open(job, "gate")
    assert "reminder" not in hears_of(updd, tiny, job, "waiting", 1)
    sent = 1
    for hours in (1, 2, 4, 8, 16, 24, 24):
        updd.sleep(hours * HOUR - 2 * MINUTE)
        stays(updd, job, "waiting")
        assert len(heard(tiny, "waiting")) == sent
        updd.sleep(3 * MINUTE)
        sent += 1
        assert hears_of(updd, tiny, job, "waiting", sent)["reminder"] == sent - 1
    updd.post(job, "confirm", wait=updd.wait_open(job, "gate")["id"])
    updd.wait_for(job, "succeeded")
    updd.sleep(3 * DAY)
    stays(updd, job, "succeeded")
    hears_of(updd, tiny, job, "waiting", sent)
    updd.invariants(job)


def test_the_next_wait_begins_its_own_reminders(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate("one"), tiny.gate("two"), hooks=hears("waiting")))
    wait = updd.wait_open(job, "gate", "one")
    hears_of(updd, tiny, job, "waiting", 1)
    updd.sleep(HOUR + MINUTE)
    hears_of(updd, tiny, job, "waiting", 2)
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_open(job, "gate", "two")
    assert "reminder" not in hears_of(updd, tiny, job, "waiting", 3)
    updd.sleep(HOUR + MINUTE)
    assert hears_of(updd, tiny, job, "waiting", 4)["reminder"] == 1


@pytest.mark.parametrize("again", ["restart", "kill9", "boot"])
def test_reminders_survive(updd, tiny, again):
    """And those that came meanwhile are one."""
    job = updd.begin(tiny.plan(tiny.gate(), hooks=hears("waiting")))
    hears_of(updd, tiny, job, "waiting", 1)
    updd.sleep(HOUR + MINUTE)
    hears_of(updd, tiny, job, "waiting", 2)
    if again == "boot":
        updd.power_off()
        updd.boot(off=HOUR)
    else:
        updd.stop() if again == "restart" else updd.kill9()
        updd.sleep(HOUR)
        updd.start()
    stays(updd, job, "waiting")
    assert len(heard(tiny, "waiting")) == 2
    updd.sleep(2 * DAY)
    assert hears_of(updd, tiny, job, "waiting", 3)["reminder"] == 2
    stays(updd, job, "waiting")
    assert len(heard(tiny, "waiting")) == 3


@pytest.mark.parametrize("within, lead, before", [("50m", 5 * MINUTE, 1), ("20h", 2 * HOUR, 2)])
def test_a_deadline_is_reminded_of_once(updd, tiny, within, lead, before):
    """A tenth of its time before it, and five minutes at least; `before` that it was told so often."""
    job = updd.begin(tiny.plan(tiny.gate(within=within, on_timeout="continue"),
                               hooks=hears("waiting")))
    deadline = seconds_of(updd.wait_open(job, "gate")["deadline"])
    hears_of(updd, tiny, job, "waiting", 1)
    updd.sleep(deadline - lead - updd.now() - MINUTE)
    hears_of(updd, tiny, job, "waiting", before)
    stays(updd, job, "waiting")
    assert len(heard(tiny, "waiting")) == before
    updd.sleep(2 * MINUTE)
    hears_of(updd, tiny, job, "waiting", before + 1)
    assert updd.events(job)[-1]["type"] in ("reminded", "hook_started", "hook_done")
    assert "a deadline is near" in str(updd.events(job))
    stays(updd, job, "waiting")
    assert len(heard(tiny, "waiting")) == before + 1
    updd.sleep(lead)
    updd.wait_for(job, "succeeded")
    updd.invariants(job)


def test_the_end_of_a_window_is_a_deadline_too(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate(), hooks=hears("waiting"), window={"at_end": "rollback"}),
                     window={"length": "50m"})
    updd.wait_open(job, "gate")
    hears_of(updd, tiny, job, "waiting", 1)
    updd.sleep(46 * MINUTE)
    hears_of(updd, tiny, job, "waiting", 2)
    stays(updd, job, "waiting")
    assert len(heard(tiny, "waiting")) == 2


def test_a_stuck_job_reminds(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", undo_then="exit 1"), tiny.fail("b"),
                               hooks=hears("stuck")))
    updd.wait_for(job, "stuck")
    hears_of(updd, tiny, job, "stuck", 1)
    updd.sleep(HOUR + MINUTE)
    assert hears_of(updd, tiny, job, "stuck", 2)["reminder"] == 1
    updd.post(job, "abandon", reason="enough")
    updd.wait_for(job, "abandoned")
    updd.sleep(DAY)
    stays(updd, job, "abandoned")
    hears_of(updd, tiny, job, "stuck", 2)


def test_a_job_without_hooks_wakes_nobody(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate()))
    updd.wait_open(job, "gate")
    updd.sleep(3 * DAY)
    stays(updd, job, "waiting")
    assert "reminded" not in kinds(updd, job)


def test_a_job_that_waits_since_an_updd_that_did_not_remind_is_reminded_of(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate(), hooks=hears("waiting")))
    updd.wait_open(job, "gate")
    hears_of(updd, tiny, job, "waiting", 1)
    updd.stop()
    with sqlite3.connect(updd.state / "updd.db") as db:
        changed = db.execute("UPDATE job SET data = json_remove(data, '$.facts.remind') "
                             "WHERE data -> '$.facts.remind' IS NOT NULL").rowcount
    db.close()
    assert changed == 1
    updd.start()
    stays(updd, job, "waiting")
    updd.sleep(HOUR / 2)
    updd.restart()  # the next reminder is on disk: it is not put off by that
    updd.sleep(HOUR / 2 + MINUTE)
    assert hears_of(updd, tiny, job, "waiting", 2)["reminder"] == 1
    updd.invariants(job)
