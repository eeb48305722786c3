# SPDX-License-Identifier: MIT
"""Two who decide in the same moment: there is one outcome, and each is told it."""
import datetime
import http.client
import json
import random
import threading
import time

import pytest

import daemon as daemon_module
from daemon import SLOW
from test_http import Served


@pytest.fixture
def served(built, tmp_path):
    d = Served(tmp_path / "served", "--socket", tmp_path / "served/sock", "--listen", "127.0.0.1:0")
    try:
        yield d.start().ready()
    finally:
        d.close()


def person(served, name):
    """Somebody with a token: a function that posts as them."""
    token = served.api("POST", "/v1/tokens", {"name": name, "role": "operate"})["token"]

    def post(path, body):
        connection = http.client.HTTPConnection("127.0.0.1", served.port(), timeout=30 * SLOW)
        try:
            connection.request("POST", path, json.dumps(body), {
                "Authorization": f"Bearer {token}", "Content-Type": "application/json"})
            answer = connection.getresponse()
            return daemon_module.Answer(answer.status, answer.getheaders(), answer.read().decode())
        finally:
            connection.close()
    return post


def together(*calls):
    """Runs them at the same moment: their answers, in order."""
    answers, gate = [None] * len(calls), threading.Barrier(len(calls))

    def run(i):
        gate.wait()
        answers[i] = calls[i]()
    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return answers


def test_of_two_people_who_confirm_at_once_one_did_it_and_the_other_is_told_who(served, tiny):
    people = {name: person(served, name) for name in ("alice", "bob")}
    for _ in range(12):
        job = served.begin(tiny.plan(tiny.gate("g1"), tiny.act("a"), tiny.gate("g2")))
        wait = served.wait_open(job, "gate", "g1")["id"]
        answers = dict(zip(people, together(*(
            lambda p=p: p(f"/v1/jobs/{job}/confirm", {"wait": wait}) for p in people.values()))))
        assert sorted(a.status for a in answers.values()) == [200, 409], answers
        winner = next(n for n, a in answers.items() if a.status == 200)
        loser = answers["bob" if winner == "alice" else "alice"].body
        assert loser["type"].endswith(":wait-closed") and f"token:{winner}" in loser["detail"], loser
        assert loser["closed"]["by"] == f"token:{winner}" and loser["closed"]["how"] == "confirmed"
        closed = [e for e in served.events(job) if e["type"] == "wait_closed"]
        assert [e["by"] for e in closed] == [f"token:{winner}"], closed
        served.wait_open(job, "gate", "g2")
        assert tiny.done()[-1] == "do-a"
        served.post(job, "cancel")
        served.wait_for(job, "rolled_back")
        served.invariants(job)
    # Who was first is known after a restart, too.
    job = served.begin(tiny.plan(tiny.gate("g1"), tiny.gate("g2")))
    wait = served.wait_open(job, "gate", "g1")["id"]
    assert people["bob"](f"/v1/jobs/{job}/confirm", {"wait": wait}).status == 200
    served.wait_open(job, "gate", "g2")
    served.stop()
    served.start().ready()
    told = served.refuse(409, "wait-closed", "POST", f"/v1/jobs/{job}/confirm", {"wait": wait})
    assert told["closed"]["by"] == "token:bob"


def test_the_one_who_started_it_is_not_another_person_whoever_else_hurries(served, tiny):
    people = {name: person(served, name) for name in ("alice", "bob")}
    for _ in range(6):
        plan = tiny.plan(tiny.gate("g", other_person=True), tiny.act("a"))
        job = people["alice"]("/v1/jobs", {"document": json.dumps(plan), "inputs": {}}).body["id"]
        wait = served.wait_open(job, "gate")["id"]
        alice, bob = together(*(lambda p=p: p(f"/v1/jobs/{job}/confirm", {"wait": wait})
                                for p in people.values()))
        assert bob.status == 200, bob
        assert (alice.status, alice.body["type"].rsplit(":", 1)[1]) in (
            (422, "same-person"), (409, "wait-closed")), alice
        served.wait_for(job, "succeeded")
        assert served.step(job, "g")["outputs"]["by"] == "token:bob"
        served.invariants(job)


def test_confirm_and_deadline_in_the_same_moment_come_to_one_end(updd, tiny):
    """The call is sent within milliseconds of the deadline, before or after it; whatever comes of it
    agrees with the times in the journal."""
    rng, outcomes, lock = random.Random(5), [], threading.Lock()

    def once(offset):
        act = tiny.act(f"a{threading.get_ident()}")
        job = updd.begin(tiny.plan(act, tiny.gate(within="600ms", on_timeout="rollback")))
        wait = updd.wait_open(job, "gate")
        at = parse_time(wait["deadline"]) + offset
        time.sleep(max(0, at - time.time()))
        answer = updd.call("POST", f"/v1/jobs/{job}/confirm", {"wait": wait["id"]})
        state = "succeeded" if answer.status == 200 else "rolled_back"
        updd.wait_for(job, state, timeout=30)
        events = updd.events(job)
        missed = [e for e in events if e["type"] == "deadline_missed"]
        closed = [e for e in events if e["type"] == "wait_closed"]
        assert len(closed) == 1, closed
        if answer.status == 200:
            assert not missed and closed[0]["data"]["answer"] == "confirmed"
            assert parse_time(closed[0]["time"]) <= parse_time(wait["deadline"]) + 0.001
        else:
            assert answer.status == 409 and len(missed) == 1, answer
            assert parse_time(missed[0]["time"]) >= parse_time(wait["deadline"]) - 0.001
        updd.invariants(job)
        with lock:
            outcomes.append(state)
    failures = run_all([lambda o=o: once(o) for o in
                        [rng.uniform(-0.008, 0.004) for _ in range(24)] + [-0.1, 0.1]])
    assert not failures, failures[0]
    assert set(outcomes) == {"succeeded", "rolled_back"}, outcomes


def test_a_rollback_asked_for_during_a_rollback_is_refused_and_changes_nothing(updd, tiny):
    job = updd.begin(tiny.plan(
        tiny.act("a"), tiny.act("b", undo_then="while ! test -e go; do sleep 0.02; done"),
        tiny.gate(), rollbacks={"part": {"loses": "nothing", "keep": ["a"]}}))
    updd.wait_open(job, "gate")
    asked = together(*[lambda s=s: updd.call("POST", f"/v1/jobs/{job}/rollback", {"strategy": s})
                       for s in ("full", "part") * 3])
    assert sorted(a.status for a in asked) == [200] + [409] * 5, asked
    strategy = updd.job(job)["strategy"]
    assert strategy == ("full", "part")[[a.status for a in asked].index(200) % 2]
    updd.wait_step(job, "b", "undoing")
    for other in ("full", "part"):
        told = updd.refuse(409, "not-now", "POST", f"/v1/jobs/{job}/rollback", {"strategy": other})
        assert told["state"] == "rolling_back" and strategy in told["decided"], told
    tiny.touch("go")
    updd.wait_for(job, "rolled_back")
    assert tiny.done() == ["do-a", "do-b", "undo-b"] + (["undo-a"] if strategy == "full" else [])
    updd.invariants(job)


def parse_time(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def run_all(functions):
    """All at once, each in a thread of its own; what they raised."""
    failures = []

    def run(function):
        try:
            function()
        except BaseException as e:  # noqa: BLE001
            failures.append(e)
    threads = [threading.Thread(target=run, args=(f,)) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return failures
