"""A command that decodes starts itself anew with the memory settings it gains by, once."""

import json
import os
import platform
import subprocess
import sys

import pytest

from grpo.cpu import allocator
from grpo.cpu.blas import has_cuda_backend
from grpo.cpu.switch import plain

SCRIPT = """
import json, os, sys
if __name__ == "__main__":
    from grpo.cpu.allocator import restart
    print("begun", flush=True)
    restart()
    print(json.dumps([os.getpid(), sys.argv[1:], sys.flags.dev_mode, os.environ.get("GLIBC_TUNABLES")]))
"""
needs_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or has_cuda_backend(), reason="there nothing is changed"
)


@pytest.fixture
def run(tmp_path):
    """Run the script with these arguments and GLIBC_TUNABLES; its process, how often it began, what it said last."""
    (tmp_path / "script.py").write_text(SCRIPT)

    def run(tunables, *arguments):
        others = {name: value for name, value in os.environ.items() if name != allocator.VARIABLE}
        given = others if tunables is None else {**others, allocator.VARIABLE: tunables}
        command = [sys.executable, "-X", "dev", "script.py", *arguments]
        process = subprocess.Popen(command, cwd=tmp_path, env=given, stdout=subprocess.PIPE, text=True)
        lines = process.communicate(timeout=60)[0].splitlines()
        assert process.returncode == 0
        return process.pid, lines.count("begun"), json.loads(lines[-1])

    return run


@needs_glibc
@pytest.mark.skipif(plain(), reason="GRPO_PLAIN turns off what is tested here")
def test_it_begins_anew_once_as_the_same_process_with_the_same_arguments(run):
    pid, begun, said = run(None, "key=a b", "--flag")
    assert begun == 2
    assert said == [pid, ["key=a b", "--flag"], True, allocator.SETTING]


def test_what_the_user_has_set_stays(run):
    _, begun, said = run("glibc.malloc.arena_max=2")
    assert (begun, said[-1]) == (1, "glibc.malloc.arena_max=2")


@needs_glibc
@pytest.mark.skipif(plain(), reason="GRPO_PLAIN turns off what is tested here")
def test_a_process_that_can_t_be_started_anew_goes_on(monkeypatch):
    def refused(*_arguments):
        raise PermissionError("no more processes")

    monkeypatch.delenv(allocator.VARIABLE, raising=False)
    monkeypatch.setattr(os, "execve", refused)
    assert allocator.environment() == {allocator.VARIABLE: allocator.SETTING}
    allocator.restart()


def test_elsewhere_nothing_changes(monkeypatch):
    monkeypatch.delenv(allocator.VARIABLE, raising=False)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(os, "execve", lambda *_arguments: pytest.fail("started anew"))
    assert allocator.environment() == {}
    allocator.restart()
