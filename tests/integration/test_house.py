# SPDX-License-Identifier: MIT
"""The house rules: how files look, which room may know which, and what an installed tree is."""
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest
import yaml

from daemon import BUILD, ROOT

TOP = {"api", "client", "daemon", "plans", "tests", "units", "meson.build", "README.md", "LICENSE"}
C_FOLDERS = ("api", "client", "daemon", "tests")

# What each room may include, itself apart. `main` stands for the files of daemon/ itself.
ROOMS = {
    "api": set(),
    "client": {"api"},
    "daemon/plan": {"api"},
    "daemon/state": {"api"},
    "daemon/attempt": {"api"},
    "daemon/store": {"api", "daemon/state"},
    "daemon/bus": {"api"},
    "daemon/engine": {"api", "daemon/bus", "daemon/store", "daemon/plan", "daemon/state", "daemon/attempt",
                      "daemon/log.h"},
    "daemon/report": {"api"},
    "daemon/http": {"api", "daemon/engine", "daemon/report", "daemon/log.h"},
    "daemon/step": {"api", "daemon/attempt", "daemon/plan"},
    "daemon": {"api", "daemon/http", "daemon/engine", "daemon/bus"},
    "tests": {"api", "client", "daemon"},
}
# Libraries that only some rooms may know.
ONLY = {
    "sqlite3.h": {"daemon/store", "daemon/step", "tests"},
    "microhttpd.h": {"daemon/http", "tests"},
    "curl/curl.h": {"client", "daemon/step", "tests"},
    "archive.h": {"daemon/step", "tests"},
    "systemd/sd-bus.h": {"daemon/bus", "daemon/step", "tests"},
    "yaml.h": {"daemon/plan", "daemon", "daemon/http", "tests"},  # http: openapi, when building
}
# Headers and functions of the outside world, which plan and state never see.
IO_HEADERS = {"fcntl.h", "dirent.h", "poll.h", "spawn.h", "sys/socket.h", "sys/stat.h", "sys/un.h",
              "sys/wait.h", "sys/mman.h", "systemd/sd-event.h", "systemd/sd-bus.h", "netdb.h"}
# Streams into memory (open_memstream) are no I/O, so fprintf and its kin are not in this list.
IO_FUNCTIONS = """
    open open64 openat openat64 creat fopen fopen64 fdopen freopen popen read pread readv write pwrite
    writev printf vprintf puts putchar fread stdin stdout stderr socket connect bind stat stat64 fstat
    lstat access unlink unlinkat rename renameat link mkdir rmdir opendir fork vfork execve execv
    execvp posix_spawn system kill file_read file_write_atomic write_all remove_tree mkdir_parents
    sha256_fd boot_id_read sd_journal_send sd_journal_print
""".split()


def files(*suffixes, under=("",)):
    found = []
    for folder in under:
        for path in sorted((ROOT / folder).rglob("*")):
            parts = path.relative_to(ROOT).parts
            hidden = parts[0] != ".ci" and parts[0].startswith(".")
            if path.is_file() and not hidden and not parts[0].startswith("build") \
                    and "__pycache__" not in parts and (not suffixes or path.suffix in suffixes):
                found.append(path)
    assert found, "nothing to look at"
    return found


def name(path):
    return str(path.relative_to(ROOT))


def c_files():
    return files(".c", ".h", under=C_FOLDERS)


def room_of(path):
    """The innermost room that a path (relative, as text) lies in."""
    return max((r for r in ROOMS if path.startswith(r + "/")), key=len)


# ---- how files look -------------------------------------------------------------------------------


def test_every_c_file_is_as_the_formatter_would_write_it():
    done = subprocess.run(["clang-format", "--dry-run", "--Werror", *map(str, c_files())],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]


def test_every_file_of_code_says_its_licence_first():
    for path in files(".c", ".h", ".py"):
        first = path.read_text().splitlines()[:2]
        expected = "# SPDX-License-Identifier: MIT" if path.suffix == ".py" \
            else "/* SPDX-License-Identifier: MIT */"
        at = 1 if first and first[0].startswith("#!") else 0
        assert first[at:at + 1] == [expected], name(path)


def test_every_shell_script_is_sound_and_says_its_licence():
    scripts = [p for p in files() if p.read_bytes()[:11] in (b"#!/bin/bash", b"#!/bin/sh\n#")]
    assert {name(p) for p in scripts} >= {".ci/run", "tests/run", "tests/demo", "tests/install-deps"}
    for path in scripts:
        assert path.read_text().splitlines()[1] == "# SPDX-License-Identifier: MIT", name(path)
        assert os.access(path, os.X_OK), f"{name(path)} cannot be executed"
    done = subprocess.run(["shellcheck", "--severity=warning", *map(str, scripts)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_c_file_says_what_it_is():
    bare = [name(p) for p in c_files() if not p.read_text().split("\n", 2)[1].startswith("/*")]
    assert not bare, f"no banner comment on the second line: {bare}"


def test_a_long_file_says_why_it_is_long():
    for path in files(".c", under=C_FOLDERS):
        lines = path.read_text().splitlines()
        banner = "\n".join(lines[:25])
        assert len(lines) <= 600 or re.search(r"\blines\b|\blong\b", banner), \
            f"{name(path)} has {len(lines)} lines and its banner does not say why"


def test_nothing_is_left_for_later():
    marks = re.compile(r"\b(%s)\b|%s" % ("|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]),
                                         "not " + "implemented"))
    for path in files():
        if path.suffix in (".png", ".db", ".gz", ".zst") or name(path).startswith("tests/fuzz/"):
            continue
        found = marks.search(path.read_text(errors="replace"))
        assert not found, f"{name(path)}: {found.group()}"


def test_cleanup_functions_are_used_instead_of_jumps():
    for path in c_files():
        assert not re.search(r"^\s*goto\s+\w+;", path.read_text(), re.M), name(path)


def test_the_top_level_holds_what_the_house_has_and_nothing_more():
    found = {p.name for p in ROOT.iterdir() if not p.name.startswith((".", "build"))}
    assert found == TOP, found ^ TOP


def test_every_unit_test_is_registered():
    meson = (ROOT / "tests/unit/meson.build").read_text()
    for path in files(".c", under=["tests/unit"]):
        if path.stem.startswith("test_"):
            assert f"'{path.stem[5:]}'" in meson or f"'{path.name}'" in meson, name(path)


def test_what_the_build_needs_is_what_install_deps_installs():
    script = (ROOT / "tests/install-deps").read_text()
    needed = re.findall(r"dependency\('([^']+)'", (ROOT / "meson.build").read_text())
    assert len(needed) >= 10
    for library in needed:
        folder = subprocess.run(["pkg-config", "--variable=pcfiledir", library], check=True,
                                capture_output=True, text=True).stdout.strip()
        owner = subprocess.run(["dpkg", "-S", f"{folder}/{library}.pc"], check=True,
                               capture_output=True, text=True).stdout.split(":")[0]
        assert re.search(rf"\b{owner}\b", script), f"{library} is of {owner}"


def test_every_mutant_still_applies_and_says_what_it_breaks_and_what_sees_it():
    patches = sorted((ROOT / "tests/mutants").glob("*.patch"))
    assert len(patches) >= 8
    for patch in patches:
        text = patch.read_text()
        said = re.match(r"(?P<what>[^\n]+)\nCaught by: (?:[A-Z_]+=\S+ )*(?P<file>test_\w+\.py)::"
                        r"(?P<test>\w+)(\[\S+\])?\n\n--- a/", text)
        assert said, f"{name(patch)}: its first lines say too little"
        tests = (ROOT / "tests/integration" / said["file"]).read_text()
        assert f"def {said['test']}(" in tests, f"{name(patch)}: there is no {said['test']}"
        done = subprocess.run(["patch", "--strip=1", "--dry-run", "--silent", "--fuzz=0", "--input",
                               str(patch)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"{name(patch)}: {done.stdout}"


# ---- which room may know which ----------------------------------------------------------------------


def includes(path):
    return re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', path.read_text(), re.M)


def test_includes_go_one_way():
    wrong = []
    for path in c_files():
        room = room_of(name(path))
        for kind, what in includes(path):
            if kind != '"':
                continue
            if not (ROOT / what).exists():
                # Generated, or a test's own header beside it.
                assert (path.parent / what).exists() or list(BUILD.rglob(pathlib.Path(what).name)), \
                    f"{name(path)}: {what} is not relative to the top"
                continue
            there = room_of(what)
            allowed = ROOMS[room] | {room}
            if there not in allowed and what not in allowed \
                    and not any(there.startswith(a + "/") for a in allowed if room == "tests"):
                wrong.append(f"{name(path)} includes {what}")
    assert not wrong, "\n".join(wrong)


def test_a_library_is_known_only_where_it_belongs():
    wrong = [f"{name(path)} includes {what}" for path in c_files() for _, what in includes(path)
             if what in ONLY and room_of(name(path)) not in ONLY[what]]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ["plan", "state", "report"])
def test_the_pure_rooms_see_nothing_of_the_outside_world(room):
    folder = ROOT / "daemon" / room
    for path in sorted(folder.glob("*.[ch]")):
        if re.search(r"^int main\(", path.read_text(), re.M):
            continue  # a program that serves the build is no part of the room
        seen = {what for _, what in includes(path)} & IO_HEADERS
        assert not seen, f"{name(path)} includes {seen}"
    archives = list((BUILD / "daemon" / room).glob("*.a"))
    assert archives, f"no library of {room} was built"
    used = subprocess.run(["nm", "--undefined-only", *map(str, archives)], check=True,
                          capture_output=True, text=True).stdout
    calls = {line.split()[-1].split("@")[0] for line in used.splitlines() if line.split()} \
        & set(IO_FUNCTIONS)
    assert not calls, f"daemon/{room} calls {calls}"


# ---- papers ---------------------------------------------------------------------------------------


def man_pages():
    return [p for p in files(under=["api", "client", "daemon", "units"])
            if re.fullmatch(r"\.[1-8]", p.suffix)]


def test_man_pages_parse():
    pages = man_pages()
    assert {p.name for p in pages} >= {"updd.8", "updctl.1"}
    for page in pages:
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(page)],
                              capture_output=True, text=True)
        # An exit code of 2 is a warning, 3 an error; style remarks do not change it.
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("program, page", [("daemon/updd", "updd.8"),
                                           ("client/updctl/updctl", "updctl.1")])
def test_every_option_of_the_help_stands_in_the_man_page(program, page, built):
    said = subprocess.run([str(BUILD / program), "--help"], check=True, capture_output=True,
                          text=True, stdin=subprocess.DEVNULL).stdout
    text = next(p for p in man_pages() if p.name == page).read_text()
    text = text.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "")
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", said))
    assert options, said
    missing = {o for o in options if o not in text}
    assert not missing, f"{page} does not tell of {sorted(missing)}"


def test_the_route_table_and_openapi_tell_of_the_same_calls():
    document = yaml.safe_load((ROOT / "api/openapi.yaml").read_text())
    assert document["openapi"].startswith("3.")

    def plain(path):
        return re.sub(r"\{\w+\}", "{}", path)
    described = {(method.upper(), plain(path)) for path, item in document["paths"].items()
                 for method in item if method in ("get", "put", "post", "delete", "patch", "head")}
    table = {(method, plain(path)) for method, path in re.findall(
        r'\{\s*"(GET|PUT|POST|DELETE|PATCH|HEAD)",\s*"([^"]+)"',
        (ROOT / "daemon/http/route.c").read_text())}
    assert table, "no route found"
    assert described == table, f"only in openapi.yaml: {described - table}; " \
                               f"only in route.c: {table - described}"


def test_the_page_about_the_states_is_that_of_the_tables(built):
    made = subprocess.run([str(BUILD / "daemon/state/state-generate"), "page"], check=True,
                          capture_output=True, text=True).stdout
    assert (ROOT / "api/states.md").read_text() == made, "api/states.md: run state-generate page"
    for paper in ("README.md", "daemon/updd.8"):
        assert "states.md" in (ROOT / paper).read_text(), f"{paper} does not lead there"


# ---- installed --------------------------------------------------------------------------------------


class Installed:
    """A build of its own with another prefix, without sanitizers, as a packager would make it."""

    def __init__(self, folder):
        self.folder, self.build = folder, folder / "build"

    def meson(self, *args, **environment):
        done = subprocess.run(["meson", *map(str, args)], cwd=ROOT, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, env={**os.environ, **environment})
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    def install(self, prefix, destdir=None):
        if (self.build / "build.ninja").exists():
            self.meson("configure", self.build, f"-Dprefix={prefix}")
        else:
            self.meson("setup", self.build, ROOT, f"--prefix={prefix}", "-Dbuildtype=debug")
        self.meson("compile", "-C", self.build)
        self.meson("install", "-C", self.build, "--no-rebuild",
                   **({"DESTDIR": str(destdir)} if destdir else {}))
        return pathlib.Path(f"{destdir or ''}{prefix}")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("installed"))


def run_from(tree, home):
    """Starts the installed updd, asks it for its health and its plans, and lets it run a job."""
    home.mkdir()
    socket = home / "sock"
    # A clean environment: nothing of a build tree may help the installed programs.
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    updd = subprocess.Popen([str(tree / "sbin/updd"), "--state-dir", str(home / "state"),
                             "--socket", str(socket), "--steps-in", "plain"],
                            env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=open(home / "log", "wb"), start_new_session=True)

    def ctl(*args):
        return subprocess.run([str(tree / "bin/updctl"), "--socket", str(socket), *args], env=env,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    try:
        end = time.monotonic() + 20
        while ctl("health").returncode != 0:
            assert updd.poll() is None and time.monotonic() < end, (home / "log").read_text()
            time.sleep(0.1)
        plan = home / "hello.yaml"
        plan.write_text("format: 1\nplan: hello\nsteps:\n"
                        "  - {id: hello, run: [echo, it runs], undo: none}\n")
        ran = ctl("start", str(plan), "--yes")
        assert ran.returncode == 0, ran.stdout + ran.stderr + (home / "log").read_text()
        return ctl("plans")
    finally:
        updd.send_signal(signal.SIGTERM)
        assert updd.wait(20) == 0, (home / "log").read_text()


@pytest.mark.timeout(900)
@pytest.mark.xdist_group("install")
def test_a_tree_installed_for_usr_into_a_destdir_runs_from_there(installed, tmp_path):
    tree = installed.install("/usr", tmp_path / "destdir")
    for file in ("sbin/updd", "bin/updctl", "libexec/updd/updd-step", "share/man/man8/updd.8",
                 "share/man/man1/updctl.1", "share/updd/plans/sesame-v2.yaml"):
        assert (tree / file).exists(), file
    run_from(tree, tmp_path / "home")


@pytest.mark.timeout(900)
@pytest.mark.xdist_group("install")
def test_a_prefix_of_ones_own_is_honoured_and_its_plans_are_found(installed, tmp_path):
    tree = installed.install(str(tmp_path / "prefix"))
    plans = run_from(tree, tmp_path / "home")
    assert plans.returncode == 0, plans.stderr
    assert "kimi-proxy-v2" in plans.stdout and "sesame-v2" in plans.stdout, plans.stdout


def test_the_catalogue_explains_each_number_that_the_journal_is_given():
    ids = re.findall(r'#define (MESSAGE_\w+) "([0-9a-f]{32})"', (ROOT / "api/messages.h").read_text())
    catalogue = (ROOT / "units/updd.catalog").read_text()
    assert len({number for _, number in ids}) == len(ids) > 20
    assert re.findall(r"(?m)^-- ([0-9a-f]{32})$", catalogue) == [number for _, number in ids]
    entries = re.split(r"(?m)^-- .*$", catalogue)[1:]
    for entry in entries:
        head, *body = entry.strip().split("\n\n")
        assert re.match(r"Subject: .+\nDefined-By: updd\nDocumentation: man:", head), entry
        assert len(body) == 2, f"what it means, and what to do: {entry}"
    told = "".join(f.read_text() for f in files(".c", under=("daemon",)))
    words = "".join((ROOT / f"daemon/engine/{f}.c").read_text() for f in ("tell", "report-events"))
    types = set(re.findall(r'job_tell\(\w+, "(\w+)"', told))
    assert len(types) > 20
    for event in types:
        assert f'        {{"{event}", ' in words, f"{event} has no words in the journal"
    for macro, _ in ids:
        assert re.search(rf"\b{macro}\b", told), f"{macro} is never told"


def test_no_two_files_of_tests_have_one_name():
    """They are collected in one run, which takes a name for a module."""
    names = [p.name for room in ("integration", "system") for p in (ROOT / "tests" / room).glob("*.py")
             if p.name != "conftest.py"]
    assert sorted(set(names)) == sorted(names)
