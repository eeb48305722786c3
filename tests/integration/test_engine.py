# SPDX-License-Identifier: MIT
"""What the engine decides, over the API, with plans that are as small as the rule they show."""
import json
import os
import signal
import threading
import time

import pytest

from daemon import Daemon, Refused


# ---- the job's life ---------------------------------------------------------------------------


def test_a_job_goes_from_queued_over_running_to_succeeded(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act("b", "sleep 0.5")))
    updd.wait_for(job, "running")
    now = updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-b"]
    assert now["progress"] == {"done": 2, "total": 2}
    moves = [(e["data"]["from"], e["data"]["to"]) for e in updd.events(job) if e["type"] == "state"]
    assert moves == [("queued", "running"), ("running", "succeeded")]
    assert now["by"].startswith(f"uid:{os.getuid()}") and len(now["sha256"]) == 64
    updd.invariants(job)


def test_a_failed_step_starts_the_undo_and_its_own_undo_runs_too(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act("b"), tiny.fail("c"), tiny.act("d")))
    now = updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "do-b", "do-c", "undo-c", "undo-b", "undo-a"]
    assert now["failure"]["step"] == "c" and now["failure"]["direction"] == "do"
    assert updd.states(job) == {"a": "undone", "b": "undone", "c": "undone", "d": "pending"}
    assert now["actions"] == []
    updd.invariants(job)


def test_checks_that_refuse_are_told_together_and_nothing_is_touched(updd, tiny):
    checks = [{"path": "/nonexistent-one"}, {"run": ["true"]}, {"path": "/nonexistent-two"},
              {"run": ["false"], "name": "said no", "hint": "ask nicely"},
              {"run": ["false"], "name": "only a warning", "warn": True}]
    job = updd.begin(tiny.plan(tiny.act("a"), checks=checks))
    now = updd.wait_for(job, "failed")
    bad = [c for s in now["steps"] for c in s.get("checks") or [] if not c["ok"] and not c.get("warn")]
    assert len(bad) == 3 and any(c.get("hint") == "ask nicely" for c in bad), bad
    assert tiny.done() == []
    assert "checks_refused" in [e["type"] for e in updd.events(job)]
    updd.invariants(job)


def test_cancel_of_a_running_job_stops_the_step_and_goes_back(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act("b", "sleep 60")))
    updd.until(lambda: tiny.done() == ["do-a", "do-b"], 20, "b never began")
    updd.post(job, "cancel", reason="changed my mind")
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "do-b", "undo-b", "undo-a"]
    updd.invariants(job)


def test_cancel_during_the_undo_is_refused(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", undo_then="sleep 2"), tiny.fail("b")))
    updd.wait_for(job, "rolling_back")
    said = updd.refuse(409, "not-now", "POST", f"/v1/jobs/{job}/cancel", {})
    assert said["state"] == "rolling_back" and "cancel" not in said["actions"]
    updd.wait_for(job, "rolled_back")
    updd.invariants(job)


def test_a_job_that_never_began_is_cancelled(updd, tiny):
    plan = tiny.plan(tiny.act("a"), secrets={"token": {"file": str(tiny.folder / "token")}})
    job = updd.begin(plan)
    updd.wait_open(job, "missing-secret")
    updd.post(job, "cancel")
    updd.wait_for(job, "cancelled")
    assert tiny.done() == []
    updd.invariants(job)


def test_an_undo_that_fails_is_stuck_and_says_what_was_and_was_not_undone(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act("b", undo_then="test -e fixed"),
                               tiny.act("c"), tiny.fail("d")))
    now = updd.wait_for(job, "stuck")
    assert now["failure"]["step"] == "b" and now["failure"]["direction"] == "undo"
    assert set(now["failure"]["undone"]) == {"c", "d"}
    assert "a" in now["failure"]["pending_undo"]
    assert {"retry", "skip", "abandon"} <= set(now["actions"])
    assert any("updctl retry" in line for line in now["failure"]["next"])
    tiny.touch("fixed")
    updd.post(job, "retry", reason="fixed by hand")
    updd.wait_for(job, "rolled_back")
    assert tiny.done()[-2:] == ["undo-b", "undo-a"]
    updd.invariants(job)


def test_a_stuck_undo_is_skipped_with_a_reason_and_named_at_the_end(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act("b", undo_then="exit 1"), tiny.fail("c")))
    updd.wait_for(job, "stuck")
    updd.refuse(422, "reason-missing", "POST", f"/v1/jobs/{job}/skip", {})
    updd.post(job, "skip", reason="b is of no use any more")
    updd.wait_for(job, "rolled_back")
    assert tiny.done()[-1] == "undo-a"
    assert "b" in [entry["step"] for entry in updd.job(job)["failure"]["left"]]
    assert "of no use any more" in json.dumps(updd.events(job))
    updd.invariants(job)


def test_a_stuck_job_is_abandoned_with_a_reason(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act("b", undo_then="exit 1"), tiny.fail("c"),
                               target="left-alone"))
    updd.wait_for(job, "stuck")
    updd.refuse(422, "reason-missing", "POST", f"/v1/jobs/{job}/abandon", {})
    updd.post(job, "abandon", reason="will be done by hand")
    now = updd.wait_for(job, "abandoned")
    assert "undo-a" not in tiny.done() and now["actions"] == []
    updd.invariants(job)
    # Its target is free again.
    updd.wait_for(updd.begin(tiny.plan(tiny.act("z"), target="left-alone")), "succeeded")


def test_only_one_unfinished_job_per_target_and_the_refusal_names_it(updd, tiny):
    first = updd.begin(tiny.plan(tiny.gate(), target="shared"))
    said = updd.refuse(409, "target-busy", "POST", "/v1/jobs",
                       {"document": json.dumps(tiny.plan(tiny.act("a"), target="shared"))})
    assert said["job"] == first
    other = updd.begin(tiny.plan(tiny.act("a"), target="other"))
    updd.wait_for(other, "succeeded")
    assert updd.job(first)["state"] == "waiting"


def test_jobs_on_different_targets_run_side_by_side(updd, tiny):
    # Each waits for the other's mark: one after the other they would never end.
    pair = [("one", "two"), ("two", "one")]
    jobs = [updd.begin(tiny.plan(tiny.act("meet", f"touch {me}; until test -e {you}; do sleep 0.05; done",
                                          timeout="20s")))
            for me, you in pair]
    for job in jobs:
        updd.wait_for(job, "succeeded")
        updd.invariants(job)


def test_the_plan_is_frozen_at_the_start(updd, tiny):
    file = updd.plans / "frozen.yaml"
    file.write_text(json.dumps(tiny.plan(tiny.gate(), tiny.act("old"), plan="frozen")))
    job = updd.begin("frozen")
    wait = updd.wait_open(job, "gate")
    file.write_text(json.dumps(tiny.plan(tiny.gate(), tiny.act("new"), plan="frozen")))
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-old"]


# ---- steps ------------------------------------------------------------------------------------


def test_when_is_decided_once_and_outputs_are_passed_on(updd, tiny):
    job = updd.begin(tiny.plan(
        {"id": "make", "run": {"argv": ["sh", "-c", "echo colour=green"],
                               "save": {"colour": {"regex": "colour=(\\w+)"}}}, "undo": "none"},
        tiny.act("never", when="in.fancy"),
        tiny.act("green", when="steps.make.colour == 'green' and not in.fancy"),
        {"id": "use", "run": ["sh", "-c", "echo got-$COLOUR-$LEFT. >>told"],
         "env": {"COLOUR": "${steps.make.colour}", "LEFT": "${steps.never.exit}"}, "undo": "none"},
        inputs={"fancy": {"type": "bool", "default": False}}))
    now = updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-green", "got-green-."]
    assert updd.step(job, "never")["state"] == "skipped"
    assert next(s for s in now["steps"] if s["id"] == "make")["outputs"]["colour"] == "green"
    updd.invariants(job)


def test_inputs_are_typed_and_all_their_faults_are_told_together(updd, tiny):
    plan = tiny.plan({"id": "say", "run": ["sh", "-c", "echo $N >>told"], "env": {"N": "${in.n}"},
                      "undo": "none"},
                     inputs={"n": {"type": "int", "min": 1, "max": 9}, "must": {"type": "string"},
                             "colour": {"type": "enum", "values": ["red", "green"], "default": "red"}})
    said = updd.refuse(422, "bad-inputs", "POST", "/v1/jobs", {
        "document": json.dumps(plan), "inputs": {"n": "12", "colour": "blue", "unknown": 1}})
    assert {f["input"] for f in said["faults"]} == {"n", "must", "colour", "unknown"}, said
    job = updd.begin(plan, {"n": "7", "must": "x"})
    assert updd.wait_for(job, "succeeded")["inputs"] == {"n": 7, "must": "x", "colour": "red"}
    assert tiny.done() == ["7"]


def test_a_step_is_tried_as_often_as_it_says(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", "test $(wc -l <told) -ge 3",
                                        retry={"tries": 3, "first": "100ms"})))
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a"] * 3
    updd.invariants(job)


def test_a_time_limit_ends_the_whole_tree_and_fails_the_step(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("slow", "sleep 300 & setsid sleep 300 & sleep 300",
                                        timeout="1s")))
    now = updd.wait_for(job, "rolled_back")
    assert now["failure"]["step"] == "slow" and "1s" in now["failure"]["message"] or \
        "time" in now["failure"]["message"], now["failure"]
    assert tiny.done() == ["do-slow", "undo-slow"]
    updd.invariants(job)


def test_verify_decides_whether_a_step_is_done(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", verify=[{"path": "made-by-nobody"}])))
    now = updd.wait_for(job, "rolled_back")
    assert now["failure"]["phase"] == "verify"
    assert tiny.done() == ["do-a", "undo-a"]


def test_undo_goes_in_reverse_order_and_groups_inside_out(updd, tiny):
    job = updd.begin(tiny.plan(
        tiny.act("a"), {"id": "g", "group": [tiny.act("b"), tiny.act("c")]}, tiny.fail("d")))
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "do-b", "do-c", "do-d", "undo-d", "undo-c", "undo-b", "undo-a"]
    assert updd.step(job, "b")["parent"] == "g"
    updd.invariants(job)


def test_parallel_members_are_undone_in_reverse_order_of_completion(updd, tiny):
    job = updd.begin(tiny.plan(
        {"id": "p", "parallel": [tiny.act("slow", "until test -e go; do sleep 0.05; done; sleep 0.3"),
                                 tiny.act("quick", "touch go")]}, tiny.fail("z")))
    updd.wait_for(job, "rolled_back")
    assert [w for w in tiny.done() if w.startswith("undo-")] == ["undo-z", "undo-slow", "undo-quick"]
    updd.invariants(job)


def test_a_failing_parallel_group_stops_its_members_and_goes_back_when_all_have_ended(updd, tiny):
    job = updd.begin(tiny.plan(
        tiny.act("before"),
        {"id": "p", "parallel": [tiny.act("long", "touch began; sleep 300"),
                                 tiny.act("bad", "until test -e began; do sleep 0.05; done; exit 1")]}))
    now = updd.wait_for(job, "rolled_back")
    done = tiny.done()
    assert set(done[1:3]) == {"do-long", "do-bad"} and set(done[3:5]) == {"undo-long", "undo-bad"}
    assert done[5:] == ["undo-before"] and now["failure"]["step"] == "bad"
    updd.invariants(job)


def test_revert_undoes_a_step_on_the_way_forward_and_does_it_again_on_the_way_back(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("page"), tiny.act("work"), {"id": "off", "revert": "page"},
                               tiny.gate()))
    wait = updd.wait_open(job, "gate")
    assert tiny.done() == ["do-page", "do-work", "undo-page"] and wait
    updd.post(job, "rollback", strategy="full")
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-page", "do-work", "undo-page", "do-page", "undo-work", "undo-page"]
    updd.invariants(job)


def test_a_dry_run_looks_at_everything_and_changes_nothing(updd, tiny):
    (tiny.folder / "old").write_text("old")
    plan = tiny.plan(tiny.act("a"), {"id": "w", "write": {"to": "new", "text": "${in.word}"}},
                     {"id": "r", "remove": ["old"]}, tiny.gate(),
                     inputs={"word": {"type": "string", "default": "hello"}},
                     checks=[{"path": "old"}])
    before = sorted(p.name for p in tiny.folder.iterdir())
    job = updd.begin(plan, dry_run=True)
    now = updd.wait_for(job, "succeeded")
    assert sorted(p.name for p in tiny.folder.iterdir()) == before and tiny.done() == []
    assert now["dry_run"] is True
    assert "hello" in json.dumps(updd.step(job, "w")["would"])
    refused = updd.begin({**plan, "checks": [{"path": "absent"}]}, dry_run=True)
    updd.wait_for(refused, "failed")
    updd.invariants(job)


def test_a_prompt_becomes_a_question_and_only_one_answer_counts(updd, tiny):
    job = updd.begin(tiny.plan(
        {"id": "ask", "run": {"argv": ["sh", "-c", "printf 'Colour? '; read c; echo got-$c >>told"],
                              "answers": []}, "undo": "none"}))
    wait = updd.wait_open(job, "question", "ask")
    assert updd.job(job)["state"] == "waiting" and "Colour?" in wait["prompt"]
    updd.post(job, "answer", wait=wait["id"], text="blue")
    updd.refuse(409, "wait-closed", "POST", f"/v1/jobs/{job}/answer",
                {"wait": wait["id"], "text": "red"})
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["got-blue"]
    updd.invariants(job)


def test_known_prompts_are_answered_by_the_plan(updd, tiny):
    job = updd.begin(tiny.plan(
        {"id": "ask", "run": {"argv": ["sh", "-c", "printf 'Sure? [y/N] '; read c; echo got-$c >>told"],
                              "answers": [{"expect": "Sure\\?", "send": "y"}]}, "undo": "none"}))
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["got-y"]


def test_the_log_of_a_step_is_whole_and_read_from_any_place(updd, tiny):
    job = updd.begin(tiny.plan(
        {"id": "say", "run": ["sh", "-c", "for i in $(seq 500); do echo line-$i; done; echo oops >&2"],
         "undo": "none"}))
    updd.wait_for(job, "succeeded")
    whole = updd.log(job, "say")
    assert [w for w in whole.split() if w.startswith("line-")] == [f"line-{i}" for i in range(1, 501)]
    assert "oops" in whole
    part = updd.call("GET", f"/v1/jobs/{job}/steps/say/log?offset={len(whole) - 5}")
    assert part.text == whole[-5:] and int(part.headers["updd-log-size"]) == len(whole)


# ---- people -----------------------------------------------------------------------------------


def test_a_gate_keeps_partial_ticks_and_closes_with_the_last(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate(items=["one", "two"]), tiny.act("after")))
    wait = updd.wait_open(job, "gate")
    updd.refuse(422, "items-missing", "POST", f"/v1/jobs/{job}/confirm", {"wait": wait["id"]})
    now = updd.post(job, "confirm", wait=wait["id"], ticks=["two"])
    assert now["state"] == "waiting"
    assert [bool(i.get("ticked")) for i in now["waits"][0]["items"]] == [False, True]
    updd.post(job, "confirm", wait=wait["id"], ticks=["one"])
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-after"]
    updd.invariants(job)


def test_a_call_that_answers_a_wait_must_name_it(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate()))
    wait = updd.wait_open(job, "gate")
    said = updd.refuse(422, "wait-missing", "POST", f"/v1/jobs/{job}/confirm", {})
    assert [w["id"] for w in said["waits"]] == [wait["id"]]


def test_a_repeated_confirm_never_passes_the_next_gate(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate("first"), tiny.act("a"), tiny.gate("second"), tiny.act("b")))
    wait = updd.wait_open(job, "gate", "first")
    body = {"wait": wait["id"]}
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(
        updd.call("POST", f"/v1/jobs/{job}/confirm", body))) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(a.status for a in answers) == [200] + [409] * 7, answers
    updd.wait_open(job, "gate", "second")
    updd.refuse(409, "wait-closed", "POST", f"/v1/jobs/{job}/confirm", body)
    assert tiny.done() == ["do-a"]
    closed = [e for e in updd.events(job) if e["type"] == "wait_closed"]
    assert len(closed) == 1


def test_an_idempotency_key_gives_the_stored_answer_again(updd, tiny):
    body = {"document": json.dumps(tiny.plan(tiny.act("a"), target="keyed"))}
    key = {"Idempotency-Key": "once-and-only-once"}
    first = updd.call("POST", "/v1/jobs", body, key)
    again = updd.call("POST", "/v1/jobs", body, key)
    assert first.status == again.status == 201 and first.body["id"] == again.body["id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert first.headers["location"] == f"/v1/jobs/{first.body['id']}"
    job = first.body["id"]
    updd.wait_for(job, "succeeded")
    other = updd.refuse(422, "idempotency-key-reused", "POST", "/v1/jobs",
                        {**body, "reason": "another"}, key)
    assert other["detail"]
    # The key stands in the same commit as what it did: it survives a crash.
    updd.kill9()
    updd.start()
    later = updd.call("POST", "/v1/jobs", body, key)
    assert later.body["id"] == job and tiny.done() == ["do-a"]


def test_a_deadline_that_has_passed_when_the_decision_is_made_beats_a_confirm(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(within="1s", on_timeout="rollback")))
    wait = updd.wait_open(job, "gate")
    os.kill(updd.process.pid, signal.SIGSTOP)
    answers = []
    late = threading.Thread(target=lambda: answers.append(
        updd.call("POST", f"/v1/jobs/{job}/confirm", {"wait": wait["id"]})))
    late.start()
    time.sleep(2)
    os.kill(updd.process.pid, signal.SIGCONT)
    late.join()
    assert answers[0].status == 409, answers
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "undo-a"]
    updd.invariants(job)


@pytest.mark.parametrize("on_timeout, end, done", [
    ("continue", "succeeded", ["do-a", "do-b"]),
    ("rollback", "rolled_back", ["do-a", "undo-a"]),
    ("careful", "rolled_back", ["do-a"]),
])
def test_a_missed_deadline_does_what_the_gate_says(updd, tiny, on_timeout, end, done):
    job = updd.begin(tiny.plan(
        tiny.act("a"), tiny.gate(within="300ms", on_timeout=on_timeout), tiny.act("b"),
        rollbacks={"careful": {"loses": "nothing", "keep": ["a"]}}))
    updd.wait_for(job, end)
    assert tiny.done() == done
    updd.invariants(job)


def test_a_gate_that_holds_is_overdue_and_may_still_be_confirmed(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate(within="300ms"), tiny.act("a")))
    wait = updd.wait_open(job, "gate")
    assert wait["deadline"]
    updd.until(lambda: updd.job(job)["waits"][0].get("overdue"), 10, "never overdue")
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "succeeded")


def test_a_gate_may_ask_for_a_typed_text_and_for_another_person(updd, tiny):
    job = updd.begin(tiny.plan(tiny.gate("typed", type="production"), tiny.gate("four", other_person=True)))
    wait = updd.wait_open(job, "gate", "typed")
    updd.refuse(422, "not-typed", "POST", f"/v1/jobs/{job}/confirm",
                {"wait": wait["id"], "typed": "staging"})
    updd.post(job, "confirm", wait=wait["id"], typed="production")
    wait = updd.wait_open(job, "gate", "four")
    updd.refuse(422, "same-person", "POST", f"/v1/jobs/{job}/confirm", {"wait": wait["id"]})


def test_a_missing_secret_is_waited_for_and_then_used(updd, tiny):
    job = updd.begin(tiny.plan(
        {"id": "use", "run": ["sh", "-c", "echo $${#TOKEN} >>told"], "env": {"TOKEN": "${secret.token}"},
         "undo": "none"}, secrets={"token": {"file": str(tiny.folder / "token")}}))
    wait = updd.wait_open(job, "missing-secret")
    assert wait["secrets"] == ["token"] and tiny.done() == []
    updd.post(job, "retry", wait=wait["id"], secrets={"token": "twelve-chars"})
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["12"]
    updd.invariants(job)


def test_a_secret_file_that_appears_is_found_by_retry(updd, tiny):
    job = updd.begin(tiny.plan(
        {"id": "use", "run": ["sh", "-c", "echo $${#TOKEN} >>told; echo token=$TOKEN"],
         "env": {"TOKEN": "${secret.token}"}, "undo": "none"},
        secrets={"token": {"file": str(tiny.folder / "token")}}))
    wait = updd.wait_open(job, "missing-secret")
    (tiny.folder / "token").write_text("a-secret-from-a-file")
    updd.post(job, "retry", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["20"] and "token=" in updd.log(job, "use")
    assert updd.leaks("a-secret-from-a-file") == []


def test_a_source_that_is_there_and_cannot_be_read_is_told_and_no_other_takes_its_place(updd, tiny):
    (tiny.folder / ".env").mkdir()
    (tiny.folder / "token").write_text("of-another-source")
    job = updd.begin(tiny.plan(
        {"id": "use", "run": ["sh", "-c", "echo $TOKEN >>told"], "env": {"TOKEN": "${secret.token}"},
         "undo": "none"}, secrets={"token": {"env_file": ".env", "key": "TOKEN", "file": "token"}}))
    wait = updd.wait_open(job, "missing-secret")
    assert f"{tiny.folder}/.env cannot be read: Is a directory" in wait["why"]
    assert wait["secrets"] == ["token"] and tiny.done() == []
    (tiny.folder / ".env").rmdir()
    updd.post(job, "retry", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["of-another-source"]


def test_a_source_that_is_a_pipe_holds_nobody_up(updd, tiny):
    os.mkfifo(tiny.folder / "token")
    job = updd.begin(tiny.plan(
        {"id": "use", "run": ["true"], "env": {"TOKEN": "${secret.token}"}, "undo": "none"},
        secrets={"token": {"file": "token"}}))
    wait = updd.wait_open(job, "missing-secret")
    assert f"{tiny.folder}/token cannot be read: It is not a file" in wait["why"]
    updd.post(job, "retry", wait=wait["id"], secrets={"token": "given"})
    updd.wait_for(job, "succeeded")


def test_a_source_that_an_undo_cannot_read_is_told(updd, tiny):
    (tiny.folder / "token").write_text("for-the-way-there")
    job = updd.begin(tiny.plan(
        {"id": "use", "run": ["sh", "-c", "echo do >>told"], "undo": {
            "run": ["true"], "env": {"TOKEN": "${secret.token}"}}},
        tiny.fail("b", run=["sh", "-c", "rm token; mkdir token; exit 3"], undo="none"),
        secrets={"token": {"file": "token"}}))
    now = updd.wait_for(job, "stuck")
    error = next(s for s in now["steps"] if s["id"] == "use")["error"]
    assert error["type"].endswith("missing-secret")
    assert f"{tiny.folder}/token cannot be read: Is a directory" in error["message"]


def test_an_override_is_named_and_recorded(updd, tiny):
    plan = tiny.plan(tiny.act("a"), checks=[{"run": ["false"], "override": "i-know"}])
    updd.wait_for(updd.begin(plan), "failed")
    job = updd.begin(plan, overrides=["i-know"])
    now = updd.wait_for(job, "succeeded")
    assert now["overrides"] == ["i-know"]
    assert [e for e in updd.events(job) if e["type"] == "override"]
    assert any(c.get("overridden") for s in now["steps"] for c in s.get("checks") or [])


# ---- failure, hold, retry, strategies ---------------------------------------------------------


def test_on_failure_hold_parks_the_failure_until_a_person_decides(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act("b", "test -e fixed"), tiny.act("c"),
                               on_failure={"b": "hold"}))
    wait = updd.wait_open(job, "retry-or-skip", "b")
    assert updd.job(job)["state"] == "waiting" and set(wait["can"]) == {"retry", "skip"}
    assert {"retry", "skip", "rollback"} <= set(updd.job(job)["actions"])
    tiny.touch("fixed")
    updd.post(job, "retry", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-b", "do-b", "do-c"]
    updd.invariants(job)


def test_a_held_failure_can_be_skipped_with_a_reason(updd, tiny):
    job = updd.begin(tiny.plan(tiny.fail("b"), tiny.act("c"), on_failure={"default": "hold"}))
    wait = updd.wait_open(job, "retry-or-skip", "b")
    updd.refuse(422, "reason-missing", "POST", f"/v1/jobs/{job}/skip", {"wait": wait["id"]})
    updd.post(job, "skip", wait=wait["id"], reason="b does not matter")
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-b", "do-c"]
    updd.invariants(job)


def test_retry_changes_the_inputs_of_what_has_not_begun_and_of_nothing_else(updd, tiny):
    job = updd.begin(tiny.plan(
        {"id": "a", "run": ["sh", "-c", "echo a-$X >>told"], "env": {"X": "${in.early}"}, "undo": "none"},
        {"id": "b", "run": ["sh", "-c", "echo b-$X >>told; test $X = good"], "env": {"X": "${in.late}"},
         "undo": "none"},
        inputs={"early": {"type": "string", "default": "one"}, "late": {"type": "string", "default": "bad"}},
        on_failure={"default": "hold"}))
    wait = updd.wait_open(job, "retry-or-skip", "b")
    updd.refuse(409, "plan-changed-begun", "POST", f"/v1/jobs/{job}/retry",
                {"wait": wait["id"], "inputs": {"early": "two"}})
    updd.post(job, "retry", wait=wait["id"], inputs={"late": "good"})
    now = updd.wait_for(job, "succeeded")
    assert tiny.done() == ["a-one", "b-bad", "b-good"] and now["inputs"]["late"] == "good"
    assert [e for e in updd.events(job) if e["type"] == "plan_changed"]
    updd.invariants(job)


def test_retry_with_another_plan_changes_only_what_has_not_begun(updd, tiny):
    old = tiny.plan(tiny.act("a"), tiny.act("b", "test -e fixed"), tiny.act("c"),
                    on_failure={"default": "hold"})
    job = updd.begin(old)
    wait = updd.wait_open(job, "retry-or-skip", "b")
    begun = {**old, "steps": [tiny.act("a", "echo other"), *old["steps"][1:]]}
    said = updd.refuse(409, "plan-changed-begun", "POST", f"/v1/jobs/{job}/retry",
                       {"wait": wait["id"], "document": json.dumps(begun)})
    assert said["faults"]
    tiny.touch("fixed")
    better = {**old, "steps": [*old["steps"][:2], tiny.act("c2"), tiny.act("d")]}
    updd.post(job, "retry", wait=wait["id"], document=json.dumps(better))
    updd.wait_for(job, "succeeded")
    assert tiny.done() == ["do-a", "do-b", "do-b", "do-c2", "do-d"]
    updd.invariants(job)


def test_strategies_keep_do_something_instead_and_something_then(updd, tiny):
    job = updd.begin(tiny.plan(
        tiny.act("a"), tiny.act("b"), tiny.act("c"), tiny.gate(),
        rollbacks={"part": {"loses": "nothing", "keep": ["b"],
                            "instead": {"a": tiny.tell("instead-a")}, "then": tiny.tell("then")}}))
    updd.wait_open(job, "gate")
    strategies = {s["name"]: s for s in updd.job(job)["strategies"]}
    assert set(strategies) == {"full", "part"}
    assert [u["step"] for u in strategies["full"]["undo"]] == ["c", "b", "a"]
    updd.post(job, "rollback", strategy="part")
    now = updd.wait_for(job, "rolled_back")
    assert tiny.done()[3:] == ["undo-c", "instead-a", "then"] and now["strategy"] == "part"
    assert updd.step(job, "b").get("left"), updd.step(job, "b")
    updd.invariants(job)


def test_rollback_with_an_unknown_strategy_is_refused(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate()))
    updd.wait_open(job, "gate")
    answer = updd.call("POST", f"/v1/jobs/{job}/rollback", {"strategy": "nonsense"})
    assert 400 <= answer.status < 500 and "nonsense" in answer.body["detail"], answer
    assert updd.job(job)["state"] == "waiting"


def test_a_strategy_may_want_a_text_typed(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(),
                               rollbacks={"full": {"loses": "rows", "type": "lose rows"}}))
    updd.wait_open(job, "gate")
    updd.refuse(422, "not-typed", "POST", f"/v1/jobs/{job}/rollback", {"strategy": "full"})
    updd.post(job, "rollback", strategy="full", typed="lose rows")
    updd.wait_for(job, "rolled_back")


LOSING = {"full": {"loses": "rows"}, "code": {"loses": "nothing", "keep": ["a"]}}


def test_no_automatic_rollback_loses_data_unless_on_failure_names_it(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.fail("b"), rollbacks=LOSING))
    updd.wait_open(job, "retry-or-skip", "b")
    assert tiny.done() == ["do-a", "do-b"] and updd.job(job)["decided"]
    updd.post(job, "rollback", strategy="full")
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "do-b", "undo-b", "undo-a"]
    updd.invariants(job)


def test_a_missed_deadline_does_not_lose_data_by_itself_either(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(within="300ms", on_timeout="rollback"),
                               rollbacks=LOSING))
    updd.until(lambda: [e for e in updd.events(job) if e["type"] == "deadline_missed"], 20,
               "never missed")
    time.sleep(0.5)
    assert updd.job(job)["state"] == "waiting" and tiny.done() == ["do-a"]


def test_on_failure_holds_from_its_step_until_a_later_ones(updd, tiny):
    def run(bad):
        steps = [tiny.act(s) if s != bad else tiny.fail(s) for s in ("a", "b", "c")]
        tiny.told.unlink(missing_ok=True)
        return updd.begin(tiny.plan(*steps, rollbacks=LOSING,
                                    on_failure={"default": "full", "b": "code", "c": "hold"}))
    updd.wait_for(run("a"), "rolled_back")
    assert tiny.done() == ["do-a", "undo-a"]
    updd.wait_for(run("b"), "rolled_back")
    assert tiny.done() == ["do-a", "do-b", "undo-b"]
    updd.wait_open(run("c"), "retry-or-skip", "c")


# ---- the way back, finalise, hooks ------------------------------------------------------------


def test_a_succeeded_job_can_be_rolled_back_while_its_way_back_is_open(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.act("b"), way_back="1h"))
    now = updd.wait_for(job, "succeeded")
    assert now["way_back"]["open"] and {"rollback", "finalise"} <= set(now["actions"])
    updd.post(job, "rollback", strategy="full")
    updd.until(lambda: updd.job(job)["state"] == "rolled_back", 20, lambda: updd.tell(job))
    assert tiny.done() == ["do-a", "do-b", "undo-b", "undo-a"]
    updd.invariants(job)


def test_the_next_job_on_the_target_closes_the_way_back_first(updd, tiny):
    slow = {"id": "drop", "run": ["sh", "-c", "sleep 0.5; echo do-drop >>told"]}
    first = updd.begin(tiny.plan(tiny.act("a"), finalise=[slow], target="same"))
    updd.wait_for(first, "succeeded")
    second = updd.begin(tiny.plan(tiny.act("b"), target="same"))
    assert updd.job(second)["state"] == "queued"
    updd.wait_for(second, "succeeded")
    assert updd.job(first)["way_back"]["open"] is False
    said = updd.refuse(409, "not-now", "POST", f"/v1/jobs/{first}/rollback", {})
    assert said["state"] == "succeeded"
    assert tiny.done() == ["do-a", "do-drop", "do-b"]
    updd.invariants(first)


def test_the_next_job_waits_for_a_finalise_step_that_waits_for_people(updd, tiny):
    first = updd.begin(tiny.plan(tiny.act("a"), finalise=[{"id": "drop", **tiny.tell("do-drop", "exit 3")}], target="same"))
    updd.wait_for(first, "succeeded")
    second = updd.begin(tiny.plan(tiny.act("b"), target="same"))
    wait = updd.until(lambda: (updd.job(first).get("waits") or [None])[0], 20,
                      lambda: updd.tell(first))
    updd.restart()
    assert updd.job(second)["state"] == "queued" and updd.job(second)["after"] == first
    updd.post(first, "skip", wait=wait["id"], reason="done by hand")
    updd.wait_for(second, "succeeded")
    assert tiny.done() == ["do-a", "do-drop", "do-b"]
    updd.invariants(second)


def test_a_way_back_ends_by_itself_and_then_finalise_runs(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), finalise=[{"id": "drop", **tiny.tell("do-drop")}], way_back="500ms"))
    updd.wait_for(job, "succeeded")
    updd.until(lambda: tiny.done() == ["do-a", "do-drop"], 20, lambda: updd.tell(job))
    updd.until(lambda: updd.events(job)[-1]["type"] == "finalise_done", 20, lambda: updd.tell(job))
    assert updd.job(job)["way_back"]["open"] is False
    updd.invariants(job)


def test_a_failing_finalise_rolls_nothing_back_and_waits_on_a_succeeded_job(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), finalise=[{"id": "drop", **tiny.tell("do-drop", "test -e fixed")}]))
    updd.wait_for(job, "succeeded")
    updd.post(job, "finalise")
    wait = updd.until(lambda: (updd.job(job).get("waits") or [None])[0], 20, lambda: updd.tell(job))
    assert wait["kind"] == "retry-or-skip" and updd.job(job)["state"] == "succeeded"
    tiny.touch("fixed")
    updd.post(job, "retry", wait=wait["id"])
    updd.until(lambda: updd.events(job)[-1]["type"] == "finalise_done", 20, lambda: updd.tell(job))
    assert "undo-a" not in tiny.done() and updd.job(job)["state"] == "succeeded"
    updd.invariants(job)


def test_hooks_run_and_a_failing_hook_never_fails_a_job(updd, tiny):
    hooks = {"started": [{"run": ["sh", "-c", "echo hook-started >>told; exit 1"]}],
             "waiting": [{"run": ["sh", "-c", "echo hook-waiting >>told"]}],
             "ended": [{"run": ["sh", "-c", "echo hook-ended >>told"]}]}
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(), hooks=hooks))
    wait = updd.wait_open(job, "gate")
    updd.until(lambda: "hook-waiting" in tiny.done(), 20, "no waiting hook")
    updd.post(job, "confirm", wait=wait["id"])
    updd.wait_for(job, "succeeded")
    updd.until(lambda: "hook-ended" in tiny.done(), 20, "no ended hook")
    assert "hook-started" in tiny.done()
    types = lambda: [e["type"] for e in updd.events(job)]  # noqa: E731
    updd.until(lambda: "hook_failed" in types() and types().count("hook_done") == 2, 20,
               lambda: str(types()))
    updd.invariants(job)


def test_hooks_tell_of_a_failure_and_of_the_way_back(updd, tiny):
    hooks = {e: [{"run": ["sh", "-c", f"echo hook-{e} >>told"]}]
             for e in ("failed", "rolling_back", "rolled_back", "stuck")}
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.fail("b"), hooks=hooks))
    updd.wait_for(job, "rolled_back")
    updd.until(lambda: "hook-rolled_back" in tiny.done(), 20, lambda: str(tiny.done()))
    assert "hook-rolling_back" in tiny.done() and "hook-stuck" not in tiny.done()
    # Nothing keeps the job in memory now: what is shown comes out of the store.
    updd.invariants(job)
    updd.restart()
    assert updd.job(job)["failure"]["step"] == "b"
    updd.invariants(job)


def test_hints_explain_a_failure_whose_log_matches(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a", "echo database is locked; exit 1"),
                               hints={"database is locked": "end the other process"}))
    now = updd.wait_for(job, "rolled_back")
    assert now["failure"]["hint"] == "end the other process"
    assert "database is locked" in "\n".join(now["failure"]["tail"])


# ---- the daemon -------------------------------------------------------------------------------


def test_a_gate_and_its_deadline_survive_a_crash_of_the_daemon(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(within="3s", on_timeout="rollback"),
                               tiny.act("b")))
    wait = updd.wait_open(job, "gate")
    updd.kill9()
    updd.start()
    again = updd.wait_open(job, "gate")
    assert again["id"] == wait["id"] and again["deadline"] == wait["deadline"]
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "undo-a"]
    updd.invariants(job)


def test_a_deadline_that_passes_while_the_daemon_is_down_is_missed(updd, tiny):
    job = updd.begin(tiny.plan(tiny.act("a"), tiny.gate(within="1s", on_timeout="rollback")))
    updd.wait_open(job, "gate")
    updd.stop()
    time.sleep(1.2)
    updd.start()
    updd.wait_for(job, "rolled_back")
    updd.invariants(job)


def test_a_second_daemon_on_the_same_state_folder_refuses_and_says_why(updd, tmp_path):
    second = Daemon(tmp_path / "second")
    second.state = updd.state
    with pytest.raises(AssertionError, match="updd ended with"):
        second.start()
    assert str(updd.state) in second.said() or "another" in second.said(), second.said()


def test_history_survives_restarts_and_is_paged_newest_first(updd, tiny):
    jobs = [updd.begin(tiny.plan(tiny.act(f"s{n}"), target=f"t{n}")) for n in range(5)]
    for job in jobs:
        updd.wait_for(job, "succeeded")
    updd.restart()
    first = updd.api("GET", "/v1/jobs?limit=3")
    rest = updd.api("GET", f"/v1/jobs?limit=3&after={first['next']}")
    assert [j["id"] for j in first["jobs"] + rest["jobs"]] == jobs[::-1] and not rest.get("next")
    assert updd.api("GET", "/v1/jobs?target=t2")["jobs"][0]["id"] == jobs[2]
    for job in jobs:
        updd.invariants(job)


def test_a_plan_with_faults_is_refused_with_all_of_them(updd):
    with pytest.raises(Refused) as refused:
        updd.begin("format: 1\nplan: x\nsteps:\n  - {id: a, run: a string}\n  - {id: a, nosuch: 1}\n")
    body = refused.value.answer.body
    assert refused.value.answer.status == 422 and body["type"].endswith(":bad-plan")
    assert len(body["faults"]) >= 2 and all(f["line"] for f in body["faults"])
