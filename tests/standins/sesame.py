# SPDX-License-Identifier: MIT
"""
A stand-in for Sesame, laid out as the real one is, on a real Docker engine.

What is like the real one: one compose project with the databases in it; version 1 has a container
each for api, orchestrator and web, version 2 has one for API and web; no port is published, so
health is what Docker says; an upgrade script that asks on a terminal, saves
docker-compose.yml.v1.backup and rewrites docker-compose.yml; a clean-up script that takes its token
from SESAME_API_TOKEN or an env file. What is not: every image is busybox, and the API (which a
reverse proxy would show on 127.0.0.1) is a small server here.
"""
import hashlib
import http.server
import io
import json
import os
import pathlib
import shutil
import subprocess
import tarfile
import threading
import time

IMAGE = "updd-standin/busybox:1"
DATABASES = ("sesame-mongo", "sesame-redis")
V1 = ("sesame-api", "sesame-orchestrator", "sesame-web")
V2 = ("sesame-app", "sesame-orchestrator")

# A container that is told to end ends at once, and is healthy when it has made its file.
SERVE = "trap 'exit 0' TERM; touch /tmp/healthy; echo {name} is ready; sleep 1000000 & wait"
BROKEN = "trap 'exit 0' TERM; echo {name} cannot reach its settings; sleep 1000000 & wait"

SERVICE = """\
  {name}:
    image: {image}
    container_name: {name}
    restart: {restart}
    environment:
      SESAME_VERSION: "{version}"
    command:
      - sh
      - -c
      - "{command}"
    healthcheck:
      test: [CMD, test, -e, /tmp/healthy]
      interval: 1s
      timeout: 2s
      retries: 3
"""

UPGRADE = '''\
#!/usr/bin/env python3
"""Rewrites a Sesame Alpha into a version 2."""
import getpass
import hashlib
import os
import shutil
import sys

V2 = """@V2@"""

def yes(question):
    return input(question + " [y/N] ").strip().lower() in ("y", "yes")

if not sys.stdin.isatty():
    sys.exit("this script asks questions: run it on a terminal")
if os.path.exists("docker-compose.yml.v1.backup"):
    sys.exit("docker-compose.yml.v1.backup is there already")
if not yes("Have all services been stopped?"):
    sys.exit("stop them first")
host = input("Host name of the new interface: ").strip()
phrase = getpass.getpass("Passphrase of the new configuration: ")
if not yes("Rewrite docker-compose.yml for " + host + "?"):
    sys.exit("nothing was changed")
shutil.copy2("docker-compose.yml", "docker-compose.yml.v1.backup")
with open("docker-compose.yml", "w") as out:
    out.write(V2)
with open("configs/sesame-v2.env", "w") as out:
    out.write("SESAME_HOST=" + host + "\\n")
    out.write("SESAME_PHRASE_SHA256=" + hashlib.sha256(phrase.encode()).hexdigest() + "\\n")
print("docker-compose.yml has been rewritten")
'''

CLEANUP = '''\
#!/usr/bin/env python3
"""Sets the lifecycle of every identity to O."""
import argparse
import hashlib
import os
import sys

import requests

parser = argparse.ArgumentParser()
parser.add_argument("--base-url", default="http://127.0.0.1:3333/api")
parser.add_argument("--env-file")
parser.add_argument("--dry-run", action="store_true")
args = parser.parse_args()

token = os.environ.get("SESAME_API_TOKEN")
if not token and args.env_file:
    for line in open(args.env_file):
        if line.startswith("SESAME_API_TOKEN="):
            token = line.split("=", 1)[1].strip()
if not token:
    sys.exit("no SESAME_API_TOKEN")
with open("seen-token.sha256", "w") as out:
    out.write(hashlib.sha256(token.encode()).hexdigest())
# As careless scripts do: whoever keeps this output must mask it.
print("calling", args.base_url, "with", token)

session = requests.Session()
session.trust_env = False
session.headers["Authorization"] = "Bearer " + token
answer = session.get(args.base_url + "/identities", timeout=10)
answer.raise_for_status()
todo = [i for i in answer.json() if i["lifecycle"] != "O"]
for identity in todo:
    if not args.dry_run:
        session.patch(args.base_url + "/identities/" + identity["id"], json={"lifecycle": "O"},
                      timeout=10).raise_for_status()
print(len(todo), "identities", "would be set" if args.dry_run else "set", "to O")
'''


def compose_file(version, names, broken=()):
    text = "version: \"3\"\nservices:\n"
    for name in DATABASES + tuple(names):
        command = (BROKEN if name in broken else SERVE).format(name=name)
        text += SERVICE.format(
            name=name, image=IMAGE, command=command,
            version="1" if name in DATABASES else version,
            restart="always" if name in DATABASES else "unless-stopped")
    return text


class Api(http.server.ThreadingHTTPServer):
    """The API behind its reverse proxy: identities and their lifecycles, for holders of the token."""
    daemon_threads = True

    def __init__(self, token, scripts):
        super().__init__(("127.0.0.1", 0), ApiHandler)
        self.token, self.scripts = token, scripts
        self.lifecycles = {"ada": "I", "bob": "O", "eve": "D"}
        self.calls = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class ApiHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def allowed(self):
        if self.headers.get("Authorization") == "Bearer " + self.server.token:
            return True
        self.answer(401, {"error": "Unauthorized"})
        return False

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        if name in self.server.scripts:
            self.server.calls.append(("GET", name))
            self.answer(200, self.server.scripts[name], "text/x-python")
        elif self.path == "/api/identities" and self.allowed():
            self.server.calls.append(("GET", "identities"))
            self.answer(200, [{"id": i, "lifecycle": v} for i, v in self.server.lifecycles.items()])
        elif self.path != "/api/identities":
            self.answer(404, {"error": "not found"})

    def do_PATCH(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.allowed():
            name = self.path.rpartition("/")[2]
            self.server.calls.append(("PATCH", name))
            self.server.lifecycles[name] = body["lifecycle"]
            self.answer(200, {})


class Sesame:
    """One installed Sesame Alpha. `docker_host` is a unix:// address."""

    def __init__(self, folder, docker_host, token, broken=()):
        self.folder, self.docker_host, self.token = pathlib.Path(folder), docker_host, token
        self.root = self.folder / "sesame"
        self.backups = self.folder / "backups"
        scripts = {
            "sesame-upgrade-to-v2.py":
                UPGRADE.replace("@V2@", compose_file("2", V2, broken)).encode(),
            "sesame-cleanup-lifecycle.py": CLEANUP.encode(),
        }
        self.sha256 = {n: hashlib.sha256(t).hexdigest() for n, t in scripts.items()}
        self.api = Api(token, scripts)
        self.v1_text = compose_file("1", V1).encode()

    # ---- the engine -----------------------------------------------------------------------------

    def docker(self, *args, check=True, **more):
        return subprocess.run(["docker", *args], check=check, capture_output=True, text=True,
                              env={**os.environ, "DOCKER_HOST": self.docker_host}, **more)

    def compose(self, *args):
        argv = ["docker", "compose"]
        if self.docker("compose", "version", check=False).returncode != 0:
            argv = ["docker-compose"]
        done = subprocess.run([*argv, *args], cwd=self.root, capture_output=True, text=True,
                              env={**os.environ, "DOCKER_HOST": self.docker_host}, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def import_image(self):
        if self.docker("image", "inspect", IMAGE, check=False).returncode == 0:
            return
        busybox = shutil.which("busybox")
        applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
        tape = io.BytesIO()
        with tarfile.open(fileobj=tape, mode="w") as tar:
            for folder in ("bin", "tmp", "etc"):
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
                tar.addfile(entry)
            tar.add(os.path.realpath(busybox), "bin/busybox")
            for applet in set(applets.stdout.split()) - {"busybox"}:
                entry = tarfile.TarInfo("bin/" + applet)
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
        subprocess.run(["docker", "import", "--change", "ENV PATH=/bin", "-", IMAGE],
                       input=tape.getvalue(), check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "DOCKER_HOST": self.docker_host})

    # ---- its life -------------------------------------------------------------------------------

    def install(self):
        """Version 1, running and healthy, with the user's own backups beside it."""
        self.import_image()
        for d in (self.root / "configs/sesame-taiga-crawler", self.root / "certificates",
                  self.backups):
            d.mkdir(parents=True)
        (self.root / "docker-compose.yml").write_bytes(self.v1_text)
        (self.root / "configs/sesame.yml").write_text("identities: {source: taiga}\n")
        (self.root / "certificates/sesame.pem").write_text("-----BEGIN CERTIFICATE-----\n")
        subprocess.run(["sh", "-c", "echo dump | gzip >sesame-mongo.archive.gz && "
                        "tar -czf sesame-volumes.tar.gz sesame-mongo.archive.gz"],
                       cwd=self.backups, check=True)
        self.compose("up", "-d")
        self.until_healthy(*DATABASES, *V1)
        return self

    def remove(self):
        self.api.shutdown()
        self.api.server_close()
        left = self.docker("ps", "-aq", "--filter", "name=^/?sesame-").stdout.split()
        if left:
            self.docker("rm", "-f", *left)
        self.docker("network", "rm", "sesame_default", check=False)

    def inputs(self, **more):
        return {
            "root": str(self.root), "docker_host": self.docker_host,
            "backups": str(self.backups), "base_url": self.api.url + "/api", "pull": "no",
            "upgrade_url": self.api.url + "/raw/sesame-upgrade-to-v2.py",
            "upgrade_sha256": self.sha256["sesame-upgrade-to-v2.py"],
            "cleanup_url": self.api.url + "/raw/sesame-cleanup-lifecycle.py",
            "cleanup_sha256": self.sha256["sesame-cleanup-lifecycle.py"], "watch": "2s", **more}

    # ---- looking at it --------------------------------------------------------------------------

    def containers(self):
        """{name: {"id", "started", "health", "version"}} of all that exist."""
        names = self.docker("ps", "-a", "--format", "{{.Names}}").stdout.split()
        names = [n for n in names if n.startswith("sesame-")]
        if not names:
            return {}
        found = json.loads(self.docker("inspect", *names).stdout)
        return {c["Name"].lstrip("/"): {
            "id": c["Id"], "started": c["State"]["StartedAt"], "running": c["State"]["Running"],
            "restart": c["HostConfig"]["RestartPolicy"]["Name"],
            "health": c["State"].get("Health", {}).get("Status"),
            "version": next((e.split("=")[1] for e in c["Config"]["Env"]
                             if e.startswith("SESAME_VERSION=")), None)} for c in found}

    def databases(self):
        """What must never change: identity and start of the databases' containers."""
        return {n: (c["id"], c["started"]) for n, c in self.containers().items() if n in DATABASES}

    def healthy(self):
        return {n for n, c in self.containers().items() if c["health"] == "healthy"}

    def until_healthy(self, *names, timeout=60):
        end = time.monotonic() + timeout
        while not set(names) <= self.healthy():
            assert time.monotonic() < end, self.containers()
            time.sleep(0.2)
