# SPDX-License-Identifier: MIT
"""The verbs http and fetch, against a real server on the loopback."""

import hashlib
import http.server
import io
import json
import os
import stat
import tarfile
import threading
import zipfile

import pytest

from verbtool import failed, ok, state, steps, tree  # noqa: F401


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size).decode()
        server = self.server
        server.seen.append((self.command, self.path, dict(self.headers), body))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
            return
        if self.path == "/slow":
            server.release.wait(30)
        status, data = server.pages.get(self.path, (404, b"nothing here"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *args):
        pass


@pytest.fixture
def web():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.pages, server.release = [], {}, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()


# ---- http ----


def test_a_reply_is_held_to_what_is_expected_and_saved_from(steps, web):  # noqa: F811
    web.pages["/health"] = (200, json.dumps({"status": "ok", "v": {"n": 2}, "l": [1, 2]}).encode())
    result = ok(steps.do("h", "http", {
        "url": web.url + "/health",
        "json": {"status": "ok", "v": {"n": 2}, "l": [1]},
        "has": '"status"', "lacks": ["error", "fatal"],
        "save": {"n": {"json": "/v/n"}, "word": {"regex": '"status": "(\\w+)"'}},
    }))
    assert result["outputs"]["status"] == 200
    assert json.loads(result["outputs"]["body"])["status"] == "ok"
    assert result["outputs"]["n"] == "2" and result["outputs"]["word"] == "ok"


@pytest.mark.parametrize("expectation, words", [
    ({"status": 201}, "answered 200"),
    ({"status": ["201", "3xx"]}, "answered 200"),
    ({"json": {"status": "down"}}, "/status"),
    ({"json": {"more": 1}}, "/more"),
    ({"has": "nope"}, "does not have 'nope'"),
    ({"lacks": "o[kx]"}, "has 'o[kx]'"),
    ({"save": {"x": {"json": "/gone"}}}, "/gone"),
    ({"save": {"x": {"regex": "(z+)"}}}, "(z+)"),
])
def test_a_reply_that_is_not_as_expected_fails_and_says_why(steps, web, expectation, words):  # noqa: F811
    web.pages["/"] = (200, b'{"status": "ok"}')
    assert words in failed(steps.do("h", "http", {"url": web.url + "/", **expectation}))


def test_a_request_carries_method_headers_and_body(steps, web):  # noqa: F811
    web.pages["/p"] = (204, b"")
    ok(steps.do("a", "http", {"url": web.url + "/p", "method": "POST", "headers": {"X-A": "1"},
                              "body_json": {"b": [True, None]}}))
    ok(steps.do("b", "http", {"url": web.url + "/p", "method": "PUT", "body": "plain text"}))
    ok(steps.do("c", "http", {"url": web.url + "/p", "method": "HEAD"}))
    ok(steps.do("d", "http", {"url": web.url + "/p", "method": "DELETE"}))
    (m1, _, h1, b1), (m2, _, _, b2), (m3, *_), (m4, *_) = web.seen
    assert (m1, m2, m3, m4) == ("POST", "PUT", "HEAD", "DELETE")
    assert h1["X-A"] == "1" and h1["Content-Type"] == "application/json"
    assert json.loads(b1) == {"b": [True, None]} and b2 == "plain text"


def test_a_secret_goes_out_and_stands_nowhere(steps, web):  # noqa: F811
    web.pages["/login"] = (200, b'{"access": "tok-8fd2e1c7"}')
    result = ok(steps.do(
        "login", "http",
        {"url": web.url + "/login", "method": "POST",
         "headers": {"Authorization": {"$secret": ["Bearer ", {"name": "key"}]}},
         "save": {"access": {"json": "/access", "secret": True}}},
        secrets={"key": "s3cr3t-key-value"},
    ))
    assert web.seen[0][2]["Authorization"] == "Bearer s3cr3t-key-value"
    assert result["outputs"]["access"] == {"$secret": "steps.login.access"}
    assert (steps.job_dir / "secrets/steps.login.access").read_text() == "tok-8fd2e1c7"
    for folder, _, files in os.walk(steps.job_dir):
        for name in files:
            if folder.endswith("/secrets"):
                continue
            data = open(os.path.join(folder, name), "rb").read()
            assert b"s3cr3t-key-value" not in data and b"tok-8fd2e1c7" not in data, name


def test_nobody_there_is_told_and_a_line_break_in_a_header_refused(steps, web):  # noqa: F811
    port = web.server_port
    web.shutdown()
    web.server_close()
    message = failed(steps.do("h", "http", {"url": f"http://127.0.0.1:{port}/"}))
    assert f"127.0.0.1:{port}" in message or "port" in message
    assert "line break" in failed(steps.do(
        "h2", "http", {"url": "http://127.0.0.1:9/", "headers": {"A": "b\r\nC: d"}}))
    assert "address" in failed(steps.do("h3", "http", {"url": "file:///etc/passwd"}))


def test_a_stop_ends_a_request_that_nobody_answers(steps, web):  # noqa: F811
    web.pages["/slow"] = (200, b"late")
    result = steps.do("h", "http", {"url": web.url + "/slow"}, timeout_ms=700, grace_ms=500)
    assert result["state"] == "failed" and result["reason"] == "timeout"


# ---- fetch ----


def sha(data):
    return hashlib.sha256(data).hexdigest()


def test_fetch_once_or_refreshed_and_its_undo(steps, web):  # noqa: F811
    web.pages["/file"] = (200, b"#!/bin/sh\necho one\n")
    before = state(steps.cwd)
    args = {"url": web.url + "/file", "to": "scripts/", "mode": "0755"}
    result = ok(steps.do("f", "fetch", args))
    path = steps.cwd / "scripts/file"
    assert path.read_bytes() == web.pages["/file"][1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert result["outputs"] == {"path": str(path), "sha256": sha(path.read_bytes()), "changed": True}
    assert ok(steps.do("f", "fetch", args))["outputs"]["changed"] is False
    assert len(web.seen) == 1
    web.pages["/file"] = (200, b"#!/bin/sh\necho two\n")
    assert ok(steps.do("f", "fetch", {**args, "refresh": "yes"}))["outputs"]["changed"] is True
    assert path.read_bytes().endswith(b"two\n")
    ok(steps.undo("f", "fetch", args))
    assert state(steps.cwd) == before


def test_a_pinned_file_is_fetched_only_when_it_is_not_the_one(steps, web):  # noqa: F811
    data = os.urandom(300000)
    web.pages["/file"] = (200, data)
    (steps.cwd / "file").write_bytes(b"an older one")
    before = state(steps.cwd)
    args = {"url": web.url + "/moved", "to": "file", "sha256": sha(data)}
    ok(steps.do("f", "fetch", args))
    assert (steps.cwd / "file").read_bytes() == data
    n = len(web.seen)
    ok(steps.do("f", "fetch", args))
    assert len(web.seen) == n
    ok(steps.undo("f", "fetch", args))
    assert state(steps.cwd) == before


def test_a_download_that_is_not_what_it_should_be_changes_nothing(steps, web):  # noqa: F811
    web.pages["/file"] = (200, b"tampered")
    (steps.cwd / "file").write_bytes(b"old")
    before = state(steps.cwd)
    args = {"url": web.url + "/file", "sha256": "0" * 64}
    message = failed(steps.do("f", "fetch", args))
    assert sha(b"tampered") in message and "0" * 64 in message
    assert "404" in failed(steps.do("g", "fetch", {"url": web.url + "/gone", "to": "x"}))
    assert state(steps.cwd) == before


def test_a_download_that_is_killed_leaves_nothing(steps, web):  # noqa: F811
    web.pages["/slow"] = (200, b"late")
    running = steps.do("f", "fetch", {"url": web.url + "/slow", "to": "late"}, wait=False)
    running.until(lambda: web.seen)
    assert list(steps.cwd.iterdir()) == []
    running.kill()
    web.release.set()
    ok(steps.do("f", "fetch", {"url": web.url + "/slow", "to": "late"}))
    assert [p.name for p in steps.cwd.iterdir()] == ["late"]


def test_a_local_file_can_be_fetched(steps):  # noqa: F811
    (steps.tmp / "src").write_text("here")
    ok(steps.do("f", "fetch", {"url": f"file://{steps.tmp}/src"}))
    assert (steps.cwd / "src").read_text() == "here"
    assert "gone" in failed(steps.do("g", "fetch", {"url": f"file://{steps.tmp}/gone"}))


def archive(kind, entries):
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as z:
            for name, data in entries:
                z.writestr(name, data)
        return out.getvalue()
    with tarfile.open(fileobj=out, mode="w:" + kind) as t:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            if isinstance(data, bytes):
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
            else:
                info.type, info.linkname = tarfile.SYMTYPE, data
                t.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["gz", "xz", "zip"])
def test_an_archive_is_unpacked_over_a_folder_and_undo_takes_out_only_that(steps, web, kind):  # noqa: F811
    web.pages["/a"] = (200, archive(kind, [("app/main.py", b"new\n"), ("app/lib/x.py", b"x\n")]))
    (steps.cwd / "code/app").mkdir(parents=True)
    (steps.cwd / "code/app/main.py").write_text("old\n")
    (steps.cwd / "code/app/local.conf").write_text("mine\n")
    before = state(steps.cwd)
    args = {"url": web.url + "/a", "to": "a.archive", "unpack": "code"}
    ok(steps.do("f", "fetch", args))
    assert (steps.cwd / "code/app/main.py").read_text() == "new\n"
    assert (steps.cwd / "code/app/lib/x.py").read_text() == "x\n"
    ok(steps.do("f", "fetch", args))
    (steps.cwd / "code/app/users.db").write_text("made since")
    ok(steps.undo("f", "fetch", args))
    assert (steps.cwd / "code/app/users.db").read_text() == "made since"
    (steps.cwd / "code/app/users.db").unlink()
    assert state(steps.cwd) == before


@pytest.mark.parametrize("entries", [
    [("../evil", b"x")],
    [("/tmp/updd-evil", b"x")],
    [("a/../../evil", b"x")],
    [("link", "/tmp"), ("link/updd-evil", b"x")],
    [("link", ".."), ("link/evil", b"x")],
])
def test_an_archive_cannot_leave_its_folder(steps, web, entries):  # noqa: F811
    web.pages["/a"] = (200, archive("gz", entries))
    failed(steps.do("f", "fetch", {"url": web.url + "/a", "to": "a.tgz", "unpack": "in/side"}))
    assert not os.path.lexists("/tmp/updd-evil")
    assert not [p for p in steps.tmp.rglob("*evil*") if steps.job_dir not in p.parents]
    ok(steps.undo("f", "fetch", {"url": web.url + "/a", "to": "a.tgz", "unpack": "in/side"}))
    assert os.listdir(steps.cwd) == []


def test_a_truncated_archive_fails_before_anything_is_unpacked(steps, web):  # noqa: F811
    whole = archive("gz", [("a", os.urandom(100000)), ("b", os.urandom(100000))])
    web.pages["/a"] = (200, whole[: len(whole) // 2])
    failed(steps.do("f", "fetch", {"url": web.url + "/a", "to": "a.tgz", "unpack": "into"}))
    assert not (steps.cwd / "into").exists()
