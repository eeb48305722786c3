# SPDX-License-Identifier: MIT
"""
SIGHUP: the config file is read anew. What may change while the daemon runs is in force at once, what
may not is named, and a faulty file changes nothing. And the watchdog, fed by a daemon that answers.
"""
import os
import re
import signal
import socket
import time

import pytest

from daemon import SLOW, Daemon
from tiny import Tiny


class Configured(Daemon):
    """A daemon whose plan folders and limits stand in a config file."""

    def __init__(self, home):
        super().__init__(home)
        self.plan_dirs = []
        self.config = self.home / "updd.yaml"

    def configure(self, text):
        self.config.write_text(text)

    def reload(self, says):
        before = len(self.said())
        self.process.send_signal(signal.SIGHUP)
        self.until(lambda: says in self.said()[before:], 20, lambda: self.said()[before:])
        return self.said()[before:]


@pytest.fixture
def updd(tmp_path):
    d = Configured(tmp_path / "updd")
    # The command line's own options come after --config, and none of them is in the file.
    program, d.program = d.program, d.home / "updd-with-config"
    d.program.write_text(f'#!/bin/sh\nexec {program} --config {d.config} "$@"\n')
    d.program.chmod(0o755)
    d.configure(f"plan-dir: [{d.plans}]\nmax-jobs: 1\n")
    yield d
    d.close()


@pytest.fixture
def tiny(tmp_path):
    return Tiny(tmp_path / "tiny")


def small(name):
    return f"format: 1\nplan: {name}\nsteps:\n  - {{id: a, run: ['true'], undo: none}}\n"


def test_more_jobs_run_at_once_without_a_restart(updd, tiny):
    updd.start()
    hold = "touch began-$UPDD_JOB; while ! test -e go; do sleep 0.05; done"
    first = updd.begin(tiny.plan(tiny.act("a", hold)))
    updd.wait_step(first, "a", "running")
    second = updd.begin(tiny.plan(tiny.act("b", hold)))
    time.sleep(0.3)
    assert updd.job(second)["state"] == "queued"
    updd.configure(f"plan-dir: [{updd.plans}]\nmax-jobs: 2\n")
    updd.reload("changed: max-jobs\n")
    updd.wait_step(second, "b", "running")
    tiny.touch("go")
    for job in (first, second):
        updd.wait_for(job, "succeeded")


def test_another_folder_of_plans_is_looked_into(updd, tiny):
    updd.start()
    more = updd.home / "more"
    more.mkdir()
    (more / "late.yaml").write_text(small("late"))
    updd.refuse(404, "no-such-plan", "GET", "/v1/plans/late")
    updd.configure(f"plan-dir: [{updd.plans}, {more}]\nmax-jobs: 1\n")
    updd.reload("changed: plan-dir\n")
    updd.wait_for(updd.begin("late"), "succeeded")


def test_who_may_look_changes_with_the_socket(updd):
    updd.start()
    assert updd.socket.stat().st_mode & 0o777 == 0o660
    text = updd.config.read_text()
    updd.configure(text + "others: view\n")
    updd.reload("changed: others\n")
    assert updd.socket.stat().st_mode & 0o777 == 0o666
    updd.configure(text)
    updd.reload("changed: others\n")
    assert updd.socket.stat().st_mode & 0o777 == 0o660


def test_what_needs_a_restart_is_named_and_stays(updd):
    updd.start()
    updd.configure(updd.config.read_text() + "listen: 127.0.0.1:0\n")
    said = updd.reload("changed: none\n")
    assert "listen has changed, which needs a restart" in said
    assert "listen has changed" in updd.reload("changed: none\n"), "it is no news to the next one"
    updd.restart()
    assert "listening on 127.0.0.1:" in updd.said()


@pytest.mark.parametrize("text, says", [
    ("max-jobs: 2\nmax-job: 3\n", r"updd\.yaml:2:1: there is no option 'max-job'.*max-jobs"),
    ("max-jobs: [\n", r"updd\.yaml:\d+:\d+: "),
    ("max-jobs: lots\n", "max-jobs takes a number from 1 to 10000, not 'lots'")],
    ids=["unknown", "yaml", "value"])
def test_a_faulty_file_leaves_all_as_it_was(updd, tiny, text, says):
    updd.start()
    (updd.plans / "here.yaml").write_text(small("here"))
    good = updd.config.read_text()
    updd.configure(text)
    assert re.search(says, updd.reload("the options stay as they were: "))
    updd.wait_for(updd.begin("here"), "succeeded")
    updd.configure(good)
    updd.reload("changed: none\n")


def test_many_reloads_lose_no_job(updd, tiny):
    updd.start()
    jobs = []
    for i in range(30):
        updd.configure(f"plan-dir: [{updd.plans}]\nmax-jobs: {i % 5 + 1}\n")
        updd.process.send_signal(signal.SIGHUP)
        jobs.append(updd.begin(tiny.plan(tiny.act(f"a{i}"), target=f"t{i}")))
    for job in jobs:
        updd.wait_for(job, "succeeded", timeout=60)


# ---- the service manager --------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path):
    """The socket of a service manager, and what it was told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / "notify"))
        s.settimeout(20 * SLOW)
        yield s


def hear(manager, word):
    while True:
        said = manager.recv(4096).decode()
        if word in said:
            return said


def test_the_manager_hears_of_a_reload_and_of_its_end(updd, manager):
    updd.start(NOTIFY_SOCKET=manager.getsockname())
    hear(manager, "READY=1")
    before = time.monotonic_ns() // 1000
    updd.process.send_signal(signal.SIGHUP)
    said = hear(manager, "RELOADING=1")
    at = int(re.search(r"MONOTONIC_USEC=(\d+)", said)[1])
    assert before <= at <= time.monotonic_ns() // 1000
    assert hear(manager, "READY=1")
    updd.configure("nonsense: 1\n")
    updd.process.send_signal(signal.SIGHUP)
    hear(manager, "RELOADING=1")
    assert "updd.yaml:1:1" in hear(manager, "STATUS=")
    hear(manager, "READY=1")


def test_a_daemon_that_answers_feeds_its_watchdog_in_time(updd, manager):
    updd.start(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="2000000")
    for _ in range(4):
        begin = time.monotonic()
        hear(manager, "WATCHDOG=1")
        assert time.monotonic() - begin < 2 * SLOW
    os.kill(updd.process.pid, signal.SIGSTOP)
    try:
        manager.settimeout(0.3)
        with pytest.raises(TimeoutError):
            while True:
                manager.recv(4096)
        manager.settimeout(1.5)
        with pytest.raises(TimeoutError):
            hear(manager, "WATCHDOG=1")
    finally:
        os.kill(updd.process.pid, signal.SIGCONT)
    manager.settimeout(20 * SLOW)
    hear(manager, "WATCHDOG=1")
