# SPDX-License-Identifier: MIT
"""
The API of the real daemon: its description holds for what it answers, over TCP a token has its role, and it
behaves as a service of the system should.
"""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import daemon as daemon_module
import pytest
import yaml
from daemon import BUILD, ROOT, UnixConnection

PLAN = """\
format: 1
plan: {name}
target: {name}
cwd: /tmp
steps:
  - {{id: first, run: [sh, -c, "echo hello; sleep 0.3"], undo: none}}
  - {{id: accept, confirm: {{ask: "All well?", items: [it works], within: 1h}}}}
"""


@pytest.fixture
def plan(updd):
    (updd.plans / "small.yaml").write_text(PLAN.format(name="small"))
    return "small"


class Served(daemon_module.Daemon):
    """The daemon with a TCP port, too."""

    def __init__(self, home, *options):
        super().__init__(home)
        self.options = options

    def start(self, **environment):
        argv = [BUILD / "daemon/updd", "--state-dir", self.state, "--plan-dir", self.plans,
                "--step-program", BUILD / "daemon/step/updd-step", *self.options]
        with open(self.stderr, "ab") as log:
            self.process = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **environment}, start_new_session=True)
        return self

    def ready(self):
        self.until(self.answers_calls, 20, "the daemon did not answer")
        return self

    def port(self):
        return int(re.findall(r"listening on 127\.0\.0\.1:(\d+)", self.said())[-1])

    def tcp(self, method, path, token=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port(), timeout=20)
        try:
            if token:
                headers["Authorization"] = f"Bearer {token}"
            connection.request(method, path, headers={k.replace("_", "-"): v
                                                      for k, v in headers.items()})
            response = connection.getresponse()
            return daemon_module.Answer(response.status, response.getheaders(),
                                        response.read().decode())
        finally:
            connection.close()


@pytest.fixture
def served(built, tmp_path):
    d = Served(tmp_path / "served", "--socket", tmp_path / "served/sock", "--listen", "127.0.0.1:0")
    try:
        yield d.start().ready()
    finally:
        d.close()


# ---- what is answered is what is described ------------------------------------------------------

def resolve(doc, schema):
    while "$ref" in schema:
        node = doc
        for part in schema["$ref"][2:].split("/"):
            node = node[part]
        schema = node
    return schema


TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
         "integer": int}


def faults(doc, schema, value, place):
    """What of `value` the schema does not allow; null stands for absent."""
    schema = resolve(doc, schema)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(isinstance(value, TYPES[k]) and not (k == "integer" and value is True)
                         for k in kinds):
        return [f"{place}: {value!r} is not {kinds}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{place}: {value!r} is not one of {schema['enum']}")
    if schema.get("format") == "date-time" and value is not None:
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value):
            found.append(f"{place}: {value!r} is no time")
    if isinstance(value, dict):
        found += [f"{place}: '{k}' is missing" for k in schema.get("required", ()) if k not in value]
        for key, member in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if inner is None and "properties" in schema:
                found.append(f"{place}: '{key}' is not described")
            elif inner and member is not None:
                found += faults(doc, inner, member, f"{place}/{key}")
    if isinstance(value, list):
        for i, item in enumerate(value):
            found += faults(doc, schema.get("items", {}), item, f"{place}/{i}")
    return found


def described(updd, path):
    """The answer's schema of a GET."""
    doc = updd.api("GET", "/v1/openapi.json")
    answer = resolve(doc, doc["paths"][path]["get"]["responses"]["200"])
    return doc, answer["content"]["application/json"]["schema"]


def check(updd, pattern, path):
    doc, schema = described(updd, pattern)
    value = updd.api("GET", path)
    assert not faults(doc, schema, value, path), json.dumps(value, indent=1)
    return value


def test_the_description_that_is_served_is_the_file(updd):
    served = updd.api("GET", "/v1/openapi.json")
    assert served == yaml.safe_load((ROOT / "api/openapi.yaml").read_text())


def test_answers_are_as_they_are_described(updd, plan):
    check(updd, "/v1", "/v1")
    check(updd, "/v1/health", "/v1/health")
    check(updd, "/v1/plans", "/v1/plans")
    check(updd, "/v1/plans/{name}", f"/v1/plans/{plan}")
    check(updd, "/v1/tokens", "/v1/tokens")
    job = updd.begin(plan, reason="a test", labels={"a": "b"})
    check(updd, "/v1/jobs/{id}", f"/v1/jobs/{job}")
    updd.until(lambda: updd.job(job)["state"] == "waiting", 20, "no gate")
    waiting = check(updd, "/v1/jobs/{id}", f"/v1/jobs/{job}")
    assert waiting["waits"][0]["kind"] == "gate" and waiting["strategies"]
    check(updd, "/v1/jobs/by-name/{name}", f"/v1/jobs/by-name/{plan}")
    check(updd, "/v1/jobs", "/v1/jobs?state=unfinished")
    updd.post(job, "rollback", reason="a test")
    updd.until(lambda: updd.job(job)["state"] == "rolled_back", 20, "not rolled back")
    check(updd, "/v1/jobs/{id}", f"/v1/jobs/{job}")
    check(updd, "/v1/jobs", "/v1/jobs")
    check(updd, "/v1/jobs/{id}/events", f"/v1/jobs/{job}/events?limit=1000")
    check(updd, "/v1/events", "/v1/events?limit=1000")


def test_the_hot_path_says_when_nothing_has_changed(updd, plan):
    job = updd.begin(plan)
    updd.until(lambda: updd.job(job)["state"] == "waiting", 20, "no gate")
    first = updd.call("GET", f"/v1/jobs/{job}")
    assert first.headers["etag"] == f'"{first.body["version"]}"'
    again = updd.call("GET", f"/v1/jobs/{job}", headers={"If-None-Match": first.headers["etag"]})
    assert again.status == 304 and again.text == ""


def test_a_long_poll_is_answered_when_the_job_goes_on(updd, plan):
    job = updd.begin(plan)
    etag, states, end = None, [], time.monotonic() + 20
    while "waiting" not in states and time.monotonic() < end:
        headers = {"If-None-Match": etag, "Prefer": "wait=10"} if etag else {}
        answer = updd.call("GET", f"/v1/jobs/{job}", headers=headers)
        assert answer.status == 200, "ten seconds without a change"
        etag = answer.headers["etag"]
        states.append(answer.body["state"])
    assert states[-1] == "waiting"


def test_a_stream_tells_every_event_once_and_in_order(updd, plan):
    job = updd.begin(plan)
    connection = UnixConnection(updd.socket, 20)
    connection.request("GET", f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"})
    response = connection.getresponse()
    assert response.getheader("Content-Type") == "text/event-stream"
    seen = []
    while not seen or seen[-1]["type"] != "wait_opened":
        line = response.readline().decode()
        assert line, "the stream ended"
        if line.startswith("data: "):
            seen.append(json.loads(line[6:]))
    connection.close()
    assert [e["seq"] for e in seen] == list(range(1, len(seen) + 1))
    assert seen == updd.events(job)[:len(seen)]


def test_a_log_is_read_by_offset_and_by_range(updd, plan):
    job = updd.begin(plan)
    updd.until(lambda: updd.job(job)["state"] == "waiting", 20, "no gate")
    path = f"/v1/jobs/{job}/steps/first/log"
    whole = updd.call("GET", path)
    assert "hello\n" in whole.text
    assert whole.headers["updd-log-more"] == "no" and whole.headers["updd-attempt"] == "1"
    assert int(whole.headers["updd-log-size"]) == len(whole.text.encode())
    assert updd.call("GET", f"{path}?offset=3").text == whole.text[3:]
    part = updd.call("GET", path, headers={"Range": "bytes=1-2"})
    assert part.status == 206 and part.text == whole.text[1:3]
    updd.refuse(404, "no-such-step", "GET", f"/v1/jobs/{job}/steps/nothing/log")


def test_faults_of_a_request_are_told_as_problems(updd):
    updd.refuse(404, "no-such-job", "GET", "/v1/jobs/4711")
    updd.refuse(404, "not-found", "GET", "/v1/nothing")
    updd.refuse(405, "method-not-allowed", "DELETE", "/v1/jobs")
    updd.refuse(404, "no-such-plan", "POST", "/v1/jobs", {"plan": "nothing"})
    bad = updd.refuse(400, "bad-json", "POST", "/v1/jobs", '{"plan": }',
                      {"Content-Type": "application/json"})
    assert bad["line"] == 1 and bad["column"] > 0
    named = updd.refuse(400, "bad-request", "POST", "/v1/jobs", {"plan": "a", "inputz": {}})
    assert named["member"] == "inputz" and "inputs" in named["hint"]


def test_a_body_over_a_mebibyte_is_refused_before_it_is_sent(updd):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(updd.socket))
        s.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  b"Content-Length: 1048577\r\n\r\n")
        assert s.recv(64).startswith(b"HTTP/1.1 413 ")


# ---- over TCP -----------------------------------------------------------------------------------

def token(served, name, role):
    return served.api("POST", "/v1/tokens", {"name": name, "role": role})["token"]


def test_over_tcp_a_token_has_its_role_until_it_is_removed(served):
    view, operate = token(served, "grafana", "view"), token(served, "timer", "operate")
    assert served.tcp("GET", "/v1/health").status == 401
    assert served.tcp("GET", "/v1/health", "guess").status == 401
    assert served.tcp("GET", "/v1/health", view).status == 200
    assert served.tcp("POST", "/v1/jobs/1/cancel", view).status == 403
    assert served.tcp("POST", "/v1/jobs/1/cancel", operate).status == 404
    assert served.tcp("GET", "/v1/tokens", operate).status == 403
    assert served.call("DELETE", "/v1/tokens/grafana").status == 204
    assert served.tcp("GET", "/v1/health", view).status == 401
    assert served.tcp("GET", "/v1/health", operate).status == 200


def test_a_token_outlives_the_daemon_and_stands_in_no_file(served):
    view = token(served, "grafana", "view")
    served.stop()
    served.start().ready()
    assert served.tcp("GET", "/v1/health", view).status == 200
    holding = [f for f in served.state.rglob("*") if f.is_file() and view.encode() in f.read_bytes()]
    assert not holding


def test_a_web_page_cannot_drive_the_daemon(served):
    admin = token(served, "me", "admin")
    refused = served.tcp("POST", "/v1/jobs/1/cancel", admin, Origin="https://evil.example")
    assert refused.status == 403 and refused.body["type"].endswith(":bad-origin")
    refused = served.tcp("GET", "/v1", admin, Host="evil.example")
    assert refused.status == 403 and refused.body["type"].endswith(":bad-host")


# ---- as a service -------------------------------------------------------------------------------

def run(*args, **more):
    return subprocess.run([str(BUILD / "daemon/updd"), *map(str, args)], capture_output=True,
                          text=True, timeout=60, **more)


def test_the_command_line_is_checked(built, tmp_path):
    wrong = run("--statedir", tmp_path)
    assert wrong.returncode == 2 and "did you mean 'state-dir'?" in wrong.stderr
    outside = run("--listen", "0.0.0.0:8080", "--state-dir", tmp_path / "s", "--socket",
                  tmp_path / "x")
    assert outside.returncode == 1 and "loopback" in outside.stderr
    (tmp_path / "updd.yaml").write_text("state-dir: /x\nsokcet: /y\n")
    config = run("--config", tmp_path / "updd.yaml")
    assert config.returncode == 1
    assert "updd.yaml:2:1" in config.stderr and "did you mean 'socket'?" in config.stderr
    assert run("--version").stdout.startswith("updd ")


def test_a_second_daemon_on_the_same_state_refuses_and_says_why(updd, tmp_path):
    second = run("--state-dir", updd.state, "--plan-dir", updd.plans, "--socket", tmp_path / "other",
                 "--step-program", BUILD / "daemon/step/updd-step")
    assert second.returncode == 1 and second.stderr.strip()
    assert updd.call("GET", "/v1/health").status == 200


def test_a_terminal_that_closes_ends_nothing_and_sigterm_removes_the_socket(updd):
    os.kill(updd.process.pid, signal.SIGHUP)
    updd.until(lambda: "options are read anew; changed: none" in updd.said(), 20, updd.said)
    assert updd.call("GET", "/v1/health").status == 200
    updd.stop()
    assert not updd.socket.exists()


def test_a_whole_state_folder_is_called_whole(updd, plan):
    job = updd.begin(plan)
    updd.until(lambda: updd.job(job)["state"] == "waiting", 20, "no gate")
    updd.stop()
    whole = run("--check-state", "--state-dir", updd.state)
    assert whole.returncode == 0, whole.stderr
    broken = run("--check-state", "--state-dir", updd.home / "nothing")
    assert broken.returncode == 1 and broken.stderr.strip()


def test_it_tells_the_service_manager_and_takes_its_socket(built, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, \
            socket.socket(socket.AF_UNIX) as listener:
        notify.settimeout(20)
        notify.bind(str(tmp_path / "notify"))
        d = Served(tmp_path / "home")
        listener.bind(str(d.socket))
        listener.listen()
        # systemd hands the socket over as descriptor 3 of the process that LISTEN_PID names.
        saved = listener.fileno()
        hand_over = (f"import os, sys; os.dup2({saved}, 3); os.environ['LISTEN_PID'] = "
                     "str(os.getpid()); os.execv(sys.argv[1], sys.argv[1:])")
        argv = [sys.executable, "-c", hand_over, BUILD / "daemon/updd", "--state-dir", d.state,
                "--plan-dir", d.plans, "--step-program", BUILD / "daemon/step/updd-step"]
        with open(d.stderr, "ab") as log:
            d.process = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[saved], start_new_session=True,
                env={**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(tmp_path / "notify"),
                     "WATCHDOG_USEC": "2000000"})
        try:
            said = ""
            while "WATCHDOG=1" not in said or "READY=1" not in said:
                said += notify.recv(4096).decode() + "\n"
            assert d.call("GET", "/v1/health").status == 200
            d.stop()
            while "STOPPING=1" not in said:
                said += notify.recv(4096).decode() + "\n"
            assert d.socket.exists(), "a socket that is the manager's is not ours to remove"
        finally:
            d.close()
