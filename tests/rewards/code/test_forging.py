"""Wrong programs that claim to be right, each against every format of tests: none passes, and none is left out."""

import json
import textwrap

import pytest

from rewards.base import Judged
from rewards.code.reward import CodeReward

# The task: f(x) = x * x, read from standard input where there is no entry point. Every program below gets it wrong.
WRONG = """
def f(x):
    return -1

if __name__ == "__main__":
    print(-1)
"""
CHECK = """
def check(candidate):
    for x in range(2, 5):
        assert abs(candidate(x) - x * x) < 1e-6
    assert sorted([candidate(3), 1]) == [1, 9]
"""
FORMATS = {
    "asserts": {"tests": ["assert f(2) == 4", "assert f(3) == 9", "assert f(-3) == 9"]},
    "truth": {"tests": ["assert f(2) is not None and f(2) == 4", "assert not f(3) != 9"], "entry_point": "f"},
    "check": {"test": CHECK, "entry_point": "f"},
    "arguments": {"inputs": [[2], [3]], "outputs": [4, 9], "entry_point": "f"},
    "pairs": {"inputs": ["2\n", "3\n"], "outputs": ["4\n", "9\n"]},
}
RETURNS = """
def f(x):
    return {value}

if __name__ == "__main__":
    print({value})
"""
EQUAL = """
class Equal({base}):
    def __new__(cls, *a): return super().__new__(cls)
    def _yes(self, *other): return True
    def _self(self, *other): return self
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__ = _yes
    def __ne__(self, other): return False
    def __hash__(self): return hash(4)
    __sub__ = __rsub__ = __abs__ = _self
    def __repr__(self): return "4"
    __str__ = __repr__
"""


def equal(base):
    return EQUAL.format(base=base) + "def f(x):\n    return Equal()\nif __name__ == '__main__':\n    print(-1)\n"


def writes(key, value, ids="range(1, 9)"):
    """Replies to requests that have not come yet, on every descriptor."""
    reply = f'(\'{{"id": %d, "{key}": {value}}}\\n\' % n).encode()'
    return f"""
import os
for n in {ids}:
    for fd in range(3, 64):
        try: os.write(fd, {reply})
        except OSError: pass
{WRONG}"""


PATCHED = """
import sys
for name, module in list(sys.modules.items()):
    if name.startswith("rewards."):
        {patch}
"""
FORGERIES = {
    "prints the answers": "print(4)\nprint(9)\nprint('OK 3 passed')" + WRONG,
    "exits with 0": "import sys\nsys.exit(0)" + WRONG,
    "exits with 0 at once": "import os\nos._exit(0)" + WRONG,
    "exits when called": "import os\ndef f(x):\n    os._exit(0)\nif __name__ == '__main__':\n    f(1)",
    "raises SystemExit when called": "def f(x):\n    raise SystemExit(0)\nif __name__ == '__main__':\n    f(1)",
    "equals everything": equal("object"),
    "an integer that equals everything": equal("int"),
    "a float that equals everything": equal("float"),
    "a text that equals everything": equal("str"),
    "a list that equals everything": equal("list"),
    "a dict that equals everything": equal("dict"),
    "a tuple that equals everything": equal("tuple"),
    "an object that says it is an integer": equal("object") + "Equal.__class__ = int",
    "not a number": RETURNS.format(value="float('nan')"),
    "infinity": RETURNS.format(value="float('inf')"),
    "a value that looks like a tag": RETURNS.format(value="{'int': '0x4'}"),
    "a value that looks like a reply": RETURNS.format(value="{'id': 2, 'value': 4, 'verdict': 'pass'}"),
    "an infinite generator": "def f(x):\n    while True:\n        yield 4\n",
    "the built-in functions replaced": """
import builtins
for name in ("abs", "sorted", "len", "isinstance", "set", "all", "any", "bool", "compile", "exec", "type", "str"):
    setattr(builtins, name, lambda *a, **k: True)
builtins.AssertionError = type("Nothing", (BaseException,), {})
builtins.print = lambda *a: None
"""
    + WRONG,
    "json replaced": """
import json
json.dumps = lambda *a, **k: '{"id": 2, "value": 4}'
json.loads = lambda *a, **k: {"id": 2, "call": "f", "args": [], "kwargs": {"dict": []}}
"""
    + WRONG,
    "an atexit hook": """
import atexit, os
def leave():
    print(4)
    os.write(1, b"4\\n")
    os._exit(0)
atexit.register(leave)
"""
    + WRONG,
    "a reply in advance": writes("value", 4),
    "a verdict in advance": writes("verdict", '"pass", "calls": 1, "text": ""'),
    "outputs in advance": writes("output", '"4\\n", "status": 0'),
    "an id that never comes": writes("value", 4, ids="(999,)"),
    "no JSON at all": """
import os
for fd in range(3, 64):
    try: os.write(fd, b'PASS\\n')
    except OSError: pass
"""
    + WRONG,
    "a reply when called, before the reply": "import os, sys\n"
    + """
def f(x):
    for fd in range(3, 64):
        try: os.write(fd, b'{"id": 2, "value": 4}\\n{"id": 3, "value": 9}\\n{"id": 4, "value": 9}\\n')
        except OSError: pass
    return -1
if __name__ == "__main__":
    f(2)
    print(-1)
""",
    "a thread that keeps replying": """
import os, threading, time
def reply():
    while True:
        for n in range(1, 9):
            for fd in range(3, 64):
                try: os.write(fd, b'{"id": %d, "value": 4}\\n' % n)
                except OSError: pass
threading.Thread(target=reply, daemon=True).start()
time.sleep(0.05)
"""
    + WRONG,
    "the requests read and answered": """
import os, json, threading
def reply():
    while True:
        for line in os.read(40, 65536).splitlines():
            os.write(41, b'{"id": %d, "value": 4}\\n' % json.loads(line)["id"])
threading.Thread(target=reply, daemon=True).start()
"""
    + WRONG,
    "the expected value looked for in frames": """
import sys
def f(x):
    frame, found = sys._getframe(), []
    while frame:
        for names in (frame.f_locals, frame.f_globals):
            for name in ("expected", "output", "outputs", "tests", "test", "plan", "pair", "call", "verdict"):
                found.append(names.get(name))
        frame = frame.f_back
    numbers = [n for n in found if isinstance(n, (int, str)) and str(n).strip() in ("4", "9")]
    return numbers[0] if numbers else -1
if __name__ == "__main__":
    print(f(2))
""",
    "the tests looked for among all objects": """
import gc, re
def f(x):
    for found in gc.get_objects():
        for text in (found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()):
            if isinstance(text, str) and "assert" in text and (m := re.search(r"f\\(%d\\) == (\\d+)" % x, text)):
                return int(m[1])
    return -1
if __name__ == "__main__":
    print(f(2))
""",
    "the tests looked for in files": """
import glob, os
def f(x):
    for root in ("/tmp", "/sandbox", "/proc/self", "/proc/1", "/proc/self/fd", os.getcwd(), "/dev/fd"):
        for path in glob.glob(root + "/*") + glob.glob(root + "/.*"):
            try: text = open(path, errors="ignore").read(1 << 20)
            except OSError: continue
            if "assert f(2) == 4" in text or "x * x" in text:
                return x * x
    return -1
if __name__ == "__main__":
    print(f(2))
""",
    "the server's codec replaced": PATCHED.format(patch="module.encode = lambda *a, **k: 4")
    + """
def f(x):
    return -1
if __name__ == "__main__":
    print(-1)
""",
    "a set that can't be": PATCHED.format(patch="module.encode = lambda *a, **k: {'set': [[1]]}") + WRONG,
    "a dict that is none": PATCHED.format(patch="module.encode = lambda *a, **k: {'dict': [4]}") + WRONG,
    "a handle to nothing": PATCHED.format(patch="module.encode = lambda *a, **k: {'ref': 999}") + WRONG,
    "a kind that is unknown": PATCHED.format(patch="module.encode = lambda *a, **k: {'object': 4}") + WRONG,
    "JSON's NaN": PATCHED.format(patch="module.encode = lambda *a, **k: float('nan')") + WRONG,
    "an assertion that fails of itself": "def f(x):\n    raise AssertionError\nif __name__ == '__main__':\n    f(1)",
    "an undefined name, as a broken test would raise": "def f(x):\n    return y",
    "a failed import, as a broken test would raise": "def f(x):\n    raise ImportError('no module')",
    "an exception of an invented kind": "class Unjudgeable(BaseException): pass\ndef f(x):\n    raise Unjudgeable('x')",
    "an exception whose text raises": """
class Odd(Exception):
    def __str__(self): raise KeyboardInterrupt
def f(x):
    raise Odd
""",
    "a trace function": """
import sys
def trace(frame, event, arg):
    for name in list(frame.f_locals):
        if name in ("value", "reply", "status"):
            frame.f_locals[name] = 4
    return trace
sys.settrace(trace)
sys.setprofile(trace)
"""
    + WRONG,
    "hooks for what is not caught": """
import os, sys
sys.excepthook = sys.unraisablehook = lambda *a: os._exit(0)
def f(x):
    raise ValueError
if __name__ == "__main__":
    f(1)
""",
    "modules replaced": """
import sys
class Anything:
    def __getattr__(self, name): return lambda *a, **k: True
for name in ("math", "unittest", "pytest", "operator", "random", "re"):
    sys.modules[name] = Anything()
"""
    + WRONG,
    "standard output replaced": "import io, sys\nsys.stdout = io.StringIO('4\\n')" + WRONG,
    "a signal handler that exits": """
import os, signal
for number in (signal.SIGXCPU, signal.SIGTERM, signal.SIGALRM, signal.SIGPROF):
    signal.signal(number, lambda *a: os._exit(0))
signal.setitimer(signal.ITIMER_REAL, 0.05)
while True: pass
""",
    "a finaliser": """
import os
class Last:
    def __del__(self): os.write(1, b"4\\n"); os._exit(0)
last = Last()
"""
    + WRONG,
    "a closed channel": "import os\nos.closerange(0, 64)" + WRONG,
    "a crash": "import ctypes\nctypes.string_at(0)" + WRONG,
    "a value too deep": "def f(x):\n    v = 4\n    for _ in range(10 ** 5): v = [v]\n    return v",
    "a value too large": "def f(x):\n    return [4] * 10 ** 7",
    "a number too long": "def f(x):\n    return 10 ** 10 ** 6",
    "code that does not compile": "def f(x:\n" + WRONG,
    "code too deep to compile": "x = " + "(" * 5000 + ")" * 5000 + WRONG,
    "null characters": "\x00" + WRONG,
}


@pytest.fixture(scope="module")
def reward():
    return CodeReward(cpu_seconds=1, memory_mb=128, deadline_seconds=600)


def fenced(code):
    return f"<think>x</think>Here it is.\n```python\n{code}\n```\n"


def columns_of(row, count):
    return {name: [value] * count for name, value in row.items()}


@pytest.mark.parametrize("form", FORMATS)
def test_no_forgery_passes(reward, form):
    completions = [fenced(code) for code in FORGERIES.values()]
    judged = reward(
        prompts=[""] * len(completions), completions=completions, **columns_of(FORMATS[form], len(completions))
    )
    values = dict(zip(FORGERIES, judged, strict=True))
    assert {name: value for name, value in values.items() if value != 0.0} == {}


@pytest.mark.parametrize("form", FORMATS)
def test_the_right_program_passes(reward, form):
    right = "def f(x):\n    return x * x\nif __name__ == '__main__':\n    print(f(int(input())))"
    assert reward(prompts=[""], completions=[fenced(right)], **columns_of(FORMATS[form], 1)) == [1.0]


def test_half_right_is_half_a_point_and_a_forgery_none():
    reward = CodeReward(credit="fraction", cpu_seconds=1)
    half = "def f(x):\n    return x + 2"  # right for 2 alone: 1 of 3
    forged = writes("value", 4).replace("return -1", "return x + 2")
    judged = reward(prompts=["", ""], completions=[fenced(half), fenced(forged)], **columns_of(FORMATS["asserts"], 2))
    assert judged == [pytest.approx(1 / 3), 0.0]
    assert isinstance(judged, Judged) and judged.outcomes == {"fail": 1, "forged": 1}


def test_the_expected_values_never_reach_the_program(reward):
    # It searches all objects for what only the tests hold. (The pattern does not match itself.)
    code = textwrap.dedent("""
        import gc, re
        def f(x):
            objects = [found for found in gc.get_objects() if isinstance(found, (dict, list, tuple))]
            found = re.search(r"marker-[0-9]{4}", repr(objects))
            return found[0] if found else ""
    """)
    rows = [
        {"tests": ["assert f(1) == 'marker-7531'"]},
        {"tests": ["assert f(1).strip() == 'marker-7531'"]},
        {"inputs": [[1]], "outputs": ["marker-7531"], "entry_point": "f"},
    ]
    for row in rows:
        assert reward(prompts=[""], completions=[fenced(code)], **columns_of(row, 1)) == [0.0]
    given_away = [{"tests": ["assert f('marker-7531') == 'marker-7531'"]}]  # the search itself works
    for row in given_away:
        assert reward(prompts=[""], completions=[fenced(code)], **columns_of(row, 1)) == [1.0]


LONG = "import os\nos.write(41, b'{\"id\": 1, \"loaded\": [' + b'[],' * 20_000_000 + b'1]}\\n')\ndef f(x): return x * x"


def test_a_long_reply_is_not_taken_apart(monkeypatch):
    read = []
    real = json.loads
    monkeypatch.setattr(
        "rewards.sandbox.process.json.loads", lambda text, **k: read.append(len(text)) or real(text, **k)
    )
    judged = CodeReward()(prompts=[""], completions=[f"```python\n{LONG}\n```"], tests=[["assert f(2) == 4"]])
    assert (list(judged), list(judged.outcomes)) == ([0.0], ["forged"])
    assert "more than 65536 bytes where a few words" in judged.messages["forged"]
    assert max(read) < 1 << 20


@pytest.mark.parametrize(
    "value", ['{"Fraction": "1/0"}', '{"array": ["int64", [1], [4]]}', '{"deque": []}', '{"sub": [4]}']
)
def test_a_value_that_none_can_be_is_that_programs_failure_alone(value):
    forger = f'import os\ndef f(x): os.write(41, b\'{{"id": 2, "value": {value}}}\\n\')\nimport time\n'
    judged = CodeReward(cpu_seconds=1)(
        prompts=[""] * 2,
        completions=[fenced(forger), fenced("def f(x): return x * x")],
        tests=[["assert f(2) == 4"]] * 2,
    )
    assert list(judged) == [0.0, 1.0] and judged.outcomes["forged"] == 1
