# SPDX-License-Identifier: MIT
"""README.md is true: its first plan and its commands are run as they stand there."""
import os
import re
import signal
import subprocess

import pytest

from daemon import BUILD, ROOT, SLOW

README = (ROOT / "README.md").read_text()
# As asked, rolled back, waits for a person: what the first plan's commands may end with.
FINE = "0 4 5"


def block(name):
    """The fenced block below `<!-- try: NAME -->`."""
    found = re.search(rf"<!-- try: {re.escape(name)} -->\n```\w+\n(.*?)```", README, re.S)
    assert found, f"README.md has no block '{name}'"
    return found.group(1)


class Shell:
    """One bash, as the reader's, with its home in a folder of the test's."""

    def __init__(self, home):
        self.home = home
        path = f"{BUILD}/daemon:{BUILD}/client/updctl:{os.environ['PATH']}"
        self.bash = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=home, text=True, start_new_session=True,
            env={"HOME": str(home), "PATH": path, "LANG": "C.UTF-8",
                 **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}})

    def run(self, name):
        """Runs a block line by line; every line must end with one of FINE. Its output."""
        script = "set -m\n"
        for line in block(name).splitlines():
            script += f'{line}\ncode=$?; case " {FINE} " in *" $code "*) ;; *) ' \
                      f'echo "ENDED $code: {name}"; exit 1 ;; esac\n'
        self.bash.stdin.write(script + "echo END-OF-BLOCK\n")
        self.bash.stdin.flush()
        said = ""
        for line in self.bash.stdout:
            if line == "END-OF-BLOCK\n":
                return said
            said += line
        raise AssertionError(f"{said}\n{self.log()}")

    def log(self):
        log = self.home / "first/updd.log"
        return log.read_text() if log.exists() else ""

    def close(self):
        """Ends bash and what it started: the daemon is in its session."""
        self.bash.stdin.close()
        for pid in session(self.bash.pid):
            os.kill(pid, signal.SIGTERM)
        self.bash.wait(20)
        self.bash.stdout.close()


def session(leader):
    found = subprocess.run(["ps", "-o", "pid=", "-s", str(leader)], capture_output=True, text=True)
    return [int(p) for p in found.stdout.split() if int(p) != leader]


@pytest.fixture
def shell(tmp_path, built):
    s = Shell(tmp_path)
    try:
        yield s
    finally:
        s.close()


@pytest.mark.timeout(120 * SLOW)
def test_the_first_plan_runs_as_the_readme_tells_it(shell, tmp_path):
    first = tmp_path / "first"
    shell.run("begin")
    (first / "first.yaml").write_text(block("first.yaml"))
    assert (first / "page.html").read_text() == "Version 1\n"

    said = shell.run("start")
    assert "Is the page right?" in said and "I have read it" in said, said
    assert (first / "page.html").read_text() == "Version 2\n"

    said = shell.run("confirm")
    assert "Version 2\n" in said, said
    assert "succeeded" in said, said

    said = shell.run("back")
    assert (first / "page.html").read_text() == "Version 1\n"
    assert (first / "news").read_text() == "version 2 is out\nversion 2 was taken back\n"
    assert "Version 1\n" in said and "rolled" in said, said

    shell.run("end")
    assert "AddressSanitizer" not in shell.log() and "runtime error" not in shell.log()


def test_the_path_that_it_names_is_where_a_build_has_its_programs(built):
    assert "$PWD/build-demo/daemon:$PWD/build-demo/client/updctl:" in block("path")
    assert os.access(BUILD / "daemon/updd", os.X_OK)
    assert os.access(BUILD / "client/updctl/updctl", os.X_OK)


def test_every_file_and_test_that_it_names_exists():
    for file in re.findall(r"`((?:api|daemon|client|plans|tests|units)/[\w./-]+)`", README):
        assert (ROOT / file).exists(), file
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", README)
    assert len(named) > 10
    for file, test in named:
        found = [p for p in (ROOT / "tests").glob(f"*/{file}") if p.parent.name != "unit"]
        assert len(found) == 1, f"{file}: {found}"
        text = found[0].read_text()
        assert re.search(rf"^def {test}\(", text, re.M), f"{file}::{test}"


def test_every_row_of_sesame_and_kimi_proxy_names_its_test():
    rows = set(re.findall(r"^\| ([SK]\d) \|", README, re.M))
    assert rows == {f"S{n}" for n in range(1, 10)} | {f"K{n}" for n in range(1, 9)}
