"""Programs that do not end, or leave something behind: they are ended in time, with all they started."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rewards.code.plans import Call, Calls, Pair, Pairs
from rewards.code.reward import CodeReward
from rewards.code.trial import judge
from rewards.sandbox import choice, isolations
from rewards.sandbox.isolations import Limits


def fenced(code):
    return f"```python\n{code}\n```"


def programs_of(ancestor):
    """The processes under `ancestor` in which the sandbox's program runs. (Others on this machine may have theirs.)"""
    parents, found = {}, set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    for pid in parents:
        above = pid
        while above in parents and above != ancestor:
            above = parents[above]
        if above == ancestor and is_program(pid):
            found.add(pid)
    return found


def is_program(pid):
    try:
        return b"rewards.sandbox.guard" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def gone(pids, seconds=5.0):
    deadline = time.monotonic() + seconds
    while any(map(is_program, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(is_program, pids))


RESOURCES = {
    "an endless loop": ("while True: pass", "timeout"),
    "an endless loop that ignores signals": (
        "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n    except OSError: pass\n"
        "while True: pass",
        "timeout",
    ),
    "an endless loop in threads": (
        "import threading\ndef spin():\n    while True: pass\n"
        "for _ in range(8): threading.Thread(target=spin).start()\nspin()",
        "timeout",
    ),
    "an endless loop in C": ("10 ** 10 ** 9", "timeout"),
    "an endless sleep": ("import time\ntime.sleep(1000)", "timeout"),
    "a memory bomb": ("x = [0] * (1 << 40)", "memory"),
    "a growing memory bomb": ("x = []\nwhile True: x.append(bytearray(1 << 24))", "memory"),
    "an endless recursion": ("def g(): g()\ng()", "error"),
    "an endless recursion without a limit": ("import sys\nsys.setrecursionlimit(10 ** 9)\ndef g(): g()\ng()", None),
    "endless output": ("while True: print('x' * 10000)", None),
}


class Hurried(Limits):
    """One second of CPU time, three of the clock."""

    wall_seconds = 3.0


def test_resources_end_in_time(isolation, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))  # else the clock is more patient
    limits = Hurried(cpu_seconds=1, memory_bytes=256 << 20)
    plans = {
        "calls": Calls((Call("f", [1], {"dict": []}, "equal", 1),), ""),
        "pairs": Pairs((Pair("1", "1"),)),
    }

    def outcome(case):
        form, name = case
        started = time.monotonic()
        verdict = judge(RESOURCES[name][0], plans[form], limits, choice.choose(isolation))
        assert time.monotonic() - started < limits.wall_seconds + 2
        return verdict.outcome

    cases = [(form, name) for name in RESOURCES for form in plans]
    with ThreadPoolExecutor(5) as executor:
        seen = dict(zip(cases, executor.map(outcome, cases), strict=True))
    assert "pass" not in seen.values()
    expected = {case: RESOURCES[case[1]][1] for case in cases if RESOURCES[case[1]][1] is not None}
    assert {case: seen[case] for case in expected} == expected


def test_nothing_is_left_behind(isolation):
    code = "import time, threading\nthreading.Thread(target=time.sleep, args=(60,)).start()\ntime.sleep(0.5)\n"
    reward = CodeReward(isolation=isolation)
    values = []

    def run():
        tests = [["assert f(1) == 1"]]
        values.extend(reward(prompts=[""], completions=[fenced(code + "def f(x): return x")], tests=tests))

    thread = threading.Thread(target=run)
    thread.start()
    seen = set()
    while thread.is_alive():
        seen |= programs_of(os.getpid())
        time.sleep(0.02)
    assert values == [1.0] and seen
    assert gone(seen)


@pytest.mark.parametrize("rows", ["tests=[['assert f(1) == 1']]", "inputs=[['1']], outputs=[['1']]"])
def test_a_killed_parent_takes_its_programs_with_it(isolation, rows):
    code = (
        "from rewards.code.reward import CodeReward\n"
        f"reward = CodeReward(isolation={isolation!r}, cpu_seconds=30)\n"
        "program = '```python\\nimport time\\ntime.sleep(60)\\n```'\n"
        f"reward(prompts=[''], completions=[program], {rows})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(choice.__file__).parents[2])
    deadline = time.monotonic() + 60
    seen, since = set(), time.monotonic()
    while time.monotonic() < deadline and not (seen and time.monotonic() - since > 1):  # past the probe
        now = programs_of(process.pid)
        seen, since = now, since if now == seen else time.monotonic()
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert seen
    assert gone(seen)


def test_a_killed_process_costs_one_item(isolation, monkeypatch):
    reward = CodeReward(isolation=isolation, workers=2)
    started = []
    real_start = choice.start

    def start(*arguments):
        process = real_start(*arguments)
        started.append(process)
        if len(started) == 2:
            threading.Timer(0.3, os.kill, (process.pid, signal.SIGKILL)).start()
        return process

    monkeypatch.setattr("rewards.code.trial.start", start)
    codes = [f"import time\ntime.sleep({seconds})\ndef f(x): return x" for seconds in (1.0, 1.01, 0.1, 0.11)]
    judged = reward(prompts=[""] * 4, completions=[fenced(code) for code in codes], tests=[["assert f(1) == 1"]] * 4)
    assert sorted(judged) == [0.0, 1.0, 1.0, 1.0]


THREADS = """
import threading, time
threading.stack_size(32768)
def f(n):
    for _ in range(n):
        try:
            threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
        except RuntimeError:
            return threading.active_count()
    time.sleep(2)
    return threading.active_count()
"""


def test_too_many_threads_end_a_program_where_the_system_sets_no_limit(isolation, monkeypatch):
    # as where a program may have no namespace of users: limits count all that the user runs, and are left out
    bare = choose_without_limit(isolation, monkeypatch)
    limits = Limits(cpu_seconds=4)
    plans = [Calls((Call("f", [n], {"dict": []}, "true"),), "") for n in (60, 1000)]
    verdicts = [judge(THREADS, plan, limits, bare) for plan in plans]
    assert verdicts[0].outcome == "pass"
    assert (verdicts[1].outcome, verdicts[1].message) == ("memory", "more than the 128 threads allowed")


def choose_without_limit(isolation, monkeypatch):
    if isolation != "landlock":
        pytest.skip("its threads are limited by a namespace of its own")
    found = isolations.ISOLATIONS[isolation]
    monkeypatch.setattr(isolations, "MOST_THREADS", 4000)  # of the system's limit alone
    return found


def test_programs_of_root_have_users_of_their_own_and_go_first_when_memory_runs_out(isolation):
    with (
        choice.start("code.program", Limits(), choice.choose(isolation)) as one,
        choice.start("code.program", Limits(), choice.choose(isolation)) as other,
    ):
        assert all(Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n" for process in (one, other))
        if os.geteuid() == 0 and isolation == "landlock":
            assert os.stat(f"/proc/{one.pid}").st_uid != os.stat(f"/proc/{other.pid}").st_uid
