# SPDX-License-Identifier: MIT
"""The plans that are installed: sound, wholly carried out by this build, and what they promise."""
import pytest

from daemon import ROOT

PLANS = sorted((ROOT / "plans").glob("*.yaml"))


@pytest.mark.parametrize("file", PLANS, ids=lambda f: f.stem)
def test_an_installed_plan_has_no_fault_and_can_be_carried_out(updd, file):
    said = updd.api("POST", f"/v1/plans:check?file={file.name}", file.read_text())
    assert said["ok"] and said["faults"] == [] and said["unsupported"] == [], said
    assert said["plan"] == file.stem
    done = updd.ctl("lint", file, check=0)
    assert "error" not in done.stdout


def test_the_list_of_plans_has_them_all_and_a_broken_one_with_its_faults(updd):
    (updd.plans / "broken.yaml").write_text("format: 1\nplan: broken\nsteps: [{id: a, run: x}]\n")
    plans = {p["plan"]: p for p in updd.api("GET", "/v1/plans")["plans"]}
    assert {f.stem for f in PLANS} <= set(plans)
    assert all(plans[f.stem]["ok"] for f in PLANS)
    broken = next(p for p in plans.values() if p["file"].endswith("broken.yaml"))
    assert not broken["ok"] and broken["faults"]


def test_sesame_v2_tells_its_gates_its_secret_and_what_a_rollback_loses(updd):
    plan = updd.api("GET", "/v1/plans/sesame-v2")
    assert [(g["step"], g["on_timeout"]) for g in plan["gates"]] == [
        ("business", "hold"), ("validate", "rollback")]
    assert plan["secrets"]["token"]["env"] == "SESAME_API_TOKEN"
    assert {s["name"]: s["loses"] for s in plan["strategies"]} == {"full": "nothing"}
    assert plan["inputs"]["root"]["default"] == "/data/sesame"
    assert "default" not in plan["inputs"]["upgrade_sha256"]


def test_kimi_proxy_v2_tells_its_strategies_and_their_situations(updd):
    plan = updd.api("GET", "/v1/plans/kimi-proxy-v2")
    strategies = {s["name"]: s for s in plan["strategies"]}
    assert strategies["code"]["loses"] == "nothing" and strategies["code"]["situations"]
    assert "sessions.db" in strategies["full"]["loses"]
    ids = [s["id"] for s in plan["steps"] if s["phase"] == "main"]
    assert ids.index("stop") < ids.index("backup") < ids.index("data") < ids.index("code")
    shown = updd.ctl("show", "kimi-proxy-v2", check=0).stdout
    assert "code" in shown and "accept" in shown
