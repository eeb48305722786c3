# SPDX-License-Identifier: MIT
"""
A stand-in for kimi-proxy: a real git repository with tags, a real SQLite file and servers that run.

What is like the real one: version 1 is one main.py, version 2 the package src/kimi_proxy; config.toml
is tracked and edited by its user; sessions.db is opened relative to the working folder; version 2
ignores it unless persist_sessions is set, and extends its schema when it starts; `status` exits 0
whatever it finds. v2.1 is a version 2 that never becomes healthy.
"""
import hashlib
import http.client
import json
import os
import pathlib
import signal
import socket
import sqlite3
import subprocess
import threading
import time

SERVER = '''\
import base64, hashlib, http.server, json, os, sqlite3, sys

VERSION = "@VERSION@"
PORT = int(sys.argv[sys.argv.index("--port") + 1] if "--port" in sys.argv else os.environ["PORT"])
HEALTHY = @HEALTHY@


def db():
    return sqlite3.connect("sessions.db", timeout=20)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/health":
            self.answer(200 if HEALTHY else 503, {"status": "ok" if HEALTHY else "cannot start",
                                                  "version": VERSION})
        elif self.path == "/ws":
            key = self.headers.get("Sec-WebSocket-Key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
            self.send_header("Sec-WebSocket-Accept", accept)
            self.end_headers()
            self.close_connection = True
        elif self.path == "/api/sessions":
            rows = db().execute("SELECT id, name FROM sessions").fetchall()
            self.answer(200, [{"id": r[0], "name": r[1]} for r in rows])
        elif self.path in ("/api/providers", "/api/sanitizer/stats"):
            self.answer(200, {})
        elif self.path.startswith(("/chat/completions", "/api/compress/")):
            self.answer(405, {"detail": "Method Not Allowed"})
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        connection = db()
        with connection:
            connection.execute("INSERT INTO metrics (session_id, note) VALUES (1, ?)", (body["note"],))
        connection.close()
        self.answer(200, {"stored": body["note"]})


def serve():
    print("kimi-proxy", VERSION, "listens on", PORT, flush=True)
    http.server.ThreadingHTTPServer.daemon_threads = True
    http.server.ThreadingHTTPServer.allow_reuse_address = True
    http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
'''

DATABASE = '''\
import pathlib, re, sqlite3

COLUMNS = [("sessions", "model TEXT"), ("metrics", "memory_tokens INTEGER DEFAULT 0"),
           ("metrics", "chat_tokens INTEGER DEFAULT 0"), ("metrics", "memory_ratio REAL DEFAULT 0"),
           ("masked_content", "tags TEXT"), ("masked_content", "token_count INTEGER DEFAULT 0")]


def init_database():
    if not re.search(r"(?m)^\\s*persist_sessions\\s*=\\s*true", pathlib.Path("config.toml").read_text()):
        return
    connection = sqlite3.connect("sessions.db", timeout=20)
    with connection:
        for table, column in COLUMNS:
            have = {r[1] for r in connection.execute(f"PRAGMA table_info({table})")}
            if column.split()[0] not in have:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
        for table in ("memory_metrics", "memory_segments", "compression_log"):
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY)")
    connection.close()
'''

MCP = '''\
#!/bin/sh
# Starts, stops and shows the MCP server.
pid_file=.mcp-servers.pid
case "$1" in
start)
    nohup python3 scripts/mcp_server.py >mcp.log 2>&1 &
    echo $! >"$pid_file" ;;
stop)
    test -f "$pid_file" && kill "$(cat "$pid_file")"
    rm -f "$pid_file" ;;
esac
'''

MCP_SERVER = '''\
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

http.server.HTTPServer(("127.0.0.1", int(os.environ["MCP_PORT"])), Handler).serve_forever()
'''

CLI = '''\
#!/bin/sh
case "$1" in
status) curl -fsS "http://127.0.0.1:$PORT/health" || echo "no server runs"; exit 0 ;;
test) exec "$VENV/bin/python" tests/e2e/test_regression.py ;;
*) echo "kimi-proxy start|stop|status|test" >&2; exit 2 ;;
esac
'''

REGRESSION_LINES = [f"regression {n} of 20 passed" for n in range(1, 21)]
REGRESSION = '''\
import json, os, time, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for n in range(1, 21):
    with opener.open("http://127.0.0.1:" + os.environ["PORT"] + "/api/sessions", timeout=10) as r:
        assert len(json.load(r)) >= 1
    print("regression", n, "of 20 passed", flush=True)
    time.sleep(0.02)
'''

V1 = {
    "main.py": SERVER.replace("@VERSION@", "1").replace("@HEALTHY@", "True") + "\n\nserve()\n",
    "config.toml": 'default_model = "kimi"\n\n[proxy]\nstream_timeout = 120.0\n',
    "start.sh": "#!/bin/sh\nexec python3 main.py\n",
    "stop.sh": "#!/bin/sh\nkill $(cat .server.pid)\n",
    "static/index.html": "<h1>kimi-proxy</h1>\n",
    ".gitignore": "sessions.db*\nvenv/\nbackups/\n*.pid\n*.log\n__pycache__/\n",
}


def v2(healthy):
    return {
        "src/kimi_proxy/__init__.py": "",
        "src/kimi_proxy/core/__init__.py": "",
        "src/kimi_proxy/core/database.py": DATABASE,
        "src/kimi_proxy/main.py": SERVER.replace("@VERSION@", "2").replace(
            "@HEALTHY@", str(healthy)) + "\n\ndef create_app():\n    return Handler\n",
        "src/kimi_proxy/__main__.py": "from kimi_proxy.core.database import init_database\n"
                                      "from kimi_proxy.main import serve\n\ninit_database()\nserve()\n",
        "bin/kimi-proxy": CLI,
        "scripts/start-mcp-servers.sh": MCP,
        "scripts/mcp_server.py": MCP_SERVER,
        "tests/e2e/test_regression.py": REGRESSION,
        "requirements.txt": "# the stand-in needs the standard library only\n",
        "static/index.html": "<h1>kimi-proxy 2</h1>\n",
    }


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Kimi:
    """One installed kimi-proxy 1, running, in `folder`/kimi."""

    def __init__(self, folder, venv=None):
        self.folder = pathlib.Path(folder)
        self.root, self.origin = self.folder / "kimi", self.folder / "origin.git"
        self.venv = pathlib.Path(venv or self.root / "venv")
        self.port, self.mcp_port = free_port(), free_port()
        self.tag = "v2.0"
        self.acked, self.writing, self.writer = set(), threading.Event(), None

    # ---- its life -------------------------------------------------------------------------------

    def git(self, *args, cwd=None):
        return subprocess.run(
            ["git", "-c", "user.name=kimi", "-c", "user.email=kimi@localhost", *args],
            cwd=cwd or self.root, check=True, capture_output=True, text=True).stdout

    def commit(self, files, tag, remove=()):
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            if text.startswith("#!"):
                path.chmod(0o755)
        for name in remove:
            self.git("rm", "-q", name)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", tag)
        self.git("tag", tag)

    def install(self):
        self.root.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.commit(V1, "v1.0")
        self.commit(v2(True), "v2.0", ["main.py", "start.sh", "stop.sh"])
        self.commit(v2(False), "v2.1")
        self.git("clone", "-q", "--bare", str(self.root), str(self.origin), cwd=self.folder)
        # This copy knows version 1 only; the rest is at its origin.
        self.git("reset", "-q", "--hard", "v1.0")
        self.git("tag", "-d", "v2.0", "v2.1")
        self.git("remote", "add", "origin", str(self.origin))
        with open(self.root / "config.toml", "a", encoding="utf-8") as config:
            config.write("# edited by its user\npersist_sessions = true\n")
        self.make_database()
        self.start()
        return self

    def make_database(self):
        db = sqlite3.connect(self.root / "sessions.db")
        with db:
            db.executescript("""
                CREATE TABLE sessions (id INTEGER PRIMARY KEY, name TEXT);
                CREATE TABLE metrics (id INTEGER PRIMARY KEY, session_id INTEGER, note TEXT);
                CREATE TABLE masked_content (id INTEGER PRIMARY KEY, body TEXT);""")
            db.executemany("INSERT INTO sessions (name) VALUES (?)",
                           [(f"session {n}",) for n in range(50)])
            db.executemany("INSERT INTO metrics (session_id, note) VALUES (1, ?)",
                           [(f"old-{n}",) for n in range(2000)])
            db.execute("INSERT INTO masked_content (body) VALUES ('masked')")
        db.close()
        self.acked |= {f"old-{n}" for n in range(2000)}

    def start(self):
        """Starts version 1 as its user would, before updd came."""
        process = subprocess.Popen(
            ["sh", "-c", "echo $$ >.server.pid; exec python3 main.py"], cwd=self.root,
            env={**os.environ, "PORT": str(self.port)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        threading.Thread(target=process.wait, daemon=True).start()
        end = time.monotonic() + 20
        while self.version() != "1":
            assert time.monotonic() < end, "version 1 did not start"
            time.sleep(0.05)

    def remove(self):
        self.stop_writer()
        for name in (".server.pid", ".mcp-servers.pid"):
            try:
                os.kill(int((self.root / name).read_text()), signal.SIGKILL)
            except (OSError, ValueError):
                pass

    def break_version_2(self):
        self.tag = "v2.1"

    def inputs(self, **more):
        return {"root": str(self.root), "run_by": "command", "version": self.tag,
                "port": self.port, "mcp_port": self.mcp_port, "venv": str(self.venv),
                "mcp_pid": str(self.root / ".mcp-servers.pid"), "watch": "2s", **more}

    # ---- somebody writes ------------------------------------------------------------------------

    def post(self, note):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("POST", "/chat/completions", json.dumps({"note": note}),
                               {"Content-Type": "application/json"})
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def start_writer(self, until_down=False):
        """Posts chats without a pause; what was acknowledged must never be lost. With
        `until_down` it gives up when the proxy first does."""
        def write():
            n = 0
            while not self.writing.is_set():
                n += 1
                try:
                    if self.post(f"new-{n}"):
                        self.acked.add(f"new-{n}")
                except (OSError, http.client.HTTPException):
                    if until_down:
                        return
                    time.sleep(0.02)
        self.writer = threading.Thread(target=write, daemon=True)
        self.writer.start()

    def stop_writer(self):
        self.writing.set()
        if self.writer:
            self.writer.join()

    # ---- looking at it --------------------------------------------------------------------------

    def version(self):
        """What /health says, or None when nothing answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return json.load(connection.getresponse())["version"]
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def notes(self, file=None):
        db = sqlite3.connect(f"file:{file or self.root / 'sessions.db'}?mode=ro", uri=True, timeout=20)
        try:
            return {r[0] for r in db.execute("SELECT note FROM metrics")}
        finally:
            db.close()

    def lost(self):
        """Acknowledged rows that are not there. Must be empty."""
        return self.acked - self.notes()

    def counts(self):
        db = sqlite3.connect(self.root / "sessions.db", timeout=20)
        try:
            return {t: db.execute(f"SELECT count(*) FROM {t}").fetchone()[0]
                    for t in ("sessions", "metrics", "masked_content")}
        finally:
            db.close()

    def schema(self):
        db = sqlite3.connect(self.root / "sessions.db", timeout=20)
        try:
            return sorted(r[0] for r in db.execute("SELECT sql FROM sqlite_master"))
        finally:
            db.close()

    def fingerprint(self):
        """What the way back must bring back to the byte: commit, branch, every file that git
        knows, the user's edits, schema and rows."""
        files = {n: hashlib.sha256((self.root / n).read_bytes()).hexdigest()
                 for n in self.git("ls-files").split() if (self.root / n).exists()}
        return {"head": self.git("rev-parse", "HEAD"), "branch": self.git("branch", "--show-current"),
                "dirty": self.git("status", "--porcelain", "--untracked-files=no"), "files": files,
                "config": (self.root / "config.toml").read_text(), "schema": self.schema(),
                "counts": self.counts()}
