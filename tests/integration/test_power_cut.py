# SPDX-License-Identifier: MIT
"""
Nothing is lost when the power goes: see powercut.py, disk.py and tests/recorder.

    UPDD_CUTS=25         disks a job
    UPDD_CUTS_SEED=1     which points and losses; each violation tells its own
    UPDD_CUTS_JOB=forth  that job alone
    UPDD_CUTS_AT=forth:17:gone:5   one cut alone: behind 17 records, that way of loss, that seed.
                         Another record of the same job may differ by a few.
"""
import os
import random

import pytest

import disk
import powercut

COUNT = int(os.environ.get("UPDD_CUTS", "25"))
SEED = int(os.environ.get("UPDD_CUTS_SEED", "1"))
AT = os.environ.get("UPDD_CUTS_AT", "")
JOBS = [n for n in powercut.JOBS
        if n == (AT.split(":")[0] or os.environ.get("UPDD_CUTS_JOB") or n)]


@pytest.fixture(scope="module")
def root():
    if os.geteuid() == 0:
        return
    if os.environ.get("CI") == "true":
        pytest.fail("another boot id needs root")
    pytest.skip("another boot id needs root")


@pytest.mark.parametrize("name", JOBS)
def test_what_was_written_down_is_all_that_is_on_the_disk(built, tmp_path, name):
    record = powercut.Record(tmp_path / name, name)
    assert sum(r["op"] == "answer" for r in record.records) == len(record.updd.calls)
    for n, r in enumerate(record.records):
        record.disk.play(n, r)
    there, played = disk.snapshot(record.root), record.disk.image({}, random.Random(1))
    wrong = sorted(p for p in there.keys() | played.keys() if there.get(p) != played.get(p))
    assert not wrong, wrong
    assert len(there) > 20, "nothing was written"


@pytest.mark.parametrize("name", JOBS)
def test_a_power_cut_loses_nothing(root, built, tmp_path, name):
    record = powercut.Record(tmp_path / name, name)
    cuts = record.cuts(COUNT, SEED)
    if AT:
        _, at, way, seed = AT.split(":")
        cuts = [(int(at), way, int(seed))]
    wrong = record.try_all(cuts)
    print(f"{name}: {len(cuts)} disks of {len(record.records)} records, {len(wrong)} violations")
    assert not wrong, "\n\n".join(wrong)
