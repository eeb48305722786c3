# SPDX-License-Identifier: MIT
"""
The daemon's own state tables (printed by `state-generate`, so they cannot drift), and a journal held
against them: which arcs of the tables a job and each of its steps have gone along.

The journal tells of each move of the job. Of a step it tells what happened; what moves a step without
a word of its own stands below (SILENT, AFTER), and nothing else may.
"""
import functools
import json
import re
import subprocess

import daemon


@functools.cache
def tables():
    """{"job": {state: {event: state}}, "step": …}"""
    made = subprocess.run([str(daemon.BUILD / "daemon/state/state-generate"), "table"], check=True,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return json.loads(made.stdout)


def all_arcs(machine):
    return {(state, event) for state, row in tables()[machine].items() for event in row}


# ---- the job ------------------------------------------------------------------------------------

# What moves a job back to where it is, and is told of in other words.
LOOPS = {"answered": "answer", "finalise_started": "finalise"}


def job_arcs(now, events):
    """The arcs of the job, in order. Asserts that the table has each and that the last is where the
    job is."""
    table, state, arcs = tables()["job"], "queued", []
    for e in events:
        data = e.get("data") or {}
        loop = LOOPS.get(e["type"]) or data.get("answer")
        if e["type"] == "state":
            arc = (state, data["event"])
            assert data["from"] == state, f"the journal jumps from {state} to {e}"
            assert table[state].get(data["event"]) == data["to"], f"no such arc: {e}"
            state = data["to"]
            arcs.append(arc)
        elif loop and table[state].get(loop) == state:
            arcs.append((state, loop))
    assert state == now["state"], f"the journal ends in {state}, the job is {now['state']}"
    return arcs


# ---- a step -------------------------------------------------------------------------------------

# What an entry of the journal that names a step may mean in the table: one of these rows of events.
# An interruption and a decision say more in their data (meanings()).
MEANS = {
    "step_started": [["begin"], []],  # []: a probe, begun when the interruption was settled
    "step_done": [["succeed"]],
    "step_failed": [["fail"], ["begin", "fail"]],  # a probe that could not be begun
    "step_retry": [["again"], ["go-on", "again"]],
    "step_skipped": [["pass-over"]],
    "step_undoing": [["undo"], []],  # []: the same undo, once more
    "step_undone": [["undo-succeed"]],
    "step_undo_failed": [["undo-fail"], ["undo", "undo-fail"]],  # it could not be begun
    "step_left": [[], ["leave"], ["pass-over"]],
    "wait_opened": [["ask"], []],  # []: a wait of a step that does not run
    "answered": [["go-on"], []],
}
SETTLED = {"rerun": [["interrupt", "again"]], "ask": [["interrupt"]], "undo": [["interrupt"]],
           "probe": [["interrupt", "begin"], ["interrupt"]]}
RERUNS_MAX = 50  # of the engine
SILENT = {  # (state, event): a step that may move so at any time
    "any": {("waiting", "go-on")},  # the question was withdrawn, or answered at once
    "group": {("pending", "begin"), ("running", "fail")},
    "gate": {("waiting", "fail")},
}
BACK = {(s, "leave") for s in ("pending", "done", "failed", "interrupted", "skipped")}
AGAIN = {(s, "again") for s in ("failed", "interrupted")}


def meanings(event, before):
    """What may have moved the step that the event names, after what stood `before` in its journal;
    None: nothing."""
    data = event.get("data") or {}
    if event["type"] == "decided":
        again = re.search("once more|tried again", data["decided"])
        return [["again"], []] if again else None
    if event["type"] != "step_interrupted":
        return MEANS.get(event["type"])
    if "on_crash" not in data:
        return None  # of an undo, which goes on
    begun = [i for i, e in enumerate(before) if e["type"] == "step_started"]
    if any(e["type"] in ("stop_wanted", "state") for e in before[begun[-1]:]) or \
            len(begun) > RERUNS_MAX:
        return [["interrupt", "fail"]]
    probing = before[begun[-1]]["data"]["direction"] == "probe"
    return [["interrupt", "begin"]] if probing else SETTLED[data["on_crash"]]


def kind_of(step):
    return "group" if step["verb"] in ("group", "parallel") else \
        "gate" if step["verb"] == "confirm" else "any"


class Replay:
    """Every state that a step can be in by now, each with the arcs that led there."""

    def __init__(self, kind):
        self.silent = SILENT["any"] | SILENT[kind]
        self.found = {"pending": ()}
        self.rest()

    def rest(self, also=()):
        """Goes along silent arcs, as far as they lead."""
        todo = list(self.found)
        while todo:
            state = todo.pop()
            for event, to in tables()["step"][state].items():
                if (state, event) in self.silent | set(also) and to not in self.found:
                    self.found[to] = self.found[state] + ((state, event),)
                    todo.append(to)

    def take(self, meanings):
        table, after = tables()["step"], {}
        for state, arcs in self.found.items():
            for row in meanings:
                at, path = state, arcs
                for event in row:
                    path, at = path + ((at, event),), table[at].get(event)
                    if at is None:
                        break
                else:
                    after.setdefault(at, path)
        self.found = after
        self.rest()


def step_arcs(step, events):
    """The arcs of one step, in order. Asserts that they are of the table and lead where it is."""
    replay, back, before = Replay(kind_of(step)), (), []
    for e in events:
        data = e.get("data") or {}
        going_back = e["type"] == "state" and data["to"] == "rolling_back"
        if going_back:
            back = BACK
        if data.get("answer") in ("retry", "skip"):
            replay.rest(AGAIN)
        if e.get("step") == step["id"]:
            meant, were = meanings(e, before), sorted(replay.found)
            if meant:
                replay.take(meant)
            assert replay.found, f"{step['id']} cannot be one of {were} before {e}"
        if e.get("step") == step["id"] or going_back:
            before.append(e)
        replay.rest(back)
    assert step["state"] in replay.found, \
        f"{step['id']} is {step['state']}; its journal leads to {sorted(replay.found)}"
    return replay.found[step["state"]]


def arcs_of(now, events):
    """("job" | "step", state, event) of all arcs that a job has gone along; asserts that each is
    legal. Hooks are no part of the tables."""
    found = {("job", *arc) for arc in job_arcs(now, events)}
    for step in now["steps"]:
        if step["phase"] != "hook":
            found |= {("step", *arc) for arc in step_arcs(step, events)}
    return found
