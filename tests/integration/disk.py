# SPDX-License-Identifier: MIT
"""
A disk as a power cut leaves it: what tests/recorder wrote down of a folder is played again up to a
point, and of all that was not synced by then a part is lost.

What is durable, and nothing else: a file's bytes and length, once the file was synced after the
change; a name in a folder (made, moved or removed), once the folder was synced after that; a move
between two folders, once both were. That is less than today's file systems keep, and all that they
promise. A move happens wholly or not at all.
"""
import dataclasses
import json
import os
import pathlib
import random
import stat

SECTOR = 512
WAYS = ("gone", "kept", "some", "order", "names", "bytes")


@dataclasses.dataclass(eq=False)
class Node:
    """A file, folder or symlink, whatever its names are."""
    kind: str
    mode: int = 0o600
    to: str = ""
    changes: list = dataclasses.field(default_factory=list)  # of bytes and length


@dataclasses.dataclass(eq=False)
class Change:
    """One change of a file's bytes, or of the names in one or two folders."""
    n: int                 # its record's number
    what: str
    at: int = 0
    data: bytes = b""
    names: tuple = ()      # (folder, name, Node or None: removed)
    waits: set = dataclasses.field(default_factory=set)  # folders that are to be synced for it
    durable: bool = False


def records(log):
    """What the recorder wrote down so far, whole."""
    text, at, found = pathlib.Path(log).read_bytes(), 0, []
    while (end := text.find(b"\n", at)) >= 0:
        record = json.loads(text[at:end])
        at = end + 1 + record.get("size", 0)
        if at > len(text):
            break
        record["data"] = text[end + 1:at]
        found.append(record)
    return found


def snapshot(root):
    """A folder as it stands, without sockets: {path: (kind, mode, bytes or target)}."""
    found = {}
    for folder, below, files in os.walk(root):
        for name in below + files:
            path = os.path.join(folder, name)
            st, relative = os.lstat(path), os.path.relpath(path, root)
            mode = stat.S_IMODE(st.st_mode)
            if stat.S_ISLNK(st.st_mode):
                found[relative] = ("link", 0, os.readlink(path).encode())
            elif stat.S_ISDIR(st.st_mode):
                found[relative] = ("dir", mode, b"")
            elif stat.S_ISREG(st.st_mode):
                found[relative] = ("file", mode, pathlib.Path(path).read_bytes())
    return found


class Disk:
    """The folder `root` as it was before the record, to which records are played one by one."""

    def __init__(self, root):
        self.root = str(root)
        self.top = Node("dir", 0o755)
        self.inodes = {os.lstat(root).st_ino: self.top}
        self.folders = {self.top: {}}  # as every process sees them: names of Nodes
        self.changes = []              # all of them, in order
        for path, (kind, mode, data) in snapshot(root).items():
            node = self.add(-1, path, Node(kind, mode, data.decode() if kind == "link" else ""),
                            os.lstat(os.path.join(root, path)).st_ino)
            if kind == "file":
                self.change(node, Change(-1, "write", 0, data))
        for change in self.changes:
            change.durable = True

    # ---- the record ----

    def walk(self, path):
        """The folder that holds a path, and its name there."""
        *way, name = pathlib.PurePath(os.path.relpath(path, self.root)).parts
        folder = self.top
        for part in way:
            folder = self.folders[folder][part]
        return folder, name

    def find(self, path):
        if path == self.root:
            return self.top
        folder, name = self.walk(path)
        return self.folders[folder].get(name)

    def rename(self, n, *names):
        for folder, name, node in names:
            if node:
                self.folders[folder][name] = node
            else:
                self.folders[folder].pop(name, None)
        change = Change(n, "names", names=names, waits={folder for folder, _, _ in names})
        self.changes.append(change)
        return change

    def add(self, n, path, node, inode):
        folder, name = self.walk(os.path.join(self.root, path))
        if node.kind == "dir":
            self.folders[node] = {}
        self.inodes[inode] = node
        self.rename(n, (folder, name, node))
        return node

    def change(self, node, change):
        node.changes.append(change)
        self.changes.append(change)

    def play(self, n, record):
        """One record."""
        getattr(self, "do_" + record["op"].replace("-", "_"))(n, record)

    def do_create(self, n, r):
        self.add(n, r["path"], Node("file", r["mode"]), r["ino"])

    def do_mkdir(self, n, r):
        self.add(n, r["path"], Node("dir", r["mode"]), r["ino"])

    def do_symlink(self, n, r):
        self.add(n, r["path"], Node("link", to=r["to"]), r["ino"])

    def do_write(self, n, r):
        self.change(self.inodes[r["ino"]], Change(n, "write", r["at"], r["data"]))

    def do_truncate(self, n, r):
        self.change(self.inodes[r["ino"]], Change(n, "truncate", r.get("length", 0)))

    def do_allocate(self, n, r):
        assert r["flags"] in (0, 1), r  # of holes nothing is known here
        if r["flags"] == 0:
            self.change(self.inodes[r["ino"]], Change(n, "grow", r["at"] + r["length"]))

    def do_remove(self, n, r):
        self.rename(n, (*self.walk(r["path"]), None))

    def do_rename(self, n, r):
        assert r.get("flags", 0) in (0, 1), r  # RENAME_NOREPLACE: nothing stood there
        node = self.find(r["path"])
        self.rename(n, (*self.walk(r["path"]), None), (*self.walk(r["to"]), node))

    def do_link(self, n, r):
        self.rename(n, (*self.walk(r["to"]), self.find(r["path"])))

    def do_mode(self, n, r):
        self.inodes[r["ino"]].mode = r["mode"]

    def do_sync(self, n, r):
        node = self.inodes[r["ino"]]
        for change in node.changes:
            change.durable = True
        for change in self.changes:
            if node in change.waits:
                change.waits.remove(node)
                change.durable = change.durable or not change.waits

    def do_sync_all(self, n, r):
        for change in self.changes:
            change.durable = True

    def do_answer(self, n, r):
        pass

    # ---- the cut ----

    def unsynced(self):
        return [c for c in self.changes if not c.durable]

    def lost(self, way, rng):
        """What a cut takes: {Change: None, or which of its bytes stay (see torn)}."""
        risk = self.unsynced()
        if way == "gone":
            return {c: None for c in risk}
        if way == "kept":
            return {}
        if way == "order":  # as a file system's journal keeps it, the last one torn
            last = rng.randrange(len(risk) + 1)
            lost = {c: None for c in risk[last:]}
            if risk[last:] and rng.random() < 0.7:
                lost[risk[last]] = torn(risk[last], rng)
            return lost
        if way in ("names", "bytes"):
            return {c: None for c in risk if (c.what == "names") == (way == "bytes")}
        odds = rng.choice((0.1, 0.5, 0.9))
        lost = {}
        for c in risk:
            if rng.random() < odds:
                lost[c] = None
            elif rng.random() < 0.2:
                lost[c] = torn(c, rng)
        return lost

    def image(self, lost, rng):
        """The files of the disk that is left, as of `snapshot`."""
        folders = {node: {} for node in self.folders}
        for change in self.changes:
            if change.what == "names" and lost.get(change, True) is not None:
                for folder, name, node in change.names:
                    if node:
                        folders[folder][name] = node
                    else:
                        folders[folder].pop(name, None)
        found, contents = {}, {}

        def visit(folder, prefix):
            for name, node in folders[folder].items():
                path = prefix + name
                if node.kind == "file":
                    if node not in contents:
                        contents[node] = content(node, lost, rng)
                    found[path] = ("file", node.mode, contents[node])
                elif node.kind == "link":
                    found[path] = ("link", 0, node.to.encode())
                else:
                    found[path] = ("dir", node.mode, b"")
                    visit(node, path + "/")

        visit(self.top, "")
        return found


def torn(change, rng):
    """Which bytes of a write reach the disk: a part from its beginning, or some of its sectors; as
    a list of (from, to)."""
    size = len(change.data)
    if change.what != "write" or size < 2:
        return None
    if rng.random() < 0.5:
        return [(0, rng.randrange(1, size))]
    edges = [0, *range(-change.at % SECTOR or SECTOR, size, SECTOR), size]
    return [edge for edge in zip(edges, edges[1:]) if rng.random() < 0.5]


def content(node, lost, rng):
    data, length = bytearray(), 0

    def grow(size):
        if len(data) < size:
            data.extend(bytes(size - len(data)))

    for change in node.changes:
        kept = lost.get(change, True)
        end = change.at + len(change.data)
        if change.what == "truncate":
            if kept is not None:
                del data[change.at:]
                grow(change.at)
        elif kept is None:
            length = max(length, end) if rng.random() < 0.5 else length
        elif change.what == "grow":
            grow(change.at)
        else:
            grow(end)
            if kept is True:
                data[change.at:end] = change.data
            else:
                for first, last in kept:
                    data[change.at + first:change.at + last] = change.data[first:last]
    # A length may reach the disk without the bytes.
    if length and rng.random() < 0.5:
        grow(length)
    return bytes(data)


def build(root, image):
    """Makes the folder `root`, which must be empty, what the image says."""
    for path, (kind, mode, data) in image.items():
        where = os.path.join(root, path)
        if kind == "dir":
            os.mkdir(where)
        elif kind == "link":
            os.symlink(data.decode(), where)
        else:
            with open(where, "xb") as f:
                f.write(data)
    for path, (kind, mode, _) in reversed(image.items()):
        if kind != "link":
            os.chmod(os.path.join(root, path), mode)
