# SPDX-License-Identifier: MIT
"""updctl against a stand-in for the daemon: how the tests call it, and what the stand-in tells."""
import os
import subprocess
import threading
import time

from daemon import BUILD, ROOT, SANITIZER, SLOW
from fake_updd import job, stamp
from terminal import Terminal

UPDCTL = BUILD / "client/updctl/updctl"
MAN = ROOT / "client/updctl/updctl.1"


def environment(path, **more):
    keep = {k: v for k, v in os.environ.items() if k in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS")}
    return {**keep, "HOME": "/nonexistent", "LANG": "C.UTF-8", "TZ": "UTC", "TERM": "xterm",
            "UPDD_SOCKET": str(path), **more}


def ctl(path, *args, code=None, stdin=None, **env):
    path = getattr(path, "path", path)
    done = subprocess.run([str(UPDCTL), *map(str, args)], capture_output=True, text=True,
                          input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
                          env=environment(path, **env), timeout=60 * SLOW)
    assert not SANITIZER.search(done.stderr), done.stderr
    if code is not None:
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def terminal(fake, *args, **env):
    return Terminal([str(UPDCTL), *map(str, args)], environment(fake.path, **env))


def gate(**more):
    return {"id": "w1", "kind": "gate", "step": "accept", "since": stamp(60), "deadline": stamp(-3600),
            "ask": "Business checks passed?", "on_timeout": "hold",
            "items": [{"text": "chat works"}, {"text": "history is there"}], **more}


def question(**more):
    return {"id": "w2", "kind": "question", "step": "install", "since": stamp(5), "prompt": "Password:",
            "echo": False, "k": 1, **more}


def failed(**more):
    return job(state="failed", ended=stamp(), actions=[], failure={
        "step": "start", "phase": "main", "direction": "do", "message": "proxy is not healthy",
        "hint": "look at its port", "tail": ["one", "two"], "services": {"proxy": ["port in use"]},
        "running": ["database"], "undone": ["code", "stop"],
        "left": [{"step": "install", "why": "undo: none"}], "pending_undo": ["backup"],
        "next": ["updctl retry 42", "updctl rollback 42 --strategy full"]}, **more)


STRATEGIES = [
    {"name": "full", "loses": "what was written", "lost": {"since": stamp(47 * 60), "for": "47m"},
     "situations": [], "undo": [{"step": "code", "what": "git: back to the recorded commit"},
                                {"step": "stop", "what": "stop: start what ran"}], "keep": []},
    {"name": "code", "loses": "nothing", "situations": ["application bug"], "keep": ["data"],
     "undo": [{"step": "code", "what": "git: back to the recorded commit"}]},
]


def advance(fake, *states, wait=0.2):
    """Once the job is there, takes it through the states, with a pause before each."""
    def run():
        while 42 not in fake.jobs:
            time.sleep(0.02)
        for new, *events in states:
            time.sleep(wait)
            fake.put(new, *events)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread
