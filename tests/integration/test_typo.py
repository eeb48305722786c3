# SPDX-License-Identifier: MIT
"""
A typo in step 17 costs no rollback: `retry -i` and `retry --plan` after a failure change only what
has not begun, show the difference before it counts, and leave it in the journal.
"""
import json

import pytest

from daemon import BUILD
from terminal import Terminal

STEPS = [f"s{n:02}" for n in range(1, 21)]


def twenty(tiny, seventeenth, **top):
    steps = [tiny.act(s) for s in STEPS]
    steps[16] = {"id": "s17", **seventeenth, "undo": tiny.tell("undo-s17")}
    return tiny.plan(*steps, on_failure={"default": "hold"}, **top)


def held(updd, plan, **more):
    job = updd.begin(plan, **more)
    return job, updd.wait_open(job, "retry-or-skip", "s17", timeout=60)


def once_and_no_undo(updd, tiny, job):
    updd.wait_for(job, "succeeded", timeout=60)
    assert tiny.done() == [f"do-{s}" for s in STEPS], "each step once, in order, nothing undone"
    attempts = {s["id"]: s["attempts"] for s in updd.job(job)["steps"] if s["phase"] == "main"}
    assert attempts == {s: 2 if s == "s17" else 1 for s in STEPS}
    updd.invariants(job)


def changed_event(updd, job):
    event, = [e for e in updd.events(job) if e["type"] == "plan_changed"]
    return event["data"]


def test_a_typo_in_step_17_is_mended_by_another_plan_and_costs_nothing(updd, tiny):
    wrong = twenty(tiny, {"run": ["sh", "-c", "ecoh do-s17 >>told"]})
    job, _ = held(updd, wrong)
    assert updd.states(job)["s16"] == "done" and updd.states(job)["s18"] == "pending"
    right = {**wrong, "steps": [*wrong["steps"]]}
    right["steps"][16] = {**wrong["steps"][16], "run": ["sh", "-c", "echo do-s17 >>told"]}
    file = tiny.folder / "right.json"
    file.write_text(json.dumps(right))
    said = updd.ctl("retry", job, "--plan", file, check=0).stdout
    assert "s17  args.argv  " in said and "ecoh do-s17" in said.split(" -> ")[-2], said
    once_and_no_undo(updd, tiny, job)
    data = changed_event(updd, job)
    assert data["changed"] == ["s17"] and not data["added"] and not data["removed"]
    difference, = data["differences"]
    assert (difference["step"], difference["key"]) == ("s17", "args.argv")
    assert "ecoh" in difference["from"][2] and "echo" in difference["to"][2]
    assert data["message"] == "s17" and data["message"] in updd.ctl("events", job).stdout
    assert "ecoh do-s17" in updd.ctl("events", job).stdout


def test_a_typo_in_an_input_that_step_17_uses_first_is_mended_by_another_input(updd, tiny):
    job, _ = held(updd, twenty(
        tiny, {"run": ["sh", "-c", "test $WORD = good && echo do-s17 >>told"],
               "env": {"WORD": "${in.word}"}},
        inputs={"word": {"type": "string", "default": "godo"}}))
    said = updd.ctl("retry", job, "-i", "word=good", check=0).stdout
    assert "word  godo -> good" in said, said
    once_and_no_undo(updd, tiny, job)
    assert changed_event(updd, job)["inputs"] == {"in.word": {"from": "godo", "to": "good"}}
    assert changed_event(updd, job)["message"] == "s17, input word"


def test_a_preview_tells_the_difference_and_changes_nothing(updd, tiny):
    plan = twenty(tiny, {"run": ["false"]})
    job, wait = held(updd, plan)
    better = {**plan, "steps": [*plan["steps"][:19], {**tiny.act("s21")}]}
    better["steps"][16] = {**plan["steps"][16], "run": ["true"]}
    before = updd.job(job)
    told = updd.post(job, "retry", wait=wait["id"], document=json.dumps(better), preview=True)
    assert told["added"] == ["s21"] and told["removed"] == ["s20"] and told["changed"] == ["s17"]
    assert updd.job(job) == before
    begun = {**plan, "steps": [{**plan["steps"][0], "run": ["true"]}, *plan["steps"][1:]]}
    said = updd.refuse(409, "plan-changed-begun", "POST", f"/v1/jobs/{job}/retry",
                       {"wait": wait["id"], "document": json.dumps(begun), "preview": True})
    assert [f["step"] for f in said["faults"]] == ["s01"]
    assert updd.job(job) == before


@pytest.mark.parametrize("answer", ["n", "y"])
def test_on_a_terminal_the_difference_is_shown_before_it_counts(updd, tiny, answer):
    job, _ = held(updd, twenty(
        tiny, {"run": ["sh", "-c", "test $WORD = good && echo do-s17 >>told"],
               "env": {"WORD": "${in.word}"}},
        inputs={"word": {"type": "string", "default": "godo"}}))
    argv = [str(BUILD / "client/updctl/updctl"), "--socket", str(updd.socket), "retry", str(job),
            "-i", "word=good"]
    with Terminal(argv, {"PATH": "/usr/bin:/bin", "HOME": str(tiny.folder), "TERM": "xterm",
                         "LANG": "C.UTF-8"}) as t:
        t.until("Try again with this?")
        assert "input  word  godo -> good" in t.screen()
        assert not [e for e in updd.events(job) if e["type"] == "plan_changed"]
        t.send(answer + "\n")
        code = t.end()
    if answer == "y":
        assert code == 0
        once_and_no_undo(updd, tiny, job)
    else:
        assert code != 0 and updd.job(job)["inputs"]["word"] == "godo"
        assert updd.job(job)["state"] == "waiting"


def test_no_secret_is_in_the_difference(updd, tiny):
    wrong = twenty(tiny, {"run": ["sh", "-c", "test $TOKEN = right && echo do-s17 >>told"],
                          "env": {"TOKEN": "${secret.token}"}},
                   secrets={"token": {"env": "TOKEN"}})
    job, wait = held(updd, wrong, secrets={"token": "wr0ngt0ken"})
    right = {**wrong, "steps": [*wrong["steps"]]}
    right["steps"][16] = {**wrong["steps"][16], "env": {"TOKEN": "${secret.token}", "MORE": "x"}}
    updd.post(job, "retry", wait=wait["id"], document=json.dumps(right),
              secrets={"token": "right"})
    once_and_no_undo(updd, tiny, job)
    difference, = changed_event(updd, job)["differences"]
    assert difference["key"] == "env" and difference["to"]["MORE"] == "x"
    assert not updd.leaks("wr0ngt0ken")


def test_what_keeps_something_since_the_change_is_no_change_of_the_checks(updd, tiny):
    (tiny.folder / "page").write_text("old\n")
    wrong = twenty(tiny, {"write": {"to": "nowhere/page", "text": "new\n"}})
    (tiny.folder / "nowhere").write_text("in the way")
    del wrong["steps"][16]["undo"]
    job, wait = held(updd, wrong)
    right = {**wrong, "steps": [*wrong["steps"]]}
    right["steps"][16] = {"id": "s17", "write": {"to": "page", "text": "new\n"}}
    updd.post(job, "retry", wait=wait["id"], document=json.dumps(right))
    updd.wait_for(job, "succeeded", timeout=60)
    assert changed_event(updd, job)["changed"] == ["s17"]
    assert (tiny.folder / "page").read_text() == "new\n"
