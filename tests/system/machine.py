# SPDX-License-Identifier: MIT
"""
A Debian 12 that is really booted: a tree that is made once and kept outside the repository, an
overlay of it for each machine, systemd-nspawn, and what a person at its console would do. Needs root.

Pulling the plug (`cut`) kills the machine's init, and with it all that runs there; what was on its
disk stays, and `boot` starts it again.
"""
import contextlib
import os
import pathlib
import signal
import subprocess
import time

from daemon import BUILD, SLOW, Daemon

HERE = pathlib.Path(__file__).resolve().parent


def tree():
    """The Debian tree, made when it is not there."""
    made = subprocess.run([HERE / "tree"], check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


# Hierarchies of cgroup v1 and the one of v2 beside them, where each machine has a place of its own.
HIERARCHIES = ("systemd", "unified", "cpu", "cpuacct", "pids", "blkio", "devices")


class Machine:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.root = self.folder / "root"
        self.log = self.folder / "console.log"
        self.nspawn = self.init = None
        for name in ("root", "upper", "work"):
            (self.folder / name).mkdir(parents=True)
        # An overlay cannot stand on another one; a file system in memory can carry any.
        subprocess.run(["mount", "-t", "tmpfs", "none", self.folder / "work"], check=True)
        for name in ("upper", "work"):
            (self.folder / "work" / name).mkdir()
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                        f"lowerdir={tree()},upperdir={self.folder}/work/upper,"
                        f"workdir={self.folder}/work/work", self.root], check=True)

    # ---- the machine ----------------------------------------------------------------------------

    def install(self):
        """What `meson install` puts there, and what a package's script would do afterwards."""
        subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir",
                        self.root], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["systemctl", "--root", self.root, "enable", "updd.service", "updd.socket"],
                       check=True, capture_output=True)

    def cgroups(self):
        """Two machines in one place would take each other's services for their own. A host that has
        a systemd of its own gives each a scope."""
        if pathlib.Path("/run/systemd/system").exists():
            return []
        places = [pathlib.Path("/sys/fs/cgroup") / h / f"machine-{os.getpid()}-{id(self)}"
                  for h in HIERARCHIES]
        places = [p for p in places if (p.parent / "cgroup.procs").exists()]
        for p in places:
            p.mkdir(exist_ok=True)
        return places

    def boot(self):
        places = self.cgroups()
        with open(self.log, "ab") as log:
            self.nspawn = subprocess.Popen(
                ["sh", "-ec", 'n=$1; shift; while [ $n -gt 0 ]; do echo $$ >"$1/cgroup.procs"; shift;'
                 ' n=$((n - 1)); done; exec "$@"', "sh", str(len(places)), *places,
                 "systemd-nspawn", "-D", self.root, "-b", "--console=pipe", "--register=no",
                 *(["--keep-unit"] if places else []), "--private-network"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.until(self.find_init, 60, lambda: self.said())
        self.until(lambda: self.ask("systemctl", "is-system-running").stdout.strip()
                   in ("running", "degraded"), 90, lambda: self.said())
        self.open_controllers()
        return self

    def open_controllers(self):
        """Controllers of cgroup v1, which nspawn shows and does not pass on. A host that has a
        systemd of its own keeps them for that one, and is expected to have v2."""
        if pathlib.Path("/run/systemd/system").exists():
            return
        self.sh("for c in cpu cpuacct pids blkio; do"
                "  if grep -q \" /sys/fs/cgroup/$c cgroup \" /proc/mounts; then"
                "    mount -o remount,bind,rw /sys/fs/cgroup/$c; fi; done; systemctl daemon-reexec")

    def find_init(self):
        assert self.nspawn.poll() is None, self.said()
        children = pathlib.Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children")
        for pid in children.read_text().split():
            try:
                name = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
            except FileNotFoundError:
                continue
            if name == "systemd":  # and not a child of systemd-nspawn on its way there
                self.init = int(pid)
                return self.ask("true").returncode == 0
        return False

    def cut(self):
        """Pulls the plug."""
        os.kill(self.init, signal.SIGKILL)
        self.ended()

    def power_off(self):
        """As a person does who has the time."""
        self.ask("systemctl", "poweroff", "--no-block")
        self.ended()

    def rebooted(self):
        """Goes on where the machine itself asked for another boot."""
        code = self.nspawn.wait(120 * SLOW)
        assert code == 133, f"it was not a reboot: {code}; {self.said()}"  # systemd-nspawn(1)
        self.nspawn = self.init = None
        return self.boot()

    def ended(self):
        self.nspawn.wait(120 * SLOW)
        self.nspawn = self.init = None

    def close(self):
        if self.nspawn and self.nspawn.poll() is None:
            try:
                os.kill(self.init or self.nspawn.pid, signal.SIGKILL)
            except ProcessLookupError:
                self.nspawn.kill()
            self.nspawn.wait(60)
        for place in self.cgroups():
            for folder, _, _ in os.walk(place, topdown=False):
                with contextlib.suppress(OSError):  # somebody in it is on his way out
                    os.rmdir(folder)
        subprocess.run(["umount", self.root], check=True)
        subprocess.run(["umount", self.folder / "work"], check=True)

    # ---- at its console -------------------------------------------------------------------------

    def ask(self, *argv, stdin=None, timeout=120):
        """A command in the machine, whatever comes of it."""
        return subprocess.run(
            ["nsenter", "-t", str(self.init), "-m", "-u", "-i", "-n", "-p", "-C", "--",
             "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
             "HOME=/root", "LANG=C.UTF-8", *map(str, argv)],
            input=stdin, stdin=subprocess.DEVNULL if stdin is None else None, text=True,
            capture_output=True, timeout=timeout * SLOW)

    def run(self, *argv, **how):
        """One that must succeed: what it printed."""
        done = self.ask(*argv, **how)
        assert done.returncode == 0, (argv, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def sh(self, script, **how):
        return self.run("sh", "-ec", script, **how)

    def file(self, path):
        """A file of it, seen from here; also in its /run and /tmp."""
        return pathlib.Path(f"/proc/{self.init}/root/{str(path).lstrip('/')}")

    def write(self, path, text, mode=0o644):
        file = self.file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def show(self, unit, *names):
        """Properties of a unit, as a dict."""
        text = self.run("systemctl", "show", unit, *(f"-p{n}" for n in names))
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def units(self, pattern):
        text = self.run("systemctl", "list-units", "--all", "--plain", "--no-legend", pattern)
        return [line.split()[0] for line in text.splitlines() if line]

    def journal(self, *match):
        return self.run("journalctl", "--no-pager", "-o", "cat", *match)

    def said(self):
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    @staticmethod
    def until(condition, timeout, why):
        end = time.monotonic() + timeout * SLOW
        while True:
            got = condition()
            if got:
                return got
            if time.monotonic() > end:
                raise AssertionError(why() if callable(why) else why)
            time.sleep(0.05)


class Installed(Daemon):
    """The daemon of a machine, spoken to from here through the machine's own folders."""

    def __init__(self, machine):
        self.machine = machine
        self.answers = []
        self.process = None

    @property
    def socket(self):
        return self.machine.file("/run/updd/updd.sock")

    @property
    def state(self):
        return self.machine.file("/var/lib/updd")

    def said(self):
        return self.machine.ask("journalctl", "--no-pager", "-u", "updd", "-n", "60").stdout

    def wait_up(self):
        def up():
            try:
                return self.call("GET", "/v1/health").status == 200
            except OSError:
                return False
        self.until(up, 60, self.said)
        return self

    def main_pid(self):
        return int(self.machine.show("updd.service", "MainPID")["MainPID"])

    def kill9(self):
        pid = self.main_pid()
        self.machine.run("kill", "-9", pid)
        self.until(lambda: self.main_pid() not in (0, pid), 30, self.said)
        self.wait_up()
