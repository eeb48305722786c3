# SPDX-License-Identifier: MIT
"""
A stand-in for Qubeless as systemd units: API, worker and web, each a program called node that runs as
the user qubeless below /opt/qubeless/current, and a real PostgreSQL to which API and worker hold
connections. Releases differ by what their servers do (see units.py).
"""
import json

from units import SERVER, Units

ROOT = "/opt/qubeless"
PARTS = {"api": (3001, "qubeless"), "worker": (0, "qubeless"), "web": (4000, "-")}
NAMES = [f"qubeless-{part}.service" for part in PARTS]

UNIT = """\
[Unit]
Description=Qubeless: {part}
After=postgresql.service
[Service]
User=qubeless
WorkingDirectory={root}/current/apps/{part}
ExecStart=/usr/local/bin/node server.js {part} {port} {database}
Restart=on-failure
[Install]
WantedBy=multi-user.target
"""


class Qubeless(Units):
    def __init__(self, machine):
        super().__init__(machine)
        machine.sh(f"id qubeless >/dev/null 2>&1 || useradd -r qubeless; mkdir -p {ROOT}; "
                   "ln -sfn /usr/bin/python3 /usr/local/bin/node")
        self.sql("ALTER USER postgres PASSWORD 'the password'")
        self.sql("CREATE ROLE qubeless LOGIN")
        self.sql("CREATE DATABASE qubeless OWNER qubeless")
        machine.write(f"{ROOT}/.env.production", "PGPASSWORD=the password\n", 0o600)
        for part, (port, database) in PARTS.items():
            self.write(f"qubeless-{part}.service", UNIT.format(
                part=part, root=ROOT, port=port, database=database))
        machine.run("systemctl", "daemon-reload")
        machine.run("ln", "-sfn", self.release("1"), f"{ROOT}/current")
        machine.run("systemctl", "enable", "--now", *NAMES)
        machine.until(lambda: self.version() == "1", 30, machine.said)

    def sql(self, query):
        return self.machine.run("runuser", "-u", "postgres", "--", "psql", "-XAtc", query,
                                stdin="").strip()

    def release(self, name, **versions):
        """A release, built; a part may be made to misbehave."""
        folder = f"{ROOT}/releases/{name}"
        for part in PARTS:
            self.machine.write(f"{folder}/apps/{part}/server.js", SERVER)
            self.machine.write(f"{folder}/apps/{part}/version", versions.get(part, name))
        return folder

    def version(self):
        """What the API and the web page say that they are, if they say the same."""
        said = {json.loads(done.stdout)["version"] if done.returncode == 0 else None
                for port in (3001, 4000)
                for done in [self.machine.ask("curl", "-fsS", f"http://127.0.0.1:{port}/health")]}
        return said.pop() if len(said) == 1 else None

    def look(self):
        """All that the way back must bring back."""
        return [self.state(name) for name in NAMES], self.version(), \
            self.machine.run("readlink", f"{ROOT}/current").strip()

    def remove(self):
        super().remove()
        self.sql("DROP DATABASE qubeless WITH (FORCE)")
        self.sql("DROP ROLE qubeless")
        self.machine.run("rm", "-r", ROOT)
