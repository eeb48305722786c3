# SPDX-License-Identifier: MIT
"""
One updd over many short jobs: its memory, descriptors and threads stay what they were, the database
grows by so much a job and no more. What is measured is what the kernel says of the process.
"""
import pathlib
import re
import time

from daemon import Daemon

HELP = "jobs, one daemon, memory looked at ten times"

MARKS = 10
AT_ONCE = 4
# Growth of the resident set between a mark and the last one. SQLite keeps up to 2 MiB of pages, and
# has them after some 1,000 jobs; before, that much more is let pass. With sanitizers, whose
# quarantine grows by itself, nothing can be told of it.
GROWTH_KIB = 512
PAGES_KIB = 2048
PAGES_FULL = 1000


def plan(n):
    """Every kind of end in turn, two steps or three, a gate in one of ten."""
    tell = {"run": ["true"], "undo": {"run": ["true"]}}
    kind = n % 10
    steps = [{"id": "a", **tell}, {"id": "look", "check": [{"that": "1 == 1"}]}]
    if kind in (3, 7):
        steps.append({"id": "bad", "run": ["false"], "undo": "none"})
    if kind == 5:
        steps.append({"id": "accept", "confirm": {"ask": "Well?"}})
    return {"format": 1, "plan": f"short-{kind}", "target": f"t{n % AT_ONCE}", "steps": steps}


END = {3: "rolled_back", 7: "rolled_back"}


class Look:
    """What /proc says of the daemon now."""

    def __init__(self, updd, done):
        proc = pathlib.Path(f"/proc/{updd.process.pid}")
        status = (proc / "status").read_text()
        self.done = done
        self.rss = int(re.search(r"VmRSS:\s*(\d+)", status)[1])
        self.threads = int(re.search(r"Threads:\s*(\d+)", status)[1])
        self.fds = len(list((proc / "fd").iterdir()))
        self.children = len((proc / f"task/{updd.process.pid}/children").read_text().split())
        self.database = sum(p.stat().st_size for p in updd.state.glob("updd.db*"))

    def __str__(self):
        return (f"{self.done} jobs: {self.rss} KiB, {self.fds} descriptors, {self.threads} threads, "
                f"database {self.database / 1024:.0f} KiB")


def quiet_look(updd, done):
    """Once nothing runs any more and the log of the database has been written back."""
    updd.until(lambda: not updd.attempt_pids(), 20, "attempts that never end")
    time.sleep(0.5)
    return Look(updd, done)


class Counted(Daemon):
    def attempt_pids(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return children.read_text().split()


def run_jobs(updd, first, last, wrong):
    """`AT_ONCE` at a time, each on a target of its own."""
    open_jobs, n = {}, first
    while n < last or open_jobs:
        while n < last and n % AT_ONCE not in open_jobs:
            open_jobs[n % AT_ONCE] = (n, updd.begin(plan(n)))
            n += 1
        for slot, (k, job) in list(open_jobs.items()):
            answer = updd.call("GET", f"/v1/jobs/{job}", headers={"Prefer": "wait=1"}).body
            for wait in answer.get("waits") or []:
                updd.post(job, "confirm", wait=wait["id"])
            wanted = END.get(k % 10, "succeeded")
            if answer["state"] == wanted:
                del open_jobs[slot]
            elif answer["state"] in ("failed", "stuck", "cancelled", "succeeded", "rolled_back"):
                wrong.append(f"job {job}: {answer['state']}, not {wanted}")
                del open_jobs[slot]
        updd.answers.clear()


def warm(looks):
    """The first look at a daemon that has all that it keeps; the second when none has."""
    return next((look for look in looks[:-1] if look.done >= PAGES_FULL), looks[1])


def judge(looks, sanitized):
    """What grew that must not."""
    first, last = warm(looks), looks[-1]
    allowed = GROWTH_KIB + (PAGES_KIB if first.done < PAGES_FULL else 0)
    found = []
    if last.rss - first.rss > allowed and not sanitized:
        found.append(f"memory grew by {last.rss - first.rss} KiB from {first.done} to {last.done}")
    if last.fds > first.fds:
        found.append(f"descriptors grew from {first.fds} to {last.fds}")
    if any(look.threads != 1 for look in looks):
        found.append(f"threads: {[look.threads for look in looks]}")
    return found


def soak(count, folder, seed):
    updd = Counted(folder / "updd")
    begun, looks, wrong = time.monotonic(), [], []
    try:
        updd.start()
        sanitized = b"libasan" in pathlib.Path(f"/proc/{updd.process.pid}/maps").read_bytes()
        for mark in range(MARKS):
            run_jobs(updd, count * mark // MARKS, count * (mark + 1) // MARKS, wrong)
            looks.append(quiet_look(updd, count * (mark + 1) // MARKS))
            print("  " + str(looks[-1]), flush=True)
        took = time.monotonic() - begun
        wrong += judge(looks, sanitized)
        for line in wrong:
            print("  VIOLATION: " + line, flush=True)
    finally:
        updd.close()
    first = warm(looks)
    per_job = (looks[-1].database - first.database) / max(1, looks[-1].done - first.done)
    return {"jobs": count, "jobs a second": round(count / took),
            f"KiB after {first.done}": first.rss, "KiB at last": looks[-1].rss, "descriptors": looks[-1].fds,
            "bytes of database a job": round(per_job), "violations": len(wrong)}
