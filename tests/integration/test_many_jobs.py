# SPDX-License-Identifier: MIT
"""More jobs than may run at once, gates that wait beside them, and very many in a row."""
import importlib
import sys

import daemon as daemon_module
from daemon import SLOW

# ---- more jobs than may run, and gates that show ------------------------------------------------------


def test_no_more_jobs_run_than_may_and_the_others_are_queued_in_their_order(updd, tiny):
    updd.stop()
    (tiny.folder / "updd.yaml").write_text("max-jobs: 2\n")
    wrapper = tiny.folder / "configured"
    wrapper.write_text(f'#!/bin/sh\nexec "$@" --config {tiny.folder}/updd.yaml\n')
    wrapper.chmod(0o755)
    updd.through = [wrapper]
    updd.start()
    jobs = [updd.begin(tiny.plan(tiny.act(
        f"j{n}", f"touch began-{n}; while ! test -e go-{n}; do sleep 0.02; done")))
        for n in range(5)]

    def states():
        return [updd.job(j)["state"] for j in jobs]
    updd.until(lambda: tiny.exists("began-0") and tiny.exists("began-1"), 20, lambda: str(states()))
    assert states() == ["running"] * 2 + ["queued"] * 3
    # One that is queued can be taken back, survives a restart, and has touched nothing.
    updd.post(jobs[3], "cancel")
    updd.kill9()
    updd.start()
    assert states() == ["running"] * 2 + ["queued", "cancelled", "queued"]
    tiny.touch("go-1")
    updd.wait_for(jobs[1], "succeeded")
    updd.until(lambda: tiny.exists("began-2"), 20, lambda: str(states()))
    assert states() == ["running", "succeeded", "running", "cancelled", "queued"]
    assert not tiny.exists("began-4")
    for n in (0, 2, 4):
        tiny.touch(f"go-{n}")
    for n in (0, 2, 4):
        updd.wait_for(jobs[n], "succeeded")
    assert not tiny.exists("began-3") and tiny.done().index("do-j2") < tiny.done().index("do-j4")
    for job in jobs:
        updd.invariants(job)


def test_a_gate_that_waits_holds_up_no_other_job(updd, tiny):
    """A person may take days: what runs is counted, not what waits."""
    updd.stop()
    wrapper = tiny.folder / "configured"
    wrapper.write_text('#!/bin/sh\nexec "$@" --max-jobs 1\n')
    wrapper.chmod(0o755)
    updd.through = [wrapper]
    updd.start()
    gated = updd.begin(tiny.plan(tiny.gate(), tiny.act("a")))
    wait = updd.wait_open(gated, "gate")
    other = updd.begin(tiny.plan(tiny.act("b")))
    updd.wait_for(other, "succeeded")
    updd.post(gated, "confirm", wait=wait["id"])
    updd.wait_for(gated, "succeeded")
    assert tiny.done() == ["do-b", "do-a"]


def test_a_gate_shows_the_last_lines_of_the_steps_that_it_names(updd, tiny):
    job = updd.begin(tiny.plan(
        tiny.act("quiet"), tiny.act("loud", "seq 1 50; printf 'bad \\\\377 byte'"),
        tiny.act("left-out", when="1 == 2"),
        tiny.gate(show=["loud", "quiet", "left-out"])))
    wait = updd.wait_open(job, "gate")
    shown = {s["step"]: s.get("tail") for s in wait["show"]}
    assert shown["loud"][-1].startswith("bad ") and "50" in shown["loud"], shown
    assert not shown["quiet"] and not shown["left-out"]
    told = updd.ctl("status", job, check=5).stdout  # it waits for somebody
    assert "50" in told, told


# ---- many jobs ---------------------------------------------------------------------------------------


def test_many_short_jobs_leave_nothing_behind_in_the_daemon(built, tmp_path):
    """A share of `tests/soak --jobs 10000`."""
    sys.path.insert(0, str(daemon_module.ROOT / "tests/soak.d"))
    figures = importlib.import_module("jobs").soak(500 if SLOW == 1 else 100, tmp_path, 1)
    assert figures["violations"] == 0, figures
