# SPDX-License-Identifier: MIT
"""
Secrets from systemd's credentials: given to updd.service, handed on to the steps that name them, and
found nowhere else.
"""
import hashlib

import pytest

from test_steps import begun, unit_of

LOADED = "loaded-7f3kq9-secret"
SEALED = "sealed-x82mfa-secret"
DROP_IN = "/etc/systemd/system/updd.service.d/credentials.conf"


def sealed(machine, name, value):
    """A SetCredentialEncrypted= line, sealed with this machine's own key."""
    machine.run("systemd-creds", "setup")
    return machine.run("systemd-creds", "encrypt", "--with-key=host", f"--name={name}", "--pretty", "-",
                       "-", stdin=value)


@pytest.fixture
def service(machine, updd):
    """updd.service with both kinds; afterwards with none."""
    machine.write("/root/loaded", LOADED + "\n", 0o600)
    machine.write(DROP_IN, "[Service]\nLoadCredential=loaded:/root/loaded\n"
                  + sealed(machine, "sealed", SEALED))
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "updd.service")
    yield updd.wait_up()
    machine.run("rm", "-f", DROP_IN, "/root/loaded")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "updd.service")
    updd.wait_up()


def using(tiny, kind, then=""):
    return tiny.plan(
        {"id": "use", "run": ["sh", "-c", "printf %s \"$A\" | sha256sum; printf %s \"$B\" | sha256sum;"
                              " echo \"it is $A and $B\"; touch began; " + then],
         "env": {"A": "${secret.loaded}", "B": "${secret.sealed}"}, "undo": "none"},
        inputs={"kind": {"default": kind}},
        secrets={"loaded": {"credential": "load${in.kind}"}, "sealed": {"credential": "sealed"}})


def test_both_kinds_reach_the_step_and_nothing_else(machine, service, tiny):
    job = service.begin(using(tiny, "ed", "while ! test -e go; do sleep 0.1; done"))
    begun(service, tiny, job)
    unit = unit_of(machine, service, job, "use")
    path = "/org/freedesktop/systemd1/unit/" + "".join(
        c if c.isalnum() else f"_{ord(c):02x}" for c in unit)
    seen = {
        "properties": machine.run("systemctl", "show", unit),
        "bus": machine.run("busctl", "introspect", "--full", "org.freedesktop.systemd1", path),
        "unit": machine.run("systemctl", "cat", unit),
        "argv": machine.sh("{ cat /proc/[0-9]*/cmdline 2>/dev/null || true; } | tr '\\0' ' '"),
        "units": machine.sh("cat /run/systemd/transient/* /run/systemd/units/* 2>/dev/null || true"),
    }
    tiny.touch("go")
    service.wait_for(job, "succeeded")
    log = service.log(job, "use")
    for value in (LOADED, SEALED):
        assert hashlib.sha256(value.encode()).hexdigest() in log, "it did not reach the step"
        for where, text in seen.items():
            assert text.strip() and value not in text, where
        assert [a for a in service.answers if value in a] == []
        assert machine.ask("grep", "-rlF", value, "/var", "/run/log", "/run/updd", "/tmp",
                           "/etc").stdout == ""
        assert value not in machine.journal()
    assert "it is ******** and ********" in log


def test_one_that_is_not_there_is_waited_for_and_may_come_with_a_restart(machine, service, tiny):
    job = service.begin(using(tiny, "ed-later"))
    wait = service.wait_open(job, "missing-secret")
    machine.write("/root/loaded", LOADED, 0o600)
    machine.sh(f"echo LoadCredential=loaded-later:/root/loaded >{DROP_IN}.tmp && "
               f"cat {DROP_IN} {DROP_IN}.tmp >{DROP_IN}.new && mv {DROP_IN}.new {DROP_IN} && "
               f"rm {DROP_IN}.tmp")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "updd.service")
    service.wait_up().post(job, "retry", wait=wait["id"])
    service.wait_for(job, "succeeded")
    assert hashlib.sha256(LOADED.encode()).hexdigest() in service.log(job, "use")


# ---- files of an application's own user ----------------------------------------------------------

ENV_FILE = "/srv/app-secrets/.env"
CLOSED = "/etc/systemd/system/updd.service.d/closed.conf"


@pytest.fixture
def env_file(machine):
    """As applications keep it: nobody's but theirs, in a folder that is theirs too."""
    machine.write(ENV_FILE, "OTHER=1\nTOKEN='of-the-application'\n", 0o600)
    machine.sh("chmod 700 /srv/app-secrets; chown -R daemon: /srv/app-secrets")
    yield ENV_FILE
    machine.sh(f"rm -rf /srv/app-secrets; if test -e {CLOSED}; then rm {CLOSED}; systemctl daemon-reload;"
               " systemctl restart updd.service; fi")


def plan_with(tiny, env_file):
    return tiny.plan({"id": "use", "run": ["sh", "-c", "printf %s \"$T\" | sha256sum; exit 0"],
                      "env": {"T": "${secret.token}"}, "undo": "none"},
                     secrets={"token": {"env_file": env_file, "key": "TOKEN"}})


def test_a_file_of_the_applications_user_is_read(machine, updd, tiny, env_file):
    job = updd.begin(plan_with(tiny, env_file))
    updd.wait_for(job, "succeeded")
    assert hashlib.sha256(b"of-the-application").hexdigest() in updd.log(job, "use")


def test_one_that_a_tighter_unit_may_not_read_is_told_with_what_helps(machine, updd, tiny, env_file):
    machine.write(CLOSED, "[Service]\nCapabilityBoundingSet=\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "updd.service")
    job = updd.wait_up().begin(plan_with(tiny, env_file))
    wait = updd.wait_open(job, "missing-secret")
    assert f"{ENV_FILE} cannot be read: Permission denied" in wait["why"]
    assert "LoadCredential=" in wait["why"]
    updd.post(job, "retry", wait=wait["id"], secrets={"token": "given"})
    updd.wait_for(job, "succeeded")
    assert hashlib.sha256(b"given").hexdigest() in updd.log(job, "use")
