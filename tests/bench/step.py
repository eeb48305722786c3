# SPDX-License-Identifier: MIT
"""
A step `run: ["true"]`, end to end, on both backends, beside what it replaces in the same run:

plain    posix_spawn + waitpid, bare and with as many syncs of a small file as the step has
systemd  `systemd-run --wait true`, in a machine that is booted for it (tests/system), where the disk
         is memory: what a sync costs is in the plain figures only

The syncs of a step are counted: a daemon that tests/recorder watches carries out a chain, and another
of half its length.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parent.parent
STEPS, ROUNDS = 50, 5

# In the machine there is nothing but a small python.
PEERS = r'''
import os, sys, time
n, rounds = int(sys.argv[1]), int(sys.argv[2])
systemd_run = ["/usr/bin/systemd-run", "--wait", "--quiet", "true"]
for argv in [systemd_run, ["/bin/true"]] * rounds:
    began = time.monotonic()
    for _ in range(n):
        assert os.waitpid(os.posix_spawn(argv[0], argv, os.environ), 0)[1] == 0
    print((time.monotonic() - began) * 1000 / n)
'''


def spread(values):
    return f"{statistics.median(values):.3f} ms ({min(values):.3f} to {max(values):.3f})"


def ratio(ours, theirs):
    return f"{statistics.median(ours) / statistics.median(theirs):.2f}"


def chain(n=STEPS):
    return [{"id": f"s{i}", "run": ["true"], "undo": "none"} for i in range(n)]


# ---- plain ----------------------------------------------------------------------------------------


def count_syncs(start, log, n):
    """How many a chain of n steps has, and all that comes with any job."""
    updd = start(through=[updd_build() / "tests/recorder/recorder", log, log.parent])
    updd.carry_out("count", chain(n))
    updd.end()
    text, at, found = log.read_bytes(), 0, 0
    while (end := text.find(b"\n", at)) >= 0:
        record = json.loads(text[at:end])
        at = end + 1 + record.get("size", 0)
        found += "sync" in record["op"]
    return found


def updd_build():
    return pathlib.Path(os.environ.get("UPDD_BUILD", "build-release")).resolve()


def spawn_and_sync(file, syncs):
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    for _ in range(syncs):
        os.pwrite(file, b"x" * 512, 0)
        os.fdatasync(file)


def time_peer(folder, syncs):
    file = os.open(folder / "synced", os.O_RDWR | os.O_CREAT, 0o600)
    began = time.monotonic()
    for _ in range(STEPS):
        spawn_and_sync(file, syncs)
    took = (time.monotonic() - began) * 1000 / STEPS
    os.close(file)
    return took


def bench_plain(start, folder, milliseconds):
    """`start(through=…)` gives a daemon in a folder of its own below `folder`."""
    most = count_syncs(start, folder / "most" / "log", STEPS)
    half = count_syncs(start, folder / "half" / "log", STEPS // 2)
    syncs = max(0, round((most - half) / (STEPS - STEPS // 2)))
    updd = start()
    ours, bare, synced = [], [], []
    for _ in range(ROUNDS):
        ours.append(milliseconds(updd.carry_out("plain", chain())[0]) / STEPS)
        bare.append(time_peer(updd.folder, 0))
        synced.append(time_peer(updd.folder, syncs))
    updd.end()
    print(f"plain: a step {spread(ours)}; posix_spawn + waitpid {spread(bare)}, ratio "
          f"{ratio(ours, bare)}; with {syncs} syncs {spread(synced)}, ratio {ratio(ours, synced)}")


# ---- systemd --------------------------------------------------------------------------------------


def machine_in(folder):
    """A machine with updd in it, or why there is none."""
    sys.path[:0] = [str(TESTS / "integration"), str(TESTS / "system")]
    os.environ["UPDD_BUILD"] = str(updd_build())
    if os.geteuid() != 0:
        return None, "a machine is booted by root only"
    try:
        import machine
        m = machine.Machine(folder)
    except (ImportError, AssertionError, OSError, subprocess.CalledProcessError) as e:
        return None, f"no machine can be made: {e}"
    try:
        m.install()
        return m.boot(), None
    except BaseException as e:
        m.close()
        if not isinstance(e, (AssertionError, OSError, subprocess.CalledProcessError)):
            raise
        return None, f"no machine can be booted: {e}"


def bench_systemd(folder, milliseconds):
    m, why = machine_in(folder / "machine")
    if not m:
        print(f"systemd: not measured: {why}")
        return
    try:
        import machine
        updd = machine.Installed(m).wait_up()
        ours = []
        for _ in range(ROUNDS):
            job = updd.begin({"format": 1, "plan": "unit", "steps": chain()})
            ours.append(milliseconds(updd.wait_for(job, "succeeded", timeout=120)) / STEPS)
        peers = [float(line) for line in
                 m.run("python3", "-c", PEERS, STEPS, ROUNDS, timeout=300).split()]
        units, bare = peers[::2], peers[1::2]
        print(f"systemd: a step {spread(ours)}; systemd-run --wait true {spread(units)}, ratio "
              f"{ratio(ours, units)}; posix_spawn + waitpid there {spread(bare)}")
    finally:
        m.close()
