# SPDX-License-Identifier: MIT
"""The verb git, on real repositories: tags, branches, local changes, worktrees, and the way back."""

import os
import subprocess

import pytest

from verbtool import failed, ok, state, steps  # noqa: F401


def git(folder, *args):
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t",
        "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
    }
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", str(folder), *args],
        env=env, capture_output=True, text=True,
    )
    assert done.returncode == 0, (args, done.stderr)
    return done.stdout.strip()


def commit(folder, files, tag=None):
    for name, text in files.items():
        path = folder / name
        if text is None:
            git(folder, "rm", "-q", name)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        git(folder, "add", "-f", name)
    git(folder, "commit", "-q", "-m", tag or "more")
    if tag:
        git(folder, "tag", tag)
    return git(folder, "rev-parse", "HEAD")


CONFIG = "".join(f"line {n}\n" for n in range(40))


@pytest.fixture
def repo(steps, tmp_path):  # noqa: F811
    """A clone at v1.0 of an origin that also has v2.0."""
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    commit(origin, {"main.py": "one\n", "config.toml": CONFIG, ".gitignore": "*.db\n.env\n"}, "v1.0")
    git(tmp_path, "clone", "-q", str(origin), str(steps.cwd / "app"))
    commit(
        origin,
        {"main.py": None, "src/app.py": "two\n", "config.toml": CONFIG + "added = true\n"},
        "v2.0",
    )
    return steps.cwd / "app"


def tree_state(folder):
    """Bytes and HEAD, without git's own files."""
    head = (folder / ".git/HEAD").read_text()
    everything = state(folder)[-1]
    return head, {k: v for k, v in strip_times(everything).items() if k != ".git"}


def strip_times(entries):
    out = {}
    for name, entry in entries.items():
        if isinstance(entry[-1], dict):
            out[name] = entry[:4] + (strip_times(entry[-1]),)
        else:
            out[name] = entry[:4] + entry[-1:]
    return out


ARGS = {"dir": "app", "fetch": "origin", "checkout": "v2.0"}


def test_a_tag_is_fetched_and_checked_out_and_undo_goes_back_to_the_branch(steps, repo):  # noqa: F811
    before = tree_state(repo)
    old = git(repo, "rev-parse", "HEAD")
    result = ok(steps.do("code", "git", ARGS))
    assert (repo / "src/app.py").read_text() == "two\n"
    assert not (repo / "main.py").exists()
    assert result["outputs"]["old"] == old
    assert result["outputs"]["commit"] == git(repo, "rev-parse", "v2.0")
    assert result["outputs"]["path"] == str(repo)
    again = ok(steps.do("code", "git", ARGS))
    assert again["outputs"]["old"] == old
    for _ in range(2):
        ok(steps.undo("code", "git", ARGS))
        assert tree_state(repo) == before
        assert git(repo, "symbolic-ref", "--short", "HEAD") == "main"
        assert git(repo, "status", "--porcelain") == ""


def test_local_changes_are_refused_and_named(steps, repo):  # noqa: F811
    (repo / "config.toml").write_text("mine\n")
    before = tree_state(repo)
    message = failed(steps.do("code", "git", ARGS))
    assert "config.toml" in message and "local changes" in message
    assert tree_state(repo) == before
    ok(steps.undo("code", "git", ARGS))
    assert tree_state(repo) == before


@pytest.mark.parametrize("staged", [False, True])
def test_local_changes_are_carried_over_and_back(steps, repo, staged):  # noqa: F811
    (repo / "config.toml").write_text(CONFIG.replace("line 3\n", "line three\n"))
    if staged:
        git(repo, "add", "config.toml")
    (repo / "sessions.db").write_text("ignored\n")
    (repo / "notes").write_text("untracked\n")
    before, status = tree_state(repo), git(repo, "status", "--porcelain")
    args = {**ARGS, "dirty": "keep"}
    ok(steps.do("code", "git", args))
    text = (repo / "config.toml").read_text()
    assert "line three\n" in text and "added = true\n" in text
    assert (repo / "notes").exists() and (repo / "sessions.db").exists()
    ok(steps.do("code", "git", args))
    assert (repo / "config.toml").read_text() == text
    (repo / "config.toml").write_text(text + "the new version wrote this\n")
    ok(steps.undo("code", "git", args))
    assert tree_state(repo) == before
    assert git(repo, "status", "--porcelain") == status
    ok(steps.undo("code", "git", args))
    assert tree_state(repo) == before


def test_changes_that_do_not_fit_fail_and_leave_everything_as_it_was(steps, repo):  # noqa: F811
    (repo / "main.py").write_text("changed, and gone in v2.0\n")
    (repo / "config.toml").write_text(CONFIG.replace("line 5\n", "line five\n"))
    before, status = tree_state(repo), git(repo, "status", "--porcelain")
    args = {**ARGS, "dirty": "keep"}
    message = failed(steps.do("code", "git", args))
    assert "main.py" in message
    assert tree_state(repo) == before
    assert git(repo, "status", "--porcelain") == status
    ok(steps.undo("code", "git", args))
    assert tree_state(repo) == before


@pytest.mark.parametrize("name", ["src/app.py", ".env"])
def test_a_file_that_git_does_not_track_is_never_overwritten(steps, repo, tmp_path, name):  # noqa: F811
    commit(tmp_path / "origin", {".env": "from v3\n", "src/app.py": "three\n"}, "v3.0")
    (repo / name).parent.mkdir(exist_ok=True)
    (repo / name).write_text("somebody's own\n")
    before = tree_state(repo)
    message = failed(steps.do("code", "git", {**ARGS, "checkout": "v3.0"}))
    assert name.split("/")[0] in message
    assert tree_state(repo) == before


def test_on_the_way_back_what_stands_in_the_way_is_kept_aside(steps, repo):  # noqa: F811
    before = tree_state(repo)
    ok(steps.do("code", "git", ARGS))
    (repo / "main.py").write_text("made by hand under v2\n")
    ok(steps.undo("code", "git", ARGS))
    assert tree_state(repo) == before
    kept = list((steps.record_dir("code") / "kept/since").iterdir())
    assert [p.read_text() for p in kept] == ["made by hand under v2\n"]


def test_a_detached_head_is_gone_back_to(steps, repo):  # noqa: F811
    git(repo, "checkout", "-q", "--detach", "v1.0")
    before = tree_state(repo)
    ok(steps.do("code", "git", ARGS))
    ok(steps.undo("code", "git", ARGS))
    assert tree_state(repo) == before


def test_a_branch_means_what_the_remote_has_when_it_is_fetched(steps, repo):  # noqa: F811
    before = tree_state(repo)
    main = git(repo, "rev-parse", "main")
    result = ok(steps.do("code", "git", {**ARGS, "checkout": "main"}))
    assert result["outputs"]["commit"] == git(repo, "rev-parse", "v2.0^{commit}")
    ok(steps.undo("code", "git", ARGS))
    assert tree_state(repo) == before
    assert git(repo, "rev-parse", "main") == main


def test_an_unknown_ref_is_told_with_the_nearest_name(steps, repo):  # noqa: F811
    result = steps.do("code", "git", {**ARGS, "checkout": "v2.O"})
    assert "v2.O" in failed(result)
    assert "v2.0" in result["error"]["hint"]


def test_a_folder_that_is_no_repository_is_told(steps, repo):  # noqa: F811
    assert "not a git repository" in failed(steps.do("c", "git", {"dir": str(steps.tmp), "fetch": "o"}))


def test_fetching_alone_changes_no_file(steps, repo):  # noqa: F811
    before = tree_state(repo)
    result = ok(steps.do("get", "git", {"dir": "app", "fetch": "origin"}))
    assert tree_state(repo) == before
    assert git(repo, "rev-parse", "v2.0")
    assert result["outputs"]["commit"] == git(repo, "rev-parse", "HEAD")


def test_a_worktree_is_made_beside_and_removed_by_undo(steps, repo):  # noqa: F811
    before = tree_state(repo)
    args = {**ARGS, "worktree": "new/v2"}
    result = ok(steps.do("tree", "git", args))
    path = steps.cwd / "new/v2"
    assert result["outputs"]["path"] == str(path)
    assert (path / "src/app.py").read_text() == "two\n"
    (path / "built").write_text("x")
    ok(steps.do("tree", "git", args))
    assert tree_state(repo) == before
    for _ in range(2):
        ok(steps.undo("tree", "git", args))
        assert not (steps.cwd / "new").exists()
    assert len(git(repo, "worktree", "list").splitlines()) == 1
    assert tree_state(repo) == before


def test_a_worktree_is_not_made_over_something(steps, repo):  # noqa: F811
    (steps.cwd / "there").mkdir()
    assert "exists" in failed(steps.do("tree", "git", {**ARGS, "worktree": "there"}))
    ok(steps.undo("tree", "git", {**ARGS, "worktree": "there"}))
    assert (steps.cwd / "there").is_dir()


@pytest.mark.parametrize("broken", ["commondir", "gitdir"])
def test_a_worktree_that_git_was_killed_in_making_goes_too(steps, repo, broken):  # noqa: F811
    args = {**ARGS, "worktree": "v2"}
    ok(steps.do("tree", "git", args))
    known = repo / ".git/worktrees/v2"
    (known / "locked").write_text("initializing")  # as git has it until all is there
    (known / broken).write_text("")
    (record,) = steps.tmp.rglob("undo")
    lines = record.read_text().splitlines(True)
    assert "git-ended" in lines[-1]
    record.write_text("".join(lines[:-1]))
    ok(steps.undo("tree", "git", args))
    assert not (steps.cwd / "v2").exists()
    assert not known.exists()


def test_a_killed_checkout_is_undone_or_run_again_without_losing_local_changes(steps, repo):  # noqa: F811
    (repo / "config.toml").write_text(CONFIG.replace("line 3\n", "line three\n"))
    before = tree_state(repo)
    args = {**ARGS, "dirty": "keep"}
    ok(steps.do("code", "git", args))
    after = tree_state(repo)
    # As if it had been killed between dropping the changes and checking out.
    git(repo, "reset", "-q", "--hard")
    ok(steps.do("code", "git", args))
    assert tree_state(repo) == after
    git(repo, "reset", "-q", "--hard")
    ok(steps.undo("code", "git", args))
    assert tree_state(repo) == before
