# SPDX-License-Identifier: MIT
"""
The demo's kimi-proxy, from the shell:
  standin.py make FOLDER           version 1 installed in FOLDER and running; prints ROOT= and PORT=
  standin.py look ROOT PORT        one line each: version, tag, rows
  standin.py bytes ROOT            sha256 of all code, and of sessions.db
"""
import hashlib
import json
import pathlib
import sqlite3
import sys
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "standins"))
import kimi  # noqa: E402

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def installed(root, port=0):
    app = kimi.Kimi(pathlib.Path(root).parent)
    app.port = int(port)
    return app


def make(folder):
    app = kimi.Kimi(folder).install()
    # The stand-in's sick version 2.1 is the demo's version 3.0.
    app.git("tag", "v3.0", "v2.1", cwd=app.origin)
    print(f"ROOT={app.root}\nPORT={app.port}")


def look(root, port):
    app = installed(root, port)
    try:
        with OPENER.open(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            said = f"{json.load(answer)['version']}, healthy"
    except urllib.error.HTTPError as error:
        said = f"{json.load(error)['version']}, not healthy (HTTP {error.code})"
    except OSError as error:
        said = f"none: {error}"
    print(f"answers as version   {said}")
    print(f"its code is          {app.git('describe', '--tags').strip()}")
    print(f"rows in sessions.db  {sum(app.counts().values())}")


def hash_bytes(root):
    root, code = pathlib.Path(root), hashlib.sha256()
    for name in sorted(installed(root).git("ls-files").split()):
        code.update(f"{name}\0{(root / name).stat().st_mode:o}\0".encode() + (root / name).read_bytes())
    connection = sqlite3.connect(f"file:{root / 'sessions.db'}?mode=ro", uri=True)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    data = hashlib.sha256((root / "sessions.db").read_bytes())
    print(f"code  {code.hexdigest()}\ndata  {data.hexdigest()}")


{"make": make, "look": look, "bytes": hash_bytes}[sys.argv[1]](*sys.argv[2:])
