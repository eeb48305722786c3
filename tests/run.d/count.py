# SPDX-License-Identifier: MIT
"""
Counts what tests/run ran: cmocka's cases out of Meson's log (their TAP output) and pytest's out of
its JUnit file. What should have told of itself and did not is a failure: a program that died before
its last case, a report that is missing, an exit code that no counted failure explains.
"""
import argparse
import json
import os
import pathlib
import re
import sys
import xml.etree.ElementTree

TAP_PLAN = re.compile(r"^\s*1\.\.(\d+)\s*$", re.M)
TAP_LINE = re.compile(r"^\s*(not )?ok \d+(.*)$", re.M)


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.notes = []

    def fail(self, why, n=1):
        self.failed += n
        self.notes.append(f"FAILED  {why}")

    def skip(self, why):
        self.skipped += 1
        self.notes.append(f"SKIPPED {why}")


def count_tap(count, name, output, ok):
    """One program's cases; False when it says nothing in TAP."""
    planned = sum(int(n) for n in TAP_PLAN.findall(output))
    lines = TAP_LINE.findall(output)
    if planned == 0:
        return False
    before = count.failed
    for negated, rest in lines:
        case = f"{name}: {rest.strip(' -')}"
        if "# SKIP" in rest.upper():
            count.skip(case)
        elif negated:
            count.fail(case)
        else:
            count.passed += 1
    if len(lines) < planned:
        count.fail(f"{name}: ended before {planned - len(lines)} of its cases",
                   planned - len(lines))
    if not ok and count.failed == before:
        count.fail(f"{name}: ended badly after its cases")
    return True


def count_unit(count, path):
    """Meson's testlog.json: one JSON object a line and test program."""
    if not path.exists():
        count.fail(f"unit tests: {path} is missing")
        return
    for line in path.read_text(errors="replace").splitlines():
        test = json.loads(line)
        result = test["result"]
        output = test.get("stdout") or ""
        if count_tap(count, test["name"], output, result == "OK"):
            continue
        if result in ("OK", "EXPECTEDFAIL"):
            count.passed += 1
        elif result == "SKIP":
            count.skip(test["name"])
        else:
            count.fail(f"{test['name']}: {result}")


def count_junit(count, path):
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            count.fail(name)
        elif case.find("skipped") is not None:
            count.skip(f"{name}: {case.find('skipped').get('message')}")
        else:
            count.passed += 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--unit", type=pathlib.Path, required=True)
    parser.add_argument("--exit", action="append", default=[])
    parser.add_argument("results", type=pathlib.Path)
    args = parser.parse_args()

    count = Count()
    count_unit(count, args.unit)
    if not (args.results / "integration.xml").exists():
        count.fail("integration tests: there is no report of them")
    for report in sorted(args.results.glob("*.xml")):
        count_junit(count, report)
    if count.failed == 0:
        for part in args.exit:
            if not part.endswith("=0"):
                count.fail(f"{part.replace('=', ' ended with ')} though no test failed")
    if count.passed + count.failed == 0:
        count.fail("nothing ran")

    print("\n".join(count.notes))
    if os.environ.get("CI") == "true" and count.skipped:
        print(f"CI: the {count.skipped} skipped count as failed")
        count.failed, count.skipped = count.failed + count.skipped, 0
    print(f"{count.passed} passed, {count.failed} failed, {count.skipped} skipped")
    return 1 if count.failed else 0


sys.exit(main())
