"""Which isolation is used, and the parent's end of a sandboxed process."""

import dataclasses
import subprocess
import sys
import threading
import time

import pytest

from rewards.code.plans import Call, Calls, Pair, Pairs
from rewards.code.reward import CodeReward
from rewards.code.trial import judge
from rewards.sandbox import choice
from rewards.sandbox import isolations as sandbox_commands
from rewards.sandbox.choice import Unavailable, choose, describe, start
from rewards.sandbox.isolations import ISOLATIONS, Isolation, Limits
from rewards.sandbox.process import Died, Late, SandboxProcess, StartError, Unsolicited

READY = "print('{\"ready\": true}', flush=True)\n"
ECHO = READY + "import sys\nfor line in sys.stdin:\n    "


def process_of(code):
    """A process that speaks the protocol without any sandbox."""
    made = SandboxProcess([sys.executable, "-S", "-c", code], environment={})
    made.wait_ready()
    return made


def soon(seconds=5.0):
    return time.monotonic() + seconds


@pytest.fixture
def isolations(monkeypatch):
    """The table of isolations, to be changed; what was found out is forgotten."""
    monkeypatch.setattr(choice, "_found", {})
    table = dict(ISOLATIONS)
    monkeypatch.setattr(choice, "ISOLATIONS", table)
    return table


def unavailable(table, *names):
    for name in names:
        table[name] = dataclasses.replace(table[name], platform=sys.platform, program="no-such-program")


def test_the_description_says_what_is_in_use_after_a_run():
    found = describe()
    assert found.isolation in (None, "bubblewrap", "landlock", "sandbox-exec")
    if found.isolation is None:
        assert "programs are refused" in str(found) and found.reasons
    else:
        assert found.start_seconds > 0 and str(found).startswith(f"code sandbox: {found.isolation}: ")


def test_the_next_best_is_used_and_the_reason_said(isolations):
    unavailable(isolations, "bubblewrap")
    found = describe()
    if found.isolation is None:
        pytest.skip("no second isolation here")
    assert found.isolation == "landlock"
    assert "bubblewrap needs no-such-program, which is not installed" in str(found)
    judged = CodeReward()(prompts=[""], completions=["```python\ndef f(): return 1\n```"], tests=[["assert f() == 1"]])
    assert (list(judged), judged.messages) == ([1.0], {"isolation": str(found)})


def test_limits_alone_are_never_chosen_but_may_be_asked_for(isolations):
    unavailable(isolations, "bubblewrap", "landlock", "sandbox-exec")
    with pytest.raises(Unavailable, match="no isolation for model-written code: bubblewrap needs no-such-program"):
        choose()
    assert choose("rlimits").name == "rlimits"
    assert "NO isolation" in str(describe("rlimits"))


def test_an_isolation_that_does_not_hold_is_refused(isolations):
    # rlimits under another name, with another's promises: the probe finds the doors it leaves open
    isolations["bubblewrap"] = dataclasses.replace(
        isolations["rlimits"], name="bubblewrap", holds=frozenset({"files", "environment"})
    )
    found = describe("bubblewrap")
    assert found.isolation is None
    assert found.reasons == ("bubblewrap does not hold: files",)


def test_an_isolation_that_does_not_start_is_refused(isolations):
    command = [sys.executable, "-c", "raise SystemExit(1)"]
    isolations["bubblewrap"] = Isolation("bubblewrap", "", lambda module, limits: command, None, None, frozenset())
    assert "bubblewrap does not work: the sandbox did not start" in describe("bubblewrap").reasons[0]


def test_an_unknown_isolation_is_refused():
    with pytest.raises(ValueError, match="isolation must be one of auto, bubblewrap"):
        describe("docker")


def test_what_was_found_out_is_remembered(isolations, monkeypatch):
    first = describe("rlimits")
    monkeypatch.setattr(choice, "start", lambda *arguments: pytest.fail("probed again"))
    assert describe("rlimits") is first


def test_a_machine_that_had_no_isolation_is_tried_again(isolations, monkeypatch):
    broken = isolations["rlimits"]
    isolations["rlimits"] = dataclasses.replace(broken, program="no-such-program")
    assert describe("rlimits").isolation is None
    isolations["rlimits"] = broken
    assert describe("rlimits").isolation is None
    monkeypatch.setattr(choice, "RETRY_SECONDS", -1.0)
    assert describe("rlimits").isolation == "rlimits"


def test_threads_start_processes_at_the_same_time():
    isolation = choose("rlimits")
    replies = []

    def run(number):
        with start("code.program", Limits(), isolation) as process:
            process.ask({"code": f"def f(): return {number}", "setup": ""}, soon())
            replies.append(process.ask({"call": "f", "args": [], "kwargs": {"dict": []}}, soon())["value"])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(replies) == [0, 1, 2, 3]


def test_a_reply_is_the_one_to_its_request():
    with process_of(ECHO + "print(line.strip(), flush=True)") as process:
        assert process.ask({"a": 1}, soon()) == {"a": 1}
        assert process.ask({"a": [2.5, "é"]}, soon()) == {"a": [2.5, "é"]}


@pytest.mark.parametrize(
    "reply",
    [
        "not JSON",
        "[1]",
        '{"id": 7}',
        '{"value": 1}',
        '{"id": 1, "value": NaN}',
        '{"id": 1, "value": ' + "9" * 30 + "}",
        "[" * 100_000,
        '{"id": 1}\\n{"id": 2}',  # and one in advance, found at the next request
    ],
)
def test_anything_but_a_reply_is_unsolicited(reply):
    with process_of(ECHO + f"print('{reply}', flush=True)") as process, pytest.raises(Unsolicited):
        process.ask({}, soon())
        process.ask({}, soon())


def test_output_that_nobody_asked_for_is_unsolicited():
    with process_of(READY + "print('{\"id\": 1}', flush=True)\nimport time\ntime.sleep(30)") as process:
        time.sleep(0.3)
        with pytest.raises(Unsolicited):
            process.finish()


def test_a_process_that_does_not_read_or_reply_is_late():
    with process_of(READY + "import time\ntime.sleep(30)") as process:
        started = time.monotonic()
        with pytest.raises(Late):
            process.ask({"text": "x" * (1 << 20)}, soon(0.3))  # more than a pipe holds
        assert time.monotonic() - started < 5


def test_a_process_that_closes_its_output_and_goes_on_is_late():
    with process_of(READY + "import os, time\nos.close(1)\ntime.sleep(20)") as process:
        started = time.monotonic()
        with pytest.raises(Late):
            process.ask({}, soon(0.5))
        assert time.monotonic() - started < 5


def test_a_single_run_that_closes_its_output_and_goes_on_is_late():
    with process_of(READY + "import os, time\nprint(4, flush=True)\nos.close(1)\ntime.sleep(20)") as process:
        started = time.monotonic()
        with pytest.raises(Late):
            process.ask_for_output({}, soon(0.5), 1000)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("end", "signal"),
    [("raise SystemExit(3)", None), ("import os\n    os.kill(os.getpid(), 9)", 9), ("raise SystemExit(137)", 9)],
)
def test_the_end_of_a_process_is_told(end, signal):
    with process_of(ECHO + end) as process, pytest.raises(Died) as died:
        process.ask({}, soon())
    assert died.value.signal == signal  # bubblewrap exits with 128 + 9


def test_a_program_that_is_not_there_is_a_start_error():
    with pytest.raises(StartError, match="no-such-program"):
        SandboxProcess(["no-such-program"], environment={})


def test_a_single_run_gives_its_output_and_exit_code(monkeypatch):
    # How programs of standard input run where a process may not fork (macOS), tried here without isolation.
    def command(module, limits):
        made = sandbox_commands.rlimits(module, limits)
        return [*made[:-1], made[-1].replace('"forks": true', '"forks": false')]

    isolation = dataclasses.replace(ISOLATIONS["rlimits"], command=command, forks=False)
    plan = Pairs((Pair("2\n", "4"), Pair("3\n", "9")))
    assert judge("print(int(input()) ** 2)", plan, Limits(), isolation).outcome == "pass"
    assert judge("print(4)", plan, Limits(), isolation).outcome == "fail"
    assert judge("print(int(input()) ** 2)\nexit(1)", plan, Limits(), isolation).outcome == "error"
    assert judge("while True: print('x' * 1000)", plan, Limits(cpu_seconds=1), isolation).outcome != "pass"


def test_resident_memory_is_watched_where_the_system_does_not_limit_it():
    def command(module, limits):
        return sandbox_commands.rlimits(module, Limits(cpu_seconds=5, memory_bytes=2 << 30))  # no limit in its way

    isolation = dataclasses.replace(choose("rlimits"), command=command, limits_memory=False)
    plan = Calls((Call("f", [], {"dict": []}, "equal", 1),), "")
    grow = "import time\nx = b'x' * (300 << 20)\ntime.sleep(30)"
    verdict = judge(grow, plan, Limits(cpu_seconds=5, memory_bytes=100 << 20), isolation)
    assert (verdict.outcome, verdict.message) == ("memory", f"more memory than the {100 << 20} bytes allowed")


NO_UNSHARE = """
import ctypes, os, struct, sys
step = lambda code, value, true=0, false=0: struct.pack("HBBI", code, true, false, value)
number = {"x86_64": 272, "aarch64": 97}[os.uname().machine]
steps = [step(0x20, 0), step(0x15, number, 0, 1), step(0x06, 0x00050001), step(0x06, 0x7FFF0000)]
held = ctypes.create_string_buffer(b"".join(steps))
header = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(held))
libc, zero = ctypes.CDLL(None), ctypes.c_ulong(0)
assert libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero) == 0
assert libc.prctl(22, ctypes.c_ulong(2), header, zero, zero) == 0
from rewards.sandbox.choice import describe
print(describe("landlock"))
"""


@pytest.mark.skipif(describe("landlock").isolation is None, reason="no Landlock here")
def test_without_a_mount_namespace_it_says_what_can_be_seen_or_why_it_is_refused():
    # Containers forbid it by a filter such as this one.
    done = subprocess.run([sys.executable, "-c", NO_UNSHARE], capture_output=True, text=True, timeout=120, check=False)
    if "programs are refused" in done.stdout:  # root's own Python, which another user can't read
        assert "a user other than root can't read" in done.stdout
    else:
        assert "lets programs see the names, sizes and times of files" in done.stdout
