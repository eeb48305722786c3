# SPDX-License-Identifier: MIT
"""The verbs that change files: every one is done, undone, and looked at to the last byte."""

import os
import stat

import pytest

from steptool import StepRunner
from verbtool import failed, ok, state, steps, tree  # noqa: F401


# ---- write, append ----


def test_write_makes_a_file_and_its_undo_removes_it_and_the_folders_it_made(steps):
    before = state(steps.cwd)
    args = {"to": "x/y/z.conf", "text": "hello\n", "mode": "0600"}
    result = ok(steps.do("w", "write", args))
    path = steps.cwd / "x/y/z.conf"
    assert path.read_text() == "hello\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert result["outputs"]["path"] == str(path)
    ok(steps.undo("w", "write", args))
    assert state(steps.cwd) == before
    ok(steps.undo("w", "write", args))
    assert state(steps.cwd) == before


def test_write_over_a_file_keeps_its_mode_and_undo_brings_back_every_bit(steps):
    path = tree(steps.cwd / "t") / "a.txt"
    before = state(path)
    args = {"to": "t/a.txt", "text": "second\n"}
    ok(steps.do("w", "write", args))
    assert path.read_text() == "second\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    ok(steps.do("w", "write", {"to": "t/a.txt", "text": "third\n"}))
    ok(steps.undo("w", "write", args))
    assert state(path) == before


def test_write_through_a_symlink_changes_its_target_and_undo_restores_both(steps):
    (steps.cwd / "real").write_text("one")
    (steps.cwd / "link").symlink_to("real")
    before = state(steps.cwd)
    ok(steps.do("w", "write", {"to": "link", "text": "two"}))
    assert (steps.cwd / "link").is_symlink()
    assert (steps.cwd / "real").read_text() == "two"
    ok(steps.undo("w", "write", {"to": "link", "text": "two"}))
    assert state(steps.cwd) == before


def test_a_file_that_somebody_changed_since_is_restored_and_their_bytes_are_kept(steps):
    path = steps.cwd / "f"
    path.write_text("mine")
    args = {"to": "f", "text": "the step's"}
    ok(steps.do("w", "write", args))
    path.write_text("somebody else's")
    result = ok(steps.undo("w", "write", args))
    assert path.read_text() == "mine"
    assert "changed by someone else" in result["log"]
    kept = list((steps.record_dir("w") / "kept" / "since").iterdir())
    assert [p.read_text() for p in kept] == ["somebody else's"]


def test_undo_needs_no_more_than_what_a_killed_attempt_has_recorded(steps):
    path = steps.cwd / "f"
    path.write_text("old")
    before = state(path)
    args = {"to": "f", "text": "new"}
    ok(steps.do("w", "write", args))
    record = steps.record_dir("w") / "undo"
    whole = record.read_bytes()
    for cut in range(0, len(whole) + 1, 7):
        record.write_bytes(whole[:cut])
        path.write_text("old")
        os.utime(path, ns=(before[4], before[4]))
        ok(steps.undo("w", "write", args))
        assert state(path) == before


def test_append_adds_once_however_often_it_is_run_again(steps):
    path = steps.cwd / "hosts"
    path.write_text("127.0.0.1 localhost\n")
    before = state(path)
    args = {"to": "hosts", "text": "10.0.0.1 db\n"}
    for _ in range(3):
        ok(steps.do("a", "append", args))
        assert path.read_text() == "127.0.0.1 localhost\n10.0.0.1 db\n"
    # A crash after the record and before the change: the rerun does it.
    path.write_text("127.0.0.1 localhost\n")
    ok(steps.do("a", "append", args))
    assert path.read_text() == "127.0.0.1 localhost\n10.0.0.1 db\n"
    ok(steps.undo("a", "append", args))
    assert state(path)[:4] + state(path)[5:] == before[:4] + before[5:]


def test_append_keeps_what_others_appended_meanwhile(steps):
    path = steps.cwd / "log"
    path.write_text("1\n")
    ok(steps.do("a", "append", {"to": "log", "text": "2\n"}))
    with open(path, "a") as f:
        f.write("3\n")
    ok(steps.do("a", "append", {"to": "log", "text": "2\n"}))
    assert path.read_text() == "1\n2\n3\n"


def test_a_bad_mode_or_owner_is_refused_before_anything_changes(steps):
    before = state(steps.cwd)
    assert "octal" in failed(steps.do("w", "write", {"to": "f", "text": "", "mode": "rw"}))
    message = failed(steps.do("w", "write", {"to": "f", "text": "", "owner": "no-such-user-here"}))
    assert "no-such-user-here" in message
    assert state(steps.cwd) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_and_the_users_of_new_files_are_as_asked(steps):
    ok(steps.do("w", "write", {"to": "f", "text": "", "owner": "1234:2345", "mode": "0640"}))
    st = (steps.cwd / "f").stat()
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (1234, 2345, 0o640)
    ok(steps.do("v", "write", {"to": "g", "text": ""}, user="nobody"))
    assert (steps.cwd / "g").stat().st_uid == 65534


def test_a_full_or_read_only_place_is_told_and_changes_nothing(steps):
    message = failed(steps.do("w", "write", {"to": "/proc/updd-test", "text": "x"}))
    assert "/proc/updd-test" in message


# ---- copy ----


def test_copy_of_a_file_into_a_folder_and_back(steps):
    tree(steps.cwd / "t")
    (steps.cwd / "into").mkdir()
    before = state(steps.cwd)
    args = {"from": "t/a.txt", "to": "into"}
    result = ok(steps.do("c", "copy", args))
    assert (steps.cwd / "into/a.txt").read_text() == "first\n"
    assert stat.S_IMODE((steps.cwd / "into/a.txt").stat().st_mode) == 0o640
    assert result["outputs"]["path"] == str(steps.cwd / "into/a.txt")
    ok(steps.do("c", "copy", args))
    ok(steps.undo("c", "copy", args))
    assert state(steps.cwd) == before


def test_copy_of_a_folder_copies_everything_and_undo_takes_it_away(steps):
    source = state(tree(steps.cwd / "t"))
    before = state(steps.cwd)
    args = {"from": "t", "to": "deep/er/copy"}
    ok(steps.do("c", "copy", args))
    assert state(steps.cwd / "deep/er/copy") == source
    ok(steps.do("c", "copy", args))
    ok(steps.undo("c", "copy", args))
    assert state(steps.cwd) == before


def test_a_folder_is_not_copied_over_something_that_stands_there(steps):
    tree(steps.cwd / "t")
    (steps.cwd / "there").mkdir()
    before = state(steps.cwd)
    assert "exists" in failed(steps.do("c", "copy", {"from": "t", "to": "there"}))
    assert state(steps.cwd) == before
    ok(steps.do("d", "copy", {"from": "t", "to": "there/"}))
    assert (steps.cwd / "there/t/a.txt").exists()


def test_copying_what_is_missing_says_its_name(steps):
    assert "missing.txt" in failed(steps.do("c", "copy", {"from": "missing.txt", "to": "x"}))


def test_a_file_of_many_megabytes_goes_there_and_back(steps):
    data = os.urandom(1 << 20) * 48
    (steps.cwd / "big").write_bytes(data)
    (steps.cwd / "old").write_bytes(data[::-1])
    before = state(steps.cwd / "old")
    ok(steps.do("c", "copy", {"from": "big", "to": "old"}))
    assert (steps.cwd / "old").read_bytes() == data
    ok(steps.undo("c", "copy", {"from": "big", "to": "old"}))
    assert state(steps.cwd / "old") == before


# ---- remove ----


def test_remove_takes_files_links_and_folders_away_and_undo_brings_them_back(steps):
    tree(steps.cwd / "t")
    (steps.cwd / "link-to-t").symlink_to("t")
    (steps.cwd / "one.log").write_text("1")
    (steps.cwd / "two.log").write_text("2")
    before = state(steps.cwd)
    args = {"paths": ["*.log", "t", "link-to-t"]}
    ok(steps.do("r", "remove", args))
    assert os.listdir(steps.cwd) == []
    ok(steps.do("r", "remove", args))
    ok(steps.undo("r", "remove", args))
    assert state(steps.cwd) == before
    ok(steps.undo("r", "remove", args))
    assert state(steps.cwd) == before
    ok(steps.do("r", "remove", args))
    assert os.listdir(steps.cwd) == []
    ok(steps.undo("r", "remove", args))
    assert state(steps.cwd) == before


def test_removing_a_link_leaves_what_it_points_at(steps):
    tree(steps.cwd / "t")
    (steps.cwd / "l").symlink_to("t")
    before = state(steps.cwd / "t")
    ok(steps.do("r", "remove", {"paths": ["l"]}))
    assert state(steps.cwd / "t") == before
    assert not os.path.lexists(steps.cwd / "l")


def test_removing_what_nothing_matches_is_an_error(steps):
    assert "Nothing matches" in failed(steps.do("r", "remove", {"paths": ["*.none"]}))
    assert "gone.txt" in failed(steps.do("s", "remove", {"paths": ["gone.txt"]}))


def test_the_folder_of_the_job_itself_is_not_removed(steps):
    assert "record" in failed(steps.do("r", "remove", {"paths": [str(steps.tmp)]}))
    assert steps.job_dir.exists()


def test_what_stands_where_something_was_removed_is_kept_aside_by_undo(steps):
    (steps.cwd / "f").write_text("old")
    ok(steps.do("r", "remove", {"paths": ["f"]}))
    (steps.cwd / "f").write_text("new")
    ok(steps.undo("r", "remove", {"paths": ["f"]}))
    assert (steps.cwd / "f").read_text() == "old"
    kept = list((steps.record_dir("r") / "kept" / "since").iterdir())
    assert [p.read_text() for p in kept] == ["new"]


def test_removal_across_file_systems_goes_there_and_back(steps):
    other = f"/dev/shm/updd-test-{os.getpid()}"
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(steps.tmp).st_dev:
        pytest.skip("no second file system to write to")
    import pathlib
    import shutil

    try:
        tree(pathlib.Path(other))
        before = state(other)
        ok(steps.do("r", "remove", {"paths": [other]}))
        assert not os.path.exists(other)
        ok(steps.undo("r", "remove", {"paths": [other]}))
        assert state(other) == before
    finally:
        shutil.rmtree(other, ignore_errors=True)


# ---- snapshot ----


def test_a_snapshot_brings_back_whatever_happened_to_its_paths(steps):
    tree(steps.cwd / "t")
    (steps.cwd / "conf.yml").write_text("v: 1\n")
    before = state(steps.cwd)
    args = {"paths": ["t", "conf.yml", "conf.yml.v1.backup"]}
    ok(steps.do("s", "snapshot", args))
    assert state(steps.cwd) == before

    (steps.cwd / "conf.yml").write_text("v: 2\n")
    (steps.cwd / "conf.yml.v1.backup").write_text("v: 1\n")
    (steps.cwd / "t/sub/b.bin").unlink()
    (steps.cwd / "t/a.txt").unlink()
    (steps.cwd / "t/a.txt").mkdir()
    (steps.cwd / "t/a.txt/inside").write_text("x")
    (steps.cwd / "t/new").write_text("was not there")
    (steps.cwd / "t/sub").chmod(0o700)
    (steps.cwd / "t/empty").rmdir()
    ok(steps.do("s", "snapshot", args))
    ok(steps.undo("s", "snapshot", args))
    assert state(steps.cwd) == before
    ok(steps.undo("s", "snapshot", args))
    assert state(steps.cwd) == before


def test_a_snapshot_of_a_link_also_keeps_the_file_behind_it(steps):
    (steps.cwd / "real").write_text("one")
    (steps.cwd / "link").symlink_to("real")
    before = state(steps.cwd)
    ok(steps.do("s", "snapshot", {"paths": ["link"]}))
    (steps.cwd / "link").write_text("written through")
    (steps.cwd / "link").unlink()
    ok(steps.undo("s", "snapshot", {"paths": ["link"]}))
    assert state(steps.cwd) == before


def test_a_snapshot_of_a_folder_that_would_hold_its_own_copy_is_refused(steps):
    tree(steps.cwd / "t")
    message = failed(steps.do("s", "snapshot", {"paths": [str(steps.tmp)]}))
    assert "would be a part of it" in message
    assert list((steps.record_dir("s") / "kept").iterdir()) == []


def test_a_snapshot_of_many_levels_is_taken_and_brought_back(steps):
    deep = steps.cwd.joinpath(*["d"] * 300)
    deep.mkdir(parents=True)
    (deep / "bottom").write_text("x")
    args = {"paths": ["d"]}
    ok(steps.do("s", "snapshot", args))
    (deep / "bottom").unlink()
    ok(steps.undo("s", "snapshot", args))
    assert (deep / "bottom").read_text() == "x"


@pytest.mark.parametrize("entry", ['{"undo":"moved","path":"%s/new","from":"f"}',
                                   '{"undo":"moved","path":"%s/new","kept":"..","from":"f"}',
                                   '{"undo":"path","path":"new","state":{"type":"absent"}}'])
def test_a_record_that_makes_no_sense_is_told_and_moves_nothing(steps, entry):
    (steps.cwd / "f").write_text("x")
    ok(steps.do("r", "remove", {"paths": ["f"]}))
    record = steps.record_dir("r") / "undo"
    record.write_text(record.read_text() + (entry % steps.cwd if "%s" in entry else entry) + "\n")
    result = steps.undo("r", "remove", {"paths": ["f"]})
    assert "The undo record" in failed(result), result["error"]
    assert state(steps.cwd / "f") and not (steps.cwd / "new").exists()


def test_an_untouched_file_keeps_its_inode_when_a_snapshot_is_undone(steps):
    tree(steps.cwd / "t")
    inode = (steps.cwd / "t/sub/b.bin").stat().st_ino
    ok(steps.do("s", "snapshot", {"paths": ["t"]}))
    (steps.cwd / "t/a.txt").write_text("changed")
    ok(steps.undo("s", "snapshot", {"paths": ["t"]}))
    assert (steps.cwd / "t/sub/b.bin").stat().st_ino == inode


def test_a_snapshot_of_a_glob_that_matches_nothing_is_an_error(steps):
    assert "Nothing matches" in failed(steps.do("s", "snapshot", {"paths": ["*.conf"]}))


def test_a_path_that_cannot_be_read_is_an_error_and_no_change(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs another user's files")
    steps = StepRunner(tmp_path)
    message = failed(steps.do("s", "snapshot", {"paths": ["/proc/1/mem"]}))
    assert "/proc/1/mem" in message


# ---- switch ----


def test_switch_points_a_symlink_elsewhere_and_back(steps):
    for v in ("v1", "v2"):
        (steps.cwd / "releases" / v).mkdir(parents=True)
    (steps.cwd / "current").symlink_to("releases/v1")
    before = state(steps.cwd)
    args = {
        "path": "current",
        "to": "releases/v2",
        "reload": ["sh", "-c", f"readlink current >> {steps.tmp}/reloads"],
    }
    result = ok(steps.do("s", "switch", args))
    assert os.path.realpath(steps.cwd / "current") == str(steps.cwd / "releases/v2")
    assert result["outputs"]["old"] == "releases/v1"
    ok(steps.do("s", "switch", args))
    ok(steps.undo("s", "switch", args))
    assert state(steps.cwd) == before
    reloads = (steps.tmp / "reloads").read_text().split()
    assert reloads == [str(steps.cwd / "releases/v2")] * 2 + ["releases/v1"]


def test_switch_replaces_a_files_bytes_and_a_failing_test_puts_them_back(steps):
    site, page = steps.cwd / "site.conf", steps.cwd / "maintenance.conf"
    site.write_text("proxy_pass\n")
    site.chmod(0o604)
    page.write_text("return 503\n")
    before = state(steps.cwd)
    args = {"path": "site.conf", "to": "maintenance.conf", "test": ["grep", "-q", "503", "site.conf"]}
    ok(steps.do("s", "switch", args))
    assert site.read_text() == "return 503\n"
    assert stat.S_IMODE(site.stat().st_mode) == 0o604
    ok(steps.undo("s", "switch", args))
    assert state(steps.cwd) == before
    args["test"] = ["false"]
    args["reload"] = ["touch", str(steps.tmp / "reloaded")]
    assert "test" in failed(steps.do("t", "switch", args))
    assert state(steps.cwd) == before
    assert not (steps.tmp / "reloaded").exists()


def test_switch_to_what_is_missing_changes_nothing(steps):
    (steps.cwd / "current").symlink_to("v1")
    before = state(steps.cwd)
    assert "v9" in failed(steps.do("s", "switch", {"path": "current", "to": "v9"}))
    assert state(steps.cwd) == before
