# SPDX-License-Identifier: MIT
"""
Output as no document would have it: a gigabyte of it, bytes that are no text, secrets that are torn,
streams that are closed. What is kept is bounded, whole at both ends, and said to be cut.
"""
import base64
import http.client
import json
import os
import pathlib
import re
import threading
import time
import urllib.parse

import pytest

from daemon import SLOW, UnixConnection

MIB = 1 << 20
# With sanitizers a gigabyte would take minutes, and show nothing that this does not.
MANY = (1024 if SLOW == 1 else 128) * MIB
DROPPED = re.compile(rb"\n\[updd: (\d+) bytes of output were dropped here\]\n")


@pytest.fixture
def script(step):
    def write(text, name="program.py"):
        path = step.cwd / name
        path.write_text(text)
        return ["python3", str(path)]
    return write


def family(pid):
    """The process and all below it."""
    found = [pid]
    for p in found:
        try:
            for task in pathlib.Path(f"/proc/{p}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


def peak_kib(pid):
    """The most memory that the process has had, in KiB."""
    return int(re.search(r"VmHWM:\s*(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


def name_of(pid):
    return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()


def on_disk(folder):
    return sum(p.stat().st_blocks * 512 for p in pathlib.Path(folder).rglob("*") if p.is_file())


def log_part(updd, job, step, **headers):
    """One piece of a log: status, headers, bytes."""
    connection = UnixConnection(updd.socket, 30 * SLOW)
    try:
        query = headers.pop("query", "")
        connection.request("GET", f"/v1/jobs/{job}/steps/{step}/log{query}", headers=headers)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


# ---- too much of it -------------------------------------------------------------------------------


FLOOD = """\
import os, sys, time
line, total = b"%s\\n" % (b"0123456789abcde" * 68), 0
os.write(1, b"the first line\\n")
block = line * 64
while total < int(sys.argv[1]):
    total += os.write(1, block)
os.write(1, b"the last line\\n")
open("written", "w").write(str(total)); os.rename("written", "all")
while not os.path.exists("go"):
    time.sleep(0.02)
"""


def test_a_gigabyte_of_output_takes_no_more_than_the_limit_says(updd, tiny):
    """Memory and disk are looked at while the step still runs, readers read all the while."""
    (tiny.folder / "flood.py").write_text(FLOOD)
    job = updd.begin(tiny.plan(
        {"id": "flood", "run": ["python3", "flood.py", str(MANY)], "undo": "none",
         "limits": {"log": "1M"}, "timeout": "10m"}))
    folder = updd.state / "jobs" / str(job) / "flood/1"
    updd.until((tiny.folder / "all").exists, 120, lambda: updd.tell(job))
    total = int((tiny.folder / "all").read_text()) + len("the first line\nthe last line\n")
    time.sleep(0.3)  # for what is still in the pipes
    supervisor = json.loads((folder / "claim").read_text())["pid"]
    ours = [p for p in family(supervisor) if name_of(p).startswith("updd-step")]
    assert len(ours) == 2
    assert on_disk(folder) < MIB + 256 * 1024
    if SLOW == 1:
        assert all(peak_kib(p) < 12 * 1024 for p in ours), [peak_kib(p) for p in ours]
        assert peak_kib(updd.process.pid) < 32 * 1024
    # While it runs its head is there, by range and by offset.
    status, headers, part = log_part(updd, job, "flood", Range="bytes=4-8")
    assert (status, part, headers["updd-log-more"]) == (206, b"first", "yes")
    assert headers["content-range"].startswith("bytes 4-8/")
    size = int(headers["updd-log-size"])
    assert 0 < size <= MIB
    assert len(log_part(updd, job, "flood", query=f"?offset={size - 100}")[2]) == 100
    (tiny.folder / "go").touch()
    updd.wait_for(job, "succeeded", timeout=60)
    log = (folder / "log").read_bytes()
    said = DROPPED.search(log)
    assert said and int(said[1]) == total - MIB, (said, total)
    assert log.startswith(b"the first line\n0123") and log.endswith(b"\nthe last line\n")
    assert len(log) == MIB + len(said[0]) and on_disk(folder) < MIB + 256 * 1024
    assert log_part(updd, job, "flood", query=f"?offset={size}")[2] == log[size:]
    assert log_part(updd, job, "flood", Range="bytes=-14")[2] == b"the last line\n"
    tail = updd.step(job, "flood")["tail"]
    assert tail[-1] == "the last line" and len(tail) == 20
    updd.invariants(job)


def test_what_follows_a_log_gets_every_byte_of_it_once(updd, tiny):
    """A follower goes from the size it was told to the next, over the limit and the join."""
    (tiny.folder / "slow.py").write_text(
        "import sys, time\n"
        "for i in range(400):\n"
        "    print('line', i, 'x' * 500, flush=True); time.sleep(0.002)\n")
    job = updd.begin(tiny.plan({"id": "slow", "run": ["python3", "slow.py"], "undo": "none",
                                "limits": {"log": "64K"}}))
    got, more, end = b"", "yes", time.monotonic() + 60 * SLOW
    while more == "yes":
        assert time.monotonic() < end
        status, headers, part = log_part(updd, job, "slow", query=f"?offset={len(got)}")
        if status != 404:
            got, more = got + part, headers["updd-log-more"]
    updd.wait_for(job, "succeeded")
    got += log_part(updd, job, "slow", query=f"?offset={len(got)}")[2]
    assert got == (updd.state / f"jobs/{job}/slow/1/log").read_bytes()
    assert DROPPED.search(got) and got.startswith(b"line 0 ") and b"\nline 399 x" in got


def test_a_log_that_was_cut_by_a_kill_has_its_newest_part_all_the_same(updd, tiny):
    """updd-step dies while its log is in two parts: somebody else must put them together."""
    (tiny.folder / "noisy.py").write_text(
        "import os, time\n"
        "for i in range(5000):\n"
        "    os.write(1, b'line %d\\n' % i)\n"
        "time.sleep(0.5); open('all', 'w').close(); time.sleep(300)\n")
    job = updd.begin(tiny.plan(
        {"id": "noisy", "run": ["python3", "noisy.py"], "undo": "none", "on_crash": "ask",
         "limits": {"log": "8K"}}))
    updd.until((tiny.folder / "all").exists, 30, lambda: updd.tell(job))
    folder = updd.state / "jobs" / str(job) / "noisy/1"
    os.kill(json.loads((folder / "claim").read_text())["pid"], 9)
    updd.wait_open(job, "retry-or-skip")
    log = log_part(updd, job, "noisy")[2]
    said = DROPPED.search(log)
    whole = b"".join(b"line %d\n" % i for i in range(5000))
    assert said and int(said[1]) == len(whole) - 8192, log[:200]
    assert log.replace(said[0], b"", 1) == whole[:4096] + whole[-4096:]
    assert not (folder / "log.tail").exists()


def test_what_is_looked_for_in_too_much_output_is_never_taken_for_absent(step, script):
    """`lacks` in the middle of what nobody keeps: not seen is not the same as not there."""
    argv = script("import sys\nn = int(sys.argv[1])\nsys.stdout.write('a line\\n' * n)\n"
                  "print('Error: lost')\nsys.stdout.write('a line\\n' * n)\n")
    few, many = [*argv, "100000"], [*argv, "2000000"]
    for n, cmd in enumerate((few, many)):
        result = step.do(f"run{n}", "run", {"argv": cmd, "lacks": "^Error"})
        assert (result["state"], result["reason"]) == ("failed", "check"), result["error"]
        checked = step.check("run", {"argv": cmd, "lacks": "^Error"}, step=f"check{n}")
        assert (checked["state"], checked["reason"]) == ("failed", "check"), checked
    assert "too long" in result["error"]["message"], result["error"]
    # What is found is found, wherever the output was cut.
    assert step.do("found", "run", {"argv": many, "has": "^a line$"})["state"] == "done"
    assert step.do("near", "run", {"argv": few, "has": "^Error: lost$"})["state"] == "done"


# ---- not text ---------------------------------------------------------------------------------------


BINARY = b"a\xff\xfeb\0c\n\xc3\xa9 \xed\xa0\x80 \xf0\x9f\x98\x80\xc3"
AS_TEXT = "a\ufffd\ufffdb\ufffdc\n\u00e9 \ufffd\ufffd\ufffd \U0001f600\ufffd"


def test_bytes_are_served_as_they_are_and_told_as_valid_text(updd, tiny):
    (tiny.folder / "binary.py").write_text(
        f"import os, sys\nos.write(1, {BINARY!r})\nos.write(2, b'bad \\xff\\0 end')\nsys.exit(3)\n")
    gated = tiny.plan(
        {"id": "fine", "run": {"argv": ["python3", "binary.py"], "exit": 3, "log": True},
         "undo": "none"},
        {"id": "bad", "run": ["python3", "binary.py"], "undo": "none"},
        on_failure={"default": "hold"})
    job = updd.begin(gated)
    updd.wait_open(job, "retry-or-skip", "bad")
    raw = log_part(updd, job, "fine")[2]
    assert raw == BINARY + b"bad \xff\0 end" or raw == b"bad \xff\0 end" + BINARY
    assert log_part(updd, job, "fine", Range="bytes=1-2")[2] in (b"\xff\xfe", b"ad")
    now = updd.job(job)
    assert AS_TEXT in "\n".join(updd.step(job, "fine")["tail"])
    assert now["failure"]["message"] == "python3 ended with code 3: bad \ufffd\ufffd end", now
    connection = UnixConnection(updd.socket, 30)
    for path in ("", "/events"):
        connection.request("GET", f"/v1/jobs/{job}{path}")
        json.loads(connection.getresponse().read().decode("utf-8", "strict"))
    connection.close()


def test_a_failing_check_that_speaks_no_text_is_recorded_with_the_others(step, script):
    argv = script(f"import os, sys\nos.write(2, {BINARY!r} * 40)\nsys.exit(1)\n")
    checks = [{"check": "run", "args": {"argv": argv}, "name": "binary"},
              {"check": "run", "args": {"argv": ["false"]}, "name": "plain"}]
    result = step.do("look", "check", {"checks": checks})
    assert [(c["name"], c["ok"]) for c in result["checks"]] == [("binary", False), ("plain", False)]
    assert "\ufffd" in result["checks"][0]["message"] and "plain" in result["error"]["message"]
    running = step.do("until", "wait", {"until": checks, "within": "300ms", "every": "50ms"},
                      wait=False)
    assert "binary" in running.wait()["error"]["message"]


def test_what_stands_behind_a_nul_is_seen(step, script):
    argv = script("import os\nos.write(1, b'fine\\0Error: hidden\\nversion: 1\\0.2\\n')\n")
    refused = step.do("a", "run", {"argv": argv, "lacks": "Error"})
    assert (refused["state"], refused["reason"]) == ("failed", "check"), refused
    assert step.do("b", "run", {"argv": argv, "has": "Error: hidden$"})["state"] == "done"
    assert step.check("run", {"argv": argv, "lacks": "hidden"}, step="c")["state"] == "failed"
    saved = step.do("d", "run", {"argv": argv, "save": {"v": {"regex": "version: (.*)"}}})
    assert saved["outputs"]["v"] == "1\ufffd.2"


def test_what_is_saved_is_valid_text_and_a_secret_that_is_none_is_told_to_nobody(step, script):
    argv = script("import os\nos.write(1, b'key=caf\\xe9-and-more\\nrest of it\\n')\n")
    secret = step.do("a", "run", {"argv": argv,
                                  "save": {"key": {"regex": "(?s)key=(.*)", "secret": True}}})
    assert secret["state"] == "failed" and "UTF-8" in secret["error"]["message"], secret
    written = b"".join(p.read_bytes() for p in step.record_dir("a").rglob("*") if p.is_file())
    assert b"and-more" not in written and b"rest of it" not in written
    saved = step.do("b", "run", {"argv": argv, "save": {"key": {"regex": "key=(.*)"}}})
    assert saved["state"] == "done" and saved["outputs"]["key"] == "caf\ufffd-and-more", saved


SECRET = "s3cr3t/" + "0123456789abcdef" * 3


def spellings(secret):
    return [secret.encode(), urllib.parse.quote(secret, safe="").encode(),
            base64.b64encode(secret.encode())[:-4]]


@pytest.mark.parametrize("chunk", [1, 7, 4096, 32 * 1024, 64 * 1024])
def test_a_secret_is_masked_wherever_its_pieces_are_torn(step, script, chunk):
    """Among binary bytes, in three spellings, with every border of pieces somewhere inside one, in
    the log, in its last lines and in the outputs, which are cut in their middle."""
    argv = script(f"""\
import base64, os, sys, urllib.parse
s = os.environ["TOKEN"]
data = " ".join([s, urllib.parse.quote(s, safe=""), base64.b64encode(s.encode()).decode()]).encode()
step = {chunk}
out = (b"\\xff\\0" + data + b"\\n") * (3 if step == 1 else 4000)
for i in range(0, len(out), step):
    os.write(1, out[i:i + step])
""")
    result = step.do("s", "run", {"argv": argv}, env={"TOKEN": {"$secret": [{"name": "token"}]}},
                     secrets={"token": SECRET}, log_bytes=64 * 1024)
    assert result["state"] == "done", result
    written = b"".join(p.read_bytes() for p in step.record_dir("s").rglob("*") if p.is_file())
    assert written.count(b"********") > 3
    for spelling in spellings(SECRET):
        assert spelling[:12] not in written and spelling[-12:] not in written, spelling


# ---- closed, and not read ---------------------------------------------------------------------------


def test_a_step_that_closes_its_output_goes_on_to_its_end(step, script):
    argv = script("""\
import os, time
os.write(1, b"last words\\n")
os.close(0); os.close(1); os.close(2)
time.sleep(1.5)
open("worked", "w").close()
""")
    result = step.do("s", "run", {"argv": argv})
    assert result["state"] == "done" and result["log"] == "last words\n", result
    assert (step.cwd / "worked").exists()
    busy = result["rusage"]["user_us"] + result["rusage"]["system_us"]
    assert busy < 700_000 * SLOW, "it is waited for, not asked again and again"


def test_standard_input_that_nobody_reads_holds_nothing_up(step, script):
    argv = script("print('not interested')")
    result = step.do("s", "run", {"argv": argv, "stdin": "x" * (5 * MIB)})
    assert result["state"] == "done" and result["outputs"]["stdout"] == "not interested"


def test_a_reader_that_stalls_holds_up_neither_the_step_nor_other_readers(updd, tiny):
    job = updd.begin(tiny.plan(
        {"id": "big", "run": ["sh", "-c", "head -c 30000000 /dev/zero; echo end"], "undo": "none"}))
    updd.wait_for(job, "succeeded")
    stalled = UnixConnection(updd.socket, 30)
    stalled.request("GET", f"/v1/jobs/{job}/steps/big/log")
    try:
        began = time.monotonic()
        other = updd.begin(tiny.plan(tiny.act("other")))
        updd.wait_for(other, "succeeded")
        assert time.monotonic() - began < 10 * SLOW
        answers = []
        readers = [threading.Thread(target=lambda: answers.append(
            len(log_part(updd, job, "big")[2]))) for _ in range(4)]
        for t in readers:
            t.start()
        for t in readers:
            t.join()
        assert answers == [30000004] * 4
    finally:
        stalled.close()
    assert updd.call("GET", "/v1/health").status == http.client.OK
