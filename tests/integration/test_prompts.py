# SPDX-License-Identifier: MIT
"""Programs that ask at a terminal: answers that are known, and questions to people."""
import pathlib
import signal
import time

from steptool import answer, everything_written, progress, question


ASKS = """\
printf 'Continue? [y/N] '; read a
printf 'Version: '; read b
echo "got $a and $b"
tty >/dev/null && echo on a terminal
"""


def test_prompts_meet_their_answers(step, script):
    result = step.do("s", "run", {"argv": script(ASKS), "answers": [
        {"expect": r"Continue\? \[y/N\]", "send": "y"}, {"expect": "Version: $", "send": "2.0"}]})
    assert result["state"] == "done", result
    assert "got y and 2.0" in result["log"] and "on a terminal" in result["log"]


def test_a_single_key_is_sent_without_enter(step, script):
    argv = script("read -n 1 -p 'Key? ' k; echo; echo key=$k; read -t 0.2 rest || echo nothing more",
                  with_="bash")
    result = step.do("s", "run", {"argv": argv, "answers": [
        {"expect": "Key", "send": "q", "enter": False}]})
    assert "key=q" in result["log"] and "nothing more" in result["log"]


def test_an_unmet_prompt_becomes_a_question(step, script):
    running = step.do("s", "run", {"argv": script(ASKS), "answers": [
        {"expect": "Continue", "send": "y"}]}, wait=False)
    running.until(lambda: question(running))
    assert question(running) == {"k": 1, "prompt": "Version: ", "echo": True}
    answer(running, "3.1")
    result = running.wait()
    assert result["state"] == "done" and "got y and 3.1" in result["log"]
    assert any(line.get("answered") == 1 for line in progress(running))


def test_an_answer_with_echo_off_is_a_secret(step, script):
    argv = script("import getpass\np = getpass.getpass('Token: ')\nprint('got', p, len(p))",
                  "ask.py", "python3")
    running = step.do("s", "run", {"argv": argv, "answers": []}, wait=False)
    running.until(lambda: question(running))
    assert question(running)["echo"] is False and question(running)["prompt"] == "Token: "
    answer(running, "open-sesame-1")
    result = running.wait()
    assert result["state"] == "done" and "got ******** 13" in result["log"]
    (running.dir / "answer.1").unlink()
    assert b"open-sesame-1" not in everything_written(step.record_dir("s"))


def test_silence_without_reading_is_no_question(step, script):
    result = step.do("s", "run", {"argv": script("printf 'Building '; sleep 3; echo done"),
                                  "answers": []})
    assert result["state"] == "done"
    assert result["log"].replace("\r", "") == "Building done\n"
    assert (pathlib.Path(result["dir"]) / "progress").read_text() == ""


def test_the_time_limit_rests_while_a_question_is_open(step, script):
    running = step.do("s", "run", {"argv": script("printf 'Go? '; read a; echo went $a"),
                                   "answers": []}, timeout_ms=2500, wait=False)
    running.until(lambda: question(running))
    time.sleep(3)
    answer(running, "on")
    result = running.wait()
    assert result["state"] == "done" and "went on" in result["log"], result


def test_the_time_limit_goes_on_after_the_answer(step, script):
    running = step.do("s", "run", {"argv": script("printf 'Go? '; read a; sleep 300"),
                                   "answers": []}, timeout_ms=2500, grace_ms=200, wait=False)
    running.until(lambda: question(running))
    answer(running, "on")
    result = running.wait(20)
    assert (result["state"], result["reason"]) == ("failed", "timeout")


def test_a_question_can_be_stopped(step, script):
    running = step.do("s", "run", {"argv": script("printf 'Go? '; read a"), "answers": []},
                      wait=False)
    running.until(lambda: question(running))
    (running.dir / "stop").write_text('{"why": "cancel"}')
    running.process.send_signal(signal.SIGTERM)
    assert running.wait(10)["reason"] == "stopped"
