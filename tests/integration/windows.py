# SPDX-License-Identifier: MIT
"""
Windows and reminders, as their tests share them: a daemon whose clocks a test sets, jobs before, in
and beyond their windows, and hooks that write down what they hear.
"""
import datetime
import json

import pytest

from clock import HOUR, ClockDaemon


@pytest.fixture
def updd(built, tmp_path):
    d = ClockDaemon(tmp_path / "updd")
    try:
        yield d.start()
    finally:
        d.close()


def at(updd, seconds, zone=0):
    """RFC 3339, so many seconds from the programs' now, as it is written `zone` hours from UTC."""
    place = datetime.timezone(datetime.timedelta(hours=zone))
    return datetime.datetime.fromtimestamp(updd.now() + seconds, place).isoformat()


def seconds_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def document(plan, **more):
    return {"document": json.dumps(plan), **more}


def kinds(updd, job):
    return [e["type"] for e in updd.events(job)]


def tells(*events):
    """Hooks that write down that they ran, and for what."""
    return {e: [{"run": ["sh", "-c", f"echo hook-{e} >>told"]}] for e in events}


def stays(updd, job, state, seconds=0.4):
    """Also when the daemon had the time to think about it."""
    seen = updd.job(job)["version"]
    answer = updd.call("GET", f"/v1/jobs/{job}",
                       headers={"If-None-Match": f'"{seen}"', "Prefer": "wait=1"})
    assert answer.status == 304 or answer.body["state"] == state, updd.tell(job)
    assert updd.job(job)["state"] == state, updd.tell(job)


def ahead(updd, tiny, *steps, hours=2, length="1h", **top):
    """A job that waits for its window."""
    plan = tiny.plan(*(steps or [tiny.act("a")]),
                     checks=[{"run": ["sh", "-c", f"cd {tiny.folder}; echo checked >>told"]}], **top)
    job = updd.begin(plan, window={"begins": at(updd, hours * HOUR), "length": length})
    updd.wait_open(job, "window")
    updd.wait_for(job, "waiting")
    return job


def running(updd, tiny, *more, at_end="hold", length="1h", reserve=None, **top):
    """A job with a step that is done and one that runs until told, in its window."""
    window = {"at_end": at_end, **({"reserve": reserve} if reserve else {})}
    job = updd.begin(tiny.plan(
        tiny.act("a"), tiny.act("b", "touch began; while ! test -e go; do sleep 0.02; done"),
        *more, window=window, **top), window={"length": length})
    updd.until(lambda: tiny.exists("began"), 20, lambda: updd.tell(job))
    return job


def closed(updd, job):
    updd.until(lambda: updd.job(job)["window"]["state"] == "closed", 20, lambda: updd.tell(job))


def heard(tiny, event):
    """What the hooks of the event were told, in order."""
    return [json.loads(line) for line in tiny.folder.joinpath(event).read_text().splitlines()] \
        if tiny.exists(event) else []


def hears(*events):
    """Hooks that write down what they are told."""
    return {e: [{"run": ["sh", "-c", f"cat >>{e}; echo >>{e}"]}] for e in events}


def hears_of(updd, tiny, job, event, times):
    """What they were told last, the `times`-th time; each run is on record."""
    def ran():
        done = [e for e in updd.events(job)
                if e["type"] == "hook_done" and e["step"].startswith(f"@hook.{event}.")]
        return len(done) >= times
    updd.until(ran, 20, lambda: updd.tell(job))
    assert len(heard(tiny, event)) == times, heard(tiny, event)
    return heard(tiny, event)[-1]
