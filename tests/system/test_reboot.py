# SPDX-License-Identifier: MIT
"""A plan that reboots the machine it runs on, and goes on afterwards."""
from test_journal import told
from test_steps import nothing_left


def boot_id(machine):
    return machine.run("cat", "/proc/sys/kernel/random/boot_id").strip()


def test_a_job_reboots_its_machine_and_goes_on(machine, updd, tiny):
    before = boot_id(machine)
    job = updd.begin(tiny.plan(tiny.act("a"), {"id": "boot", "reboot": {"reason": "a new kernel"}},
                               tiny.act("b", "cat /proc/sys/kernel/random/boot_id >boot")))
    machine.rebooted()
    updd.wait_up().wait_for(job, "succeeded", timeout=60)
    assert tiny.done() == ["do-a", "do-b"]
    assert before != boot_id(machine) == (tiny.folder / "boot").read_text().strip()
    logs = [updd.log(job, "boot", attempt=n) for n in range(1, updd.step(job, "boot")["attempts"] + 1)]
    assert len([log for log in logs if "is asked to reboot" in log]) == 1, logs
    assert "1 of 1: a new kernel" in logs[0] and "has booted anew" in logs[-1]
    told(machine, updd, job)
    updd.invariants(job)
    nothing_left(machine)


def test_one_that_loses_power_as_it_goes_down_is_there_all_the_same(machine, updd, tiny):
    job = updd.begin(tiny.plan({"id": "boot", "reboot": {}}, tiny.act("b")))
    updd.until(lambda: (updd.state / "jobs" / str(job) / "boot" / "undo").exists(), 30, updd.said)
    machine.cut()
    machine.boot()
    updd.wait_up().wait_for(job, "succeeded", timeout=60)
    assert tiny.done() == ["do-b"]
    updd.invariants(job)


def test_a_machine_that_does_not_reboot_fails_the_step_and_goes_back(machine, updd, tiny):
    machine.sh("mkdir -p /run/systemd/system/reboot.target.d; systemctl mask --runtime reboot.target")
    try:
        job = updd.begin(tiny.plan(tiny.act("a"), {"id": "boot", "reboot": {"tries": 2}},
                                   tiny.act("b")))
        updd.wait_for(job, "rolled_back", timeout=90)
    finally:
        machine.sh("systemctl unmask --runtime reboot.target")
    assert tiny.done() == ["do-a", "undo-a"]
    assert "systemd does not reboot: " in updd.job(job)["failure"]["message"]
    assert updd.log(job, "boot", attempt=1).count("is asked to reboot") == 2
