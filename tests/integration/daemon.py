# SPDX-License-Identifier: MIT
"""
The real daemon, started for one test, and what every test may rely on: calls over its Unix socket,
updctl, waiting for a job, and the invariants that must hold for any job at any end.

A daemon is ended by its pid. What it wrote to stderr is searched for sanitizer reports when it is
closed; such a report fails the test that made it.
"""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid

import rules

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("UPDD_BUILD", ROOT / "build"))

ENDED = ("succeeded", "failed", "rolled_back", "cancelled", "abandoned")
SANITIZER = re.compile(r"ERROR: AddressSanitizer|runtime error:|LeakSanitizer", re.M)
# Set for whole runs under `UPDD_TEST_SLOW=3` and the like: limits below are multiplied by it.
SLOW = float(os.environ.get("UPDD_TEST_SLOW", "1"))


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Answer:
    """One HTTP answer: status, headers (lower case) and the body, decoded when it is JSON."""

    def __init__(self, status, headers, text):
        self.status = status
        self.headers = {k.lower(): v for k, v in headers}
        self.text = text
        try:
            self.body = json.loads(text) if text else None
        except ValueError:
            self.body = None

    def __repr__(self):
        return f"HTTP {self.status} {self.text[:2000]}"


class Refused(AssertionError):
    """A call that was expected to be accepted was not."""

    def __init__(self, answer):
        super().__init__(repr(answer))
        self.answer = answer


class Daemon:
    def __init__(self, home, plan_dirs=()):
        self.home = pathlib.Path(home)
        self.state = self.home / "state"
        self.plans = self.home / "plans"
        self.socket = self.home / "sock"
        self.stderr = self.home / "updd.log"
        self.plans.mkdir(parents=True, exist_ok=True)
        self.plan_dirs = [self.plans, *plan_dirs]
        self.program = BUILD / "daemon/updd"
        self.step_program = BUILD / "daemon/step/updd-step"  # None: where updd itself finds it
        self.through = []  # a program that sets limits and executes the daemon in its own place
        self.process = None
        self.answers = []  # the text of every API answer, for the search after secrets

    # ---- the process ----------------------------------------------------------------------------

    def start(self, **environment):
        self.launch(**environment)
        self.until(self.answers_calls, 20, "the daemon did not answer")
        return self

    def launch(self, **environment):
        """Starts it, and waits for nothing."""
        argv = [*self.through, self.program, "--state-dir", self.state, "--socket",
                self.socket, "--steps-in", "plain"]
        if self.step_program:
            argv += ["--step-program", self.step_program]
        for d in self.plan_dirs:
            argv += ["--plan-dir", d]
        with open(self.stderr, "ab") as log:
            self.process = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **environment}, start_new_session=True)

    def answers_calls(self):
        if self.process.poll() is not None:
            raise AssertionError(f"updd ended with {self.process.returncode}:\n{self.said()}")
        try:
            return self.call("GET", "/v1/health").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def said(self):
        return self.stderr.read_text(errors="replace") if self.stderr.exists() else ""

    def kill9(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20 * SLOW)
            except subprocess.TimeoutExpired:
                self.kill9()
                raise AssertionError("updd did not end on SIGTERM within 20 s") from None
            assert self.process.returncode == 0, (
                f"updd ended with {self.process.returncode}:\n{self.said()}")

    def restart(self):
        self.stop()
        return self.start()

    def close(self):
        """Ends the daemon, then whatever a failed test has left running of its attempts."""
        try:
            self.stop()
        finally:
            for pid in self.attempt_processes():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        report = SANITIZER.search(self.said())
        assert not report, self.said()[max(0, report.start() - 500):report.start() + 6000]

    # ---- calls ----------------------------------------------------------------------------------

    def call(self, method, path, body=None, headers=None, timeout=30):
        """One request; never raises for a refusal."""
        connection = UnixConnection(self.socket, timeout * SLOW)
        try:
            send = dict(headers or {})
            if isinstance(body, str):
                body = body.encode()
            elif body is not None and not isinstance(body, bytes):
                body = json.dumps(body)
                send.setdefault("Content-Type", "application/json")
            connection.request(method, path, body=body, headers=send)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            self.answers.append(text)
            return Answer(response.status, response.getheaders(), text)
        finally:
            connection.close()

    def api(self, method, path, body=None, key=None):
        """One request that must be accepted: its body. POSTs carry an Idempotency-Key."""
        headers = {"Idempotency-Key": key or uuid.uuid4().hex} if method == "POST" else {}
        answer = self.call(method, path, body, headers)
        if answer.status >= 400:
            raise Refused(answer)
        return answer.body

    def post(self, job, verb, **body):
        """POST /v1/jobs/{job}/{verb} that must be accepted."""
        return self.api("POST", f"/v1/jobs/{job}/{verb}", body)

    def refuse(self, status, kind, method, path, body=None, headers=None):
        """One request that must be refused so; the problem document."""
        answer = self.call(method, path, body, headers)
        assert answer.status == status, answer
        assert answer.headers["content-type"].startswith("application/problem+json"), answer.headers
        assert answer.body["type"] == f"urn:updd:problem:{kind}", answer
        assert answer.body["status"] == status and answer.body["title"], answer
        return answer.body

    def begin(self, plan, inputs=None, **more):
        """Starts a job from a plan's name, or from a document (a dict, or text with newlines)."""
        body = {"inputs": inputs or {}, **more}
        if isinstance(plan, dict):
            body["document"] = json.dumps(plan)
        elif "\n" in plan:
            body["document"] = plan
        else:
            body["plan"] = plan
        return self.api("POST", "/v1/jobs", body)["id"]

    def job(self, job):
        return self.api("GET", f"/v1/jobs/{job}")

    def events(self, job):
        found, after = [], 0
        while True:
            page = self.api("GET", f"/v1/jobs/{job}/events?after={after}&limit=100")["events"]
            if not page:
                return found
            found += page
            after = page[-1]["seq"]

    def log(self, job, step, attempt=None):
        query = f"?attempt={attempt}" if attempt else ""
        answer = self.call("GET", f"/v1/jobs/{job}/steps/{step}/log{query}")
        assert answer.status == 200, answer
        return answer.text

    def ctl(self, *args, stdin=None, timeout=60, env=None, check=None):
        """Runs updctl against this daemon; `check` demands that exit code."""
        done = subprocess.run(
            [str(BUILD / "client/updctl/updctl"), "--socket", str(self.socket), *map(str, args)],
            input=stdin, stdin=subprocess.DEVNULL if stdin is None else None, text=True,
            capture_output=True, timeout=timeout * SLOW,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8",
                 **(env or {})})
        assert not SANITIZER.search(done.stderr), done.stderr
        if check is not None:
            assert done.returncode == check, (done.returncode, done.stdout, done.stderr)
        return done

    # ---- waiting --------------------------------------------------------------------------------

    def until(self, condition, timeout, why):
        end = time.monotonic() + timeout * SLOW
        while True:
            got = condition()
            if got:
                return got
            if time.monotonic() > end:
                raise AssertionError(why() if callable(why) else why)
            time.sleep(0.02)

    def wait_for(self, job, *states, timeout=30):
        """The job, once it is in one of `states`. An end that is not among them fails at once."""
        def look():
            now = self.job(job)
            if now["state"] in states:
                return now
            assert now["state"] not in ENDED + ("stuck",), self.tell(job)
            return None
        return self.until(look, timeout, lambda: f"never {states}: {self.tell(job)}")

    def wait_open(self, job, kind, step=None, timeout=30, k=None):
        """The wait of that kind (and step, and question number), once it is open."""
        def look():
            now = self.job(job)
            for w in now.get("waits") or []:
                if w["kind"] == kind and step in (None, w.get("step")) and k in (None, w.get("k")):
                    return w
            assert now["state"] not in ENDED + ("stuck",), self.tell(job)
            return None
        return self.until(look, timeout, lambda: f"no {kind} at {step}: {self.tell(job)}")

    def wait_step(self, job, step, *states, timeout=30):
        def look():
            now = self.step(job, step)
            return now if now["state"] in states else None
        return self.until(look, timeout, lambda: f"{step} never {states}: {self.tell(job)}")

    def step(self, job, step):
        for s in self.job(job)["steps"]:
            if s["id"] == step:
                return s
        raise KeyError(step)

    def states(self, job):
        return {s["id"]: s["state"] for s in self.job(job)["steps"]}

    def tell(self, job):
        """A job in a few lines, for a failed assertion."""
        now = self.job(job)
        lines = [f"job {job} {now['state']} waits={now.get('waits')}"]
        for s in now["steps"]:
            lines.append(f"  {s['id']:16} {s['state']:12} {s.get('error') or ''}")
            for c in s.get("checks") or []:
                lines.append(f"      {'ok ' if c['ok'] else 'NOT'} {c}") if not c["ok"] else None
            if s["state"] in ("failed", "undo_failed", "interrupted"):
                lines += ["      | " + t for t in s.get("tail") or []]
        if now.get("failure"):
            lines.append(json.dumps(now["failure"], indent=1))
        return "\n".join(lines + [self.said()[-3000:]])

    # ---- what holds for every job ---------------------------------------------------------------

    def invariants(self, job, **more):
        """All of rules.py that can be asked of any job: see rules.check()."""
        return rules.check(self, job, **more)

    def attempt_folders(self, job):
        folder = self.state / "jobs" / str(job)
        return sorted(p.parent for p in folder.glob("*/*/task.json")) if folder.exists() else []

    def attempt_ids(self, job=None):
        ids = set()
        for task in (self.state / "jobs").glob(f"{job or '*'}/*/*/task.json"):
            try:
                ids.add(json.loads(task.read_text())["id"])
            except (ValueError, FileNotFoundError):
                pass
        return ids

    def attempt_processes(self, job=None):
        """Pids of what belongs to an attempt (of this daemon): its supervisor's command line says so,
        of all others the environment."""
        ids, found = {i.encode() for i in self.attempt_ids(job)}, []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                words += pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(w in ids or w.startswith(b"UPDD_ATTEMPT=") and w[13:] in ids for w in words):
                found.append(int(pid))
        return found

    def leaks(self, secret):
        """Where a secret stands: files below the state folder, the daemon's log, API answers."""
        needle, found = secret.encode(), []
        for folder, _, names in os.walk(self.state):  # what goes meanwhile does not count
            for p in (pathlib.Path(folder) / n for n in names):
                try:
                    if p.is_file() and needle in p.read_bytes():
                        found.append(str(p))
                except FileNotFoundError:
                    pass
        if needle in self.stderr.read_bytes():
            found.append("the daemon's log")
        return found + [f"an answer: {a[:200]}" for a in self.answers if secret in a]


def missing_programs():
    return [str(p) for p in (BUILD / "daemon/updd", BUILD / "daemon/step/updd-step",
                             BUILD / "client/updctl/updctl") if not os.access(p, os.X_OK)]


def have(*programs):
    return all(shutil.which(p) for p in programs)
