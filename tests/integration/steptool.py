# SPDX-License-Identifier: MIT
"""Drives the real updd-step over task folders that are written by hand, as the daemon would.

    r = StepRunner(tmp_path)                       # tmp_path/work is the cwd of the steps
    result = r.do("conf", "write", {"to": "a.conf", "text": "x"})
    assert result["state"] == "done", result
    result = r.undo("conf", "write", {"to": "a.conf", "text": "x"})

Every call is one attempt with a folder of its own (`jobs/42/<step>/<n>/`); the attempts of a step
share its record, so a second `do` is a rerun and `undo` finds what the first one noted. Outputs of
earlier steps stand in `scope["steps"]`, as they would in a job. Further keywords:
    cwd, env, env_file, user, retry, verify   of the op
    timeout_ms, grace_ms, overrides, probe    of the task
    context                                   merged over services, databases, compose, hints
    secrets={"token": "value"}                handed over on standard input
    wait=False                                gives a `Running` instead: .wait(), .kill(), .process
"""

import json
import os
import pathlib
import secrets as random_ids
import signal
import subprocess
import tempfile
import time


def step_program():
    return os.environ.get("UPDD_STEP") or os.path.join(
        os.environ["UPDD_BUILD"], "daemon", "step", "updd-step"
    )


class Running:
    """One attempt that has been started."""

    def __init__(self, runner, step, folder, process):
        self.runner, self.step, self.dir, self.process = runner, step, folder, process

    @property
    def log(self):
        path = self.dir / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, timeout=60):
        """Waits for the end and gives result.json, with "log" (text) and "dir" added."""
        try:
            _, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise AssertionError(f"updd-step has not ended after {timeout} s; log:\n{self.log}")
        path = self.dir / "result.json"
        if not path.exists():
            return {
                "state": "gone",
                "exit_of_step": self.process.returncode,
                "log": self.log,
                "stderr": err,
                "outputs": {},
            }
        result = json.loads(path.read_text())
        result["log"] = self.log
        result["dir"] = str(self.dir)
        if result["state"] == "done":
            outputs = self.runner.scope["steps"].setdefault(self.step, {})
            outputs.update(result.get("outputs", {}))
        return result

    def kill(self):
        """The supervisor dies as in a crash; its worker goes with it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def until(self, condition, timeout=20):
        """Waits until condition() is true while the attempt runs."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"not reached within {timeout} s; log:\n{self.log}"
            time.sleep(0.005)


class StepRunner:
    def __init__(self, tmp, plan="test-plan", job=42):
        self.tmp = pathlib.Path(tmp)
        self.job = job
        self.plan = plan
        self.cwd = self.tmp / "work"
        self.job_dir = self.tmp / "jobs" / str(job)
        self.cwd.mkdir(parents=True, exist_ok=True)
        self.job_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.context = {"services": {}, "databases": {}, "compose": {}, "hints": {}}
        self.scope = {
            "in": {},
            "steps": {},
            "db": {},
            "job": {
                "id": job,
                "dir": str(self.job_dir),
                "stamp": "20260131-123456",
                "date": "2026-01-31",
                "took": "0s",
                "target": plan,
                "plan": plan,
            },
        }

    # ---- what tests look at ----

    def record_dir(self, step):
        return self.job_dir / step

    def record(self, step):
        """The undo record: its whole entries."""
        path = self.record_dir(step) / "undo"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]

    # ---- attempts ----

    def do(self, step, verb, args, **task):
        return self.attempt(step, [self.op(step, verb, args, "do", task)], "do", task)

    def undo(self, step, verb, args, **task):
        return self.attempt(step, [self.op(step, verb, args, "undo", task)], "undo", task)

    def check(self, name, args, step="look", all=True, **common):
        """One check, through the verb `check`; `common` are the check's own keys (within, hint …)
        except those of the task."""
        task = {k: common.pop(k) for k in TASK_KEYS & common.keys()}
        checks = [{"check": name, "args": args, **common}]
        return self.do(step, "check", {"checks": checks}, **task)

    def op(self, step, verb, args, direction, task):
        record = self.record_dir(step)
        record.mkdir(parents=True, exist_ok=True, mode=0o700)
        op = {
            "id": step,
            "verb": verb,
            "direction": direction,
            "args": args,
            "record": str(record),
            "cwd": str(task.pop("cwd", self.cwd)),
            "env": task.pop("env", {}),
        }
        for key in ("env_file", "user", "retry"):
            if key in task:
                op[key] = task.pop(key)
        if op["cwd"] == "None":
            del op["cwd"]
        return op

    def attempt(self, step, ops, direction, task):
        """Any attempt: `ops` as task.json has them."""
        wait = task.pop("wait", True)
        limit = task.pop("limit", 60)
        secrets = task.pop("secrets", {})
        context = {**self.context, **task.pop("context", {}), "scope": self.scope}
        folder = self.new_dir(step)
        document = {
            "format": 1,
            "id": random_ids.token_hex(16),
            "job": self.job,
            "plan": self.plan,
            "target": self.plan,
            "step": step,
            "n": int(folder.name),
            "direction": direction,
            "dir": str(folder),
            "record": str(self.record_dir(step)),
            "job_dir": str(self.job_dir),
            "timeout_ms": task.pop("timeout_ms", 60000),
            "grace_ms": task.pop("grace_ms", 2000),
            "log_bytes": task.pop("log_bytes", 4 << 20),
            "ops": ops,
            "verify": task.pop("verify", []),
            "probe": task.pop("probe", []),
            "overrides": task.pop("overrides", []),
            "secrets": sorted(secrets),
            "context": context,
        }
        document.update(task)
        path = folder / "task.json"
        path.write_text(json.dumps(document))
        path.chmod(0o600)
        running = Running(self, step, folder, self.start(folder, document["id"], secrets))
        return running.wait(limit) if wait else running

    def new_dir(self, step):
        record = self.record_dir(step)
        record.mkdir(parents=True, exist_ok=True, mode=0o700)
        numbers = [int(p.name) for p in record.iterdir() if p.name.isdigit()]
        folder = record / str(max(numbers, default=0) + 1)
        folder.mkdir(mode=0o700)
        return folder

    def start(self, folder, attempt_id, secrets):
        """As the daemon starts it; the only place that knows the command line."""
        with tempfile.TemporaryFile() as stdin:
            stdin.write(json.dumps(secrets).encode())
            stdin.seek(0)
            return subprocess.Popen(
                [step_program(), "--dir", str(folder), "--id", attempt_id],
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                env={
                    "PATH": os.environ["PATH"],
                    "LANG": "C.UTF-8",
                    # Leaks at exit are the unit tests' business; here they would hide the result.
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "detect_leaks=0"),
                    **({"UBSAN_OPTIONS": os.environ["UBSAN_OPTIONS"]}
                       if "UBSAN_OPTIONS" in os.environ else {}),
                },
            )


TASK_KEYS = {
    "wait", "limit", "secrets", "context", "timeout_ms", "grace_ms", "log_bytes", "verify", "probe",
    "overrides", "retry", "env_file",
}


def marked(attempt_id):
    """Every process that carries the attempt's mark, zombies left out."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if f"UPDD_ATTEMPT={attempt_id}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(condition, timeout=20):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "not reached in time"
        time.sleep(0.01)


def task_id(running):
    return json.loads((running.dir / "task.json").read_text())["id"]


def progress(running):
    path = running.dir / "progress"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def question(running, k=1):
    for line in progress(running):
        if line.get("question", {}).get("k") == k:
            return line["question"]
    return None


def answer(running, text, k=1):
    staged = running.dir / "staged"
    staged.write_text(text)
    os.link(staged, running.dir / f"answer.{k}")
    staged.unlink()


def everything_written(folder):
    return b"".join(p.read_bytes() for p in pathlib.Path(folder).rglob("*") if p.is_file())
