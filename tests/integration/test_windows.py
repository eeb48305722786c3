# SPDX-License-Identifier: MIT
"""
Maintenance windows and reminders: what a job is given, what is refused beforehand, that no step
begins outside of a window, what happens at its end, and who is told, whatever the clocks do and
however often updd and the machine are started again.
"""
import datetime
import json

import pytest

from clock import HOUR, MINUTE, ClockDaemon


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


# ---- what a job is given ------------------------------------------------------------------------


@pytest.mark.parametrize("window, member", [
    ({}, "window"),
    ({"ends": "2099-01-01T00:00:00Z", "length": "2h"}, "window"),
    ({"begins": "2099-01-01T00:00:00Z"}, "window"),
    ({"length": "2"}, "window.length"),
    ({"length": "0s"}, "window.length"),
    ({"ends": "tomorrow"}, "window.ends"),
    ({"ends": "2099-01-01T00:00:00"}, "window.ends"),
    ({"begins": "2099-01-01T00:00:00+1:00", "length": "2h"}, "window.begins"),
    ({"begins": "2099-01-02T00:00:00Z", "ends": "2099-01-01T00:00:00Z"}, "window.ends"),
    ({"ends": "2001-01-01T00:00:00Z"}, "window.ends"),
    ({"begins": "2001-01-01T00:00:00Z", "length": "2h"}, "window.begins"),
    ({"lenght": "2h"}, "window.lenght"),
])
def test_a_window_that_cannot_be_is_refused_with_its_place(updd, tiny, window, member):
    said = updd.refuse(422, "bad-window", "POST", "/v1/jobs",
                       document(tiny.plan(tiny.act("a")), window=window))
    assert said["member"] == member and member in said["detail"], said
    assert updd.api("GET", "/v1/jobs")["jobs"] == []


def test_a_window_of_another_form_is_no_request(updd, tiny):
    for window in ("2h", {"length": 2}, ["2h"]):
        said = updd.refuse(400, "bad-request", "POST", "/v1/jobs",
                           document(tiny.plan(tiny.act("a")), window=window))
        assert said["member"] == "window"


def test_a_window_is_kept_and_shown(updd, tiny):
    begins = at(updd, HOUR, zone=-5)
    job = updd.begin(tiny.plan(tiny.act("a")), window={"begins": begins, "length": "1h30m"})

    def shown():
        window = updd.job(job)["window"]
        assert abs(seconds_of(window["begins"]) - seconds_of(begins)) < 0.01
        assert seconds_of(window["ends"]) - seconds_of(window["begins"]) == 90 * MINUTE
        assert window["length"] == "1h30m" and window["at_end"] == "hold"
        return window
    shown()
    assert updd.events(job)[0]["data"]["window"]["length"] == "1h30m"
    assert "window" in updd.ctl("status", job).stdout
    assert updd.api("GET", f"/v1/jobs/{job}/report")["window"] == shown()
    assert "Window" in updd.call("GET", f"/v1/jobs/{job}/report?format=markdown").text
    updd.kill9()
    updd.start()
    shown()


def test_updctl_gives_a_window(updd, tiny):
    (updd.plans / "w.yaml").write_text(json.dumps(tiny.plan(tiny.act("a"), plan="w")))
    begins = at(updd, HOUR, zone=2)
    said = updd.ctl("start", "w", "--detach", "--window", "soon", check=1)
    assert "window.length" in said.stderr
    said = updd.ctl("start", "w", "--detach", "--window-begins", begins, check=2)
    assert "--window" in said.stderr
    updd.ctl("start", "w", "--detach", "--window", "2h", "--window-begins", begins, check=0)
    window = updd.job(1)["window"]
    assert abs(seconds_of(window["begins"]) - seconds_of(begins)) < 0.01
    assert window["length"] == "2h"


def test_a_job_without_a_window_shows_none(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a")))
    assert "window" not in updd.wait_for(job, "succeeded")
    updd.refuse(400, "bad-request", "POST", "/v1/jobs",
                document(tiny.plan(tiny.act("a")), overrides=["window"]))
