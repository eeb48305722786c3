# SPDX-License-Identifier: MIT
"""
A stand-in for updd that speaks the wire format over a Unix socket: what it answers is set by the
test, and every request is kept. It serves the tests of updctl's screens, which need states (a daemon
that vanishes between request and answer, escape sequences in a log) that the real one takes long to
reach.
"""
import copy
import http.server
import json
import os
import re
import socket
import socketserver
import threading
import urllib.parse
from datetime import datetime, timedelta, timezone


def stamp(seconds_ago=0):
    when = datetime.now(timezone.utc) - timedelta(seconds=seconds_ago)
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"


def step(name, state="pending", **more):
    return {"id": name, "verb": "run", "phase": "main", "state": state, "attempts": 0, **more}


def job(number=42, state="running", **more):
    return {
        "id": number, "plan": "kimi-proxy-v2", "title": "kimi-proxy 1 to v2.0", "target": "kimi-proxy",
        "state": state, "version": 1, "dry_run": False, "created": stamp(62), "started": stamp(61),
        "by": "uid:0 (root)", "labels": {}, "sha256": "a" * 64, "inputs": {}, "overrides": [],
        "progress": {"done": 1, "total": 3}, "waits": [], "actions": ["rollback", "cancel"],
        "strategies": [],
        "steps": [step("stop", "done", attempts=1, started=stamp(60), ended=stamp(58)),
                  step("install", "running", attempts=1, started=stamp(10), title="pip install"),
                  step("watch")],
        **more,
    }


PLAN = {
    "plan": "kimi-proxy-v2", "title": "kimi-proxy 1 to ${in.version}", "about": "Upgrades it.\nTwo lines.",
    "target": "kimi-proxy", "file": "/etc/updd/plans/kimi-proxy-v2.yaml", "sha256": "0123456789abcdef" * 4,
    "inputs": {"root": {"type": "path", "default": "/srv/kimi-proxy"},
               "version": {"type": "string", "default": "v2.0"}},
    "secrets": {"token": {"sources": ["credential", "env"], "env": "KIMI_TOKEN"}},
    "steps": [{"id": "stop", "verb": "stop", "phase": "main", "summary": "proxy"},
              {"id": "code", "verb": "git", "phase": "main", "title": "new code, ${in.version}"},
              {"id": "accept", "verb": "confirm", "phase": "main"}],
    "gates": [{"step": "accept", "ask": "Business checks passed?", "within": "24h", "on_timeout": "hold"}],
    "strategies": [{"name": "full", "loses": "what was written since the stop", "situations": []},
                   {"name": "code", "loses": "nothing", "situations": ["application bug"]}],
    "expected": "20m", "faults": [], "unsupported": [],
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def address_string(self):
        return "unix"

    def handle_any(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size).decode()
        fake = self.server.fake
        with fake.changed:
            fake.requests.append((self.command, self.path, body, dict(self.headers)))
            drop = fake.drop > 0 and self.command == "POST"
            fake.drop -= drop
        if drop:
            self.close_connection = True
            return
        status, content, headers = fake.answer(self.command, self.path, body, self.headers)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        if status in (204, 304):
            data = b""
        self.send_response(status)
        if not isinstance(content, bytes):
            self.send_header("Content-Type", "application/problem+json" if status >= 400
                             else "application/json")
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = handle_any


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *args):
        self.connections = []
        super().__init__(*args)

    def get_request(self):
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def handle_error(self, request, client_address):
        """A client that hangs up, or a stop(), is no error of a test's."""


class FakeUpdd:
    def __init__(self, path):
        self.path = str(path)
        self.changed = threading.Condition()
        self.jobs, self.events, self.logs, self.requests = {}, {}, {}, []
        self.plans = {PLAN["plan"]: copy.deepcopy(PLAN)}
        self.fixed = {}  # (method, path) -> (status, content)
        self.on_post = None  # called with (job, verb, body) to change the job
        self.drop = 0  # so many POSTs get no answer
        self.server = None

    def start(self):
        self.server = Server(self.path, Handler)
        self.server.fake = self
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self):
        self.server.shutdown()
        for connection in self.server.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.server.server_close()
        os.unlink(self.path)

    # ---- what the test sets -------------------------------------------------------------------

    def put(self, new, *events):
        """The job as it is from now on, and what happened to it."""
        with self.changed:
            journal = self.events.setdefault(new["id"], [])
            for kind, name, *data in events:
                journal.append({"seq": len(journal) + 1, "time": stamp(), "type": kind, "step": name,
                                "data": data[0] if data else {}})
            new["version"] = max(len(journal), self.jobs.get(new["id"], {}).get("version", 0) + 1)
            while len(journal) < new["version"]:
                journal.append({"seq": len(journal) + 1, "time": stamp(), "type": "started"})
            self.jobs[new["id"]] = copy.deepcopy(new)
            self.changed.notify_all()

    def posted(self, ending):
        """The bodies of the POSTs to paths with that ending."""
        return [json.loads(b) for m, p, b, _ in self.requests if m == "POST" and p.endswith(ending)]

    # ---- what it answers ----------------------------------------------------------------------

    @staticmethod
    def problem(status, kind, detail, **more):
        return status, {"type": f"urn:updd:problem:{kind}", "title": kind, "status": status,
                        "detail": detail, **more}, {}

    def answer(self, method, target, body, headers):
        path, _, text = target.partition("?")
        query = {k: v[0] for k, v in urllib.parse.parse_qs(text).items()}
        fixed = self.fixed.get((method, path))
        if fixed:
            return (*fixed, {})
        found = re.fullmatch(r"/v1/jobs/(\d+)(?:/([a-z]+)(?:/([^/]+)/log)?)?", path)
        if path.startswith("/v1/jobs/by-name/"):
            return self.by_name(urllib.parse.unquote(path.rsplit("/", 1)[1]))
        if found and int(found[1]) not in self.jobs:
            return self.problem(404, "no-such-job", f"there is no job {found[1]}")
        if found and method == "GET" and not found[2]:
            return self.get_job(int(found[1]), headers)
        if found and found[2] == "events":
            after = int(query.get("after", 0))
            new = [e for e in self.events[int(found[1])] if e["seq"] > after]
            return 200, {"events": new[:int(query.get("limit", 100))], "next": None}, {}
        if found and found[2] == "steps":
            return self.get_log(int(found[1]), found[3], query)
        if found and method == "POST":
            return self.decide(int(found[1]), found[2], json.loads(body))
        if path == "/v1/jobs" and method == "GET":
            return self.list_jobs(query)
        if path == "/v1/jobs":
            return self.create()
        if path == "/v1/plans":
            return 200, {"plans": [{**p, "ok": True} for p in self.plans.values()]}, {}
        if path.startswith("/v1/plans/"):
            plan = self.plans.get(path.rsplit("/", 1)[1])
            return (200, plan, {}) if plan else self.problem(
                404, "no-such-plan", "there is no such plan", hint="did you mean 'kimi-proxy-v2'?")
        return self.problem(404, "not-found", f"there is nothing at {path}")

    def get_job(self, number, headers):
        with self.changed:
            def tag():
                return f'"{self.jobs[number]["version"]}"'
            wait = re.search(r"wait=(\d+)", headers.get("Prefer") or "")
            if headers.get("If-None-Match") == tag() and wait:
                self.changed.wait_for(lambda: headers["If-None-Match"] != tag(), int(wait[1]))
            same = headers.get("If-None-Match") == tag()
            return 304 if same else 200, copy.deepcopy(self.jobs[number]), {"ETag": tag()}

    def by_name(self, name):
        for found in sorted(self.jobs.values(), key=lambda j: -j["id"]):
            if name in (found["plan"], found["target"]):
                return self.get_job(found["id"], {})
        return self.problem(404, "no-such-job", f"no job has '{name}' as its plan or target")

    def list_jobs(self, query):
        ended = ("succeeded", "failed", "rolled_back", "cancelled", "abandoned")
        found = [j for j in sorted(self.jobs.values(), key=lambda j: -j["id"])
                 if query.get("state") in (None, j["state"])
                 or query.get("state") == "unfinished" and j["state"] not in ended]
        found = [j for j in found if query.get("target") in (None, j["target"])]
        found = [j for j in found if j["id"] < int(query.get("after", 1 << 60))]
        limit = int(query.get("limit", 50))
        more = found[limit - 1]["id"] if len(found) > limit else None
        return 200, {"jobs": copy.deepcopy(found[:limit]), "next": more}, {}

    def get_log(self, number, name, query):
        log, more = self.logs.get((number, name), (None, False))
        if log is None:
            return self.problem(404, "no-such-step", f"there is no step {name}")
        return 200, log[int(query.get("offset", 0)):], {
            "Content-Type": "text/plain; charset=utf-8", "Updd-Attempt": "1",
            "Updd-Log-Size": str(len(log)), "Updd-Log-More": "yes" if more else "no"}

    def create(self):
        self.put(job())
        return 201, self.jobs[42], {"Location": "/v1/jobs/42"}

    def decide(self, number, verb, body):
        if self.on_post:
            changed = self.on_post(copy.deepcopy(self.jobs[number]), verb, body)
            if isinstance(changed, tuple):
                return changed
            self.put(changed)
        return 200, self.jobs[number], {}
