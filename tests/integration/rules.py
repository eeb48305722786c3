# SPDX-License-Identifier: MIT
"""
The rules that hold for every job after every fault, as functions that raise AssertionError:

- the journal is gapless and in order, and the job's version is its last number;
- every acknowledged request is there: asked again with its key, it is known and not done again;
- the state of the job and of each step is legal and was reached by legal arcs (states.py);
- no attempt ran that was not recorded, and none was recorded again without a reason: so a step that
  must not repeat ran at most once, as it counted itself (tiny.py: a word a run, fsynced);
- an interruption was settled as the step's `on_crash` says;
- undo ran in the reverse order of completion, only for what began, and for all that was done;
- no step began outside of the job's maintenance window, but past the last gate or by a person's word;
- logs are complete up to the fault (numbered lines, tiny.say());
- nothing is left running that no job owns, and nothing stays reserved for a way back that is over;
- secrets are gone.

check() asks for all that can be asked of a job that a daemon serves. Each rule also stands alone, over
`now` (the job as the API shows it), `events` (its journal), `folder` (the state folder) and `words`
(what the steps wrote down: do-STEP, undo-STEP).
"""
import json
import os
import pathlib
import re
import time

import daemon
import states

AGAIN_WORDS = ("once more", "tried again", "nothing of it has run")


def check(updd, job, words=None, plan=None, place=None, acknowledged=(), secrets=(),
          power_cut=False):
    """All rules. `words` of a Tiny, the `plan` as a dict, and the folder `place` in which its steps
    run, where there are such; `acknowledged`: see acknowledged_is_there()."""
    now, events = at_one_moment(updd, job)
    journal_is_whole(now, events)
    states_are_legal(now, events)
    repeats_have_a_reason(events)
    interruptions_are_settled(events, plan)
    undo_goes_back_in_order(now, events)
    no_step_begins_outside_of_the_window(now, events)
    attempts_are_whole(updd.state, now)
    if words is not None:
        words_are_of_attempts(updd.state, now, words)
        undone_is_what_was_done(now, events, words)
    if place is not None:
        logs_are_complete(updd.state, job, pathlib.Path(place) / "said", power_cut)
    acknowledged_is_there(updd, acknowledged)
    if now["state"] in daemon.ENDED and settled(now):
        nothing_is_left_running(updd, job, place)
        nothing_stays_reserved(updd.state, job)
        for secret in secrets:
            updd.until(lambda s=secret: not updd.leaks(s), 20,  # hooks that may be tried again have it
                       lambda s=secret: f"it is kept in {updd.leaks(s)}")
    return now, events


def at_one_moment(updd, job):
    """A job and its journal, with nothing told in between: hooks and the like go on after its end."""
    while True:
        now, events = updd.job(job), updd.events(job)
        if now["version"] == updd.job(job)["version"]:
            return now, events


def settled(now):
    """Nothing of it may run any more: its finalise steps and hooks too have come to an end."""
    moving = {"running", "undoing", "waiting"}
    if any(s["state"] in moving for s in now["steps"]) or now.get("waits"):
        return False
    finalise = {s["state"] for s in now["steps"] if s["phase"] == "finalise"}
    open_way = (now.get("way_back") or {}).get("open")
    return now["state"] != "succeeded" or open_way or not finalise - {"done", "skipped"}


def nothing_stays_reserved(state, job):
    """It is given back behind the commit that ends the job."""
    kept = pathlib.Path(state) / "jobs" / str(job) / "reserve"
    end = time.monotonic() + 5
    while kept.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not kept.exists(), "still reserved"


# ---- the journal and the tables -----------------------------------------------------------------


def journal_is_whole(now, events):
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1)), "gaps in the journal"
    assert [e["time"] for e in events] == sorted(e["time"] for e in events), "events out of order"
    assert now["version"] == len(events), (now["version"], len(events))
    assert events[0]["type"] == "created", events[0]


def states_are_legal(now, events):
    tables = states.tables()
    assert now["state"] in tables["job"], now["state"]
    assert {s["state"] for s in now["steps"]} <= set(tables["step"]), now["steps"]
    if now["state"] in ("failed", "rolled_back", "cancelled", "abandoned"):
        assert not now.get("waits"), now["waits"]
    if now["state"] == "waiting":
        assert now["waits"], "it waits for nothing"
    return states.arcs_of(now, events)


def acknowledged_is_there(updd, acknowledged):
    """(path, body, headers, answer) of each POST that was answered well: asked again with its key, it
    is known, and leads to the same job."""
    for path, body, headers, first in acknowledged:
        again = updd.call("POST", path, body, headers)
        assert again.headers.get("idempotency-replayed") == "true", (path, again)
        assert (again.status, again.body["id"]) == (first.status, first.body["id"]), path


# ---- attempts -----------------------------------------------------------------------------------


def attempts(state, job, step="*", direction=None, claimed=True):
    """The task.json of a job's attempts, by place; `claimed`: only what an updd-step claimed. A power
    cut may take the task of a claimed attempt, which nobody reads again: it may have been any."""
    found = []
    for folder in sorted((state / "jobs" / str(job)).glob(f"{step}/[0-9]*")):
        claim = read(folder / "claim")
        task = task_of(folder, claim)
        if not task:
            continue
        if (direction is None or task["direction"] in (None, direction)) and \
                (not claimed or claim and claim.get("by") != "daemon"):
            found.append((folder, task))
    return found


def task_of(folder, claim):
    try:
        task = read(folder / "task.json")
    except ValueError:
        task = {}
    if task or not claim:
        return task
    return {"id": claim["id"], "step": folder.parent.name, "n": int(folder.name), "direction": None}


def read(file):
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        return {}


def attempts_are_whole(state, now):
    """Each attempt that is over was claimed, and a result is of who claimed it."""
    numbers = {s["id"]: s["attempts"] for s in now["steps"]}
    for folder, task in attempts(state, now["id"], claimed=False):
        claim, result = read(folder / "claim"), read(folder / "result.json")
        over = now["state"] in daemon.ENDED and settled(now)
        assert claim or not over, f"{folder} was never claimed"
        assert not claim or claim["id"] == task["id"], f"{folder}: a foreign claim"
        assert not result or claim.get("by") != "daemon" and result["id"] == claim.get("id"), \
            f"{folder}: a foreign result"
        assert task["n"] <= numbers.get(task["step"], task["n"]), f"{folder} is not recorded"


def repeats_have_a_reason(events):
    """A second attempt in one direction was told of by what allows it, after the first began."""
    reasons = {}
    for e in events:
        data, step = e.get("data") or {}, e.get("step")
        if e["type"] == "step_started" and data.get("direction") == "do":
            assert reasons.get((step, "do"), True), f"{step} was begun again: {e}"
            reasons[step, "do"] = None
        elif e["type"] == "step_undoing":
            assert reasons.get((step, "undo"), True), f"{step} was undone again: {e}"
            reasons[step, "undo"] = None
        elif e["type"] == "step_interrupted" and data.get("direction") == "undo":
            reasons[step, "undo"] = e
        elif e["type"] == "step_interrupted" and data.get("on_crash") == "rerun" or \
                e["type"] == "step_retry":
            reasons[step, "do"] = e
        elif e["type"] == "decided" and re.search("|".join(AGAIN_WORDS), data["decided"]):
            reasons[step, "do"] = reasons[step, "undo"] = e
        elif data.get("answer") in ("retry", "skip"):
            reasons = {key: e if key[1] == "do" else was for key, was in reasons.items()}


def words_are_of_attempts(state, now, words):
    """Each step ran at most as often as an updd-step claimed an attempt to do (undo) it. What a
    claimed attempt wrote down twice would be told here too."""
    for word in set(words):
        direction, _, step = word.partition("-")
        if direction in ("do", "undo") and step in {s["id"] for s in now["steps"]}:
            claimed = attempts(state, now["id"], step, direction)
            assert words.count(word) <= len(claimed), \
                f"{word} {words.count(word)} times in {len(claimed)} attempts: {words}"


def interruptions_are_settled(events, plan=None):
    """What follows an interruption is what the policy says, and the policy is the plan's."""
    said = policies(plan) if plan else {}
    for i, e in enumerate(events):
        data, step = e.get("data") or {}, e.get("step")
        policy = data.get("on_crash")
        if e["type"] != "step_interrupted" or not policy:
            continue
        assert said.get(step, policy) == policy, f"{step} says {said[step]}: {e}"
        after = [x for x in events[i + 1:] if x.get("step") == step]
        going_back = any(x["type"] == "state" and x["data"]["to"] == "rolling_back" or
                         x["type"] == "stop_wanted" and x.get("step") == step
                         for x in events[:i])
        if not after or going_back:
            continue
        follows = after[0]["type"], (after[0].get("data") or {}).get("direction")
        kind = (after[0].get("data") or {}).get("kind")
        went_back = {("step_undoing", "undo"), ("step_left", None), ("stop_wanted", None)}
        allowed = {"rerun": {("step_started", "do")} | went_back,
                   "ask": {("wait_opened", None)},
                   "undo": {("step_failed", None)},
                   "probe": {("step_started", "probe"), ("step_failed", None)}}[policy]
        probing = [x for x in events[:i] if x.get("step") == step and x["type"] == "step_started"]
        if probing and probing[-1]["data"]["direction"] == "probe":
            allowed = allowed | {("step_started", "probe")}
        assert follows in allowed, f"{step}: on_crash {policy} was followed by {after[0]}"
        assert follows[0] != "wait_opened" or kind == "retry-or-skip", after[0]


def policies(plan):
    """{step: on_crash} of a plan, where it is written or what a `run` and a check have by default."""
    found = {}

    def walk(steps):
        for step in steps if isinstance(steps, list) else steps.get("steps", []):
            for key in ("group", "parallel"):
                walk(step.get(key, []))
            if "on_crash" in step or "run" in step or "check" in step:
                default = "probe" if "probe" in step else "undo" if "run" in step else "rerun"
                found[step["id"]] = step.get("on_crash", default)
    for key in ("steps", "finalise"):
        walk(plan.get(key, []))
    return found


# ---- the window ---------------------------------------------------------------------------------


def no_step_begins_outside_of_the_window(now, events):
    """Nor a check: from its opening to its end, or where it holds nothing any more."""
    if "window" not in now:
        return
    forward = {s["id"] for s in now["steps"] if s["phase"] in ("checks", "main")}
    gates = [s["id"] for s in now["steps"] if s["phase"] == "main" and s["verb"] == "confirm"]
    may = accepted = False
    moves = {"window_opened": "o", "window_ahead": "a", "window_closed": "c"}
    told = "".join(moves.get(e["type"], "") for e in events)
    assert re.fullmatch("(o(ao)*a?)?c?", told), told
    for e in events:
        data, step = e.get("data") or {}, e.get("step")
        if e["type"] in moves:
            may = e["type"] == "window_opened"
        elif e["type"] == "decided" and data["decided"].startswith("going on outside of the window"):
            assert e.get("by"), e
            accepted = True
        elif e["type"] in ("step_done", "step_skipped") and gates and step == gates[-1]:
            accepted = True
        elif e["type"] == "step_started" and data.get("direction") == "do" and step in forward:
            assert may or accepted, f"{step} began outside of the window: {e}"


# ---- the way back -------------------------------------------------------------------------------


def undo_goes_back_in_order(now, events):
    """Undone is only what began, once, and in the reverse order of its end."""
    ended, undone, began = {}, [], set()
    for e in events:
        if e["type"] in ("step_done", "step_failed", "step_interrupted") and \
                (e.get("data") or {}).get("direction") != "undo":
            ended[e["step"]] = e["seq"]
        if e["type"] in ("step_started", "step_done", "wait_opened"):
            began.add(e.get("step"))
        if e["type"] == "step_undone":
            undone.append(e["step"])
    # A group that is undone as one begins with its members, without a word of its own.
    began |= {s["id"] for s in now["steps"] if s["verb"] in ("group", "parallel")}
    assert len(undone) == len(set(undone)), f"undone twice: {undone}"
    assert set(undone) <= began, f"undone and never begun: {set(undone) - began}"
    places = [ended[s] for s in undone if s in ended]
    assert places == sorted(places, reverse=True), (ended, undone)


def undone_is_what_was_done(now, events, words):
    """By the words of the steps themselves: an undo only of what an attempt began to do, in the
    reverse order; and when all is said to be undone, each that did is undone or told to be left."""
    mine = {s["id"] for s in now["steps"]}
    undone = last_places(words, "undo-", mine)
    began = {e["step"] for e in events if e["type"] == "step_started"}
    assert set(undone) <= began, f"undone and never begun: {words}"
    if now["state"] != "rolled_back":
        return
    left = {e["step"] for e in events if e["type"] == "step_left"}
    did = set(last_places(words, "do-", mine))
    phases = {s["id"]: s["phase"] for s in now["steps"]}
    forgotten = {s for s in did - set(undone) - left if phases[s] == "main"}
    told = {e["step"] for e in events if e["type"] == "step_undone"}
    assert not forgotten - told, f"neither undone nor left: {forgotten} {words}"


def last_places(words, prefix, mine):
    """The steps of those words, in the order in which each was told of last."""
    steps = [w.removeprefix(prefix) for w in words if w.startswith(prefix)]
    found = {s: i for i, s in enumerate(steps) if s in mine}
    return sorted(found, key=found.get)


# ---- what is left -------------------------------------------------------------------------------


def logs_are_complete(state, job, said, power_cut=False):
    """Steps of tiny.say() number their lines, and note in the file `said` what they have written, a
    line each: ATTEMPT NUMBER. A log has all lines from the first on, none missing in between; all
    that were noted when the attempt has a result of its own end. A log is synced before the result is
    written: without one, a power cut may take any of it."""
    noted = {}
    for line in said.read_text().split("\n")[:-1] if said.exists() else []:
        attempt, _, number = line.partition(" ")
        if number.isdigit():  # a power cut tears the file itself
            noted[attempt] = int(number)
    for folder, task in attempts(state, job):
        result = read(folder / "result.json")
        if task["id"] not in noted or power_cut and not result:
            continue
        text = (folder / "log").read_text(errors="replace")
        lines = [int(n) for n in re.findall(r"^line-(\d+)$", text, re.M)]
        assert lines == list(range(1, len(lines) + 1)), f"{folder}: {lines}"
        # What a worker that was killed had not passed on yet is in no one's hands.
        whole = result.get("state") in ("done", "failed") and result.get("reason") != "error" and \
            result.get("error", {}).get("type") != "worker-lost"
        assert not whole or len(lines) >= noted[task["id"]], f"{folder}: {lines} {noted}"


def nothing_is_left_running(updd, job, place=None):
    """No process carries an attempt's id, or works in the folder of the job's steps."""
    assert not updd.attempt_processes(job), updd.attempt_processes(job)
    assert not place or not processes_in(place), processes_in(place)


def processes_in(place):
    """Pids whose current folder is `place` or below it: by that even what has cleared its environment
    is found."""
    found, place = [], str(pathlib.Path(place).resolve())
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            at = os.readlink(f"/proc/{pid}/cwd")
        except OSError:
            continue
        if (at == place or at.startswith(place + "/")) and int(pid) != os.getpid():
            found.append(int(pid))
    return found
