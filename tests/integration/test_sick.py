# SPDX-License-Identifier: MIT
"""
A disk that is full, over its quota, failing or read-only, at each call that would change it, for a
while: updd stays up, answers reads, refuses changes with the reason, loses nothing that it
acknowledged, and goes on by itself when the disk is well again. So does updd-step.

`UPDD_SICK=all` tries every call; else SAMPLE of each run's, chosen by `UPDD_SICK_SEED`.
"""
import errno
import json
import os

import pytest

from sick import try_each

SAMPLE = 5
SEED = int(os.environ.get("UPDD_SICK_SEED", "1"))
ALL = os.environ.get("UPDD_SICK") == "all"
ILLS = [(errno.ENOSPC, False), (errno.EIO, False), (errno.EROFS, False), (errno.EDQUOT, False),
        (errno.ENOSPC, True), (errno.EIO, True)]


def cases(sane):
    calls = range(1, sane.calls + 1)
    stride = len(calls) // SAMPLE
    chosen = calls if ALL else calls[(11 * SEED) % stride::stride][:SAMPLE]
    return [(n, *ILLS[(i + SEED) % len(ILLS)]) for i, n in enumerate(chosen)]


def nothing_changed(run, sane):
    assert run.facts() == sane.facts(), json.dumps([run.facts(), sane.facts()], indent=1)


@pytest.mark.timeout(7200 if ALL else 300)
@pytest.mark.parametrize("name", ["forth", "back", "told"])
def test_a_disk_that_is_ill_for_a_while_under_updd_changes_nothing(built, tmp_path, name):
    ill, wrong = try_each(tmp_path, name, "updd", cases, nothing_changed)
    assert not wrong, "\n\n".join(wrong)
    assert ill >= SAMPLE - 2


def nothing_is_lost(run, sane):
    """What a step could not write down before it acted failed it; the job went back, or on."""
    assert run.now["state"] in ("succeeded", "rolled_back"), run.now["state"]
    if run.now["state"] == sane.end:
        assert run.tiny_written == sane.tiny_written


@pytest.mark.timeout(7200 if ALL else 300)
@pytest.mark.parametrize("name", ["forth", "back"])
def test_a_disk_that_is_ill_for_a_while_under_both_is_waited_for(built, tmp_path, name):
    ill, wrong = try_each(tmp_path, name, "updd*", cases, nothing_is_lost)
    assert not wrong, "\n\n".join(wrong)
    assert ill >= SAMPLE - 2
