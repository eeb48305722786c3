# SPDX-License-Identifier: MIT
"""A job's report: the whole story, in three forms, for jobs in every state, at no cost to others."""
import functools
import html.parser
import json
import os
import shutil
import sqlite3
import stat
import threading
import time

import jsonschema
import pytest
import yaml

from daemon import ROOT, SLOW

SECRET = "zyx-tOkEn-22222"


def report(updd, job, form="json"):
    answer = updd.call("GET", f"/v1/jobs/{job}/report?format={form}")
    assert answer.status == 200, answer
    return answer.body if form == "json" else answer.text


@functools.cache
def description():
    return yaml.load((ROOT / "api/openapi.yaml").read_text(), yaml.CSafeLoader)


def check_schema(document):
    """The report is what api/openapi.yaml says it is, and has nothing that stands not there."""
    api = description()
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": api["components"],
              "$ref": "#/components/schemas/Report"}
    jsonschema.Draft202012Validator(schema).validate(document)
    known = api["components"]["schemas"]
    assert set(document) <= set(known["Report"]["properties"])
    for step in document["steps"]:
        assert set(step) <= set(known["ReportStep"]["properties"]), step
        for attempt in step["attempts"]:
            assert set(attempt) <= set(known["ReportAttempt"]["properties"]), attempt


class Page(html.parser.HTMLParser):
    """A page's elements and texts; fails on what is not closed as it was opened."""
    VOID = {"meta"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.tags, self.texts, self.attributes = [], set(), [], set()
        self.feed(text)
        self.close()
        assert self.stack == [], self.stack

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def step_of(document, name):
    return next(s for s in document["steps"] if s["id"] == name)


def says(document, key="decisions"):
    return [f"{e.get('step', '')}: {e['says']}" for e in document[key]]


# ---- one job with nearly all of it --------------------------------------------------------------


# Its tests share it, so one worker runs them all.
of_the_story = pytest.mark.xdist_group("report-story")


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A stuck job that has a gate, a question, a secret, a retry, a backup, a hook and a nasty log."""
    import daemon
    import tiny as tiny_module
    folder = tmp_path_factory.mktemp("story")
    updd = daemon.Daemon(folder / "updd").start()
    tiny = tiny_module.Tiny(folder / "tiny")
    database, token = tiny.folder / "app.db", tiny.folder / "token"
    with sqlite3.connect(database) as db:
        db.execute("CREATE TABLE t (n INTEGER)")
    db.close()
    token.write_text(SECRET)
    nasty = "printf '<script>alert(1)</script> \\033[31mred\\033[0m `x` | *y*\\n```\\n\\377\\n'"
    plan = tiny.plan(
        tiny.act("a", title="the <first> *step*"),
        {"id": "keep", "backup": {"db": "app"}},
        tiny.gate("ok", items=["chat works", "history | is there"]),
        {"id": "ask", "undo": "none", "env": {"TOKEN": "${secret.token}"},
         "run": {"argv": ["sh", "-c", "stty -echo; printf 'Pass: '; read p; echo got"], "answers": []}},
        {"id": "b", "run": ["sh", "-c", "echo $TOKEN >&2"], "env": {"TOKEN": "${secret.token}"},
         "undo": {"run": ["sh", "-c", f"{nasty}; exit 7"]}},
        tiny.act("c", "test $V = good", env={"V": "${in.v}"}, retry={"tries": 2, "first": "10ms"}),
        tiny.fail("d"),
        title="Upgrade <b> to ${in.v}", about="Two\nlines.", inputs={"v": {"default": "bad"}},
        checks=[{"path": {"path": str(tiny.folder)}, "name": "folder"}],
        databases={"app": {"url": f"sqlite:{database}"}}, secrets={"token": {"file": str(token)}},
        hints={"red": "see [the guide](http://example.org)"}, on_failure={"c": "hold", "d": "full"},
        rollbacks={"full": {"loses": "nothing"}}, hooks={"stuck": [{"run": ["true"]}], "waiting": [{"run": ["false"], "retry": 1}]})
    try:
        job = updd.begin(plan, reason="ticket | 4711", labels={"team": "web"})
        updd.post(job, "confirm", wait=updd.wait_open(job, "gate")["id"], all=True, reason="all <good>")
        updd.post(job, "answer", wait=updd.wait_open(job, "question")["id"], text="hunter2-secret")
        wait = updd.wait_open(job, "retry-or-skip", "c")
        updd.post(job, "retry", wait=wait["id"], inputs={"v": "good"}, reason="a typo")
        updd.wait_for(job, "stuck", timeout=60)
        updd.until(lambda: updd.states(job).get("@hook.stuck.0") == "done", 20, lambda: updd.tell(job))
        updd.until(lambda: updd.states(job)["@hook.waiting.0"] == "failed", 20, lambda: updd.tell(job))
        yield updd, job
    finally:
        updd.close()


@of_the_story
def test_the_document_tells_who_did_what_when_and_with_what_result(story):
    updd, job = story
    document = report(updd, job)
    check_schema(document)
    now = updd.job(job)
    for key in ("id", "plan", "title", "target", "state", "version", "by", "reason", "created", "sha256",
                "inputs", "labels", "failure", "back", "actions", "decided"):
        assert document[key] == now[key], key
    assert document["secrets"] == ["token"] and document["took_ms"] > 0
    c = step_of(document, "c")
    assert [(a["n"], a["direction"], a["state"]) for a in c["attempts"]] == [
        (1, "do", "failed"), (2, "do", "failed"), (3, "do", "done"), (4, "undo", "done")]
    assert c["attempts"][0]["exit"] == 1 and all(a["took_ms"] >= 0 for a in c["attempts"])
    starts = [a["started"] for a in c["attempts"]]
    assert starts == sorted(set(starts)), "each attempt has its own time"
    b = step_of(document, "b")
    assert b["state"] == "undo_failed" and b["attempts"][-1]["tail"][0].startswith("<script>")
    assert b["attempts"][-1]["hint"].startswith("see [the guide]") and "tail" not in b["attempts"][0]
    gate = step_of(document, "ok")["gate"]
    assert gate["by"].startswith("uid:") and gate["reason"] == "all <good>"
    assert [i["text"] for i in gate["items"] if i["ticked"]["by"]] == ["chat works", "history | is there"]
    assert step_of(document, "@checks")["attempts"][0]["checks"][0]["ok"] is True
    backup, = document["backups"]
    assert backup["step"] == "keep" and backup["size"] > 0 and len(backup["sha256"]) == 64
    assert step_of(document, "@hook.waiting.0")["attempts"][-1]["state"] == "failed"
    assert step_of(document, "@hook.stuck.0")["attempts"][-1]["state"] == "done"


@of_the_story
def test_decisions_are_told_with_their_person_and_their_reason(story):
    updd, job = story
    document = report(updd, job)
    told = "\n".join(says(document))
    for part in (": started the job: ticket | 4711", ": ticked: history | is there", "ok: confirmed: all <good>",
                 "ask: asked: Pass: ", "ask: answered the question (the answer is not recorded)",
                 "c: asked for another try: a typo", ": changed the plan; inputs: in.v",
                 "rolling back with strategy full: step d failed"):
        assert part in told, (part, told)
    history = "\n".join(says(document, "history"))
    for part in ("c: failed and is tried again", "d: failed", "b: could not be undone", "hook failed"):
        assert part in history, (part, history)
    order = [e["seq"] for e in document["decisions"]]
    assert order == sorted(order)


@of_the_story
def test_nothing_secret_stands_in_any_form(story):
    updd, job = story
    for form in ("json", "markdown", "html"):
        text = updd.call("GET", f"/v1/jobs/{job}/report?format={form}").text
        assert SECRET not in text and "hunter2" not in text, form
        assert "token" in text, "that there is one is told"


@of_the_story
def test_what_can_be_done_stands_in_every_form_as_it_is_typed(story):
    updd, job = story
    document = report(updd, job)
    commands = [c["command"] for c in document["choices"]]
    assert commands == [f"updctl retry {job}", f"updctl retry {job} --plan FILE",
                        f"updctl skip {job} --reason TEXT", f"updctl abandon {job} --reason TEXT"]
    markdown, page = report(updd, job, "markdown"), Page(report(updd, job, "html"))
    for command in commands:
        assert f"```\n{command}\n```" in markdown, markdown
        assert any(command in t for t in page.texts)


@of_the_story
def test_the_page_is_whole_and_nothing_of_the_job_becomes_markup(story):
    updd, job = story
    answer = updd.call("GET", f"/v1/jobs/{job}/report", headers={"Accept": "text/html"})
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = Page(answer.text)
    assert page.tags <= {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "table", "thead",
                         "tbody", "tr", "th", "td", "pre", "footer"}, page.tags
    assert page.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class"}
    text = "".join(page.texts)
    assert "<script>alert(1)</script> red `x` | *y*" in text and "\033" not in answer.text
    assert f"Job {job}: Upgrade <b> to good" in text


@of_the_story
def test_the_markdown_keeps_what_was_printed_in_its_fence(story):
    updd, job = story
    text = report(updd, job, "markdown")
    assert f"# Job {job}: Upgrade \\<b\\> to good\n" in text
    assert "\n````\n<script>alert(1)</script> red `x` | *y*\n```\n" in text and "\033" not in text
    assert "[the guide](" not in text and "history \\| is there" in text
    rows = [line for line in text.splitlines() if line.startswith("| ok ")]
    assert rows and all(row.replace("\\|", "").count("|") == 7 for row in rows), rows


# ---- every state ---------------------------------------------------------------------------------


def test_jobs_in_every_state_have_a_report(updd, tiny):
    def started(*steps, **top):
        return updd.begin(tiny.plan(*steps, **top))
    jobs = {"succeeded": started(tiny.act("a")),
            "rolled_back": started(tiny.act("a"), tiny.fail("b")),
            "failed": started(tiny.act("a"), checks=[{"path": {"path": "/nonexistent"}}]),
            "waiting": started(tiny.gate()), "stuck": started(tiny.fail("b", undo_then="exit 1")),
            "running": started(tiny.act("a", "sleep 60"))}
    jobs["cancelled"] = started(tiny.act("a"), secrets={"s": {"file": "/nonexistent"}})
    updd.wait_open(jobs["cancelled"], "missing-secret")
    updd.post(jobs["cancelled"], "cancel", reason="wrong <machine>")
    jobs["abandoned"] = started(tiny.act("a"), tiny.fail("b", undo_then="exit 1"))
    updd.wait_for(jobs["abandoned"], "stuck")
    updd.post(jobs["abandoned"], "abandon", reason="by hand")
    updd.wait_step(jobs["running"], "a", "running")
    jobs["dry"] = updd.begin(tiny.plan(tiny.act("a")), dry_run=True)
    for state, job in jobs.items():
        updd.wait_for(job, "succeeded" if state == "dry" else state)
        document = report(updd, job)
        check_schema(document)
        Page(report(updd, job, "html"))
        assert report(updd, job, "markdown").startswith(f"# Job {job}: ")
    running = step_of(report(updd, jobs["running"]), "a")
    assert running["attempts"][0]["state"] == "running" and "took_ms" not in running["attempts"][0]
    refused = report(updd, jobs["failed"])
    assert step_of(refused, "@checks")["attempts"][0]["checks"][0]["ok"] is False
    left = report(updd, jobs["abandoned"])["back"]["left"]
    assert [e["step"] for e in left] == ["b", "a"] and "by hand" in left[0]["why"]
    assert step_of(report(updd, jobs["dry"]), "a")["would"]["verb"] == "run"
    assert ": cancelled by" in "\n".join(says(report(updd, jobs["cancelled"])))
    updd.post(jobs["running"], "cancel")
    updd.wait_for(jobs["running"], "rolled_back")
    updd.refuse(404, "no-such-job", "GET", "/v1/jobs/4711/report")


def test_a_job_whose_folder_is_gone_has_the_same_report(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act("b", "echo the last words; exit 3")))
    updd.wait_for(job, "rolled_back")
    before = report(updd, job)
    updd.stop()
    shutil.rmtree(updd.state / "jobs" / str(job))
    updd.start()
    after = report(updd, job)
    assert {**after, "generated": 0} == {**before, "generated": 0}
    assert "the last words" in report(updd, job, "markdown")


# ---- a long history ------------------------------------------------------------------------------


def test_a_history_of_ten_thousand_events_is_bounded_and_keeps_nobody_waiting(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.fail("b")))
    updd.wait_for(job, "rolled_back")
    updd.stop()
    db = sqlite3.connect(updd.state / "updd.db")
    version, = db.execute("SELECT version FROM job WHERE id = ?", (job,)).fetchone()
    n, = db.execute("SELECT max(n) FROM attempt WHERE step = 'a'").fetchone()
    more = [(job, version + i, 1_700_000_000_000 + i, "step_retry", "a", n + i, json.dumps({"message": f"no {i}"}))
            for i in range(1, 10_001)]
    db.executemany("INSERT INTO event (job, seq, time, type, step, attempt, data) VALUES (?,?,?,?,?,?,?)", more)
    tail = json.dumps({"state": "failed", "tail": ["x" * 200] * 20, "started": 1, "ended": 2})
    db.executemany("INSERT INTO attempt (job, step, n, id, direction, state, started, ended, data) "
                   "VALUES (?, 'a', ?, ?, 'do', 'failed', 1, 2, ?)",
                   [(job, n + i, f"{i:032x}", tail) for i in range(1, 3001)])
    db.execute("UPDATE job SET version = version + 10000 WHERE id = ?", (job,))
    db.execute("UPDATE step SET data = json_set(data, '$.n', ?) WHERE job = ? AND id = 'a'", (n + 3000, job))
    db.commit()
    db.close()
    updd.start()
    waits, over = [], threading.Event()

    def look():
        while not over.is_set():
            began = time.monotonic()
            assert updd.call("GET", "/v1/health").status == 200
            waits.append(time.monotonic() - began)
    looker = threading.Thread(target=look)
    looker.start()
    try:
        document = report(updd, job)
        page = report(updd, job, "html")
    finally:
        over.set()
        looker.join()
    attempts = step_of(document, "a")["attempts"]
    assert len(attempts) == 20 and attempts[-1]["n"] == n + 3000
    assert step_of(document, "a")["attempts_left_out"] == n + 3000 - 20
    assert len(document["history"]) == 500 and document["history"][-1]["says"].endswith("no 10000")
    assert document["history_left_out"] > 9000 and "updctl events" in page
    assert len(waits) > 10 and max(waits) < 1 * SLOW, (len(waits), max(waits))
    assert len(page) < 500_000


# ---- updctl --------------------------------------------------------------------------------------


def test_updctl_prints_a_report_or_writes_it_to_a_file(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), plan="told"))
    updd.wait_for(job, "succeeded")
    assert updd.ctl("report", "told", check=0).stdout.startswith(f"# Job {job}: ")
    assert json.loads(updd.ctl("report", job, "--json", check=0).stdout)["id"] == job
    assert json.loads(updd.ctl("report", job, "--format", "json", check=0).stdout)["format"] == 1
    file = tiny.folder / "report.html"
    updd.ctl("report", job, "--format", "html", "-o", file, check=0)
    Page(file.read_text())
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    said = updd.ctl("report", job, "--format", "htm", check=2).stderr
    assert "did you mean 'html'" in said, said
    updd.ctl("report", job, "-o", tiny.folder / "none" / "x", check=1)
    updd.ctl("report", 4711, check=1)
