"""Landlock where a program may have no namespace of its own, as in most containers: what it then still holds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rewards.sandbox import isolations, landlock, seccomp

ROOT = Path(isolations.__file__).parents[2]
SYSTEM = "/usr/bin/python3"
# denies unshare, mount and setns, as Docker's own filter does, and then does what it is given
WITHOUT = """
import ctypes, os, struct, sys
from rewards.sandbox.seccomp import ALLOW, ERRNO, JUMP_EQUAL, LOAD, NUMBER, RETURN, _step
steps = [_step(LOAD, NUMBER)]
for number in (272, 165, 308):
    steps += [_step(JUMP_EQUAL, number, 0, 1), _step(RETURN, ERRNO | 1)]
code = b"".join([*steps, _step(RETURN, ALLOW)])
held = ctypes.create_string_buffer(code, len(code))
libc, zero = ctypes.CDLL(None), ctypes.c_ulong(0)
libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero)
header = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(held))
assert libc.prctl(22, ctypes.c_ulong(2), header, zero, zero) == 0
import json
from rewards.code.reward import CodeReward
programs = json.loads(sys.argv[1])
completions, tests = ["```python\\n" + one + "\\n```" for one in programs], [["assert f() == 3"]] * len(programs)
reward = CodeReward(isolation="landlock", packages=(), deadline_seconds=120)
judged = reward([""] * len(programs), completions, tests=tests)
print(json.dumps([list(judged), judged.messages]))
"""
THREADS = """
import threading, time
threading.stack_size(32768)
def f():
    started = 0
    for _ in range(2000):
        try:
            threading.Thread(target=time.sleep, args=(2,), daemon=True).start()
        except RuntimeError:
            break
        started += 1
    time.sleep(1)
    return 3 if started > 200 else 0
"""
PROGRAMS = {
    "writes": "def f():\n    open('/tmp/grpo-bare-hacked', 'w').write('x')\n    return 3",
    "reads": "def f(): return 3 if open('/etc/passwd').read() else 0",
    "forks": "import os\ndef f():\n    if os.fork() == 0:\n        os._exit(0)\n    return 3",
    "is root": "import os\ndef f(): return 3 if os.getuid() == 0 else 0",
    "hogs threads": THREADS,
}
HONEST = {
    "computes": "def f(): return sum([1, 2])",
    "threads": "from concurrent.futures import ThreadPoolExecutor\n"
    "def f():\n    with ThreadPoolExecutor(8) as pool: return sum(pool.map(abs, [-1, -2]))",
    "the null device": "import os\ndef f():\n    with open(os.devnull, 'w') as file: return file.write('abc')",
}


def python_for_others():
    """A Python that any user can read: root's own may not be."""
    if os.geteuid() != 0 or isolations._others_may_read(isolations.executable()):
        return sys.executable
    return SYSTEM if os.path.exists(SYSTEM) else None


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine not in seccomp.MACHINES[:1], reason="x86_64 Linux")
def test_what_needs_no_namespace_is_held_without_one():
    python = python_for_others()
    if python is None or landlock.version() < landlock.OLDEST:
        pytest.skip("no Landlock, or no Python that other users can read")
    programs = [*PROGRAMS.values(), *HONEST.values()]
    done = subprocess.run(
        [python, "-c", WITHOUT, json.dumps(programs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "ImportError" in done.stderr or "SyntaxError" in done.stderr:
        pytest.skip("the system's Python is too old")
    values, messages = json.loads(done.stdout)
    assert "no mount namespace" in messages["isolation"]
    found = dict(zip([*PROGRAMS, *HONEST], values, strict=True))
    assert found == dict.fromkeys(PROGRAMS, 0.0) | dict.fromkeys(HONEST, 1.0)
