# SPDX-License-Identifier: MIT
"""Secrets in a step: they reach what needs them, and nothing that is written."""
import base64
import json
import urllib.parse

from steptool import everything_written

SECRET = "correct/horse \"battery\" staple+9"


def test_secrets_are_masked_in_every_spelling(step, script):
    argv = script("""\
import base64, json, os, sys, urllib.parse
s = os.environ["TOKEN"]
print("raw", s); print("json", json.dumps({"t": s})); print("url", urllib.parse.quote(s, safe=""))
print("base64", base64.b64encode(s.encode()).decode())
sys.exit("ended with " + s)
""", "leak.py", "python3")
    result = step.do("s", "run", {"argv": argv}, env={"TOKEN": {"$secret": [{"name": "token"}]}},
                     secrets={"token": SECRET})
    assert result["state"] == "failed"
    assert "raw ********\n" in result["log"]
    written = everything_written(step.record_dir("s"))
    for spelling in (SECRET, json.dumps(SECRET)[1:-1], urllib.parse.quote(SECRET, safe=""),
                     base64.b64encode(SECRET.encode()).decode()[:-4]):
        assert spelling.encode() not in written, spelling


def test_a_secret_written_in_pieces_is_masked(step, script):
    argv = script("""\
import os, sys, time
for c in "<" + os.environ["TOKEN"] + ">":
    os.write(1, c.encode()); time.sleep(0.01)
""", "slow.py", "python3")
    result = step.do("s", "run", {"argv": argv}, env={"TOKEN": {"$secret": ["", {"name": "token"}]}},
                     secrets={"token": "s3cr3t-value"})
    assert result["log"] == "<********>"
    assert result["outputs"]["stdout"] == "<********>"


def test_literals_and_secrets_are_put_together(step, script):
    result = step.do("s", "run", {"argv": ["sh", "-c", "cat | tr a-z A-Z"],
                                  "stdin": {"$secret": ["user:", {"name": "pw"}, "@host"]}},
                     secrets={"pw": "hunter22"})
    assert result["outputs"]["stdout"] == "USER:HUNTER22@HOST"


def test_a_secret_in_argv_is_refused(step):
    marker = step.do("a", "run", {"argv": ["echo", {"$secret": [{"name": "pw"}]}]},
                     secrets={"pw": "hunter22"})
    assert (marker["state"], marker["error"]["type"]) == ("failed", "secret-in-argv")
    value = step.do("b", "run", {"argv": ["echo", "x=hunter22"]}, secrets={"pw": "hunter22"})
    assert value["error"]["type"] == "secret-in-argv"
    assert b"hunter22" not in everything_written(step.record_dir("a"))


def test_a_saved_secret_never_reaches_the_log(step, script):
    argv = script("echo 'new password: xyzzy-12345'")
    result = step.do("s", "run", {"argv": argv,
                                  "save": {"password": {"regex": "password: (.*)", "secret": True},
                                           "whole": {"regex": "new"}}})
    assert result["state"] == "done"
    assert result["outputs"]["password"] == {"$secret": "steps.s.password"}
    assert result["outputs"]["whole"] == "new"
    assert "new password: ********" in result["log"]
    kept = step.job_dir / "secrets" / "steps.s.password"
    assert kept.read_text() == "xyzzy-12345" and kept.stat().st_mode & 0o777 == 0o600
    assert b"xyzzy-12345" not in everything_written(step.record_dir("s") / "1")


def test_values_are_saved_out_of_json(step, script):
    result = step.do("s", "run", {"argv": script("""echo '{"a": [{"b/c": 7}]}'"""),
                                  "save": {"n": {"json": "/a/0/b~1c"}}})
    assert result["outputs"]["n"] == "7"
    missing = step.do("t", "run", {"argv": script("echo '{}'"), "save": {"n": {"json": "/a"}}})
    assert missing["state"] == "failed" and "'/a'" in missing["error"]["message"]
