# SPDX-License-Identifier: MIT
"""
Nothing is lost when the power goes: see powercut.py, disk.py and tests/recorder.

    UPDD_CUTS=25         disks a job (fewer under sanitizers)
    UPDD_CUTS_SEED=1     which points and losses; each violation tells its own
    UPDD_CUTS_JOB=forth  that job alone; tests/soak --cuts knows more of them
    UPDD_CUTS_AT=forth:17:gone:5   one cut alone: behind 17 records, that way of loss, that seed.
                         Another record of the same job may differ by a few.
"""
import os
import random
import subprocess

import pytest

import disk
import powercut
from daemon import SLOW

COUNT = int(os.environ.get("UPDD_CUTS", 25 if SLOW < 2 else 8))
SEED = int(os.environ.get("UPDD_CUTS_SEED", "1"))
AT = os.environ.get("UPDD_CUTS_AT", "")
CHOSEN = AT.split(":")[0] or os.environ.get("UPDD_CUTS_JOB")
JOBS = [CHOSEN] if CHOSEN else list(powercut.JOBS)


@pytest.fixture(scope="module")
def root():
    if os.geteuid() == 0:
        return
    if os.environ.get("CI") == "true":
        pytest.fail("another boot id needs root")
    pytest.skip("another boot id needs root")


WRITES = """
import os
os.mkdir("d")
for name, sync in (("synced", True), ("not", False)):
    f = os.open(f"d/{name}", os.O_WRONLY | os.O_CREAT)
    os.write(f, b"text" * 1000)
    if sync:
        os.fsync(f)
os.fsync(os.open(".", os.O_RDONLY))
os.fsync(os.open("d", os.O_RDONLY))
os.rename("d/synced", "d/moved")
os.symlink("moved", "d/link")
"""


def test_what_was_synced_stays_and_all_else_may_be_lost(built, tmp_path):
    root, script = tmp_path / "root", tmp_path / "script"
    root.mkdir()
    script.write_text(f"#!/usr/bin/python3\n{WRITES}")
    script.chmod(0o755)
    before = disk.Disk(root)
    subprocess.run([powercut.RECORDER, tmp_path / "log", root, script], cwd=root, check=True)
    for n, record in enumerate(disk.records(tmp_path / "log")):
        before.play(n, record)
    assert before.image({}, None) == disk.snapshot(root)
    whole, seen = b"text" * 1000, set()
    for seed in range(200):
        rng = random.Random(seed)
        image = before.image(before.lost(disk.WAYS[seed % len(disk.WAYS)], rng), rng)
        moved = "d/moved" in image
        assert ("d/synced" in image) != moved, "a move happens or does not"
        assert image["d/moved" if moved else "d/synced"][2] == whole
        text = image["d/not"][2]
        seen.add((moved, "d/link" in image, len(text) == 0, text == whole, whole.startswith(text)))
    assert len({s[:2] for s in seen}) == 4, "names are lost one by one"
    assert {(True, False), (False, True), (False, False)} <= {s[2:4] for s in seen}
    assert (False, False, False) in {s[2:] for s in seen}, "a write is never torn in the middle"


@pytest.mark.parametrize("name", JOBS)
def test_what_was_written_down_is_all_that_is_on_the_disk(built, tmp_path, name):
    record = powercut.Record(tmp_path / name, name)
    first = record.first
    assert first.answers[-1] == len(first.updd.calls)
    there, played = disk.snapshot(record.root), first.image(len(first.records), "kept", 1)
    wrong = sorted(p for p in there.keys() | played.keys() if there.get(p) != played.get(p))
    assert not wrong, wrong
    assert len(first.records) > 50, "nothing was recorded"


@pytest.mark.timeout(300 * SLOW + 3 * COUNT)
@pytest.mark.parametrize("name", JOBS)
def test_a_power_cut_loses_nothing(root, built, tmp_path, name):
    record = powercut.Record(tmp_path / name, name)
    cuts = record.cuts(COUNT, SEED)
    if AT:
        _, at, way, seed = AT.split(":")
        cuts = [(int(at), way, int(seed))]
    wrong = record.try_all(cuts)
    print(f"{name}: {record.disks} disks of {len(record.first.records)} records, "
          f"{len(wrong)} violations")
    assert not wrong, "\n\n".join(wrong)
