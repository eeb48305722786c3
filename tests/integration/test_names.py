# SPDX-License-Identifier: MIT
"""
Names that a file system allows and nothing else expects: bytes that are no UTF-8, newlines, quotes,
the longest there are, and ten thousand of them. What is kept of them comes back under the very name.
"""
import io
import os
import pathlib
import shutil
import tarfile
import tempfile

import pytest

from steptool import StepRunner
from verbtool import ok, state, steps  # noqa: F401

# Latin-1, a lone continuation byte, a surrogate, all that separates lines or words, an escape, dots.
NAMES = [b"caf\xe9", b"\x80", b"\xed\xa0\x80", b"two\nlines", b"tab\there ", b" leading", b"quote\"'`$",
         b"back\\slash\\n", b"\x1b[31mred", b"-rf", b"...", b"%s%n", b"*?[a]", b"\xff" * 255,
         "\u00e9\U0001f600".encode()]


def odd_tree(folder):
    """Every name, as a file, a folder with a file in it, and a link to it."""
    root = os.fsencode(folder)
    for kind in (b"files", b"folders", b"links"):
        os.makedirs(root + b"/" + kind)
    for i, name in enumerate(NAMES):
        with open(b"%s/files/%s" % (root, name), "wb") as f:
            f.write(b"%d " % i + name)
        os.mkdir(b"%s/folders/%s" % (root, name))
        with open(b"%s/folders/%s/%s" % (root, name, name), "wb") as f:
            f.write(name)
        os.symlink(b"../files/" + name, b"%s/links/%s" % (root, name))
    return pathlib.Path(folder)


def damage(folder):
    """Rewrites, removes and adds."""
    root = os.fsencode(folder)
    for i, name in enumerate(NAMES):
        path = b"%s/files/%s" % (root, name)
        if i % 3 == 0:
            os.unlink(path)
        elif i % 3 == 1:
            with open(path, "wb") as f:
                f.write(b"other")
        else:
            os.rename(path, path[:-1] + b"z" if len(name) > 1 else path + b"z")
        shutil.rmtree(b"%s/folders/%s" % (root, name))


def test_a_snapshot_of_a_folder_brings_back_every_name(steps):  # noqa: F811
    tree = odd_tree(steps.cwd / "tree")
    before = state(tree)
    ok(steps.do("s", "snapshot", {"paths": ["tree"]}))
    damage(tree)
    ok(steps.undo("s", "snapshot", {"paths": ["tree"]}))
    assert state(tree) == before


@pytest.mark.parametrize("paths", [["tree/files/*"], ["tree/*/*"]])
def test_a_glob_finds_every_name_and_each_is_brought_back(steps, paths):  # noqa: F811
    """Every path has an entry of its own in the record here."""
    tree = odd_tree(steps.cwd / "tree")
    before = state(tree)
    ok(steps.do("s", "snapshot", {"paths": paths}))
    damage(tree)
    ok(steps.undo("s", "snapshot", {"paths": paths}))
    now = state(tree)
    for name in NAMES:
        if name != b"...":  # a leading dot is not for a glob
            name = os.fsdecode(name)
            assert now[5]["files"][5][name] == before[5]["files"][5][name], name


def test_what_a_glob_removes_comes_back_under_its_name(steps):  # noqa: F811
    tree = odd_tree(steps.cwd / "tree")
    before = state(tree)
    ok(steps.do("r", "remove", {"paths": ["tree/files/*", "tree/links/*", "tree/folders"]}))
    left = [p.name for p in [*(tree / "files").iterdir(), *(tree / "links").iterdir()]]
    assert left == ["...", "..."] and not (tree / "folders").exists()
    ok(steps.undo("r", "remove", {"paths": ["tree/files/*", "tree/links/*", "tree/folders"]}))
    assert state(tree) == before


def test_a_folder_is_copied_with_every_name_and_taken_away_again(steps):  # noqa: F811
    tree = odd_tree(steps.cwd / "tree")
    ok(steps.do("c", "copy", {"from": "tree", "to": "other"}))
    assert state(steps.cwd / "other")[5] == state(tree)[5]
    ok(steps.undo("c", "copy", {"from": "tree", "to": "other"}))
    assert not (steps.cwd / "other").exists()


def test_collect_gathers_files_of_every_name(steps):  # noqa: F811
    odd_tree(steps.cwd / "tree")
    ok(steps.do("c", "collect", {"files": ["tree/files/*"], "to": "all.txt"}))
    text = (steps.cwd / "all.txt").read_bytes()
    for i, name in enumerate(NAMES):
        if name != b"...":
            assert b"%d " % i + name in text, name


def test_a_backup_of_files_has_every_name_and_restores_it(steps):  # noqa: F811
    tree = odd_tree(steps.cwd / "tree")
    before = state(tree)
    made = ok(steps.do("b", "backup", {"files": ["tree"], "to": "backups"}))
    damage(tree)
    ok(steps.do("r", "restore", {"from": made["outputs"]["id"]}))
    for kind in ("files", "folders", "links"):
        now = state(tree)[5][kind][5]
        for name, was in before[5][kind][5].items():
            assert now[name] == was, name


def archive(path, names):
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="utf-8",
                      errors="surrogateescape") as tar:
        for name in names:
            entry = tarfile.TarInfo(os.fsdecode(b"release/" + name[:240]))
            entry.size = len(name)
            tar.addfile(entry, io.BytesIO(name))


def test_an_archive_with_every_name_is_unpacked_and_taken_out_again(steps):  # noqa: F811
    archive(steps.cwd / "a.tar", NAMES)
    target = steps.cwd / "app"
    target.mkdir()
    (target / "mine").write_text("mine")
    before = state(target)
    args = {"url": f"file://{steps.cwd}/a.tar", "to": "fetched.tar", "unpack": "app"}
    ok(steps.do("f", "fetch", args))
    for name in NAMES:
        with open(os.fsencode(target) + b"/release/" + name[:240], "rb") as f:
            assert f.read() == name
    ok(steps.undo("f", "fetch", args))
    assert state(target) == before


@pytest.fixture
def in_memory(tmp_path):
    """Where being on disk costs nothing: thirty thousand syncs are no part of what is shown."""
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield StepRunner(name)


def test_ten_thousand_files_are_kept_removed_and_brought_back(in_memory):
    """All of them in folders, and of 500 each by itself."""
    tree = in_memory.cwd / "many"
    for d in range(20):
        (tree / str(d)).mkdir(parents=True)
        for n in range(500):
            (tree / str(d) / f"f{n}").write_bytes(b"%d" % n)
    before = state(tree)
    ok(in_memory.do("s", "snapshot", {"paths": ["many"]}))
    paths = {"paths": ["many/1*", "many/3/f*"]}
    ok(in_memory.do("r", "remove", paths))
    assert not any((tree / "3").iterdir()) and not (tree / "11").exists()
    ok(in_memory.undo("r", "remove", paths))
    assert state(tree) == before
    shutil.rmtree(tree)
    ok(in_memory.undo("s", "snapshot", {"paths": ["many"]}))
    assert state(tree) == before
