# SPDX-License-Identifier: MIT
"""
Steps, checks and people as nobody wants them: processes that will not die, disks that are filled, a
step that kills, replaces or restarts the very program that runs it, health that flaps, and two who
decide in the same moment. Each has one outcome, and it is the one that is told.
"""
import datetime
import http.client
import importlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

import daemon as daemon_module
from daemon import BUILD, SLOW
from test_http import Served

# ---- processes that will not die ------------------------------------------------------------------

# A bomb that was defused by hand: N processes, each forked twice, in a session of its own, with an
# empty environment, deaf to all that can be ignored, holding the step's output open.
BOMB = """\
import os, signal, sys
for n in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
                signal.signal(s, signal.SIG_IGN)
            os.execve("/bin/sleep", [__file__, "600"], {})
        os._exit(0)
    os.wait()
"""

# A family that flees: each member lives a few milliseconds and leaves one child behind, so that a
# list of processes is out of date when it is made.
FLEEING = """\
import os, sys, time
os.setsid()
end = time.monotonic() + 60
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    time.sleep(0.002)
"""


def named(text):
    """Pids of live processes with that text on their command line."""
    found = []
    for p in pathlib.Path("/proc").iterdir():
        try:
            if p.name.isdigit() and text.encode() in (p / "cmdline").read_bytes() \
                    and (p / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                found.append(int(p.name))
        except OSError:
            continue
    return found


@pytest.fixture
def bomb(tiny):
    """The argv of the bomb, and what is left of it."""
    path = tiny.folder / "bomb.py"
    path.write_text(BOMB)
    try:
        yield lambda n: [sys.executable, "-S", "-E", str(path), str(n)]
    finally:
        for pid in named(str(path)):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("end", ["done", "timeout", "cancel"])
def test_two_hundred_that_fled_and_are_deaf_end_with_their_step(updd, tiny, bomb, end):
    argv = bomb(200)
    later = {"done": "", "timeout": "sleep 300", "cancel": "sleep 300"}[end]
    job = updd.begin(tiny.plan(
        tiny.act("first"),
        {"id": "bomb", "run": ["sh", "-c", f"{' '.join(argv)}; touch lit; {later}"],
         "undo": tiny.tell("undo-bomb"), "timeout": f"{int(4 * SLOW)}s" if end == "timeout" else "1m"}))
    if end != "done":
        updd.until(lambda: tiny.exists("lit"), 30, lambda: updd.tell(job))
        assert len(named(str(tiny.folder / "bomb.py"))) >= 200
    if end == "cancel":
        updd.post(job, "cancel")
    updd.wait_for(job, "succeeded" if end == "done" else "rolled_back", timeout=40)
    assert named(str(tiny.folder / "bomb.py")) == []
    assert tiny.exists("lit")
    if end == "timeout":
        assert "time limit" in updd.job(job)["failure"]["message"]
    if end != "done":
        assert tiny.done() == ["do-first", "undo-bomb", "undo-first"]
    updd.invariants(job)


def test_a_family_that_flees_is_caught(updd, tiny):
    fleeing = tiny.folder / "fleeing.py"
    fleeing.write_text(FLEEING)
    job = updd.begin(tiny.plan({
        "id": "flee", "run": ["sh", "-c", f"{sys.executable} -S -E {fleeing}; sleep 0.3"],
        "undo": "none"}))
    updd.wait_for(job, "succeeded", timeout=40)
    try:
        assert named(str(fleeing)) == []
    finally:
        for pid in named(str(fleeing)):
            os.kill(pid, signal.SIGKILL)
    updd.invariants(job)


def test_a_check_that_hangs_is_cut_off_with_all_its_processes_and_the_others_are_told(
        updd, tiny, bomb):
    began = time.monotonic()
    job = updd.begin(tiny.plan(
        tiny.act("never"),
        checks=[{"run": ["sh", "-c", f"{' '.join(bomb(5))}; sleep 300"], "name": "hangs",
                 "timeout": "1s"},
                {"run": ["sh", "-c", "trap '' TERM; sleep 300 & wait; wait"], "name": "is deaf",
                 "timeout": "1s"},
                {"run": ["false"], "name": "fails"}, {"run": ["true"], "name": "holds"}]))
    updd.wait_for(job, "failed", timeout=40)
    assert time.monotonic() - began < 25 * SLOW
    checks = {c["name"]: c for s in updd.job(job)["steps"] for c in s.get("checks") or []}
    assert {n: c["ok"] for n, c in checks.items()} == {
        "hangs": False, "is deaf": False, "fails": False, "holds": True}
    assert "in time" in checks["hangs"]["message"] and "in time" in checks["is deaf"]["message"]
    assert tiny.done() == [] and named(str(tiny.folder / "bomb.py")) == []
    updd.invariants(job)


def test_a_check_that_hangs_each_time_piles_up_no_processes(updd, tiny, bomb):
    """In a wait that looks again and again for as long as an hour."""
    job = updd.begin(tiny.plan({
        "id": "w", "wait": {"within": "1h", "every": "100ms", "until": [
            {"run": ["sh", "-c", f"{' '.join(bomb(3))}; echo x >>looks; sleep 300"],
             "timeout": "500ms"}]}}))
    updd.until(lambda: tiny.exists("looks") and len((tiny.folder / "looks").read_text()) >= 10, 60,
               lambda: updd.tell(job))
    assert len(named(str(tiny.folder / "bomb.py"))) <= 9
    updd.post(job, "cancel")
    updd.wait_for(job, "rolled_back", timeout=40)
    assert named(str(tiny.folder / "bomb.py")) == []


# ---- what a step's process sees --------------------------------------------------------------------

LOOK = """\
import json, os, resource, signal
status = dict(l.split(":\\t", 1) for l in open("/proc/self/status").read().splitlines() if ":\\t" in l)
mask = os.umask(0)
json.dump({
    "fds": {n: os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{n}")},
    "umask": oct(mask), "cwd": os.getcwd(), "blocked": status["SigBlk"].strip(),
    "ignored": status["SigIgn"].strip(), "env": sorted(os.environ),
    "oom": open("/proc/self/oom_score_adj").read().strip(), "nice": os.nice(0),
    "leads": os.getpgid(0) == os.getpid(), "new_privs": status["NoNewPrivs"].strip(),
    "core": resource.getrlimit(resource.RLIMIT_CORE), "dumpable": status["CoreDumping"].strip(),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
}, open(os.environ["OUT"], "w"))
"""


def test_a_step_sees_what_is_promised_and_nothing_of_the_daemon(updd, tiny):
    """However the daemon was started: with signals ignored and blocked, descriptors left open, an
    umask, a folder, priorities and limits of its own."""
    updd.stop()
    wrapper = tiny.folder / "odd"
    wrapper.write_text(f"#!{sys.executable}\n" + """\
import os, resource, signal, sys
for s in (signal.SIGUSR1, signal.SIGPIPE, signal.SIGHUP, signal.SIGQUIT, signal.SIGRTMIN):
    signal.signal(s, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGALRM})
os.umask(0o077)
os.chdir("/tmp")
for n in range(20):
    os.set_inheritable(os.open("/etc/passwd", os.O_RDONLY), True)
os.environ.update({"SECRET_OF_THE_DAEMON": "x", "UPDD_SOCKET": "/x", "IFS": "x"})
os.execv(sys.argv[1], sys.argv[1:])
""")
    wrapper.chmod(0o755)
    updd.through = [wrapper]
    updd.start()
    (tiny.folder / "look.py").write_text(LOOK)
    steps = [{"id": "with", "cwd": str(tiny.folder), "run": [sys.executable, "-S", "-E",
              str(tiny.folder / "look.py")], "undo": "none", "env": {"OUT": str(tiny.folder / "a")}}]
    plan = tiny.plan(*steps, {**steps[0], "id": "without", "env": {"OUT": str(tiny.folder / "b")}})
    del plan["cwd"], plan["steps"][1]["cwd"]
    job = updd.begin(plan)
    updd.wait_for(job, "succeeded")
    own_oom = pathlib.Path("/proc/self/oom_score_adj").read_text().strip()
    for name, cwd in (("a", str(tiny.folder)), ("b", "/")):
        seen = json.loads((tiny.folder / name).read_text())
        assert seen["fds"].pop("0") == "/dev/null"
        assert all(seen["fds"].pop(n).startswith("pipe:") for n in ("1", "2")), seen["fds"]
        assert seen["fds"] == {}, seen["fds"]
        assert (seen["umask"], seen["cwd"]) == ("0o22", cwd)
        # Python itself ignores SIGPIPE (13) and SIGXFSZ (25); 32 and 33 are the C library's own.
        ignored = {n + 1 for n in range(64) if int(seen["ignored"], 16) >> n & 1}
        assert ignored <= {13, 25, 32, 33} and int(seen["blocked"], 16) == 0, seen
        assert seen["env"] == sorted(
            ["OUT", "PATH", "HOME", "USER", "LOGNAME", "LANG", "UPDD_ATTEMPT", "UPDD_JOB",
             "UPDD_STEP", "UPDD_PLAN", "UPDD_TARGET", "UPDD_DIRECTION", "UPDD_RECORD"])
        assert seen["leads"] and seen["oom"] == own_oom and seen["nice"] == os.nice(0)
        assert seen["new_privs"] == "0" and seen["core"][0] == 0
        assert seen["nofile"] == list(resource.getrlimit(resource.RLIMIT_NOFILE))


# ---- a step against updd ---------------------------------------------------------------------------


def test_a_step_that_kills_the_daemon_is_taken_as_it_ended(updd, tiny):
    job = updd.begin(tiny.plan(
        tiny.act("a"), tiny.act("murder", f"kill -9 {updd.process.pid}; sleep 0.5; echo survived"),
        tiny.act("b")))
    updd.process.wait(20)
    updd.start()
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-murder", "do-b"] and "survived" in updd.log(job, "murder")
    updd.invariants(job)


@pytest.mark.parametrize("whom", ["supervisor", "worker", "all"])
def test_a_step_that_kills_its_own_updd_step_is_interrupted_and_undone(updd, tiny, whom):
    parent = "$(cut -d' ' -f4 /proc/$PPID/stat)"
    pids = {"worker": "$PPID", "supervisor": parent, "all": f"$PPID {parent}"}[whom]
    job = updd.begin(tiny.plan(tiny.act("a"), {
        **tiny.act("suicide", f"kill -9 {pids}; sleep 300")}))
    updd.wait_for(job, "rolled_back", timeout=40)
    assert tiny.done() == ["do-a", "do-suicide", "undo-suicide", "undo-a"]
    updd.invariants(job)


def copy_of_the_programs(folder):
    """updd and its step programs in a tree of their own, as they are installed."""
    (folder / "sbin").mkdir(parents=True)
    worker, = (p for p in BUILD.glob("daemon/step/updd-step-worker-*") if p.is_file())
    for program in (BUILD / "daemon/updd", BUILD / "daemon/step/updd-step", worker):
        shutil.copy2(program, folder / "sbin")
    return folder / "sbin"


def test_a_step_that_replaces_the_programs_under_it_goes_on_and_so_does_the_job(updd, tiny):
    """By rename, as dpkg does it. What runs keeps what it has; the next start takes what is new."""
    bin_dir = copy_of_the_programs(tiny.folder / "tree")
    updd.stop()
    updd.step_program = bin_dir / "updd-step"
    wrapper = tiny.folder / "as-installed"
    wrapper.write_text(f'#!/bin/sh\nshift\nexec {bin_dir}/updd "$@"\n')
    wrapper.chmod(0o755)
    updd.through = [wrapper]
    updd.start()
    swap = "; ".join(f"cp {p} {p}.new && mv {p}.new {p}" for p in sorted(bin_dir.iterdir()))
    database = tiny.folder / "x.db"
    subprocess.run(["sqlite3", database, "create table t (a)"], check=True)
    job = updd.begin(tiny.plan(
        tiny.act("swap", f"{swap}; sleep 0.3"), tiny.act("after"),
        {"id": "large", "check": [{"sql": {"db": "x", "tables": ["t"]}}]}, tiny.gate(),
        tiny.act("last"), databases={"x": {"url": f"sqlite:{database}"}}))
    wait = updd.wait_open(job, "gate")
    assert os.readlink(f"/proc/{updd.process.pid}/exe").endswith(" (deleted)")
    updd.restart()
    assert os.readlink(f"/proc/{updd.process.pid}/exe") == str(bin_dir / "updd")
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-swap", "do-after", "do-last"]
    updd.invariants(job)


def service_manager(updd, done):
    """What Restart=always is on a machine: whenever the daemon has ended it is started again."""
    while not done.is_set():
        if updd.process.poll() is not None:
            updd.start()
        time.sleep(0.02)


def test_a_step_that_restarts_the_service_survives_and_is_taken_by_the_next_daemon(updd, tiny):
    first = updd.process.pid
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act(
        "restart", f"kill {first}; while kill -0 {first} 2>/dev/null; do sleep 0.05; done; "
        f"until curl -sf --unix-socket {updd.socket} http://x/v1/health; do sleep 0.05; done; "
        "echo it is back"), tiny.act("b")))
    done = threading.Event()
    manager = threading.Thread(target=service_manager, args=(updd, done))
    updd.process.wait(20 * SLOW)
    manager.start()
    try:
        updd.until(lambda: updd.process.pid != first and updd.answers_calls(), 20, "never back")
        updd.wait_for(job, "succeeded")
    finally:
        done.set()
        manager.join()
    assert tiny.done() == ["do-a", "do-restart", "do-b"]
    assert "it is back" in updd.log(job, "restart")
    updd.invariants(job)


def test_a_daemon_that_a_step_starts_itself_ends_with_the_step_and_nothing_is_lost(updd, tiny):
    """It is one of the step's processes, and what a run leaves behind ends with it."""
    first = updd.process.pid
    argv = " ".join(pathlib.Path(f"/proc/{first}/cmdline").read_bytes().decode().split("\0"))
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act(
        "restart", f"kill {first}; while kill -0 {first} 2>/dev/null; do sleep 0.05; done; "
        f"setsid {argv} </dev/null >own.log 2>&1 & "
        f"until curl -sf --unix-socket {updd.socket} http://x/v1/health; do sleep 0.05; done"),
        tiny.act("b")))
    updd.process.wait(20 * SLOW)
    result = updd.state / f"jobs/{job}/restart/1/result.json"
    updd.until(result.exists, 30, "the step never ended")
    assert json.loads(result.read_text())["state"] == "done"
    updd.until(lambda: not named(str(updd.state)), 10, lambda: str(named(str(updd.state))))
    updd.start()
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-restart", "do-b"]
    updd.invariants(job)


# ---- disks that a step fills -----------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """A file system of 4 MiB."""
    if os.geteuid() != 0:
        assert os.environ.get("CI") != "true", "this test must mount a file system, as root"
        pytest.skip("only root can mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


FILL = "echo do-fill >>told; dd if=/dev/zero of={0}/filler bs=64k 2>/dev/null; " \
       "cat /dev/zero >>{0}/filler"


def test_a_step_that_fills_the_disk_of_its_work_is_undone_and_so_is_what_came_before(
        updd, tiny, disk):
    """The old bytes were kept elsewhere; the step's own undo makes room for them."""
    old = os.urandom(1 << 20)
    (disk / "page").write_bytes(old)
    job = updd.begin(tiny.plan(
        {"id": "page", "write": {"to": f"{disk}/page", "text": "short now"}},
        {"id": "fill", "run": ["sh", "-c", FILL.format(disk)],
         "undo": {"run": ["rm", "-f", f"{disk}/filler"]}},
        tiny.act("never")))
    updd.wait_for(job, "rolled_back", timeout=40)
    assert "No space left" in updd.job(job)["failure"]["message"]
    assert (disk / "page").read_bytes() == old and not (disk / "filler").exists()
    assert tiny.done() == ["do-fill"]
    updd.invariants(job)


# ---- health that flaps -----------------------------------------------------------------------------

# Bad at the looks whose numbers are on its command line ("3,4"), or at every N-th ("/N").
FLAPS = """\
import sys
n = len(open("looks").read()) if __import__("os").path.exists("looks") else 0
open("looks", "a").write("x")
bad = sys.argv[1]
sys.exit(n % int(bad[1:]) == 0 if bad[0] == "/" else str(n) in bad.split(","))
"""


def flapping(tiny, bad):
    (tiny.folder / "flaps.py").write_text(FLAPS)
    return {"run": [sys.executable, "-S", "-E", "flaps.py", bad], "name": "health"}


@pytest.mark.parametrize("bad, tolerate, end", [
    ("3,4", 2, "succeeded"), ("3,4", 1, "rolled_back"), ("/2", 0, "rolled_back")])
def test_observe_bears_so_much_flapping_as_it_tolerates(updd, tiny, bad, tolerate, end):
    job = updd.begin(tiny.plan(tiny.act("a"), {
        "id": "watch", "observe": {"for": "1500ms", "every": "50ms", "tolerate": tolerate,
                                   "checks": [flapping(tiny, bad)]}}))
    updd.wait_for(job, end)
    assert tiny.done() == ["do-a"] + (["undo-a"] if end == "rolled_back" else [])
    updd.invariants(job)


def test_what_is_good_only_every_other_time_is_never_seen_long_enough(updd, tiny):
    """Each single bad look is tolerated, but what lies between two good ones does not count."""
    job = updd.begin(tiny.plan(tiny.act("a"), {
        "id": "watch", "timeout": "3s",
        "observe": {"for": "1s", "every": "50ms", "tolerate": 1, "checks": [flapping(tiny, "/2")]}}))
    updd.wait_for(job, "rolled_back")
    assert "time limit of 3s" in updd.job(job)["failure"]["message"]
    assert tiny.done() == ["do-a", "undo-a"]


def service_with(tiny, bad):
    check = flapping(tiny, bad)["run"]
    return {"web": {"command": {
        "start": ["sh", "-c", "echo $$ >web.pid; exec sleep 600"], "pid_file": "web.pid"}, "health": [
        {"run": ["sh", "-c", f"grep -q 600 /proc/$(cat web.pid)/cmdline && {' '.join(check)}"], "name": "health"}]}}


@pytest.fixture
def no_sleepers(tiny):
    yield
    pid = tiny.folder / "web.pid"
    if pid.exists():
        try:
            os.kill(int(pid.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            pass


def test_a_service_that_flaps_at_first_is_up_once_it_stays_up(updd, tiny, no_sleepers):
    job = updd.begin(tiny.plan(
        {"id": "up", "start": {"services": ["web"], "settle": "1200ms"}, "timeout": "1m"},
        tiny.act("a"), services=service_with(tiny, "0,2,4")))
    updd.wait_for(job, "succeeded", timeout=40)
    assert "did not stay up" in updd.log(job, "up")
    # After the last bad look there are those of 1.2 s, 0.4 s apart.
    assert len((tiny.folder / "looks").read_text()) >= 8


def test_a_service_that_never_stays_up_is_told_so_before_the_time_limit(updd, tiny, no_sleepers):
    job = updd.begin(tiny.plan(
        {"id": "up", "start": {"services": ["web"], "settle": "2s"}, "timeout": "8s"},
        tiny.act("a"), services=service_with(tiny, "/2")))
    updd.wait_for(job, "rolled_back", timeout=40)
    failure = updd.job(job)["failure"]
    assert "web" in failure["message"] and " up" in failure["message"], failure
    assert "time limit" not in failure["message"] and tiny.done() == []


# ---- people ----------------------------------------------------------------------------------------


@pytest.fixture
def served(built, tmp_path):
    d = Served(tmp_path / "served", "--socket", tmp_path / "served/sock", "--listen", "127.0.0.1:0")
    try:
        yield d.start().ready()
    finally:
        d.close()


def person(served, name):
    """Somebody with a token: a function that posts as them."""
    token = served.api("POST", "/v1/tokens", {"name": name, "role": "operate"})["token"]

    def post(path, body):
        connection = http.client.HTTPConnection("127.0.0.1", served.port(), timeout=30 * SLOW)
        try:
            connection.request("POST", path, json.dumps(body), {
                "Authorization": f"Bearer {token}", "Content-Type": "application/json"})
            answer = connection.getresponse()
            return daemon_module.Answer(answer.status, answer.getheaders(), answer.read().decode())
        finally:
            connection.close()
    return post


def together(*calls):
    """Runs them at the same moment: their answers, in order."""
    answers, gate = [None] * len(calls), threading.Barrier(len(calls))

    def run(i):
        gate.wait()
        answers[i] = calls[i]()
    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return answers


def test_of_two_people_who_confirm_at_once_one_did_it_and_the_other_is_told_who(served, tiny):
    people = {name: person(served, name) for name in ("alice", "bob")}
    for _ in range(12):
        job = served.begin(tiny.plan(tiny.gate("g1"), tiny.act("a"), tiny.gate("g2")))
        wait = served.wait_open(job, "gate", "g1")["id"]
        answers = dict(zip(people, together(*(
            lambda p=p: p(f"/v1/jobs/{job}/confirm", {"wait": wait}) for p in people.values()))))
        assert sorted(a.status for a in answers.values()) == [200, 409], answers
        winner = next(n for n, a in answers.items() if a.status == 200)
        loser = answers["bob" if winner == "alice" else "alice"].body
        assert loser["type"].endswith(":wait-closed") and f"token:{winner}" in loser["detail"], loser
        assert loser["closed"]["by"] == f"token:{winner}" and loser["closed"]["how"] == "confirmed"
        closed = [e for e in served.events(job) if e["type"] == "wait_closed"]
        assert [e["by"] for e in closed] == [f"token:{winner}"], closed
        served.wait_open(job, "gate", "g2")
        assert tiny.done()[-1] == "do-a"
        served.post(job, "cancel")
        served.wait_for(job, "rolled_back")
        served.invariants(job)
    # Who was first is known after a restart, too.
    job = served.begin(tiny.plan(tiny.gate("g1"), tiny.gate("g2")))
    wait = served.wait_open(job, "gate", "g1")["id"]
    assert people["bob"](f"/v1/jobs/{job}/confirm", {"wait": wait}).status == 200
    served.wait_open(job, "gate", "g2")
    served.stop()
    served.start().ready()
    told = served.refuse(409, "wait-closed", "POST", f"/v1/jobs/{job}/confirm", {"wait": wait})
    assert told["closed"]["by"] == "token:bob"


def test_the_one_who_started_it_is_not_another_person_whoever_else_hurries(served, tiny):
    people = {name: person(served, name) for name in ("alice", "bob")}
    for _ in range(6):
        plan = tiny.plan(tiny.gate("g", other_person=True), tiny.act("a"))
        job = people["alice"]("/v1/jobs", {"document": json.dumps(plan), "inputs": {}}).body["id"]
        wait = served.wait_open(job, "gate")["id"]
        alice, bob = together(*(lambda p=p: p(f"/v1/jobs/{job}/confirm", {"wait": wait})
                                for p in people.values()))
        assert bob.status == 200, bob
        assert (alice.status, alice.body["type"].rsplit(":", 1)[1]) in (
            (422, "same-person"), (409, "wait-closed")), alice
        served.wait_for(job, "succeeded")
        assert served.step(job, "g")["outputs"]["by"] == "token:bob"
        served.invariants(job)


def test_confirm_and_deadline_in_the_same_moment_come_to_one_end(updd, tiny):
    """The call is sent within milliseconds of the deadline, before or after it; whatever comes of it
    agrees with the times in the journal."""
    rng, outcomes, lock = random.Random(5), [], threading.Lock()

    def once(offset):
        act = tiny.act(f"a{threading.get_ident()}")
        job = updd.begin(tiny.plan(act, tiny.gate(within="600ms", on_timeout="rollback")))
        wait = updd.wait_open(job, "gate")
        at = parse_time(wait["deadline"]) + offset
        time.sleep(max(0, at - time.time()))
        answer = updd.call("POST", f"/v1/jobs/{job}/confirm", {"wait": wait["id"]})
        state = "succeeded" if answer.status == 200 else "rolled_back"
        updd.wait_for(job, state, timeout=30)
        events = updd.events(job)
        missed = [e for e in events if e["type"] == "deadline_missed"]
        closed = [e for e in events if e["type"] == "wait_closed"]
        assert len(closed) == 1, closed
        if answer.status == 200:
            assert not missed and closed[0]["data"]["answer"] == "confirmed"
            assert parse_time(closed[0]["time"]) <= parse_time(wait["deadline"]) + 0.001
        else:
            assert answer.status == 409 and len(missed) == 1, answer
            assert parse_time(missed[0]["time"]) >= parse_time(wait["deadline"]) - 0.001
        updd.invariants(job)
        with lock:
            outcomes.append(state)
    failures = run_all([lambda o=o: once(o) for o in
                        [rng.uniform(-0.008, 0.004) for _ in range(24)] + [-0.1, 0.1]])
    assert not failures, failures[0]
    assert set(outcomes) == {"succeeded", "rolled_back"}, outcomes


def test_a_rollback_asked_for_during_a_rollback_is_refused_and_changes_nothing(updd, tiny):
    job = updd.begin(tiny.plan(
        tiny.act("a"), tiny.act("b", undo_then="while ! test -e go; do sleep 0.02; done"),
        tiny.gate(), rollbacks={"part": {"loses": "nothing", "keep": ["a"]}}))
    updd.wait_open(job, "gate")
    asked = together(*[lambda s=s: updd.call("POST", f"/v1/jobs/{job}/rollback", {"strategy": s})
                       for s in ("full", "part") * 3])
    assert sorted(a.status for a in asked) == [200] + [409] * 5, asked
    strategy = updd.job(job)["strategy"]
    assert strategy == ("full", "part")[[a.status for a in asked].index(200) % 2]
    updd.wait_step(job, "b", "undoing")
    for other in ("full", "part"):
        told = updd.refuse(409, "not-now", "POST", f"/v1/jobs/{job}/rollback", {"strategy": other})
        assert told["state"] == "rolling_back" and strategy in told["decided"], told
    tiny.touch("go")
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "do-b", "undo-b"] + (["undo-a"] if strategy == "full" else [])
    updd.invariants(job)


def parse_time(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def run_all(functions):
    """All at once, each in a thread of its own; what they raised."""
    failures = []

    def run(function):
        try:
            function()
        except BaseException as e:  # noqa: BLE001
            failures.append(e)
    threads = [threading.Thread(target=run, args=(f,)) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return failures


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
