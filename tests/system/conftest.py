# SPDX-License-Identifier: MIT
"""
A machine for the tests of this folder: booted once, with updd installed and running. What is about
services that are units has another one, since most of all this is waiting.
"""
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "integration"), str(HERE.parent / "standins"), str(HERE)]

import daemon as daemon_module  # noqa: E402
import machine as machine_module  # noqa: E402
from tiny import Tiny  # noqa: E402
from units import DB, Units  # noqa: E402


@pytest.fixture(scope="session")
def machine(tmp_path_factory):
    missing = daemon_module.missing_programs()
    assert not missing, f"not built: {missing} (set UPDD_BUILD to the build directory)"
    if os.geteuid() != 0 and os.environ.get("CI") != "true":
        pytest.skip("a machine is booted by root only")
    m = machine_module.Machine(tmp_path_factory.mktemp("machine"))
    try:
        m.install()
        yield m.boot()
    finally:
        m.close()


@pytest.fixture
def updd(machine):
    """The machine's daemon. What a test leaves unfinished is its own fault, and is told."""
    # systemd starts a unit five times in ten seconds and no more: each test has the five to itself.
    machine.ask("systemctl", "reset-failed", "updd.service")
    yield machine_module.Installed(machine).wait_up()


@pytest.fixture
def tiny(machine, request):
    """Plans whose folder is one of the machine."""
    name = request.node.name.translate(str.maketrans("[]", "--"))
    machine.sh(f"mkdir -p /srv/{name}")

    class Inside(Tiny):
        def __init__(self):
            self.path = f"/srv/{name}"

        @property
        def folder(self):
            return machine.file(self.path)

        @property
        def told(self):
            return self.folder / "told"

        def plan(self, *steps, **top):
            return super().plan(*steps, **{"cwd": self.path, "plan": name[:40].strip("_").replace(
                "_", "-"), **top})
    return Inside()


@pytest.fixture
def units(machine):
    """Units of a test's own. They go with it, and it leaves PostgreSQL as it was."""
    made = Units(machine)
    db_before = made.state(DB)
    try:
        yield made
    finally:
        made.remove()
    machine.until(lambda: made.active(DB) == ["active"], 60, "PostgreSQL is not left as it was")
    assert made.state(DB) == db_before


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """One at a time, and first: what can only follow one another must not begin last."""
    for item in items:
        if "machine" in item.fixturenames:
            about_units = item.path.stem in ("test_units", "test_units_held", "test_qubeless")
            item.add_marker(pytest.mark.xdist_group("units" if about_units else "machine"))
    items.sort(key=lambda i: (i.path.parent != HERE, "docker_host" not in i.fixturenames))
