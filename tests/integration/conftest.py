# SPDX-License-Identifier: MIT
"""What the integration tests share: a daemon of their own each, and the demand that it was built."""
import os
import pathlib
import subprocess
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "standins"))

import daemon as daemon_module  # noqa: E402
import fake_updd  # noqa: E402
import steptool  # noqa: E402
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


@pytest.fixture
def step(tmp_path):
    assert os.access(steptool.step_program(), os.X_OK), "updd-step is not built"
    return steptool.StepRunner(tmp_path)


@pytest.fixture
def script(step):
    """Writes a program into the working folder and gives the argv that runs it."""
    def write(text, name="program.sh", with_="sh"):
        path = step.cwd / name
        path.write_text(text)
        return [with_, str(path)]
    return write


@pytest.fixture
def fake(built, tmp_path):
    """What updctl takes for the daemon."""
    server = fake_updd.FakeUpdd(tmp_path / "sock").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def docker_host(tmp_path_factory):
    """A Docker engine of the tests' own. `UPDD_TEST_DOCKER_HOST` names one that runs already."""
    given = os.environ.get("UPDD_TEST_DOCKER_HOST")
    if given:
        yield given
        return
    folder = tmp_path_factory.mktemp("dockerd")
    host = f"unix://{folder}/sock"
    with open(folder / "log", "wb") as log:
        engine = subprocess.Popen(
            ["dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec",
             "--pidfile", folder / "pid", "--host", host],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while subprocess.run(["docker", "--host", host, "version"], check=False,
                             capture_output=True).returncode != 0:
            assert engine.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.2)
        yield host
    finally:
        engine.terminate()
        engine.wait(60)


@pytest.fixture(scope="session")
def venv(tmp_path_factory):
    """One virtual environment for the tests that are not about making it."""
    folder = tmp_path_factory.mktemp("venv") / "venv"
    subprocess.run(["python3", "-m", "venv", str(folder)], check=True)
    return folder


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """One Docker engine, and names of containers that are the same in each test: one at a time."""
    for item in items:
        if "docker_host" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("docker"))
