# SPDX-License-Identifier: MIT
"""updctl decides: confirm, answer, rollback and the others, for the job and the wait that are meant."""
import re
import threading

from ctltool import STRATEGIES, ctl, failed, gate, question
from fake_updd import job, stamp

# ---- which job, which wait --------------------------------------------------------------------------


def test_a_job_is_named_by_number_plan_target_or_not_at_all(fake):
    fake.put(job())
    for word in ([], ["42"], ["kimi-proxy-v2"], ["kimi-proxy"]):
        assert "job 42" in ctl(fake, "status", *word, code=0).stdout
    assert ctl(fake, "status", "nobody", code=1).stderr.startswith("updctl: no job has 'nobody'")
    fake.put(job(43, plan="other", target="a place/with a slash"))
    assert "job 43" in ctl(fake, "status", "a place/with a slash", code=0).stdout
    several = ctl(fake, "status", code=2)
    assert "several unfinished jobs" in several.stderr and "other" in several.stderr


def test_no_unfinished_job_is_told(fake):
    fake.put(job(state="succeeded", ended=stamp()))
    assert "there is no unfinished job" in ctl(fake, "watch", code=1).stderr
    assert "No unfinished job" in ctl(fake, code=0).stdout


def test_a_wait_is_named_by_updctl_itself(fake):
    fake.put(job(state="waiting", waits=[question(), gate(items=[])]))
    ctl(fake, "confirm", code=0)
    ctl(fake, "answer", "42", "-", stdin="a secret\n", code=0)
    assert fake.posted("/confirm") == [{"wait": "w1"}]
    assert fake.posted("/answer") == [{"wait": "w2", "text": "a secret"}]
    fake.put(job(state="waiting", waits=[
        {"id": "w3", "kind": "retry-or-skip", "step": "a", "since": stamp(), "can": ["retry", "skip"]},
        {"id": "w4", "kind": "retry-or-skip", "step": "b", "since": stamp(), "can": ["retry", "skip"]}]))
    several = ctl(fake, "retry", code=2)
    assert "--wait w3" in several.stderr and "--wait w4" in several.stderr
    ctl(fake, "skip", "--wait", "w4", "--reason", "not needed", code=0)
    assert fake.posted("/skip") == [{"wait": "w4", "reason": "not needed"}]
    assert "allowed now: rollback, cancel" in ctl(fake, "confirm", code=1).stderr
    assert "no open wait 'w7'" in ctl(fake, "skip", "--wait", "w7", "--reason", "x", code=1).stderr


def test_items_are_ticked_by_text_beginning_or_number(fake):
    fake.put(job(state="waiting", waits=[gate()]))
    assert "--tick each" in ctl(fake, "confirm", code=2).stderr
    ctl(fake, "confirm", "--tick", "chat works", "--tick", "2", code=0)
    ctl(fake, "confirm", "--tick", "hist", code=0)
    ctl(fake, "confirm", "--all", "--reason", "seen", code=0)
    assert fake.posted("/confirm") == [
        {"wait": "w1", "ticks": ["chat works", "history is there"]},
        {"wait": "w1", "ticks": ["history is there"]}, {"wait": "w1", "all": True, "reason": "seen"}]
    assert "did you mean 'chat works'?" in ctl(fake, "confirm", "--tick", "chat work5", code=2).stderr


def test_what_is_still_to_be_ticked_is_told(fake):
    def tick(now, verb, body):
        now["waits"][0]["items"][0]["ticked"] = {"by": "uid:0 (root)", "at": stamp()}
        return now
    fake.on_post = tick
    fake.put(job(state="waiting", waits=[gate()]))
    assert "accept: 1 of 2 items are ticked" in ctl(fake, "confirm", "--tick", "1", code=0).stdout
    assert "[x] 1  chat works (uid:0 (root)" in ctl(fake, "status", code=5).stdout


def test_a_text_that_must_be_typed_is_asked_for(fake):
    fake.put(job(state="waiting", waits=[gate(items=[], type="PRODUCTION")]))
    assert "--type 'PRODUCTION'" in ctl(fake, "confirm", code=2).stderr
    ctl(fake, "confirm", "--type", "PRODUCTION", code=0)
    assert fake.posted("/confirm") == [{"wait": "w1", "typed": "PRODUCTION"}]


def test_an_answer_that_must_not_be_seen_is_not_taken_from_the_command_line(fake):
    fake.put(job(state="waiting", waits=[question()]))
    ctl(fake, "answer", "42", "hunter2", code=2)
    assert not fake.posted("/answer")
    fake.put(job(state="waiting", waits=[question(echo=True)]))
    ctl(fake, "answer", "42", "yes", code=0)
    assert fake.posted("/answer") == [{"wait": "w2", "text": "yes"}]


def test_confirm_can_follow_and_then_tells_how_the_job_ended(fake):
    fake.put(job(state="waiting", waits=[gate(items=[])]))
    fake.on_post = lambda now, verb, body: {**now, "state": "running", "waits": []}
    threading.Timer(0.8, lambda: fake.put(failed())).start()
    assert "proxy is not healthy" in ctl(fake, "confirm", "--follow", code=3).stdout


# ---- the ways back ----------------------------------------------------------------------------------


def test_rollback_shows_every_way_back_and_what_it_loses_in_clock_time(fake):
    fake.put(job(strategies=STRATEGIES))
    done = ctl(fake, "rollback", code=2)
    since = re.search(r"loses     what was written: writes since (\d\d:\d\d|.* \d\d:\d\d), 47 min\n",
                      done.stderr)
    assert since, done.stderr
    assert re.search(r"1\.  code +git: back to the recorded commit\n +2\.  stop", done.stderr)
    assert "loses     nothing" in done.stderr and "for       application bug" in done.stderr
    assert "keeps     data" in done.stderr and "--strategy NAME" in done.stderr
    assert not fake.posted("/rollback")


def test_rollback_takes_the_strategy_that_is_named_or_full_with_yes(fake):
    fake.put(job(strategies=STRATEGIES))
    ctl(fake, "rollback", "--strategy", "code", "--reason", "a bug", code=0)
    ctl(fake, "rollback", "--yes", code=0)
    fake.put(job(strategies=STRATEGIES[:1]))
    ctl(fake, "rollback", code=0)
    assert fake.posted("/rollback") == [{"strategy": "code", "reason": "a bug"}, {"strategy": "full"},
                                        {"strategy": "full"}]


def test_a_way_back_that_is_none_is_told_with_those_there_are(fake):
    fake.put(job(strategies=STRATEGIES))
    assert "there is: full, code" in ctl(fake, "rollback", "--strategy", "cod", code=1).stderr
    assert not fake.posted("/rollback")


def test_a_strategy_that_wants_a_text_typed_gets_it(fake):
    fake.put(job(strategies=[{**STRATEGIES[0], "type": "RESET"}]))
    assert "--type 'RESET'" in ctl(fake, "rollback", code=2).stderr
    ctl(fake, "rollback", "--type", "RESET", code=0)
    assert fake.posted("/rollback") == [{"strategy": "full", "typed": "RESET"}]


def test_a_job_that_cannot_go_back_says_what_it_can(fake):
    fake.put(job(actions=["finalise"]))
    done = ctl(fake, "rollback", code=1)
    assert "cannot be rolled back now" in done.stderr and "allowed now: finalise" in done.stderr


def test_going_back_as_asked_is_0(fake):
    fake.put(job(strategies=STRATEGIES))
    fake.on_post = lambda now, verb, body: {**now, "state": "rolled_back", "ended": stamp()}
    ctl(fake, "rollback", "--yes", "--follow", code=0)


# ---- other decisions --------------------------------------------------------------------------------


def test_retry_may_change_inputs_plan_and_secrets_and_shows_the_difference(fake, tmp_path):
    (tmp_path / "new.yaml").write_text("format: 1\n")
    (tmp_path / "token").write_text("s3cret")
    wait = {"id": "w3", "kind": "missing-secret", "since": stamp(), "secrets": ["token"], "can": ["retry"]}
    fake.put(job(state="waiting", waits=[wait], inputs={"n": 1}))
    assert "updctl retry 42 --secret token=@FILE" in ctl(fake, "status", code=5).stdout
    fake.on_post = lambda now, verb, body: {**now, "inputs": {"n": 2}, "sha256": "b" * 64}
    done = ctl(fake, "retry", "-i", "n=2", "--plan", tmp_path / "new.yaml", "--secret",
               f"token=@{tmp_path}/token", code=0)
    assert fake.posted("/retry") == [{"wait": "w3", "document": "format: 1\n", "inputs": {"n": "2"},
                                      "secrets": {"token": "s3cret"}}]
    assert "n  1 -> 2\n" in done.stdout and "plan  aaaaaaaaaaaa -> bbbbbbbbbbbb\n" in done.stdout


def test_skip_and_abandon_need_a_reason_and_the_others_do_not(fake):
    fake.put(job(state="stuck", actions=["retry", "skip", "abandon"]))
    for verb in ("skip", "abandon"):
        assert "--reason TEXT" in ctl(fake, verb, code=2).stderr
        ctl(fake, verb, "--reason", "it must be", code=0)
        assert fake.posted("/" + verb) == [{"reason": "it must be"}]
    for verb in ("cancel", "finalise", "retry"):
        ctl(fake, verb, code=0)
        assert fake.posted("/" + verb) == [{}]


def test_a_token_is_printed_alone(fake):
    fake.fixed["POST", "/v1/tokens"] = (201, {"name": "grafana", "role": "view", "token": "t0ken"})
    fake.fixed["DELETE", "/v1/tokens/grafana"] = (204, {})
    assert ctl(fake, "token", "add", "grafana", "--role", "view", code=0).stdout == "t0ken\n"
    assert "removed" in ctl(fake, "token", "remove", "grafana", code=0).stdout
    assert "--role" in ctl(fake, "token", "add", "grafana", code=2).stderr


def test_health_tells_what_is_not_well(fake):
    fake.fixed["GET", "/v1/health"] = (200, {"ok": True, "store": "ok", "version": "1", "jobs": {}})
    assert ctl(fake, "health", code=0).stdout.startswith("well: updd 1")
    fake.fixed["GET", "/v1/health"] = (503, {"ok": False, "store": "disk full", "jobs": {}})
    assert "store disk full" in ctl(fake, "health", code=1).stdout
