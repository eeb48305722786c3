# SPDX-License-Identifier: MIT
"""What the integration tests share: a daemon of their own each, and the demand that it was built."""
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "standins"))

import daemon as daemon_module  # noqa: E402
import tiny as tiny_module  # noqa: E402


@pytest.fixture(scope="session")
def build_dir():
    return daemon_module.BUILD


@pytest.fixture(scope="session")
def built():
    """A test that needs the programs fails without them: it never passes by being skipped."""
    missing = daemon_module.missing_programs()
    assert not missing, f"not built: {missing} (set UPDD_BUILD to the build directory)"


@pytest.fixture
def updd(built, tmp_path):
    """The real daemon with an empty state folder, running. Plans go to `updd.plans`."""
    d = daemon_module.Daemon(tmp_path / "updd", [daemon_module.ROOT / "plans"])
    try:
        yield d.start()
    finally:
        d.close()


@pytest.fixture
def tiny(tmp_path):
    return tiny_module.Tiny(tmp_path / "tiny")
