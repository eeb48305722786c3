# SPDX-License-Identifier: MIT
"""Sentences of the contract that no other file shows: what becomes of secrets, keys of a plan that
were once read and then ignored, and what hooks tell."""
import http.server
import json
import os
import signal
import stat
import threading
import time

import pytest

SECRET = "zyx-tOkEn-98765"
EVENTS = ["started", "waiting", "failed", "rolling_back", "rolled_back", "stuck", "ended"]


def plan(**more):
    return {"format": 1, "plan": "contract", "target": "t", "cwd": "/tmp", **more}


def run(step, *argv, **more):
    return {"id": step, "run": list(argv), "undo": "none", **more}


@pytest.fixture
def listener():
    """A web server of the test's own that remembers what hooks post: (event, headers, body)."""
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path[1:], dict(self.headers), json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.got = got
    server.hooks = {e: [{"webhook": f"http://127.0.0.1:{server.server_port}/{e}"}] for e in EVENTS}
    yield server
    server.shutdown()
    server.server_close()


def heard(updd, listener, event):
    return updd.until(lambda: [g for g in listener.got if g[0] == event], 20,
                      lambda: f"no {event}: {[g[0] for g in listener.got]}")[0]


# ---- secrets ------------------------------------------------------------------------------------


def test_retry_takes_no_secret_that_the_plan_does_not_have(updd, tmp_path):
    job = updd.begin(plan(secrets={"token": {"file": str(tmp_path / "none")}},
                          steps=[run("a", "true")]))
    wait = updd.wait_open(job, "missing-secret")["id"]
    updd.refuse(400, "bad-request", "POST", f"/v1/jobs/{job}/retry",
                {"wait": wait, "secrets": {"../../../evil": "x"}})
    assert not list(tmp_path.rglob("evil"))
    updd.post(job, "retry", wait=wait, secrets={"token": SECRET})
    updd.wait_for(job, "succeeded")


def test_verify_sees_the_secrets_of_its_steps_env(updd, tmp_path):
    length = f'test "$(printf %s "$TOKEN" | wc -c)" = {len(SECRET)}'
    step = run("a", "true", env={"TOKEN": "${secret.token}"},
               verify=[{"run": ["sh", "-c", length]}])
    job = updd.begin(plan(secrets={"token": {"file": str(tmp_path / "none")}}, steps=[step]),
                     secrets={"token": SECRET})
    updd.wait_for(job, "succeeded")
    kept = updd.state / "jobs" / str(job) / "secrets" / "token"
    assert updd.leaks(SECRET) == [str(kept)], "beside where it is kept for the way back"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_secrets_go_with_a_failed_job_and_those_a_crash_left_at_the_next_start(updd, tmp_path):
    job = updd.begin(plan(secrets={"token": {"file": str(tmp_path / "none")}},
                          steps=[run("a", "sh", "-c", 'echo "$T"; false',
                                     env={"T": "${secret.token}"})]),
                     secrets={"token": SECRET})
    updd.wait_for(job, "rolled_back")
    folder = updd.state / "jobs" / str(job) / "secrets"
    updd.until(lambda: not folder.exists(), 10, "the secrets of an ended job stay")
    assert updd.leaks(SECRET) == []
    for number in (job, 77):  # removed too late, and of a start that was never committed
        left = updd.state / "jobs" / str(number) / "secrets"
        left.mkdir(parents=True)
        (left / "token").write_text(SECRET)
    updd.kill9()
    updd.start()
    assert updd.leaks(SECRET) == []


def test_the_state_folder_is_nobody_elses(updd):
    job = updd.begin(plan(steps=[run("a", "true")]))
    updd.wait_for(job, "succeeded")
    for p in [updd.state, *updd.state.rglob("*")]:
        assert not stat.S_IMODE(p.stat().st_mode) & 0o077, (p, oct(p.stat().st_mode))


def test_no_core_dump_puts_secrets_on_disk(updd):
    job = updd.begin(plan(steps=[run("a", "sleep", "60")]))
    updd.wait_step(job, "a", "running")
    claim = updd.state / "jobs" / str(job) / "a" / "1" / "claim"
    updd.until(claim.exists, 20, lambda: updd.tell(job))
    for pid in (updd.process.pid, json.loads(claim.read_text())["pid"]):
        with open(f"/proc/{pid}/limits") as limits:
            soft = [line.split()[4] for line in limits if line.startswith("Max core file size")]
        assert soft == ["0"], pid
    updd.post(job, "cancel")
    updd.wait_for(job, "rolled_back")


# ---- keys that once were read and ignored -------------------------------------------------------


def test_a_strategy_is_taken_only_while_its_when_holds(updd):
    strategies = {"code": {"loses": "nothing", "keep": ["a"], "when": "steps.a.stdout == 'x'"}}
    for said, end in (("x", "rolled_back"), ("y", "waiting")):
        job = updd.begin(plan(target=said, rollbacks=strategies, on_failure={"default": "code"},
                              steps=[run("a", "printf", said), run("b", "false")]))
        now = updd.wait_for(job, end)
        if end == "waiting":
            assert "code cannot be taken" in now["decided"], now
            assert [s["name"] for s in now["strategies"]] == ["full"]
            updd.refuse(409, "not-now", "POST", f"/v1/jobs/{job}/rollback", {"strategy": "code"})
            updd.post(job, "rollback", strategy="full")
            updd.wait_for(job, "rolled_back")
        updd.invariants(job)


@pytest.mark.parametrize("more", [
    {"limits": {"memory": "1G"}},
    {"kube": {"namespace": "shop"}},
])
def test_what_is_not_carried_yet_is_told_by_lint_and_refused_at_the_start(updd, more):
    document = json.dumps(plan(steps=[run("a", "true")], **more))
    told = updd.api("POST", "/v1/plans:check", document)
    assert told["ok"] and len(told["unsupported"]) == 1, told
    updd.refuse(422, "not-carried", "POST", "/v1/jobs", {"document": document})


@pytest.mark.parametrize("step", [
    {"id": "g", "group": [run("a", "true")], "dry_run": [{"run": ["true"]}]},
    {"id": "g", "confirm": "Go on?", "dry_run": [{"run": ["true"]}]},
    {"id": "a", "run": ["true"], "undo": [{"run": ["true"], "limits": {"log": "1M"}}]},
    {"id": "a", "run": ["true"], "undo": [{"run": ["true"], "dry_run": [{"run": ["true"]}]}]},
])
def test_a_key_that_nothing_would_read_is_a_fault(updd, step):
    told = updd.api("POST", "/v1/plans:check", json.dumps(plan(steps=[step])))
    assert [f["code"] for f in told["faults"]] == ["unused-key"], told


def test_what_a_strategy_does_instead_for_a_group_stands_for_its_members(updd, tmp_path):
    def touch(name):
        return {"run": ["touch", str(tmp_path / name)]}
    group = {"id": "g", "group": [run(m, "true", undo=touch(m)) for m in ("a", "b")]}
    job = updd.begin(plan(steps=[group, {"id": "gate", "confirm": "Go on?"}],
                          rollbacks={"other": {"loses": "nothing", "instead": {"g": touch("g")}}}))
    updd.wait_open(job, "gate")
    shown = {s["name"]: [u["step"] for u in s["undo"]] for s in updd.job(job)["strategies"]}
    assert shown == {"full": ["b", "a"], "other": ["g"]}
    updd.post(job, "rollback", strategy="other")
    updd.wait_for(job, "rolled_back")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["g"]
    updd.invariants(job)


@pytest.mark.parametrize("whole", [True, False])
def test_a_groups_own_undo_stands_for_its_members(updd, tmp_path, whole):
    def touch(name):
        return {"run": ["touch", str(tmp_path / name)]}
    members = [run("a", "true", undo=touch("a")), run("b", "true" if whole else "false", undo=touch("b"))]
    job = updd.begin(plan(steps=[{"id": "g", "group": members, "undo": touch("g")},
                                 run("last", "false")]))
    updd.wait_for(job, "rolled_back")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["g"]
    updd.invariants(job)


@pytest.mark.parametrize("name", ["secrets", "backups"])
def test_a_step_is_not_called_as_a_folder_of_the_jobs_own(updd, name):
    told = updd.api("POST", "/v1/plans:check", json.dumps(plan(steps=[run(name, "true")])))
    assert [f["code"] for f in told["faults"]] == ["bad-id"], told


def test_an_undo_has_the_time_limit_that_it_says_itself(updd):
    slow = {"run": ["sleep", "3"], "timeout": "1m"}
    job = updd.begin(plan(steps=[run("a", "true", undo=[slow], timeout="1s"), run("b", "false")]))
    updd.wait_for(job, "rolled_back", timeout=40)
    short = {"run": ["sleep", "60"], "timeout": "500ms"}
    job = updd.begin(plan(steps=[run("a", "true", undo=[short]), run("b", "false")]))
    assert "time limit" in updd.wait_for(job, "stuck", timeout=40)["failure"]["message"]


def test_an_interrupted_undo_asks_its_probe_before_it_runs_again(updd, tmp_path):
    ran, go = tmp_path / "ran", tmp_path / "go"
    undo = [{"run": ["sh", "-c", f"echo once >> {ran}; while ! test -e {go}; do sleep .1; done"],
             "on_crash": "probe", "probe": [{"path": str(ran)}]}]
    job = updd.begin(plan(steps=[run("a", "true", undo=undo), run("b", "false")]))
    updd.until(ran.exists, 20, lambda: updd.tell(job))
    claim = json.loads((updd.state / "jobs" / str(job) / "a" / "2" / "claim").read_text())
    os.kill(claim["pid"], signal.SIGKILL)
    updd.wait_for(job, "rolled_back")
    assert ran.read_text() == "once\n"
    updd.invariants(job)


# ---- hooks --------------------------------------------------------------------------------------


def test_hooks_tell_the_failure_and_what_can_be_done_now(updd, listener):
    job = updd.begin(plan(hooks=listener.hooks, hints={"boom": "do not boom"},
                          on_failure={"default": "hold"},
                          steps=[run("a", "true", undo={"run": ["true"]}),
                                 run("b", "sh", "-c", "echo boom; false")]))
    updd.wait_open(job, "retry-or-skip")
    _, headers, told = heard(updd, listener, "failed")
    assert headers["Updd-Event"] == str(told["seq"]) and told["state"] == "waiting"
    failure = told["failure"]
    assert (failure["step"], failure["tail"], failure["hint"]) == ("b", ["boom"], "do not boom")
    assert f"updctl retry {job}" in failure["next"] and "hold" in told["decided"]
    assert heard(updd, listener, "started")[2]["state"] == "running"
    updd.post(job, "rollback", strategy="full")
    updd.wait_for(job, "rolled_back")
    failure = heard(updd, listener, "rolled_back")[2]["failure"]
    assert failure["undone"] == ["a"] and [s["step"] for s in failure["left"]] == ["b"]
    heard(updd, listener, "ended")
    heard(updd, listener, "waiting")
    heard(updd, listener, "rolling_back")
    assert "stuck" not in [g[0] for g in listener.got]


def test_a_hook_runs_only_when_it_says_so(updd, tmp_path):
    hooks = {"started": [{"run": ["touch", str(tmp_path / w)], "when": f"in.who == '{w}'"}
                         for w in ("me", "you")]}
    job = updd.begin(plan(inputs={"who": {"default": "me"}}, hooks=hooks, steps=[run("a", "true")]))
    updd.wait_for(job, "succeeded")
    updd.until((tmp_path / "me").exists, 10, "the hook did not run")
    time.sleep(0.2)
    assert not (tmp_path / "you").exists()


def test_a_hook_that_is_a_program_reads_the_event(updd, tmp_path):
    new, event = tmp_path / "new", tmp_path / "event"
    hooks = {"failed": [{"run": ["sh", "-c", f"cat > {new} && mv {new} {event}"]}]}
    job = updd.begin(plan(hooks=hooks, steps=[run("a", "sh", "-c", "echo boom; false")]))
    updd.wait_for(job, "rolled_back")
    updd.until(event.exists, 10, "the hook did not run")
    told = json.loads(event.read_text())
    assert told["type"] == "failed" and told["failure"]["tail"] == ["boom"], told


# ---- decisions ----------------------------------------------------------------------------------


def test_a_deadline_is_not_decided_late(updd):
    gate = {"id": "g", "confirm": {"ask": "Go on?", "within": "200ms", "on_timeout": "continue"}}
    job = updd.begin(plan(steps=[gate]))
    wait = updd.wait_open(job, "gate")
    ended = updd.wait_for(job, "succeeded")["ended"]
    late = [float(t[17:23]) for t in (wait["deadline"], ended)]
    assert (late[1] - late[0]) % 60 < 0.5, (wait["deadline"], ended)


def test_a_cancel_is_no_way_around_a_text_that_must_be_typed(updd):
    job = updd.begin(plan(rollbacks={"full": {"loses": "the day's orders", "type": "lose them"}},
                          steps=[run("a", "true"), {"id": "g", "confirm": "Go on?"}]))
    updd.wait_open(job, "gate")
    said = updd.refuse(422, "not-typed", "POST", f"/v1/jobs/{job}/cancel", {})
    assert "rollback" in said["hint"]
    updd.post(job, "rollback", strategy="full", typed="lose them")
    updd.wait_for(job, "rolled_back")
