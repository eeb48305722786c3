# SPDX-License-Identifier: MIT
"""The service as its manager sees it: reloaded while a step runs; a failure that others are told of."""
import pytest

from test_steps import begun, unit_of

CONFIG = "/etc/updd/updd.yaml"


@pytest.fixture
def config(machine, updd):
    """Writes the config file; afterwards there is none, and the service is as it was."""
    yield lambda text: machine.write(CONFIG, text)
    machine.sh(f"rm -rf {CONFIG} /etc/systemd/system/updd.service.d")
    machine.run("systemctl", "daemon-reload")
    machine.ask("systemctl", "reset-failed", "updd.service", "updd.socket")
    machine.run("systemctl", "stop", "updd.service", "updd.socket")
    machine.run("systemctl", "start", "updd.socket", "updd.service")
    updd.wait_up()


def test_a_reload_touches_no_step(machine, updd, tiny, config):
    job = updd.begin(tiny.plan(tiny.act("a", "touch began; while ! test -e go; do sleep 0.1; done")))
    begun(updd, tiny, job)
    before = updd.main_pid(), machine.show(unit_of(machine, updd, job, "a"), "MainPID")
    config("max-jobs: 7\n")
    machine.run("systemctl", "reload", "updd.service")
    updd.until(lambda: "changed: max-jobs" in machine.journal("-u", "updd.service"), 20, updd.said)
    updd.until(lambda: machine.show("updd.service", "ActiveState")["ActiveState"] == "active", 20,
               updd.said)
    assert before == (updd.main_pid(), machine.show(unit_of(machine, updd, job, "a"), "MainPID"))
    tiny.touch("go")
    updd.wait_for(job, "succeeded")


def test_a_refused_reload_is_in_the_journal_and_in_the_status(machine, updd, config):
    pid = updd.main_pid()
    config("max-jobs: 7\nmax-job: 1\n")
    machine.run("systemctl", "reload", "updd.service")
    updd.until(lambda: f"{CONFIG}:2:1" in machine.show("updd.service", "StatusText")["StatusText"], 20,
               updd.said)
    machine.run("journalctl", "--sync")
    text = machine.run("journalctl", "--no-pager", "-x", "-u", "updd.service", "-n", "20")
    assert f"the options stay as they were: {CONFIG}:2:1" in text and "did you mean" in text
    assert updd.main_pid() == pid and updd.call("GET", "/v1/health").status == 200


def test_others_who_may_look_are_let_in_by_the_sockets_mode(machine, updd, config):
    as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "updctl", "--socket",
                 "/run/updd/updd.sock")
    config("others: view\n")
    machine.run("systemctl", "reload", "updd.service")
    updd.until(lambda: "changed: others" in machine.journal("-u", "updd.service"), 20, updd.said)
    said = machine.journal("-u", "updd.service")
    assert "others: view lets nobody in" in said and "SocketMode=0666" in said
    assert machine.ask(*as_nobody, "list").returncode != 0
    machine.write("/etc/systemd/system/updd.socket.d/mode.conf", "[Socket]\nSocketMode=0666\n")
    try:
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "stop", "updd.socket", "updd.service")
        machine.run("systemctl", "start", "updd.socket", "updd.service")
        updd.wait_up()
        machine.run(*as_nobody, "list")
        refused = machine.ask(*as_nobody, "token", "add", "mine")
        assert refused.returncode != 0 and "operate" in refused.stderr + refused.stdout, refused
        machine.run("journalctl", "--sync")
        pid = updd.main_pid()
        assert "lets nobody in" not in machine.journal(f"_PID={pid}")
    finally:
        machine.run("rm", "-r", "/etc/systemd/system/updd.socket.d")


def test_on_failure_is_honoured_when_it_cannot_be_kept_up(machine, updd, config):
    machine.write("/etc/systemd/system/call-somebody.service",
                  "[Service]\nType=oneshot\nExecStart=/bin/touch /run/somebody-was-called\n")
    machine.write("/etc/systemd/system/updd.service.d/call.conf",
                  "[Unit]\nOnFailure=call-somebody.service\nStartLimitBurst=3\n"
                  "StartLimitIntervalSec=60\n")
    config("nonsense: 1\n")
    machine.run("systemctl", "daemon-reload")
    machine.ask("systemctl", "restart", "updd.service")
    updd.until(lambda: machine.file("/run/somebody-was-called").exists(), 60, updd.said)
    assert f"{CONFIG}:1:1" in updd.said()
