"""The child process: whatever it does, each wait ends by its deadline and nothing of it is left."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rewards import process as resident
from rewards.process import ChildProcess, Died, Late, TooMuchMemory, Unsolicited

ECHO = "import sys\nfor line in sys.stdin: print(line.strip(), flush=True)"
SLEEP = "time.sleep(30)"


def child(code, **options):
    return ChildProcess([sys.executable, "-S", "-c", f"import os, time\n{code}"], environment={}, **options)


def soon(seconds=10.0):
    return time.monotonic() + seconds


def alive(pid):
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(done.stdout.strip()) and not done.stdout.strip().startswith("Z")


@pytest.fixture
def brief():
    """A test that has to end long before the child's 30 seconds of sleep."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 10


def test_a_line_comes_back_for_each_line():
    with child(ECHO) as process:
        for message in ({"a": 1}, {"text": "é\n"}, {"long": "x" * 200_000}):  # the last is more than a pipe holds
            assert json.loads(process.exchange(message, soon())) == message


def test_lines_that_come_at_once_are_read_one_by_one():
    with child("print('1\\n2\\n3', flush=True)") as process:
        assert [process.line(soon()) for _ in range(3)] == [b"1", b"2", b"3"]


def test_the_environment_and_the_directory_are_those_given(tmp_path):
    process = ChildProcess(
        [sys.executable, "-S", "-c", "import os; print(os.environ.get('A'), os.environ.get('HOME'), os.getcwd())"],
        environment={"A": "1"},
        directory=str(tmp_path),
    )
    with process:
        assert process.line(soon()).decode() == f"1 None {tmp_path.resolve()}"


def test_a_child_that_does_not_reply_is_late(brief):
    with child(SLEEP) as process, pytest.raises(Late):
        process.exchange({}, soon(0.3))


def test_a_child_that_does_not_read_is_late(brief):
    with child(SLEEP) as process, pytest.raises(Late):
        process.send({"text": "x" * (1 << 20)}, soon(0.3))  # more than a pipe holds


def test_half_a_line_is_late(brief):
    with child(f"print('1', end='', flush=True)\n{SLEEP}") as process, pytest.raises(Late):
        process.line(soon(0.5))


def test_a_child_that_closes_its_output_and_goes_on_is_late(brief):
    with child(f"os.close(1)\n{SLEEP}") as process, pytest.raises(Late):
        process.exchange({}, soon(0.5))


def test_a_child_that_closes_its_input_and_goes_on_is_late(brief):
    with child(f"os.close(0)\nprint(1, flush=True)\n{SLEEP}") as process:
        process.line(soon())
        with pytest.raises(Late):
            process.exchange({}, soon(0.3))


@pytest.mark.parametrize(
    ("end", "status", "signal"),
    [
        ("os._exit(3)", 3, None),
        ("os.kill(os.getpid(), 9)", -9, 9),
        ("os._exit(137)", 137, 9),  # 128 + 9, as bubblewrap says it
        ("os.close(1); time.sleep(0.3); os._exit(0)", 0, None),  # it is waited for
    ],
)
def test_the_end_of_a_child_is_told(end, status, signal):
    with child(end) as process, pytest.raises(Died) as died:
        process.exchange({}, soon())
    assert (died.value.status, died.value.signal) == (status, signal)


def test_a_line_above_the_bound_is_not_read_to_its_end(brief):
    flood = "while True: os.write(1, b'x' * 4096)"
    with child(flood, longest_line=100_000) as process, pytest.raises(Unsolicited, match="a reply without end"):
        process.line(soon(20))


@pytest.mark.parametrize(
    "growth",
    [
        f"grown = b'x' * (100 << 20)\n{SLEEP}",
        f"os.close(1)\ngrown = b'x' * (100 << 20)\n{SLEEP}",
        # never silent for as long as the watch sleeps: 100 times a MB
        "grown = []\nwhile True: os.write(1, b'.'); grown += [b'x' * (1 << 20)][len(grown) // 100:]; time.sleep(0.005)",
    ],
)
def test_a_child_that_grows_is_noticed_whatever_its_output_does(brief, growth):
    said = f"more memory than the {60 << 20} bytes allowed"
    with child(growth, watched_bytes=60 << 20) as process, pytest.raises(TooMuchMemory, match=said):
        process.exchange({}, soon(20))  # Late, or found at the last moment, is too late


def test_a_child_within_its_memory_is_left_alone():
    with child("time.sleep(0.3)\nprint(1)", watched_bytes=60 << 20) as process:
        assert process.line(soon()) == b"1"


@pytest.mark.parametrize("end", [SLEEP, "os._exit(0)"])
def test_what_a_child_started_ends_with_it(end):
    # also where the child itself has ended first
    with child(f"pid = os.fork()\nif pid == 0: {SLEEP}\nprint(pid, flush=True)\n{end}") as process:
        grandchild = int(process.line(soon()))
        if end != SLEEP:
            assert process.wait(soon()) == 0
        assert alive(grandchild)
    end_of_wait = soon()
    while alive(grandchild) and time.monotonic() < end_of_wait:
        time.sleep(0.02)
    assert not alive(grandchild) and not process.running


def test_closing_leaves_no_pipe_open_and_may_be_done_twice():
    process = child(SLEEP, stderr=subprocess.PIPE)
    pipes = [pipe.fileno() for pipe in (process._in, process._out, process._process.stderr)]
    process.close()
    process.close()
    for descriptor in pipes:
        with pytest.raises(OSError):
            os.fstat(descriptor)


def test_the_parents_end_is_not_loaded_inside_the_sandbox():
    modules = "rewards.sandbox.guard, rewards.sandbox.landlock, rewards.sandbox.seccomp"
    code = f"import sys, {modules}, rewards.code.program, rewards.code.checker\nprint('rewards.process' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_resident_memory_is_known_by_either_way():
    # the two look at different moments: within a half of each other
    grown = bytearray(50_000_000)
    assert len(grown) < resident._by_ps(os.getpid()) < 2 * resident.resident_bytes(os.getpid())
    assert resident.resident_bytes(2**22 + 1) == 0  # no such process


def test_of_a_line_longer_than_wanted_the_rest_is_dropped_and_the_next_one_is_read():
    code = "import sys\nfor n in (3, 40 << 20, 5):\n    sys.stdin.readline()\n    print('x' * n, flush=True)"
    with child(code) as process:
        assert [len(process.exchange({}, soon(30), 1000)) for _ in range(3)] == [3, 1001, 5]
