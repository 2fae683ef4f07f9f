"""Users' rewards in a process of their own: whatever one does costs one batch of it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rewards import RewardSet
from rewards.users.arguments import CallState

ROOT = Path(__file__).parents[3]
MODULE = "tests.rewards.users.misbehaving"


def score(rewards, **options):
    return rewards.score(["p", "p"], ["ab", "abcd"], None, {"answer": ["1", "2"]}, **options)


def named(*functions, timeout_seconds=20.0, **options):
    return RewardSet({f"{MODULE}:{name}": 1.0 for name in functions}, timeout_seconds=timeout_seconds, **options)


def values(scores):
    return [column for column in scores.values.values()]


def test_a_name_may_lead_to_a_method():
    with named("Scorer.static") as rewards:
        assert values(score(rewards)) == [[7.0, 7.0]]


def test_columns_and_completions_reach_it_and_it_is_another_process():
    with named("length", "which_process") as rewards:
        # 2 characters + answer 1, 4 + 2
        lengths, processes = values(score(rewards))
        assert lengths == [3.0, 6.0]
        assert processes[0] != os.getpid()
        assert values(score(rewards))[1] == processes  # warm: the same one again
        assert rewards.notes == []


def test_alarms_work_for_it_is_a_main_thread():
    with named("by_alarm", "leaves_an_alarm", "constant") as rewards:
        assert values(score(rewards)) == [[0.5, 0.5], [1.0, 1.0], [1.0, 1.0]]
        time.sleep(0.4)  # an alarm that was left behind would have ended the process
        assert values(score(rewards))[2] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("function", "kind", "said"),
    [
        ("hangs", "timeout", "no result after 0.5 s, in hangs (misbehaving.py line"),
        ("catastrophic", "timeout", "no result after 0.5 s, in catastrophic"),
        ("holds_the_lock", "timeout", "no result after 0.5 s, in holds_the_lock"),
        ("segfaults", "died", "it crashed its process, SIGSEGV, in segfaults"),
        ("exits", "died", "it ended its process, exit code 0"),
        ("kills_itself", "died", "it crashed its process, SIGKILL"),
        ("exits_politely", "raised", "raised SystemExit: 3"),
        ("raises", "raised", "raised RuntimeError: API down 4711"),
        ("raises_without_text", "raised", "raised Mute: its text can't be had"),
    ],
)
def test_what_goes_wrong_costs_one_batch_of_that_reward(function, kind, said):
    with named("constant", function, "length", timeout_seconds=0.5) as rewards:
        first = score(rewards)
        assert values(first) == [[1.0, 1.0], [None, None], [3.0, 6.0]]
        assert first.failures == {f"{MODULE}:{function}/{kind}": 2}
        (message,) = first.messages.values()
        assert said in message and "\n" not in message
        assert values(score(rewards))[2] == [3.0, 6.0]


def test_tracebacks_and_stacks_come_back():
    with named("raises", "hangs", timeout_seconds=0.5) as rewards:
        raised, hung = score(rewards).tracebacks.values()
    assert 'raise RuntimeError("API down 4711")' in raised
    assert "in hangs" in hung


@pytest.mark.parametrize("function", ["forks", "leaves_a_fork", "prints"])
def test_forks_and_prints_do_not_speak_for_the_process(function):
    with named(function, "constant", timeout_seconds=5) as rewards:
        for _ in range(3):
            assert values(score(rewards)) == [[1.0, 1.0], [1.0, 1.0]]


def test_its_standard_input_is_empty():
    with named("reads_input", "constant") as rewards:
        assert values(score(rewards)) == [[0.0, 0.0], [1.0, 1.0]]


def test_it_may_be_async_and_may_change_what_it_is_given():
    with named("edits_its_arguments", "waits", "length") as rewards:
        assert values(score(rewards)) == [[1.0, 1.0], [0.25, 0.25], [3.0, 6.0]]


@pytest.mark.parametrize("process", ["own", "trainer"])
def test_state_goes_in_and_what_is_logged_comes_back(process):
    with named("logs", process=process) as rewards:
        logged = score(rewards, state=CallState(global_step=1, max_steps=4)).logged
    assert logged.columns == {"length": [2, 4]}
    assert logged.metrics == {"short": [0.25]}


def test_in_the_trainer_it_runs_in_the_trainer():
    with named("which_process", process="trainer") as rewards:
        assert values(score(rewards)) == [[os.getpid()] * 2]


def test_closing_ends_a_call_that_hangs_and_one_that_waits_behind_it():
    rewards = named("hangs", timeout_seconds=60)
    threads = [threading.Thread(target=score, args=(rewards,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    started = time.monotonic()
    rewards.close()
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - started < 5
    assert not any(thread.is_alive() for thread in threads)


def test_closing_ends_a_call_that_hangs_in_the_trainer():
    rewards = named("hangs", timeout_seconds=60, process="trainer")
    thread = threading.Thread(target=score, args=(rewards,))
    thread.start()
    time.sleep(0.2)
    rewards.close()
    thread.join(5)
    assert not thread.is_alive()


def test_a_closed_set_can_be_used_again():
    rewards = named("constant")
    rewards.close()
    assert values(score(rewards)) == [[1.0, 1.0]]
    rewards.close()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (f"{MODULE}:constnt", "has no function 'constnt', did you mean constant"),
        ("no_such_module:f", "module no_such_module not imported"),
    ],
)
def test_a_name_that_is_not_there_is_refused(name, said):
    with pytest.raises(ValueError, match=said):
        RewardSet({name: 1.0})


def test_a_module_that_ends_its_process_is_refused(tmp_path, monkeypatch):
    (tmp_path / "ends_here.py").write_text("import os\nos._exit(7)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="'ends_here:f': importing it: it ended its process, exit code 7"):
        RewardSet({"ends_here:f": 1.0})


def test_a_column_that_cannot_be_sent_is_said():
    with named("constant") as rewards:
        scores = rewards.score(["p"], ["c"], None, {"lock": [threading.Lock()]})
        assert values(scores) == [[None]]
        assert "the columns can't be sent to its process" in str(scores.messages)


def test_a_killed_trainer_leaves_no_reward_behind():
    code = (
        "import os, signal\nfrom rewards import RewardSet\n"
        f"rewards = RewardSet({{'{MODULE}:which_process': 1.0}})\n"
        "print(int(rewards.score(['p'], ['c']).totals[0]), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    worker = int(done.stdout)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_the_watchdog_ends_a_process_whose_interpreter_is_held():
    code = (
        "import rewards.compose as compose\nfrom rewards.users.watchdog import Watchdog\n"
        "rewards = compose.RewardSet({'mine': 1.0}, timeout_seconds=0.2,"
        " functions={'mine': lambda completions: [10 ** (10 ** 10)]})\n"
        "rewards._watchdog = Watchdog(0.2, grace_seconds=0.5)\n"
        "print(rewards.notes[0], flush=True)\nrewards.score(['p'], ['c'])\nprint('went on')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "it is a lambda" in done.stdout and "went on" not in done.stdout
    assert "in <lambda>" in done.stderr


PRINTS = """
import logging, sys, warnings
def f(completions, **columns):
    for write in (print, warnings.warn, logging.warning, lambda text: print(text, file=sys.stderr)):
        write("\\x1b]52;c;aGk=\\x07\\x9b31m\\u202e" + completions[0])
    return [1.0] * len(completions)
"""


def test_what_a_reward_prints_is_escaped_on_the_terminal(tmp_path, monkeypatch, capfd):
    (tmp_path / "printing_rewards.py").write_text(PRINTS)
    monkeypatch.syspath_prepend(tmp_path)
    with RewardSet({"printing_rewards:f": 1.0}) as rewards:
        assert rewards.score(["p"], ["said"]).totals == [1.0]
    out, err = capfd.readouterr()
    shown = out + err
    assert shown.count(r"\x1b]52;c;aGk=\x07\x9b31m\u202esaid") >= 4
    assert not set(shown) & set("\x1b\x07\x9b\u202e")
