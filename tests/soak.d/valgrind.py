# SPDX-License-Identifier: MIT
"""
Integration tests with updd, updd-step and updctl under valgrind: use of memory that is not theirs or
was never set, and memory that nothing points to any more at a program's end. Needs a build without
sanitizers. The tests that count system calls, limit memory or take apart what a process looks like
would see valgrind instead, and are left out.
"""
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading

from daemon import BUILD

HELP = "integration tests, drawn by lot, with all programs under valgrind"
HERE = pathlib.Path(__file__).resolve().parents[1] / "integration"
WRAPPED = ["daemon/updd", "daemon/step/updd-step", "client/updctl/updctl"]
LEFT_OUT = ["boundaries", "crash", "damaged", "flapping", "fresh", "house", "kill", "kimi",
            "many_jobs", "memory", "output", "power_cut", "readme", "reminders", "scarce",
            "services", "sesame", "sick", "space", "time", "together", "ugly", "upgrade",
            "verbs_crash", "window_clocks", "windows"]
OPTIONS = ["--quiet", "--leak-check=full", "--show-leak-kinds=definite",
           "--errors-for-leak-kinds=definite", "--trace-children=yes", "--vgdb=no"]


class PidFds(threading.Thread):
    """Makes the calls that valgrind does not know: see tests/preload/pidfd.c."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(path))
        self.listener.listen(100)

    def run(self):
        while True:
            connection, _ = self.listener.accept()
            with connection, contextlib.suppress(OSError):
                text, fds, _, _ = socket.recv_fds(connection, 8, 1)
                self.answer(connection, *struct.unpack("ii", text), fds)
                for fd in fds:
                    os.close(fd)

    @staticmethod
    def answer(connection, what, number, fds):
        try:
            made = [os.pidfd_open(number)] if what == 0 else []
            if what == 1:
                signal.pidfd_send_signal(fds[0], number)
        except OSError as e:
            connection.send(struct.pack("i", e.errno))
            return
        socket.send_fds(connection, [struct.pack("i", 0)], made)
        for fd in made:
            os.close(fd)


def mirror(folder, logs):
    """A build folder that is like the one that there is, but for the programs that are watched."""
    for name in WRAPPED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    for inside in {parent for name in WRAPPED for parent in pathlib.Path(name).parents}:
        for p in (BUILD / inside).iterdir():
            place = folder / inside / p.name
            if not place.exists() and str(inside / p.name) not in WRAPPED:
                place.symlink_to(p)
    for name in WRAPPED:
        script = folder / name
        script.write_text(f"""#!/bin/sh
export LD_PRELOAD={BUILD}/tests/preload/pidfd.so UPDD_PIDFD_SOCKET={logs.parent}/pidfds
exec valgrind {' '.join(OPTIONS)} --trace-children-skip='/bin/*,/usr/*,{folder}/*' \\
    --log-file={logs}/%p {BUILD}/{name} "$@"
""")
        script.chmod(0o755)
    return folder


def tests():
    """The ids of all tests that may be drawn."""
    files = [str(p) for p in sorted(HERE.glob("test_*.py"))
             if p.stem[len("test_"):] not in LEFT_OUT and "docker" not in p.stem]
    said = subprocess.run(["/usr/bin/python3", "-m", "pytest", "--collect-only", "-q", *files],
                          check=True, capture_output=True, text=True, cwd=HERE).stdout
    return [line.split("@")[0] for line in said.splitlines() if "::" in line]


def run(drawn, build):
    done = subprocess.run(
        ["/usr/bin/python3", "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "-rf", *drawn],
        cwd=HERE, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, check=False,
        env={**os.environ, "UPDD_BUILD": str(build), "UPDD_TEST_SLOW": "20"})
    print(*re.findall(r"^FAILED .*", done.stdout, re.M), sep="\n", flush=True)
    if "passed" not in done.stdout:
        raise RuntimeError(done.stdout[-2000:])
    return {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped)", done.stdout)}


def finding(text):
    """Not a system call that valgrind has never heard of."""
    return re.search(r"^==\d+== (?!Warning: |   This could|   See README|$)", text, re.M)


def soak(count, folder, seed):
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is not there: apt-get install valgrind")
    every = tests()
    drawn = sorted(random.Random(seed).sample(every, min(count, len(every))), key=every.index)
    logs = folder / "logs"
    logs.mkdir()
    PidFds(folder / "pidfds").start()
    outcome = run(drawn, mirror(folder / "build", logs))
    found = [log for log in logs.iterdir() if finding(log.read_text(errors="replace"))]
    for log in found:
        print(f"{log}:\n{log.read_text(errors='replace')[:3000]}", flush=True)
    ran = sum(1 for _ in logs.iterdir())
    return {"tests": len(drawn), "programs": ran, **outcome, "violations": len(found)}
