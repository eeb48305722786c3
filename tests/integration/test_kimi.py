# SPDX-License-Identifier: MIT
"""plans/kimi-proxy-v2.yaml (rows K1-K8) on a stand-in with a real repository, database and servers."""
import pathlib
import sqlite3

import pytest

import kimi


@pytest.fixture
def app(tmp_path, venv):
    installed = kimi.Kimi(tmp_path / "kimi", venv).install()
    yield installed
    installed.remove()


def confirm(updd, job):
    wait = updd.wait_open(job, "gate", "accept", timeout=90)
    updd.post(job, "confirm", wait=wait["id"], all=True)


def test_the_upgrade_succeeds_and_keeps_every_row_that_a_writer_wrote_meanwhile(updd, tmp_path):
    app = kimi.Kimi(tmp_path / "kimi").install()  # without a virtual environment: it is made
    try:
        app.start_writer()
        job = updd.begin("kimi-proxy-v2", app.inputs())
        confirm(updd, job)
        app.stop_writer()
        updd.wait_for(job, "succeeded")
        assert app.version() == "2" and app.lost() == set() and len(app.acked) > 2050
        assert "persist_sessions = true" in (app.root / "config.toml").read_text()
        assert "edited by its user" in (app.root / "config.toml").read_text()
        assert app.git("describe", "--tags").strip() == "v2.0"
        schema = "\n".join(app.schema())
        for word in ("model", "memory_tokens", "chat_tokens", "memory_ratio", "tags", "token_count",
                     "memory_metrics", "memory_segments", "compression_log"):
            assert word in schema
        assert (app.root / "venv/bin/pip").exists()
        for line in kimi.REGRESSION_LINES:
            assert line in updd.log(job, "regression")
        updd.invariants(job)
    finally:
        app.remove()


def test_the_backup_is_taken_from_the_live_database_and_is_whole(updd, app):
    app.start_writer()
    job = updd.begin("kimi-proxy-v2", app.inputs())
    updd.wait_open(job, "gate", "accept", timeout=90)
    app.stop_writer()
    safety, backup = (updd.step(job, s)["outputs"] for s in ("safety", "backup"))
    # The first was made while version 1 was writing, so the second has more rows and lacks none.
    first, second = (backup_notes(app, o["path"]) for o in (safety, backup))
    assert first < second, (len(first), len(second))
    for made in (safety, backup):
        assert made["size"] > 0 and len(made["sha256"]) == 64
        assert pathlib.Path(made["path"]).is_relative_to(app.root / "backups")
    assert safety["path"] != backup["path"], "each has a name of its own"
    updd.post(job, "rollback", strategy="code")
    updd.wait_for(job, "rolled_back", timeout=60)


def backup_notes(app, path):
    path = pathlib.Path(path)
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    for file in files:
        if file.read_bytes()[:15] == b"SQLite format 3":
            db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            db.close()
            return app.notes(file)
    raise AssertionError(f"no database in {path}: {files}")


def test_a_full_rollback_brings_back_the_commit_the_edits_the_schema_and_every_row(updd, app):
    before = app.fingerprint()
    app.start_writer(until_down=True)
    job = updd.begin("kimi-proxy-v2", app.inputs())
    updd.wait_open(job, "gate", "accept", timeout=90)
    full = next(s for s in updd.job(job)["strategies"] if s["name"] == "full")
    assert "sessions.db" in full["loses"] and full["lost"]["since"]
    updd.post(job, "rollback", strategy="full", reason="version 2 is not for us")
    updd.wait_for(job, "rolled_back", timeout=60)
    assert app.version() == "1" and app.lost() == set()
    after = app.fingerprint()
    # What was written before the stop is there; all else is as it was.
    assert after.pop("counts")["metrics"] >= before.pop("counts")["metrics"]
    assert after == before
    updd.invariants(job)


def test_the_code_rollback_loses_nothing_that_was_written_since(updd, app):
    before = app.fingerprint()
    app.start_writer()
    job = updd.begin("kimi-proxy-v2", app.inputs())
    updd.wait_open(job, "gate", "accept", timeout=90)
    code = next(s for s in updd.job(job)["strategies"] if s["name"] == "code")
    assert code["loses"] == "nothing"
    updd.ctl("rollback", job, "--strategy", "code", "--yes")
    updd.wait_for(job, "rolled_back", timeout=60)
    app.stop_writer()
    assert app.version() == "1" and app.lost() == set()
    after = app.fingerprint()
    assert (after["head"], after["files"]) == (before["head"], before["files"])
    assert updd.step(job, "data").get("left")
    updd.invariants(job)


def test_a_version_2_that_is_never_healthy_goes_back_by_itself(updd, app):
    before = app.fingerprint()
    app.break_version_2()
    job = updd.begin("kimi-proxy-v2", {**app.inputs()})
    now = updd.wait_for(job, "rolled_back", timeout=180)
    assert now["failure"]["step"] == "start" and now["strategy"] == "full"
    assert app.version() == "1" and app.fingerprint() == before and app.lost() == set()
    updd.until(lambda: list((app.root / "backups").glob("incident-*.log")), 20, "no incident log")
    updd.invariants(job)


def test_while_it_is_watched_it_goes_back_without_losing_rows(updd, app):
    job = updd.begin("kimi-proxy-v2", app.inputs(watch="60s"))
    updd.wait_step(job, "watch", "running", timeout=90)
    assert app.post("written-to-version-2")
    app.acked.add("written-to-version-2")
    app.remove()  # both servers die
    now = updd.wait_for(job, "rolled_back", timeout=120)
    assert now["strategy"] == "code" and now["failure"]["step"] == "watch"
    assert app.version() == "1" and app.lost() == set()
    updd.invariants(job)


def test_the_archive_brings_version_2_as_git_does_and_goes_back(updd, app, tmp_path):
    import hashlib
    import http.server
    import threading
    served = tmp_path / "served"
    served.mkdir()
    app.git("fetch", "-q", "--tags", "origin")
    app.git("archive", "--format=tar.gz", "--prefix=kimi-proxy-2.0/", "-o",
            str(served / "kimi.tar.gz"), "v2.0")
    before = app.fingerprint()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(served))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        job = updd.begin("kimi-proxy-v2", app.inputs(
            source="archive", archive=f"http://127.0.0.1:{server.server_address[1]}/kimi.tar.gz",
            archive_sha256=hashlib.sha256((served / "kimi.tar.gz").read_bytes()).hexdigest()))
        updd.wait_open(job, "gate", "accept", timeout=90)
        assert app.version() == "2" and updd.step(job, "code")["state"] == "skipped"
        assert "edited by its user" in (app.root / "config.toml").read_text()
        updd.post(job, "rollback", strategy="full")
        updd.wait_for(job, "rolled_back", timeout=60)
        assert app.version() == "1" and app.fingerprint() == before
        assert not (app.root / "src").exists()
        updd.invariants(job)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("fault, hint", [
    ("raise ModuleNotFoundError(\"No module named 'kimi_proxy.core'\")", "src/"),
    ("raise SystemExit('Config file not found')", "working folder"),
    ("import sqlite3; raise sqlite3.OperationalError('database is locked')", "fuser sessions.db"),
])
def test_known_faults_are_explained(updd, app, fault, hint):
    app.git("fetch", "-q", "--tags", "origin")
    app.git("checkout", "-q", "v2.0")
    (app.root / "src/kimi_proxy/main.py").write_text(fault + "\n")
    app.git("commit", "-q", "-m", "faulty", "--", "src")
    app.git("tag", "v2.2")
    app.git("checkout", "-q", "main")
    app.tag = "v2.2"
    job = updd.begin("kimi-proxy-v2", app.inputs())
    now = updd.wait_for(job, "rolled_back", timeout=90)
    assert now["failure"]["step"] == "import" and hint in now["failure"]["hint"], now["failure"]
    assert app.version() == "1"


def test_forgotten_settings_are_found_before_anything_is_touched(updd, app):
    config = app.root / "config.toml"
    config.write_text(config.read_text().replace("persist_sessions = true", ""))
    before = app.fingerprint()
    job = updd.begin("kimi-proxy-v2", app.inputs())
    now = updd.wait_for(job, "failed")
    bad = [c for s in now["steps"] for c in s.get("checks") or [] if not c["ok"]]
    assert [c["name"] for c in bad] == ["version 2 is told to keep its sessions"]
    assert "persist_sessions = true" in bad[0]["hint"]
    assert app.fingerprint() == before and app.version() == "1"


def test_a_dry_run_shows_every_action_and_changes_nothing(updd, app):
    before = app.fingerprint()
    job = updd.begin("kimi-proxy-v2", app.inputs(), dry_run=True)
    now = updd.wait_for(job, "succeeded", timeout=60)
    assert app.fingerprint() == before and app.version() == "1"
    assert not (app.root / "backups").exists() and app.git("tag").split() == ["v1.0"]
    silent = [s["id"] for s in now["steps"]
              if s["phase"] == "main" and s["state"] != "skipped" and not s.get("would")]
    # Marks and gates have nothing to show, and nothing of a skipped group is looked at.
    assert set(silent) <= {"data", "accept", "old-code", "new-code"}, silent
