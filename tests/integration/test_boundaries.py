# SPDX-License-Identifier: MIT
"""
Nothing is lost wherever a process dies: updd, updd-step's supervisor, its worker, or supervisor and
updd in one moment, are killed at each call that changes the disk, starts a process or answers a
client (tests/preload), in turn, over jobs that go along every arc of the state tables (crashjobs.py).

What updd's death must not change is told by a run without a fault: the same end, the same steps
carried out as often and in the same order, the same facts in the journal. What a step's death may
change is told by rules.

Every boundary is tried once, before its call; `UPDD_BOUNDARIES=all` also tries it after the call, and
each call of a row; `UPDD_TEST_FIRST=1` stops at the first violation. Where things are slow (UPDD_TEST_SLOW) one of STRIDE is, chosen by
`UPDD_BOUNDARIES_SEED`, which is printed.
"""
import concurrent.futures
import json
import os
import shutil

import pytest

import states
from boundaries import Run, telling
from crashjobs import JOBS, TIMED, look_at
from daemon import ENDED, SLOW

STRIDE = round(7 * SLOW) if SLOW > 1 else 1
SAMPLE = round(7 * SLOW)  # where a sample is enough
SEED = int(os.environ.get("UPDD_BOUNDARIES_SEED", "1"))
ALL = os.environ.get("UPDD_BOUNDARIES") == "all"
FIRST = os.environ.get("UPDD_TEST_FIRST") == "1"
AT_ONCE = 4  # a run waits more than it works
LIMIT = 7200 if ALL else 300
# Jobs of updd's own arcs; what steps do to files is nothing to it.
DECIDED = [name for name in JOBS if name not in ("deeds", "worked")]


def boundaries(sane, first, stride):
    """(number, after) of each call at which a run dies."""
    numbers = [n for n in telling(sane, rows=ALL) if n >= first]
    if ALL:
        return [(n, after) for n in numbers for after in (False, True)]
    if stride == 1:
        return [(n, False) for n in numbers] + [(numbers[-1], True)]
    return [(n, i % 2 == 1) for i, n in enumerate(numbers[SEED % stride::stride])]


def try_all(tmp_path, name, program, demands, again=lambda n: 0, stride=STRIDE, first=None, **how):
    """Kills `program` at each boundary in turn; every violation is told, not only the first."""
    sane = Run(tmp_path / "sane", name, program)
    assert sane.now["state"] == sane.end, sane.facts()
    assert sane.calls > 10, "nothing was counted"

    wrong = []

    def once(n, after):
        if FIRST and wrong:
            return False
        folder = tmp_path / f"at-{n}-{'after' if after else 'before'}"
        try:
            run = Run(folder, name, program, n, after, again=again(n), **how)
            demands(run, sane)
        except Exception as e:  # noqa: BLE001: a run's fault must not hide another's
            names = sane.control.names()
            call = names[n - 1] if n <= len(names) else "?"
            wrong.append(f"{folder.name} {call} ({folder}):\n{type(e).__name__}: {e}")
            return False
        shutil.rmtree(folder)
        return run.fired
    tried = boundaries(sane, first or sane.first, stride)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        told = list(pool.map(lambda at: once(*at), tried))
    reached = told.count(True)
    print(f"{name}: {program} killed at {reached} of {len(tried)} boundaries, {sane.calls} calls, "
          f"seed {SEED}, {len(wrong)} violations")
    assert not wrong, "\n\n".join(wrong)
    # The calls of two runs differ by a few: the last ones may not come.
    assert len(tried) - reached <= max(1, 0.2 * len(tried)), (reached, len(tried))


@pytest.mark.timeout(LIMIT)
def test_the_jobs_go_along_every_arc_of_the_tables(built, tmp_path):
    names = [*TIMED, *DECIDED]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        runs = list(pool.map(lambda name: Run(tmp_path / name, name, "updd"), names))
    for name, run in zip(names, runs):
        assert run.now["state"] == run.end, (name, run.facts())
        interrupted = [e for e in run.journal if e[0] == "step_interrupted"]
        assert not interrupted or name.startswith("crashed"), (name, interrupted)
    gone = set().union(*(run.arcs for run in runs))
    known = {(machine, *arc) for machine in states.tables() for arc in states.all_arcs(machine)}
    assert gone == known, f"no job goes along {sorted(known - gone)}"


# ---- what must hold -----------------------------------------------------------------------------


def nothing_changed(run, sane):
    assert run.updd.deaths <= 2 and run.updd.deaths >= run.fired, "updd did not die as planned"
    assert run.facts() == sane.facts(), json.dumps([run.facts(), sane.facts()], indent=1)


def nothing_is_lost(run, sane):
    """rules.check() was asked of the run already; here is what only this job can tell."""
    assert run.now["state"] in ENDED, run.now["state"]
    does = [w for w in run.done if w.startswith("do-")]
    for word in set(does):
        allowed = max(1, sane.done.count(word))
        assert does.count(word) <= allowed, f"{word} {does.count(word)} times: {run.done}"
    if run.now["state"] == "rolled_back":
        assert not run.tiny.exists("written")
        assert look_at(run.tiny.folder / "world") == run.world, "the undo did not bring it back"
        standing = {s["id"] for s in run.now["steps"] if s["phase"] != "hook" and
                    s["state"] in ("done", "running", "undoing")}
        left = {"ask", "missed", "accept", "@checks", "bk"}  # they have no undo
        assert standing <= left, run.states


# ---- where it is tried --------------------------------------------------------------------------


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("name", DECIDED)
def test_a_daemon_that_dies_at_any_boundary_changes_nothing(built, tmp_path, name):
    # A start that makes a new state folder, and a job that is taken, are the same in all of them.
    try_all(tmp_path, name, "updd", nothing_changed, first=1 if name == "refused" else None)


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("name", TIMED)
def test_a_daemon_that_dies_at_a_boundary_keeps_the_time(built, tmp_path, name):
    try_all(tmp_path, name, "updd", nothing_changed, stride=SAMPLE)


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("name", ["held", "stop", "sticky", "crashed-skip"])
def test_a_daemon_that_dies_again_while_it_starts_again_changes_nothing(built, tmp_path, name):
    try_all(tmp_path, name, "updd", nothing_changed, lambda n: 1 + n % 40, SAMPLE)


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("both", [False, True], ids=["step", "step-and-daemon"])
@pytest.mark.parametrize("name", ["stop"])
def test_a_step_that_dies_at_any_boundary_is_lost_neither_way(built, tmp_path, name, both):
    try_all(tmp_path, name, "updd-step", nothing_is_lost, both=both)


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("both", [False, True], ids=["step", "step-and-daemon"])
@pytest.mark.parametrize("name", ["forth", "back", "told"])
def test_a_step_that_dies_in_a_longer_job_is_lost_neither_way(built, tmp_path, name, both):
    try_all(tmp_path, name, "updd-step", nothing_is_lost, stride=SAMPLE, both=both)


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("name, program", [("deeds", "worker"), ("worked", "updd-step-worker")])
def test_a_worker_that_dies_beside_any_change_of_a_file_can_be_undone(built, tmp_path, name,
                                                                      program):
    try_all(tmp_path, name, program, nothing_is_lost)
