# SPDX-License-Identifier: MIT
"""Every check of updd-step that needs no Docker engine, holding and not holding."""
import contextlib
import gzip
import http.server
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
import time

import pytest


def holds(step, name, args, **more):
    result = step.check(name, args, **more)
    assert result["state"] == "done", result
    return result


def fails(step, name, args, *words, **more):
    """The check does not hold, and the message has all of `words`."""
    result = step.check(name, args, **more)
    assert (result["state"], result.get("reason")) == ("failed", "check"), result
    for word in words:
        assert word in result["error"]["message"], result["error"]
    return result


class Handler(http.server.BaseHTTPRequestHandler):
    pages = {}
    seen = []

    def log_message(self, *_):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((self.command, self.path, dict(self.headers), body))
        status, kind, text = self.pages.get(self.path, (404, "text/plain", "nothing here"))
        if callable(status):
            status = status()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = answer


@pytest.fixture
def web():
    Handler.pages, Handler.seen = {}, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    server.pages, server.seen = Handler.pages, Handler.seen
    yield server
    server.shutdown()
    server.server_close()


# ---- lists of checks ----------------------------------------------------------------------------


def test_all_failures_are_told_together_with_their_hints(step):
    result = step.do("look", "check", {"checks": [
        {"check": "path", "args": {"path": "missing.txt"}, "hint": "make it"},
        {"check": "path", "args": {"path": ".", "state": "dir"}},
        {"check": "tool", "args": {"name": "no-such-tool"}, "hint": "install it"},
    ]})
    assert result["state"] == "failed"
    message = result["error"]["message"]
    assert "missing.txt" in message and "no-such-tool" in message
    assert "make it" in result["error"]["hint"] and "install it" in result["error"]["hint"]
    assert [c["ok"] for c in result["checks"]] == [False, True, False]
    assert result["checks"][0]["name"] == "path missing.txt"
    assert "FAIL path missing.txt: " in result["log"] and "ok   path ." in result["log"]


def test_a_warning_fails_nothing_and_is_recorded(step):
    result = holds(step, "path", {"path": "missing.txt"}, warn=True)
    assert result["checks"][0]["ok"] is False and result["checks"][0]["warn"] is True
    assert "WARN path missing.txt" in result["log"]


def test_an_override_by_name_lets_pass_and_is_recorded(step):
    fails(step, "path", {"path": "missing.txt"}, override="old-backup")
    fails(step, "path", {"path": "missing.txt"}, override="old-backup", overrides=["other"])
    result = holds(step, "path", {"path": "missing.txt"}, override="old-backup",
                   overrides=["old-backup"])
    assert result["checks"][0]["overridden"] is True and result["checks"][0]["ok"] is False


def test_when_decides_whether_it_is_looked_at(step):
    step.scope["in"]["source"] = "git"
    result = holds(step, "path", {"path": "missing.txt"}, when="in.source == 'archive'")
    assert result.get("checks", []) == []
    fails(step, "path", {"path": "missing.txt"}, "missing.txt", when="in.source == 'git'")


def test_within_polls_until_it_holds(step):
    running = step.check("path", {"path": "late.txt"}, within="20s", every="50ms", wait=False)
    time.sleep(0.5)
    (step.cwd / "late.txt").write_text("")
    assert running.wait()["state"] == "done"


def test_within_ends_when_its_time_is_over(step):
    began = time.monotonic()
    fails(step, "path", {"path": "never.txt"}, "never.txt", within="600ms", every="50ms")
    assert 0.5 < time.monotonic() - began < 10


@pytest.mark.parametrize("name, args", [
    ("run", {"argv": ["sleep", "1000"]}),
    ("value", {"file": "pipe", "regex": "x"}),  # opening it waits for a writer that never comes
])
def test_a_look_that_hangs_is_cut_off(step, name, args):
    os.mkfifo(step.cwd / "pipe")
    began = time.monotonic()
    result = step.check(name, args, timeout="300ms")
    assert result["state"] == "failed", result
    assert time.monotonic() - began < 15
    assert "time" in result["error"]["message"] or "within" in result["error"]["message"], result


def test_a_stop_ends_a_check_that_polls(step):
    running = step.check("path", {"path": "never.txt"}, within="1h", wait=False)
    running.until(lambda: (running.dir / "claim").exists())
    time.sleep(0.3)
    (running.dir / "stop").write_text('{"why": "test"}')
    running.process.terminate()
    result = running.wait()
    assert result["state"] == "failed" and result["reason"] == "stopped", result


# ---- tool, path, disk ---------------------------------------------------------------------------


def tool(step, name, says):
    path = step.cwd / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(path)


def test_tool_is_found_in_the_path_of_the_step(step):
    tool(step, "mytool", "mytool 1.0")
    fails(step, "tool", {"name": "mytool"}, "mytool is not installed")
    holds(step, "tool", {"name": "mytool"}, env={"PATH": f"{step.cwd}:/usr/bin:/bin"})


@pytest.mark.parametrize("says, least, good", [
    ("git version 2.39.2", "2.39", True), ("v1.9", "1.10", False), ("1.10", "1.9", True),
    ("Python 3.11.2", "3.11.2", True), ("3.11.2", "3.11.3", False), ("tool 7", "7.0", True),
    ("tool 7", "7.0.1", False), ("OpenSSL 3.0.1 7 Dec 2021", "3.0.1", True),
    ("2.0-rc1", "2", True),
])
def test_versions_compare_number_by_number(step, says, least, good):
    path = tool(step, "mytool", says)
    (holds if good else fails)(step, "tool", {"name": path, "min": least})


def test_tool_may_have_its_own_command_for_its_version(step):
    args = {"name": "sh", "min": "3", "command": ["echo", "shell version 2.1"]}
    fails(step, "tool", args, "2.1", "at least 3")
    holds(step, "tool", {**args, "min": "2"})


def test_path_tells_what_stands_there(step):
    (step.cwd / "file").write_text("persist = true\n")
    (step.cwd / "file").chmod(0o640)
    (step.cwd / "link").symlink_to("nowhere")
    for state, path in (("file", "file"), ("dir", "."), ("link", "link"), ("absent", "gone")):
        holds(step, "path", {"path": path, "state": state})
    fails(step, "path", {"path": "file", "state": "dir"}, "a file", "folder")
    fails(step, "path", {"path": "file", "state": "absent"}, "is there")
    fails(step, "path", {"path": "link", "state": "exists"}, "not there")
    holds(step, "path", {"path": "file", "mode": "0640", "has": "^persist", "lacks": "false"})
    fails(step, "path", {"path": "file", "mode": "0600"}, "0640", "0600")
    fails(step, "path", {"path": "file", "has": ["persist", "absent"]}, "absent")
    fails(step, "path", {"path": "file", "lacks": "true"}, "true")


def test_path_knows_owners(step):
    (step.cwd / "file").write_text("")
    if os.geteuid() != 0:
        pytest.skip("needs root to give a file away")
    shutil.chown(step.cwd / "file", "daemon", "mail")
    holds(step, "path", {"path": "file", "owner": "daemon"})
    holds(step, "path", {"path": "file", "owner": "daemon:mail"})
    fails(step, "path", {"path": "file", "owner": "root"}, "daemon:mail")
    fails(step, "path", {"path": "file", "owner": "daemon:root"}, "daemon:mail")


def test_writable_is_judged_for_the_user_of_the_check(step):
    (step.cwd / "file").write_text("")
    (step.cwd / "file").chmod(0o644)
    holds(step, "path", {"path": "file", "writable": True})
    if os.geteuid() != 0:
        return
    for folder in (step.cwd, *step.cwd.parents):
        if str(folder).startswith(("/tmp/", str(step.tmp))):
            folder.chmod(folder.stat().st_mode | 0o055)
    fails(step, "path", {"path": "file", "writable": True}, "cannot be written", user="daemon")
    holds(step, "path", {"path": "file", "writable": False}, user="daemon")


def test_disk_looks_at_the_nearest_parent(step):
    holds(step, "disk", {"path": "not/there/yet", "free": "1M"})
    fails(step, "disk", {"path": "not/there/yet", "free": "900T"}, "free", "900T")


# ---- tcp, http, value ---------------------------------------------------------------------------


def test_tcp_open_and_closed(step):
    with socket.create_server(("127.0.0.1", 0)) as server:
        to = f"127.0.0.1:{server.getsockname()[1]}"
        holds(step, "tcp", {"to": to})
        fails(step, "tcp", {"to": to, "state": "closed"}, "is open")
    fails(step, "tcp", {"to": to}, "not open")
    holds(step, "tcp", {"to": to, "state": "closed"})


def test_http_looks_at_status_body_and_json(step, web):
    web.pages["/health"] = (200, "application/json", '{"ok": true, "n": 3, "at": "2026-01-31"}')
    web.pages["/busy"] = (503, "text/plain", "come back later")
    holds(step, "http", {"url": web.url + "/health"})
    holds(step, "http", {"url": web.url + "/health", "json": {"ok": True, "n": 3}})
    fails(step, "http", {"url": web.url + "/health", "json": {"ok": False}}, "/ok")
    fails(step, "http", {"url": web.url + "/busy"}, "503", "2xx")
    holds(step, "http", {"url": web.url + "/busy", "status": "5xx", "has": "later"})
    holds(step, "http", {"url": web.url + "/busy", "status": 503})
    fails(step, "http", {"url": web.url + "/busy", "status": ["200", "204"]}, "503")


def test_http_sends_what_it_is_told(step, web):
    web.pages["/in"] = (201, "text/plain", "thanks")
    holds(step, "http", {"url": web.url + "/in", "method": "POST", "body_json": {"a": 1},
                         "headers": {"X-Kind": "test"}})
    method, _, headers, body = web.seen[0]
    assert (method, json.loads(body)) == ("POST", {"a": 1})
    assert headers["X-Kind"] == "test" and headers["Content-Type"] == "application/json"


def test_http_that_is_not_there_is_an_error_of_the_check(step):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    fails(step, "http", {"url": f"http://127.0.0.1:{port}/"}, str(port))


METRICS = """# HELP jobs_total all of them
jobs_total{state="done",host="a"} 12
jobs_total{state="failed",host="a"} 3 1700000000
temperature -4.5e1
up 1
"""


def test_value_reads_json_regex_metric_and_xpath(step, web):
    (step.cwd / "a.json").write_text('{"a": {"b/c": [1, {"d": "x"}]}, "size": 9007199254740993}')
    (step.cwd / "a.metrics").write_text(METRICS)
    web.pages["/page"] = (200, "text/html", "<html><body><p class=v>Version <b>2.1</b>"
                          "<ul><li>one<li>two</ul></body>")
    web.pages["/feed"] = (200, "application/xml", "<Feed><Entry n='7'>first</Entry></Feed>")
    holds(step, "value", {"file": "a.json", "json": "/a/b~1c/1/d", "equals": "x"})
    holds(step, "value", {"file": "a.json", "json": "/size", "equals": 9007199254740993})
    fails(step, "value", {"file": "a.json", "json": "/size", "equals": 9007199254740992}, "740993")
    holds(step, "value", {"file": "a.json", "json": "/a/b~1c/0", "min": 1, "max": 1})
    fails(step, "value", {"file": "a.json", "json": "/a/b~1c/0", "min": 2}, "is 1", "at least 2")
    fails(step, "value", {"file": "a.json", "json": "/a/nothing"}, "/a/nothing")
    holds(step, "value", {"file": "a.json", "regex": '"d": "(.)"', "equals": "x"})
    fails(step, "value", {"file": "a.json", "regex": "absent"}, "absent")
    holds(step, "value", {"file": "a.metrics", "metric": "up", "equals": 1})
    holds(step, "value", {"file": "a.metrics", "metric": 'jobs_total{state="failed"}', "max": 3})
    holds(step, "value", {"file": "a.metrics", "metric": "temperature", "max": -44.9})
    fails(step, "value", {"file": "a.metrics", "metric": "jobs_total"}, "2 samples")
    fails(step, "value", {"file": "a.metrics", "metric": "down"}, "down")
    page = {"url": web.url + "/page"}
    holds(step, "value", {**page, "xpath": "//p[@class='v']/b", "equals": 2.1})
    holds(step, "value", {**page, "xpath": "count(//li)", "equals": 2})
    fails(step, "value", {**page, "xpath": "//h1"}, "//h1")
    holds(step, "value", {"url": web.url + "/feed", "xpath": "/Feed/Entry/@n", "equals": 7})
    fails(step, "value", {"url": web.url + "/none", "regex": "."}, "404")


# ---- run, that, process -------------------------------------------------------------------------


def test_run_looks_at_exit_and_output(step):
    holds(step, "run", {"argv": ["sh", "-c", "echo fine; exit 3"], "exit": 3, "has": "^fine$"})
    fails(step, "run", {"argv": ["sh", "-c", "echo broken >&2; exit 3"]}, "code 3", "broken")
    fails(step, "run", {"argv": ["echo", "error"], "lacks": "error"}, "error")
    holds(step, "run", {"argv": ["cat"], "stdin": "given", "has": "given"})
    fails(step, "run", {"argv": ["no-such-program"]}, "no-such-program")


def test_that_sees_inputs_and_outputs(step):
    step.scope["in"]["n"] = 3
    step.scope["steps"]["count"] = {"rows": 12}
    holds(step, "that", {"expression": "in.n == 3 and steps.count.rows == 12"})
    fails(step, "that", {"expression": "steps.count.rows == 13"}, "steps.count.rows == 13")


@contextlib.contextmanager
def process(*argv):
    p = subprocess.Popen(argv, start_new_session=True)
    try:
        yield p
    finally:
        p.kill()
        p.wait()


def test_process_sees_others_but_not_itself(step):
    mark = f"sleep 98765{os.getpid()}"
    fails(step, "process", {"match": mark}, mark)
    holds(step, "process", {"match": mark, "state": "absent"})
    with process(*mark.split()) as p:
        holds(step, "process", {"match": f"^{mark}$"})
        fails(step, "process", {"match": mark, "state": "absent"}, str(p.pid))
        if os.geteuid() == 0:
            holds(step, "process", {"match": mark, "user": "daemon", "state": "absent"})
            holds(step, "process", {"match": mark, "user": "root"})
    # updd-step itself, whose command line holds the folder of the attempt:
    holds(step, "process", {"match": str(step.job_dir), "state": "absent"})


# ---- sql, backup --------------------------------------------------------------------------------


@pytest.fixture
def database(step):
    path = step.cwd / "data.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE Users (id INTEGER, name TEXT); CREATE TABLE empty (x);"
                         "INSERT INTO Users VALUES (1, 'ada'), (2, 'bob');")
    step.context["databases"]["main"] = {"url": f"sqlite:{path}"}
    return path


def test_sql_counts_and_compares(step, database):
    base = {"db": "main"}
    holds(step, "sql", {**base, "count": ["Users", "empty"], "equals": {"Users": 2, "empty": 0}})
    holds(step, "sql", {**base, "count": ["Users"], "min": 1, "max": 2})
    fails(step, "sql", {**base, "count": ["Users", "empty"], "min": 1}, "empty is 0", "at least 1")
    holds(step, "sql", {**base, "query": "SELECT name, id FROM Users", "equals": {"name": "ada"}})
    fails(step, "sql", {**base, "query": "SELECT name, id FROM Users", "equals": {"name": "eve"}},
          "name is ada", "eve")
    fails(step, "sql", {**base, "query": "SELECT name FROM Users WHERE id = 9"}, "no row")
    step.scope["steps"]["before"] = {"Users": 2}
    holds(step, "sql", {**base, "count": ["Users"], "same_as": "before"})
    step.scope["steps"]["before"] = {"Users": 3}
    fails(step, "sql", {**base, "count": ["Users"], "same_as": "before"}, "2", "was 3")
    fails(step, "sql", {**base, "count": ["empty"], "same_as": "before"}, "no output 'empty'")


def test_sql_knows_tables_and_columns_and_tells_all_that_is_missing(step, database):
    base = {"db": "main"}
    holds(step, "sql", {**base, "tables": ["users"], "columns": {"Users": ["ID", "name"]}})
    fails(step, "sql", {**base, "tables": ["one", "Users", "two"], "columns": {"Users": ["age"]}},
          "one", "two", "Users.age")


def test_sql_cannot_change_anything(step, database):
    result = step.check("sql", {"db": "main", "query": "DELETE FROM Users RETURNING id"})
    assert result["state"] == "failed", result
    with contextlib.closing(sqlite3.connect(database)) as db:
        assert db.execute("SELECT count(*) FROM Users").fetchone() == (2,)


def test_backup_takes_the_newest_and_reads_it_through(step):
    old, new = step.cwd / "dump-1.gz", step.cwd / "dump-2.gz"
    old.write_bytes(gzip.compress(b"x" * 100000))
    new.write_bytes(gzip.compress(os.urandom(100000)))
    os.utime(old, (1, 1))
    args = {"newest": "dump-*.gz", "younger": "1h"}
    holds(step, "backup", args)
    new.write_bytes(new.read_bytes()[:-2000])
    result = step.check("backup", args)
    assert result["state"] == "failed" and "dump-2.gz" in result["error"]["message"], result
    new.unlink()
    fails(step, "backup", args, "dump-1.gz", "younger than 1h")
    fails(step, "backup", {"newest": ["none-*", "nothing-*"]}, "There is no backup")


def test_backup_of_a_step_is_the_one_that_it_made(step):
    path = step.cwd / "a.gz"
    path.write_bytes(gzip.compress(b"x"))
    fails(step, "backup", {"of": "safety"}, "safety")
    step.scope["steps"]["safety"] = {"path": str(path)}
    holds(step, "backup", {"of": "safety"})


# ---- logs of steps ------------------------------------------------------------------------------


def test_logs_of_a_step_are_those_of_its_newest_attempt(step):
    fails(step, "logs", {"step": "talk", "has": "x"}, "has no log")
    step.do("talk", "run", {"argv": ["echo", "an error at first"]})
    step.do("talk", "run", {"argv": ["sh", "-c", "echo first; seq 300; echo last"]})
    holds(step, "logs", {"step": "talk", "has": "^last$", "lacks": ["error", "^first$"]})
    holds(step, "logs", {"step": "talk", "lines": 400, "has": "^first$"})
    fails(step, "logs", {"step": "talk", "lacks": "las[t]"}, "last")


# ---- wait and observe ---------------------------------------------------------------------------


def test_wait_waits_until_its_checks_hold(step):
    until = [{"check": "path", "args": {"path": "late.txt"}}]
    running = step.do("w", "wait", {"until": until, "within": "20s", "every": "50ms"}, wait=False)
    time.sleep(0.4)
    (step.cwd / "late.txt").write_text("")
    result = running.wait()
    assert result["state"] == "done", result
    assert [c["ok"] for c in result["checks"]] == [True]
    assert result["log"].count("not yet: ") == 1, "what is missing is told once"


def test_wait_ends_with_what_is_missing(step):
    result = step.do("w", "wait", {"until": [{"check": "path", "args": {"path": "never.txt"}}],
                                   "within": "400ms", "every": "50ms"})
    assert (result["state"], result["reason"]) == ("failed", "check")
    assert "never.txt" in result["error"]["message"] and "400ms" in result["error"]["message"]


def test_wait_for_a_time(step):
    began = time.monotonic()
    assert step.do("w", "wait", {"for": "700ms"})["state"] == "done"
    assert time.monotonic() - began >= 0.7


def observing(**more):
    return {"checks": [{"check": "path", "args": {"path": "bad", "state": "absent"}}],
            "every": "50ms", **more}


def test_observe_sees_as_long_as_it_is_told(step):
    began = time.monotonic()
    result = step.do("o", "observe", observing(**{"for": "800ms"}))
    assert result["state"] == "done", result
    assert time.monotonic() - began >= 0.8
    assert not (step.record_dir("o") / "seen").exists()


def test_observe_fails_at_the_first_bad_look(step):
    running = step.do("o", "observe", observing(**{"for": "1h"}), wait=False)
    running.until(lambda: (step.record_dir("o") / "seen").exists())
    (step.cwd / "bad").write_text("")
    result = running.wait()
    assert (result["state"], result["reason"]) == ("failed", "check"), result
    assert "bad" in result["error"]["message"]
    assert not (step.record_dir("o") / "seen").exists(), "the next one begins anew"


def test_observe_tolerates_so_many_bad_looks_in_a_row(step):
    (step.cwd / "flaky.sh").write_text("n=$(cat n 2>/dev/null || echo 0); n=$((n+1)); echo $n >n\n"
                                       "[ $((n % 3)) -ne 0 ]\n")
    args = {"checks": [{"check": "run", "args": {"argv": ["sh", "flaky.sh"]}}], "every": "30ms",
            "for": "500ms"}
    assert step.do("a", "observe", args)["state"] == "failed"
    assert step.do("b", "observe", {**args, "tolerate": 1})["state"] == "done"


def test_the_time_that_was_seen_survives_a_kill_and_the_gap_does_not_count(step):
    args = observing(**{"for": "4s"})
    running = step.do("o", "observe", args, wait=False)
    running.until(lambda: seen_ms(step) >= 1500)
    running.kill()
    before = seen_ms(step)
    time.sleep(2)
    began = time.monotonic()
    result = step.do("o", "observe", args)
    took = time.monotonic() - began
    assert result["state"] == "done", result
    assert took >= (4000 - before) / 1000 - 0.1, "the gap has been counted"
    assert took < 4 + 2, "what was seen before has been forgotten"
    assert "going on: " in result["log"]


def seen_ms(step):
    try:
        return json.loads((step.record_dir("o") / "seen").read_text())["seen_ms"]
    except (OSError, ValueError):
        return 0


# ---- webhook ------------------------------------------------------------------------------------


def test_a_webhook_carries_the_event_and_its_number(step, web):
    web.pages["/hook"] = (204, "text/plain", "")
    event = {"seq": 17, "type": "state", "job": 42}
    args = {"url": web.url + "/hook", "headers": {"Authorization": "Bearer x"}}
    assert step.do("hook", "webhook", args, event=event)["state"] == "done"
    method, _, headers, body = web.seen[0]
    assert method == "POST" and json.loads(body) == event
    assert headers["Updd-Event"] == "17" and headers["Authorization"] == "Bearer x"
    assert headers["Content-Type"] == "application/json"
    assert step.do("hook", "webhook", {**args, "body": "plain"}, event=event)["state"] == "done"
    assert web.seen[1][3] == b"plain"


def test_a_webhook_that_is_refused_fails(step, web):
    result = step.do("hook", "webhook", {"url": web.url + "/none"}, event={"seq": 1})
    assert result["state"] == "failed" and "404" in result["error"]["message"], result
