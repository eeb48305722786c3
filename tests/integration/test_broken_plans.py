# SPDX-License-Identifier: MIT
"""Broken plans, each in its own file with the faults that it must give beside it.

`NN-name.expect` holds what `plan-generate check` prints: a line `line:column code: message` for
each fault, in order, and its hint on a line of its own. The program is taken from PLAN_GENERATE or
from the build folder in UPDD_BUILD (default: build).
"""

import os
import pathlib
import subprocess
import time

import pytest

HERE = pathlib.Path(__file__).parent
TOP = HERE.parent.parent
PLANS = sorted(p for p in (HERE / "broken-plans").iterdir() if p.suffix in (".yaml", ".json"))


@pytest.fixture(scope="session")
def program():
    build = pathlib.Path(os.environ.get("UPDD_BUILD", TOP / "build"))
    path = pathlib.Path(os.environ.get("PLAN_GENERATE", build / "daemon/plan/plan-generate"))
    if not path.exists():
        pytest.fail(f"{path} is missing: build it first, or set PLAN_GENERATE")
    return path


def check(program, file):
    return subprocess.run(
        [program, "check", file], capture_output=True, text=True, timeout=60, check=False
    )


def test_there_are_at_least_forty_broken_plans():
    assert len(PLANS) >= 40


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: p.stem)
def test_a_broken_plan_tells_all_its_faults_with_their_places(program, plan):
    expected = plan.with_suffix(".expect").read_text()
    done = check(program, plan)
    assert done.stdout == expected
    assert done.stderr == ""
    # Warnings alone break nothing.
    faults = [line for line in expected.splitlines() if not line.startswith("  ")]
    only_warnings = all(" warning " in f" {line.split(':')[1]} " for line in faults)
    assert done.returncode == (0 if only_warnings else 1)


def one_fault(program, tmp_path, name, text, code):
    file = tmp_path / name
    file.write_text(text)
    begun = time.monotonic()
    done = check(program, file)
    assert done.returncode == 1
    assert done.stderr == ""
    assert len(done.stdout) < 1000
    assert done.stdout.split()[1] == code + ":"
    assert time.monotonic() - begun < 20


NESTED = {
    "yaml-lists.yaml": "[",
    "yaml-maps.yaml": "[{a: ",
    "yaml-blocks.yaml": "- ",
    "json-lists.json": '{"a":[',
    "json-maps.json": '{"a":',
}


@pytest.mark.parametrize("name", NESTED)
def test_ten_megabytes_of_nesting_are_refused(program, tmp_path, name):
    piece = NESTED[name]
    text = piece * (10 * 1024 * 1024 // len(piece))
    one_fault(program, tmp_path, name, text, "too-large")


@pytest.mark.parametrize("name", NESTED)
def test_nesting_below_the_size_limit_is_refused_too(program, tmp_path, name):
    piece = NESTED[name]
    text = piece * (4 * 1024 * 1024 // len(piece) - 1)
    one_fault(program, tmp_path, name, text, "too-deep")


def test_a_closed_deep_document_is_refused_in_both_languages(program, tmp_path):
    deep = "[" * 100 + "]" * 100
    one_fault(program, tmp_path, "a.yaml", "steps: " + deep, "too-deep")
    one_fault(program, tmp_path, "a.json", '{"steps": ' + deep + "}", "too-deep")


def test_many_small_values_are_refused(program, tmp_path):
    one_fault(program, tmp_path, "a.yaml", "[" + "1," * 1_000_000 + "1]", "too-large")
    one_fault(program, tmp_path, "a.json", '{"a":[' + "1," * 1_000_000 + "1]}", "too-large")


def test_faults_beyond_the_limit_are_counted_only(program, tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("format: 1\nplan: x\nsteps:\n" + "- {rnu: [x]}\n" * 20_000)
    done = check(program, file)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) < 2_000
    assert "faults more" in done.stdout.splitlines()[-1]


def test_the_generated_files_are_those_of_the_tables(program):
    for what, file in (("schema", "plan.schema.json"), ("reference", "plan-reference.md")):
        made = subprocess.run([program, what], capture_output=True, text=True, check=True).stdout
        assert (TOP / "api" / file).read_text() == made, f"api/{file}: run plan-generate {what}"


def test_the_plans_that_are_installed_have_no_fault(program):
    plans = sorted((TOP / "plans").glob("*.yaml"))
    assert plans
    for plan in plans:
        done = check(program, plan)
        assert (done.returncode, done.stdout) == (0, "")
