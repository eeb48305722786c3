# SPDX-License-Identifier: MIT
"""
Stand-ins for services that are systemd units, on a booted machine with a real PostgreSQL.

`server.py` is a small server of one file: it reads its version when it starts, holds a connection to
the database when it is told to, answers GET /health with {"status": "ok"} for as long as the database
takes connections, and HEAD with 200. A version that begins with "broken" complains and ends with 3;
"deaf" runs and listens to nobody, and "noisy" reports an error and serves.
"""
DB = "postgresql@15-main.service"

SERVER = r'''
import os, signal, socket, subprocess, sys, threading

name, port, database = sys.argv[1], int(sys.argv[2]), sys.argv[3]
version = open("version").read().strip()
print(f"{name} {version} starts", flush=True)
if version.startswith("broken"):
    print(f"{name} cannot read its settings", file=sys.stderr, flush=True)
    print(f"{name} gives up", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
if database != "-":
    held = subprocess.Popen(["psql", "-q", "-d", database], stdin=subprocess.PIPE)
    held.stdin.write(b"SELECT 1;\n")
    held.stdin.flush()


def is_up():
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect("/run/postgresql/.s.PGSQL.5432")
        return True
    except OSError:
        return False


def answer(c):
    with c:
        asked = c.recv(4096).decode(errors="replace").split(" ")
        fine = database == "-" or is_up()
        body = '{"status": "%s", "version": "%s"}' % ("ok" if fine else "no database", version)
        head = f"HTTP/1.1 {200 if fine else 503} x\r\nContent-Type: application/json\r\n" \
               f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        c.sendall((head + ("" if asked[0] == "HEAD" else body)).encode())


print(f"{name} ready", flush=True)
if version.startswith("noisy"):
    print("Error: the cache is not to be had", flush=True)
if port == 0 or version == "deaf":
    while True:
        signal.pause()
s = socket.create_server(("127.0.0.1", port))
while True:
    threading.Thread(target=answer, args=(s.accept()[0],), daemon=True).start()
'''

UNIT = """\
[Unit]
Description=A stand-in: {name}
{unit}
[Service]
WorkingDirectory={folder}
ExecStart=/usr/bin/python3 {folder}/server.py {name} {port} {database}
{service}
[Install]
WantedBy=multi-user.target
{install}
"""


class Units:
    """Units of a machine (tests/system/machine.py), each in a folder of its own."""

    def __init__(self, machine):
        self.machine = machine
        self.files = []

    def write(self, name, text, path=None):
        path = path or f"/etc/systemd/system/{name}"
        self.machine.write(path, text)
        self.files.append(path)
        return path

    def add(self, name, port=0, database="-", unit="", service="User=postgres", install="",
            version="1", path=None):
        folder = f"/srv/{name}"
        self.machine.write(f"{folder}/server.py", SERVER)
        self.machine.write(f"{folder}/version", version)
        self.write(f"{name}.service", UNIT.format(
            name=name, folder=folder, port=port, database=database, unit=unit, service=service,
            install=install), path)
        self.machine.run("systemctl", "daemon-reload")
        return f"{name}.service"

    def state(self, unit):
        """What systemd says of it, and what enables it."""
        shown = self.machine.show(unit, "ActiveState", "UnitFileState")
        links = self.machine.sh("cd / && find etc/systemd/system run/systemd/system -type l "
                                f"-printf '%p %l\\n' | grep -F '{unit}' | sort || true")
        return shown["ActiveState"], shown["UnitFileState"], links.splitlines()

    def active(self, *units):
        return [self.machine.show(u, "ActiveState")["ActiveState"] for u in units]

    def remove(self):
        names = [f.rsplit("/", 1)[1] for f in self.files]
        for name in names:
            self.machine.ask("systemctl", "unmask", name)
            self.machine.ask("systemctl", "disable", "--now", name)
            self.machine.ask("systemctl", "reset-failed", name)
        self.machine.run("rm", "-f", *self.files)
        self.machine.run("systemctl", "daemon-reload")


def stop(*names, **more):
    """The step of a plan that stops services."""
    return {"id": "stop", "stop": list(names), **more}


def start(*names, **more):
    return {"id": "start", "start": {"services": list(names)}, "timeout": "60s", **more}
