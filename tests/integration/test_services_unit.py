# SPDX-License-Identifier: MIT
"""Services that are units, where there is no systemd: what is said. With it: tests/system."""
import os
import pathlib

import pytest

import steptool

UNIT = {"app": {"unit": "updd-test-none.service"}}


@pytest.fixture
def step(tmp_path):
    assert os.access(steptool.step_program(), os.X_OK), "updd-step is not built"
    runner = steptool.StepRunner(tmp_path)
    runner.context["services"] = dict(UNIT)
    return runner


@pytest.mark.skipif(pathlib.Path("/run/systemd/system").exists(), reason="there is a systemd here")
@pytest.mark.parametrize("verb", ["stop", "start", "healthy", "logs"])
def test_without_systemd_a_unit_is_refused_with_a_way_out(step, verb):
    args = {"services": ["app"]}
    result = step.do(verb, verb, args) if verb in ("stop", "start") else \
        step.check(verb, {**args, "has": "x"} if verb == "logs" else args)
    assert result["state"] == "failed"
    told = [result.get("error") or {}, *(result.get("checks") or [])]
    assert any("systemd cannot be asked" in (e.get("message") or "") for e in told), result
    assert any("not booted by systemd" in (e.get("hint") or "") for e in told), result
    if verb in ("stop", "start"):
        assert result["error"]["type"] == "no-systemd"
    assert step.record(verb if verb in ("stop", "start") else "look") == []
