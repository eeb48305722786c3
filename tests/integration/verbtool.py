# SPDX-License-Identifier: MIT
"""What the tests of the verbs share: looking at a tree to the last bit, and at results."""

import os
import stat

import pytest

from steptool import StepRunner


@pytest.fixture
def steps(tmp_path):
    return StepRunner(tmp_path)


def state(path):
    """All that undo promises to bring back, of a path and everything below it."""
    path = os.fspath(path)
    if not os.path.lexists(path):
        return None
    st = os.lstat(path)
    own = (stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid)
    if stat.S_ISLNK(st.st_mode):
        return own + (os.readlink(path),)
    xattrs = {n: os.getxattr(path, n) for n in os.listxattr(path)}
    if stat.S_ISDIR(st.st_mode):
        return own + (xattrs, {n: state(os.path.join(path, n)) for n in sorted(os.listdir(path))})
    with open(path, "rb") as f:
        return own + (st.st_mtime_ns, xattrs, f.read())


def ok(result):
    assert result["state"] == "done", (result.get("error"), result.get("log"), result)
    return result


def failed(result):
    assert result["state"] == "failed", result
    assert result["error"]["type"] != "unknown-verb", result["error"]
    return result["error"]["message"]


def tree(root):
    """A folder with all that folders can have in them."""
    root.mkdir(parents=True)
    (root / "a.txt").write_text("first\n")
    (root / "a.txt").chmod(0o640)
    (root / "sub").mkdir(mode=0o750)
    (root / "sub" / "b.bin").write_bytes(os.urandom(70000))
    (root / "sub" / "link").symlink_to("../a.txt")
    (root / "dangling").symlink_to("/nowhere/at/all")
    (root / "empty").mkdir()
    if os.geteuid() == 0:
        os.chown(root / "sub" / "b.bin", 1234, 2345)
    try:
        os.setxattr(root / "a.txt", "user.colour", b"green")
    except OSError:
        pass
    os.utime(root / "a.txt", ns=(10**18, 10**18 + 123456789))
    return root
