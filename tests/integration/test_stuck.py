# SPDX-License-Identifier: MIT
"""A stuck job as whoever is called at night meets it: what it says, and the three ways on from there."""
import json
import os
import signal
import sqlite3

import pytest


def told(undo, word, then=""):
    return {"id": word, "run": ["sh", "-c", f"echo {word} >>told; sync told; {then}"], **undo}


def stuck(updd, tiny, *steps, **top):
    """A job that is stuck, and the plan it was started with."""
    plan = tiny.plan(*steps, **top)
    job = updd.begin(plan)
    updd.wait_for(job, "stuck")
    return job, plan


def changed(plan, step, **keys):
    """A copy of the plan in which one step has other keys."""
    copy = json.loads(json.dumps(plan))
    next(s for s in copy["steps"] if s["id"] == step).update(keys)
    return copy


def events_of(updd, job, kind):
    return [e for e in updd.events(job) if e["type"] == kind]


# ---- what it says -------------------------------------------------------------------------------


def test_status_of_a_stuck_job_says_all_that_a_person_needs_at_night(updd, tiny):
    job, _ = stuck(updd, tiny, tiny.act("a", title="the first"), tiny.look("checked"), tiny.act("b"),
                   {"id": "keep", **tiny.tell("keep"), "undo": "none"},
                   tiny.act("c", undo_then="echo the disk says no; exit 7"), tiny.act("d"),
                   tiny.fail("e"), hints={"disk says no": "mount /data, then retry"})
    now = updd.job(job)
    assert [s["step"] for s in now["back"]["undone"]] == ["e", "d"]
    assert [s["step"] for s in now["back"]["pending"]] == ["c", "keep", "b", "a"]
    assert now["back"]["left"] == []
    failure = now["failure"]
    assert (failure["step"], failure["direction"]) == ("c", "undo")
    assert failure["tail"] == ["the disk says no"] and failure["hint"] == "mount /data, then retry"
    assert failure["cause"]["step"] == "e" and "3" in failure["cause"]["message"]
    assert failure["pending_undo"] == ["c", "keep", "b", "a"]
    screen = updd.ctl("status", job, check=6).stdout
    for part in ("the undo of c failed", "the disk says no", "hint: mount /data, then retry",
                 "went back because e failed", "undone       e, d", "not undone   c: ",
                 f"updctl retry {job}\n", f"updctl retry {job} --plan FILE\n",
                 f"updctl skip {job} --reason TEXT\n", "leave c as it is, then undo keep, b, a",
                 f"updctl abandon {job} --reason TEXT\n", "c, keep, b, a stay as they are"):
        assert part in screen, (part, screen)
    order = [screen.index(w) for w in ("not undone   c: ", " keep: left as it is", " b: ", " a: ")]
    assert order == sorted(order), screen
    updd.invariants(job)


def test_hooks_hear_of_stuck_and_of_what_can_be_done(updd, tiny):
    event = tiny.folder / "event"
    hook = {"run": ["sh", "-c", f"cat >{event}.new && mv {event}.new {event}"]}
    job, _ = stuck(updd, tiny, tiny.act("a"), tiny.act("b", undo_then="echo no; false"),
                   tiny.fail("c"), hooks={"stuck": [hook]})
    updd.until(event.exists, 20, lambda: updd.tell(job))
    said = json.loads(event.read_text())
    assert said["state"] == "stuck" and said["failure"]["tail"] == ["no"]
    assert [s["step"] for s in said["back"]["pending"]] == ["b", "a"]
    assert [c["command"] for c in said["failure"]["choices"]] == said["failure"]["next"]
    assert f"updctl skip {job} --reason TEXT" in said["failure"]["next"]


def test_an_undo_of_several_steps_says_how_far_it_came_and_a_retry_goes_on_there(updd, tiny):
    undo = [told({}, "one"), told({}, "two", "test -e fixed"), told({}, "three")]
    job, _ = stuck(updd, tiny, {"id": "a", **tiny.tell("do-a"), "undo": undo}, tiny.fail("b"))
    assert updd.job(job)["failure"]["list"] == {"done": 1, "of": 3, "failed": "two"}
    assert "of its 3 steps 1 is done, two failed" in updd.ctl("status", job).stdout
    updd.post(job, "retry")  # in vain
    updd.until(lambda: len(events_of(updd, job, "step_undo_failed")) == 2, 20, lambda: updd.tell(job))
    assert updd.job(job)["failure"]["list"]["done"] == 1
    tiny.touch("fixed")
    updd.post(job, "retry", reason="the file is there now")
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "do-b", "undo-b", "one", "two", "two", "two", "three"]
    assert "not repeated" in updd.log(job, "a")
    assert "the file is there now" in json.dumps(events_of(updd, job, "decided"))
    updd.invariants(job)


# ---- retry --------------------------------------------------------------------------------------


def test_a_mended_undo_is_taken_and_the_journal_shows_the_difference(updd, tiny):
    job, plan = stuck(updd, tiny, tiny.act("a"), tiny.act("b", undo_then="exit 1"), tiny.fail("c"))
    mended = changed(plan, "b", undo=tiny.tell("mended-b"))
    file = tiny.folder / "mended.json"
    file.write_text(json.dumps(mended))
    said = updd.ctl("retry", job, "--plan", file, "--reason", "the script is gone", check=0).stdout
    assert "b  undo  " in said and "exit 1" in said and "mended-b" in said, said
    now = updd.wait_for(job, "rolled_back")
    assert tiny.done()[-3:] == ["undo-b", "mended-b", "undo-a"]
    assert [s["step"] for s in now["back"]["undone"]] == ["c", "b", "a"]
    # The failure that remains is why it went back, not the undo that was mended.
    assert (now["failure"]["step"], now["failure"]["direction"]) == ("c", "do")
    difference, = events_of(updd, job, "plan_changed")[0]["data"]["differences"]
    assert (difference["step"], difference["key"]) == ("b", "undo")
    assert "exit 1" in json.dumps(difference["from"]) and "mended-b" in json.dumps(difference["to"])
    updd.invariants(job)


@pytest.mark.parametrize("step, keys, why", [
    ("a", {"run": ["true"]}, "has begun"),                       # what was done stays
    ("c", {"undo": {"run": ["true"]}}, "its undo is over"),      # what was undone as well
    ("b", {"undo": "none"}, "cannot lose its undo"),             # leaving is another decision
])
def test_a_retry_from_stuck_changes_nothing_that_has_begun(updd, tiny, step, keys, why):
    job, plan = stuck(updd, tiny, tiny.act("a"), tiny.act("b", undo_then="exit 1"), tiny.fail("c"))
    before = updd.job(job)
    said = updd.refuse(409, "plan-changed-begun", "POST", f"/v1/jobs/{job}/retry",
                       {"document": json.dumps(changed(plan, step, **keys))})
    assert [f["step"] for f in said["faults"]] == [step] and why in said["faults"][0]["message"]
    assert updd.job(job) == before and updd.job(job)["state"] == "stuck"


def test_an_input_that_only_undos_use_may_change(updd, tiny):
    undo = {"run": ["sh", "-c", "echo undo-$W >>told; test $W = right"], "env": {"W": "${in.word}"}}
    job, _ = stuck(updd, tiny, {"id": "a", **tiny.tell("do-a"), "undo": undo}, tiny.fail("b"),
                   inputs={"word": {"default": "wrong"}})
    updd.post(job, "retry", inputs={"word": "right"})
    updd.wait_for(job, "rolled_back")
    assert tiny.done()[-2:] == ["undo-wrong", "undo-right"]
    assert events_of(updd, job, "plan_changed")[0]["data"]["inputs"] == {
        "in.word": {"from": "wrong", "to": "right"}}
    updd.invariants(job)


def test_with_another_list_an_undo_begins_anew(updd, tiny):
    job, plan = stuck(updd, tiny, tiny.fail("z", undo=[told({}, "one"), told({}, "two", "exit 1")]))
    updd.post(job, "retry", document=json.dumps(changed(plan, "z", undo=[told({}, "one"), told({}, "other")])))
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-z", "one", "two", "one", "other"]
    updd.invariants(job)


def test_stuck_for_lack_of_a_secret_names_it_and_a_retry_brings_it(updd, tiny):
    secret = tiny.folder / "token"
    secret.write_text("zyx-tOkEn-11111")
    undo = {"run": ["sh", "-c", "test $(printf %s $TOKEN | wc -c) = 15 && echo undo-a >>told"],
            "env": {"TOKEN": "${secret.token}"}}
    job = updd.begin(tiny.plan({"id": "a", **tiny.tell("do-a", "rm token"), "undo": undo}, tiny.fail("b"),
                               secrets={"token": {"file": str(secret)}}))
    now = updd.wait_for(job, "stuck")
    line = f"updctl retry {job} --secret token=@FILE"
    assert line in now["failure"]["next"] and "token" in now["failure"]["message"]
    assert line in updd.ctl("status", job).stdout
    brought = tiny.folder / "brought"
    brought.write_text("zyx-tOkEn-11111\n")
    updd.ctl("retry", job, "--secret", f"token=@{brought}", check=0)
    updd.wait_for(job, "rolled_back")
    assert tiny.done()[-1] == "undo-a"
    assert [e["attempt"] for e in events_of(updd, job, "step_undone") if e["step"] == "a"] == [2]
    updd.until(lambda: not updd.leaks("zyx-tOkEn-11111"), 10, "the secret stays")
    updd.invariants(job)


def test_an_interrupted_undo_is_stuck_and_tried_again_as_a_whole(updd, tiny):
    undo = [told({}, "one"), told({}, "two", "while ! test -e go; do sleep .05; done")]
    job = updd.begin(tiny.plan({"id": "a", **tiny.tell("do-a"), "undo": undo}, tiny.fail("b")))
    updd.until(lambda: "two" in tiny.done(), 20, lambda: updd.tell(job))
    claim = json.loads((updd.state / "jobs" / str(job) / "a" / "2" / "claim").read_text())
    os.kill(claim["pid"], signal.SIGKILL)
    now = updd.wait_for(job, "stuck")
    assert now["failure"]["interrupted"] and "was interrupted" in updd.ctl("status", job).stdout
    tiny.touch("go")
    updd.post(job, "retry", reason="looked: neither happened")
    updd.wait_for(job, "rolled_back")
    # Nobody knows how far it came, so nothing of it counts as done.
    assert tiny.done()[-4:] == ["one", "two", "one", "two"]
    updd.invariants(job)


def test_a_restore_that_is_refused_is_stuck_and_goes_on_when_the_way_is_free(updd, tiny):
    database = tiny.folder / "app.db"
    with sqlite3.connect(database) as db:
        db.execute("CREATE TABLE t (n INTEGER)")
        db.execute("INSERT INTO t VALUES (1)")
    db.close()
    job = updd.begin(tiny.plan(
        {"id": "backup", "backup": {"db": "app"}}, {"id": "data", "undo": {"restore": "backup"}},
        {"id": "change", "sql": {"db": "app", "exec": "DELETE FROM t"}, "undo": "none"}, tiny.gate(),
        databases={"app": {"url": f"sqlite:{database}"}}))
    updd.wait_open(job, "gate")
    holder = sqlite3.connect(database, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    updd.post(job, "rollback", strategy="full")
    now = updd.wait_for(job, "stuck", timeout=60)
    assert now["failure"]["step"] == "data" and now["failure"]["message"], now["failure"]
    assert [s["step"] for s in now["back"]["left"]] == ["change"]
    holder.execute("ROLLBACK")
    holder.close()
    updd.post(job, "retry", reason="the reader is gone")
    now = updd.wait_for(job, "rolled_back", timeout=60)
    assert sqlite3.connect(database).execute("SELECT count(*) FROM t").fetchone() == (1,)
    assert "failure" not in now, "somebody asked for it, and nothing failed in the end"
    updd.invariants(job)


# ---- skip, abandon ------------------------------------------------------------------------------


def test_a_skip_leaves_one_undo_goes_on_with_the_rest_and_the_end_names_it(updd, tiny):
    job, _ = stuck(updd, tiny, tiny.act("a"),
                   {"id": "p", "parallel": [tiny.act("p1", undo_then="exit 1"), tiny.act("p2", "sleep .3")]},
                   {"id": "g", "group": [tiny.act("g1"), tiny.act("g2", undo_then="exit 1")]}, tiny.fail("z"))
    assert [s["step"] for s in updd.job(job)["back"]["pending"]] == ["g2", "g1", "p2", "p1", "a"]
    assert updd.ctl("skip", job, check=2).stderr.count("--reason") == 1
    updd.refuse(422, "reason-missing", "POST", f"/v1/jobs/{job}/skip", {"reason": ""})
    updd.ctl("skip", job, "--reason", "done by hand", check=0)
    updd.until(lambda: updd.job(job)["state"] == "stuck" and updd.job(job)["failure"]["step"] == "p1", 20,
               lambda: updd.tell(job))
    assert [s["step"] for s in updd.job(job)["back"]["pending"]] == ["p1", "a"]
    updd.post(job, "skip", reason="of no use any more")
    now = updd.wait_for(job, "rolled_back")
    assert tiny.done()[-6:] == ["undo-z", "undo-g2", "undo-g1", "undo-p2", "undo-p1", "undo-a"]
    left = {s["step"]: s["why"] for s in now["back"]["left"]}
    assert set(left) == {"g2", "p1"} and "done by hand" in left["g2"] and "root" in left["g2"]
    assert [s["step"] for s in now["back"]["undone"]] == ["z", "g1", "p2", "a"]
    assert now["failure"]["step"] == "z" and now["failure"]["direction"] == "do"
    screen = updd.ctl("status", job).stdout
    assert "left as is" in screen and "g2: skipped by" in screen, screen
    updd.invariants(job)


def test_an_abandoned_job_names_all_that_stays_and_frees_its_target(updd, tiny):
    job, _ = stuck(updd, tiny, tiny.act("a"), tiny.act("b"), tiny.act("c", undo_then="exit 1"),
                   tiny.fail("z"), target="free-again")
    assert "--reason" in updd.ctl("abandon", job, check=2).stderr
    said = updd.ctl("abandon", job, "--reason", "the machine is replaced", check=0).stdout
    for step in "abc":
        assert f" {step}: abandoned by " in said, said
    now = updd.wait_for(job, "abandoned")
    assert [s["step"] for s in now["back"]["left"]] == ["c", "b", "a"]
    assert [s["step"] for s in now["back"]["undone"]] == ["z"]
    assert all("the machine is replaced" in s["why"] for s in now["back"]["left"])
    assert {e["step"] for e in events_of(updd, job, "step_left")} == {"a", "b", "c"}
    assert "undo-a" not in tiny.done() and now["actions"] == []
    updd.restart()
    assert [s["step"] for s in updd.job(job)["back"]["left"]] == ["c", "b", "a"]
    updd.invariants(job)
    updd.wait_for(updd.begin(tiny.plan(tiny.act("new"), target="free-again")), "succeeded")


def test_what_a_strategy_does_afterwards_can_be_stuck_too(updd, tiny):
    then = [told({}, "then-1"), told({}, "then-2", "test -e fixed")]
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act("b"), tiny.gate(),
                               rollbacks={"part": {"loses": "nothing", "keep": ["a"], "then": then}}))
    updd.wait_open(job, "gate")
    updd.post(job, "rollback", strategy="part")
    now = updd.wait_for(job, "stuck")
    assert [s["step"] for s in now["back"]["pending"]] == ["@then.part"]
    assert [s["step"] for s in now["back"]["left"]] == ["a"]
    assert now["failure"]["list"] == {"done": 1, "of": 2, "failed": "then-2"}
    tiny.touch("fixed")
    updd.post(job, "retry")
    updd.wait_for(job, "rolled_back")
    assert tiny.done()[-3:] == ["then-1", "then-2", "then-2"]
    updd.invariants(job)


def test_stuck_survives_a_crash_of_the_daemon_and_goes_on_from_there(updd, tiny):
    job, _ = stuck(updd, tiny, tiny.act("a"), tiny.act("b", undo_then="test -e fixed"), tiny.fail("c"))
    before = updd.job(job)
    updd.kill9()
    updd.start()
    assert updd.job(job) == before
    tiny.touch("fixed")
    updd.post(job, "retry")
    updd.wait_for(job, "rolled_back")
    assert tiny.done()[-1] == "undo-a"
    updd.invariants(job)


# ---- nearby -------------------------------------------------------------------------------------


def test_a_failing_finalise_waits_and_is_not_stuck(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), finalise=[told({}, "last", "test -e fixed")]))
    updd.wait_for(job, "succeeded")
    updd.post(job, "finalise")
    wait = updd.until(lambda: updd.job(job)["waits"], 20, lambda: updd.tell(job))[0]
    assert (wait["kind"], wait["step"]) == ("retry-or-skip", "last")
    now = updd.job(job)
    assert now["state"] == "succeeded" and "back" not in now
    assert {c["command"] for c in now["failure"]["choices"]} >= {f"updctl retry {job}",
                                                                 f"updctl skip {job} --reason TEXT"}
    tiny.touch("fixed")
    updd.post(job, "retry", wait=wait["id"])
    updd.until(lambda: updd.step(job, "last")["state"] == "done", 20, lambda: updd.tell(job))
    updd.invariants(job)


def test_a_gate_that_is_held_open_tells_so_in_the_journal(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(within="300ms", on_timeout="hold")))
    updd.until(lambda: events_of(updd, job, "decided"), 20, lambda: updd.tell(job))
    decided, = events_of(updd, job, "decided")
    assert "stays open" in decided["data"]["decided"] and decided["step"] == "accept"
    updd.invariants(job)


def test_an_attempt_that_is_followed_at_once_keeps_its_end(updd, tiny):
    """An interrupted step that runs again in the same turn: both attempts have their rows."""
    job = updd.begin(tiny.plan({"id": "a", "wait": {"until": [{"path": str(tiny.folder / "go")}], "within": "1m"}}))
    claim = updd.state / "jobs" / str(job) / "a" / "1" / "claim"
    updd.until(claim.exists, 20, lambda: updd.tell(job))
    os.kill(json.loads(claim.read_text())["pid"], signal.SIGKILL)
    updd.until(lambda: updd.step(job, "a")["attempts"] == 2, 20, lambda: updd.tell(job))
    tiny.touch("go")
    updd.wait_for(job, "succeeded")
    updd.stop()
    db = sqlite3.connect(updd.state / "updd.db")
    assert db.execute("SELECT n, state, ended > 0, data IS NOT NULL FROM attempt ORDER BY n").fetchall() == [
        (1, "interrupted", 1, 1), (2, "done", 1, 1)]
    db.close()
