# SPDX-License-Identifier: MIT
"""One machine for the tests of this folder: booted once, with updd installed and running."""
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "integration"), str(HERE.parent / "standins"), str(HERE)]

import daemon as daemon_module  # noqa: E402
import machine as machine_module  # noqa: E402


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
    yield machine_module.Installed(machine).wait_up()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """One at a time, and first: what can only follow one another must not begin last."""
    for item in items:
        if "machine" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("machine"))
    items.sort(key=lambda i: (i.path.parent != HERE, "docker_host" not in i.fixturenames))
