# SPDX-License-Identifier: MIT
"""
Compose projects of small containers on the tests' own Docker engine (the fixture `docker_host`).
The image is busybox out of the machine's own /bin, so nothing is fetched; containers have no
network, so the engine needs no bridge.
"""
import io
import json
import os
import pathlib
import shutil
import subprocess
import tarfile
import time

IMAGE = "updd-boxes/busybox"
SERVE = "trap 'exit 0' TERM; touch /tmp/healthy; echo {name} is ready; sleep 1000000 & wait"
SILENT = "trap 'exit 0' TERM; echo {name} cannot reach its settings; sleep 1000000 & wait"
DIES = "echo {name} gives up; exit 3"


class Boxes:
    """One compose project in a folder. `host` is a unix:// address."""

    def __init__(self, folder, host, project=None):
        self.folder, self.host = pathlib.Path(folder), host
        self.folder.mkdir(parents=True, exist_ok=True)
        self.project = project or self.folder.name
        self.services = {}

    # ---- the engine ----

    def docker(self, *args, check=True, **more):
        done = subprocess.run(["docker", *args], capture_output=True, text=True, check=False,
                              env={**os.environ, "DOCKER_HOST": self.host}, **more)
        assert not check or done.returncode == 0, (args, done.stdout, done.stderr)
        return done

    def image(self, tag="1", mark=""):
        """Makes an image; another `mark` gives another id. Returns its name."""
        busybox = os.path.realpath(shutil.which("busybox"))
        applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
        tape = io.BytesIO()
        with tarfile.open(fileobj=tape, mode="w") as tar:
            for folder in ("bin", "tmp", "etc"):
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
                tar.addfile(entry)
            tar.add(busybox, "bin/busybox")
            for applet in sorted(set(applets.stdout.split()) - {"busybox"}):
                entry = tarfile.TarInfo("bin/" + applet)
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
        name = f"{IMAGE}:{tag}"
        subprocess.run(["docker", "import", "--change", "ENV PATH=/bin", "--change",
                        f"LABEL mark=x{mark}", "-", name],
                       input=tape.getvalue(), check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "DOCKER_HOST": self.host})
        return name

    def compose(self, *args):
        argv = ["docker", "compose"]
        if self.docker("compose", "version", check=False).returncode != 0:
            argv = ["docker-compose"]
        done = subprocess.run([*argv, *args], cwd=self.folder, capture_output=True, text=True,
                              env={**os.environ, "DOCKER_HOST": self.host}, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    # ---- the project ----

    def service(self, name, command=SERVE, health=True, restart="unless-stopped", image=None,
                **more):
        """One more service; write() puts the file on disk."""
        text = {"image": image or f"{IMAGE}:1", "network_mode": "none", "restart": restart,
                "command": ["sh", "-c", command.format(name=name)], **more}
        if health:
            text["healthcheck"] = {"test": ["CMD", "test", "-e", "/tmp/healthy"],
                                   "interval": "1s", "timeout": "2s", "retries": 2}
        self.services[name] = text
        return self

    def write(self):
        document = {"version": "3", "services": self.services}
        (self.folder / "docker-compose.yml").write_text(json.dumps(document, indent=1))
        return self

    def up(self, *names):
        """As its owner started it, before updd came."""
        self.write()
        self.compose("up", "-d", *names)
        return self

    def remove(self):
        left = self.docker("ps", "-aq", "--filter",
                           f"label=com.docker.compose.project={self.project}").stdout.split()
        if left:
            self.docker("rm", "-f", *left)

    # ---- looking at it ----

    def look(self):
        """{service: facts} of all containers of the project."""
        ids = self.docker("ps", "-aq", "--filter",
                          f"label=com.docker.compose.project={self.project}").stdout.split()
        if not ids:
            return {}
        return {c["Config"]["Labels"]["com.docker.compose.service"]: {
            "id": c["Id"], "name": c["Name"].lstrip("/"), "running": c["State"]["Running"],
            "restart": c["HostConfig"]["RestartPolicy"]["Name"], "image": c["Image"],
            "command": c["Config"]["Cmd"], "health": c["State"].get("Health", {}).get("Status"),
            "env": c["Config"]["Env"], "restarts": c["RestartCount"],
        } for c in json.loads(self.docker("inspect", *ids).stdout)}

    def running(self):
        return sorted(n for n, c in self.look().items() if c["running"])

    def until(self, condition, timeout=40):
        end = time.monotonic() + timeout
        while not condition(self.look()):
            assert time.monotonic() < end, self.look()
            time.sleep(0.2)
        return self

    def until_healthy(self, *names):
        return self.until(lambda now: all(now.get(n, {}).get("health") == "healthy"
                                          for n in names))
