"""The code reward: which block is judged, by which columns, and what each outcome is worth."""

import json
import threading
import time

import pytest

from rewards.base import get
from rewards.code import trial
from rewards.code.reward import CodeReward
from rewards.sandbox import choice
from rewards.sandbox.choice import Description

SQUARE = "def f(x):\n    return x * x"
TESTS = ["assert f(2) == 4", "assert f(3) == 9"]


@pytest.fixture(scope="module")
def reward():
    return CodeReward(cpu_seconds=2)


def fenced(code):
    return f"```python\n{code}\n```"


def score(reward, completion, prompt="", **columns):
    """The value and the outcome of one completion."""
    judged = reward(prompts=[prompt], completions=[completion], **{name: [value] for name, value in columns.items()})
    return judged[0], list(judged.outcomes)


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (fenced(SQUARE), (1.0, ["pass"])),
        (fenced("def f(x):\n    return x"), (0.0, ["fail"])),
        (fenced("def g(x):\n    return x * x"), (0.0, ["error"])),
        (fenced("def f(x)\n    return x * x"), (0.0, ["error"])),
        (fenced("def f(x):\n    while True: pass"), (0.0, ["timeout"])),
        (fenced("def f(x):\n    return [0] * (1 << 40)"), (0.0, ["memory"])),
        (f"It is {SQUARE}", (0.0, ["no_code"])),
        ("", (0.0, ["no_code"])),
        (fenced("def f(x):\n    print(x)\n    return x * x"), (1.0, ["pass"])),  # printing is no crime
        (fenced(SQUARE + "\nif __name__ == '__main__':\n    main()"), (1.0, ["pass"])),
    ],
)
def test_a_program_is_worth_what_its_tests_say(reward, completion, expected):
    assert score(reward, completion, tests=TESTS) == expected


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        (f"{fenced('def f(x): return 0')}\nNo:\n{fenced(SQUARE)}", 1.0),  # the last one counts
        (f"{fenced(SQUARE)}\nNo:\n{fenced('def f(x): return 0')}", 0.0),
        (f"{fenced(SQUARE)}\nIt prints:\n```\n4\n```", 1.0),  # a block that says it is Python goes first
        (f"```\n{SQUARE}\n```", 1.0),
        (f"```py\n{SQUARE}\n```", 1.0),
        (f"~~~python\n{SQUARE}\n~~~", 1.0),
        ("1. So:\n   ```python\n   def f(x):\n       return x * x\n   ```", 1.0),  # indented with its list
        (f"```java\n{SQUARE}\n```", 0.0),
        (f"```python\n{SQUARE}\n", 0.0),  # cut off: not an answer
        (f"<think>\n{fenced(SQUARE)}\n</think>\nDone.", 0.0),  # thought, not answered
        (f"<think>\n{fenced('x')}\n</think>\n<answer>\n{fenced(SQUARE)}\n</answer>", 1.0),
        (f"<think>\n{fenced(SQUARE)}\n", 0.0),
        (f"No idea.<|im_end|>\n<|im_start|>user\n{fenced(SQUARE)}", 0.0),  # a turn it plays itself
        ([{"role": "assistant", "content": fenced(SQUARE)}], 1.0),
    ],
)
def test_the_program_is_the_last_python_block_of_the_answer(reward, completion, value):
    assert score(reward, completion, tests=TESTS)[0] == value


def test_reasoning_opened_by_the_prompt_is_not_the_answer(reward):
    assert score(reward, fenced(SQUARE), prompt="Q\n<think>\n", tests=TESTS) == (0.0, ["no_code"])


@pytest.mark.parametrize(
    "columns",
    [
        {"tests": ["assert f(2) == 4 and f(3) == 9"]},
        {"tests": ["assert sorted([f(2), f(1)]) == [1, 4]", "assert f(3) == 9"]},
        {"tests": ["import math\nassert math.isclose(f(0.5), 0.25)"]},
        {"tests": ["assert math.isclose(f(0.5), 0.25)"], "test_imports": ["import math"]},
        {"tests": ["assert math.isclose(f(0.5), 0.25)"]},  # a module of the library is found
        {"tests": ["assert near(f(2), 4)"], "setup": "def near(a, b):\n    return abs(a - b) < 1e-6"},
        {"tests": ["for x in range(5):\n    assert f(x) == x ** 2"]},
        {"tests": ["try:\n    f('a')\n    assert False\nexcept TypeError:\n    assert f(2) == 4"]},
        {"tests": ["assert f(x=3) == 9", "assert not f(0)", "assert f(0) is not None", "assert f(1) != 2"]},
        {"test": "def check(candidate):\n    assert candidate(2) == 4\n", "entry_point": "f"},
        {"test": "def check(g):\n    for x in (1, 2):\n        assert g(x) == x * x\n", "entry_point": "f"},
        {"test": "assert f(4) == 16\nassert f(5) == 25"},
        {"tests": ["assert candidate(2) == 4"], "entry_point": "f"},
        {"tests": ["assert candidate(2) + 1 == 5"], "entry_point": "f"},
        {"inputs": [[2], [3]], "outputs": [4, 9], "entry_point": "f"},
        {"inputs": [{"x": 2}], "outputs": [4], "entry_point": "f"},
        {"inputs": [2, 3], "outputs": [4, 9], "entry_point": "f"},
        {"inputs": ["2\n", "3"], "outputs": ["4", "9"], "entry_point": "f"},
    ],
)
def test_every_format_of_tests(reward, columns):
    assert score(reward, fenced(SQUARE), **columns) == (1.0, ["pass"])
    assert score(reward, fenced("def f(x):\n    return x + 40"), **columns)[0] == 0.0


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("n = int(input())\nprint(*[int(input()) ** 2 for _ in range(n)], sep='\\n')", 1.0),
        ("import sys\nn, *rest = map(int, sys.stdin.read().split())\nfor x in rest: print(x * x, ' ')", 1.0),
        (
            "import sys\nfor x in list(map(int, sys.stdin.buffer))[1:]: sys.stdout.write(f'{x * x:.2f}\\n')",
            1.0,
        ),
        ("import os\nd = os.read(0, 100).split()[1:]\nos.write(1, b'\\n'.join(b'%d' % int(x) ** 2 for x in d))", 1.0),
        (
            "def m():\n    for _ in range(int(input())): print(int(input()) ** 2)\nif __name__ == '__main__': m()",
            1.0,
        ),
        (
            "import sys\nsys.setrecursionlimit(9999)\nfor _ in range(int(input())): print(int(input()) ** 2)\nexit()",
            1.0,
        ),
        ("for _ in range(int(input())): print(int(input()) ** 2)\nexit(3)", 0.0),
        ("for _ in range(int(input())): print(int(input()) ** 2)\n1 / 0", 0.0),
        ("for _ in range(int(input())): print(int(input()) ** 2, end=' ')", 0.0),  # one line, not two
        ("print(4)\nprint(9)", 0.0),
        ("input()\nprint(input())", 0.0),
    ],
)
def test_programs_of_standard_input_and_output(reward, code, value):
    columns = {"inputs": ["2\n2\n3\n", "1\n5\n"], "outputs": ["4\n9\n", "25"]}
    assert score(reward, fenced(code), **columns)[0] == value


def test_each_input_meets_a_new_process(reward):
    code = "import builtins\nn = getattr(builtins, 'seen', 0)\nbuiltins.seen = n + 1\nprint(n)\ninput = None"
    assert score(reward, fenced(code), inputs=["", "", ""], outputs=["0", "0", "0"]) == (1.0, ["pass"])


def test_large_inputs_and_outputs(reward):
    code = "import sys\nprint(sys.stdin.read().upper())"
    given = "abc\n" * 500_000  # 2 MB
    assert score(reward, fenced(code), inputs=[given], outputs=[given.upper()]) == (1.0, ["pass"])


def test_a_class_may_be_tested(reward):
    code = (
        "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n"
        "    def pop(self): return self.items.pop()\n"
    )
    test = "s = Stack()\ns.push(3)\ns.push(4)\nassert s.pop() == 4\nassert s.items == [3]"
    assert score(reward, fenced(code), tests=[test]) == (1.0, ["pass"])
    assert score(reward, fenced(code.replace("pop()", "pop(0)")), tests=[test])[0] == 0.0


def test_a_method_of_solution_is_found_by_its_name(reward):
    code = "class Solution:\n    def f(self, x: int) -> int:\n        return x * x"
    assert score(reward, fenced(code), inputs=["2", "3"], outputs=["4", "9"], entry_point="f") == (1.0, ["pass"])
    assert score(reward, fenced(code), tests=["assert Solution().f(2) == 4"]) == (1.0, ["pass"])


@pytest.mark.parametrize(
    ("returned", "expected", "value"),
    [
        ("(1, 2)", "(1, 2)", 1.0),
        ("[1, 2]", "(1, 2)", 0.0),
        ("{3, 4}", "{4, 3}", 1.0),
        ("{1: (2, [3])}", "{1: (2, [3])}", 1.0),
        ("__import__('collections').Counter('aab')", "{'a': 2, 'b': 1}", 1.0),
        ("__import__('collections').OrderedDict(a=1)", "{'a': 1}", 1.0),
        ("__import__('collections').namedtuple('P', 'x y')(1, 2)", "(1, 2)", 1.0),
        ("10 ** 40", "10000000000000000000000000000000000000000", 1.0),
        ("-10 ** 40 + 1", "-10000000000000000000000000000000000000000", 0.0),
        ("0.1 + 0.2", "0.3", 0.0),  # as Python has it
        ("1", "True", 1.0),
        ("b'ab'", "b'ab'", 1.0),
        ("1 + 2j", "(1 + 2j)", 1.0),
        ("'\\ud800é'", "'\\ud800é'", 1.0),
        ("float('inf')", "1e999", 1.0),
        ("(x for x in [1])", "[1]", 0.0),
        ("None", "None", 1.0),
    ],
)
def test_values_are_compared_as_python_does(reward, returned, expected, value):
    assert score(reward, fenced(f"def f():\n    return {returned}"), tests=[f"assert f() == {expected}"])[0] == value


def test_a_tuple_is_as_good_as_a_list_where_json_has_no_tuples(reward):
    code = fenced("def f(x):\n    return (x, (x, x))")
    assert score(reward, code, inputs=[[1]], outputs=[[1, [1, 1]]], entry_point="f")[0] == 1.0


def test_the_fraction_of_tests_passed():
    reward = CodeReward(credit="fraction", cpu_seconds=1)
    code = fenced("def f(x):\n    return 4 if x == 2 else 1 // 0")
    tests = ["assert f(3) == 9", "assert f(2) == 4", "assert f(4) == 16", "assert f(2) != 5"]
    assert score(reward, code, tests=tests) == (0.5, ["error"])  # 2 of 4
    assert score(reward, code, tests=[f"{test}, str(1)" for test in tests])[0] == 0.5
    pairs = {"inputs": ["2", "3", "2", "4"], "outputs": ["4", "9", "4", "16"]}
    assert score(reward, fenced("print(4 if input() == '2' else 0)"), **pairs) == (0.5, ["fail"])
    loop = fenced("def f(x):\n    while x == 3: pass\n    return x * x")
    assert score(reward, loop, tests=tests[1:2] + tests[:1] + tests[2:]) == (0.25, ["timeout"])  # 1, then it hung


@pytest.mark.parametrize(
    ("columns", "outcome", "said"),
    [
        ({"answer": "4"}, "no_tests", "neither tests"),
        ({"tests": []}, "no_tests", "neither tests"),
        ({"tests": ["assert f(2) =="]}, "bad_tests", "not Python"),
        ({"tests": ["f(2)"]}, "bad_tests", "without assert"),
        ({"tests": ["assert 1 + 1 == 2"]}, "bad_tests", "does not call the program"),
        ({"tests": ["import no_such_module\nassert f(2) == 4"]}, "bad_tests", "no_such_module"),
        ({"tests": ["assert f(lambda: 2) == 4"]}, "bad_tests", "function can't be sent"),
        ({"tests": [1]}, "bad_tests", "list of assert statements"),
        ({"tests": ["assert f(2) + 0 == 4"], "setup": "1 / 0"}, "bad_tests", "ZeroDivisionError"),
        ({"test": "def check(candidate):\n    assert candidate(2) == 4\n"}, "bad_tests", "entry_point"),
        ({"inputs": ["1", "2"], "outputs": ["1"]}, "bad_tests", "2 inputs but 1 outputs"),
        ({"inputs": [1], "outputs": [1]}, "bad_tests", "are texts"),
        ({"inputs": ["no json"], "outputs": ["1"], "entry_point": "f"}, "bad_tests", "one JSON value a line"),
    ],
)
def test_a_row_that_can_not_be_judged_is_left_out_and_says_why(reward, columns, outcome, said):
    judged = reward(prompts=[""], completions=[fenced(SQUARE)], **{name: [value] for name, value in columns.items()})
    assert list(judged) == [None]
    assert judged.outcomes == {outcome: 1}
    assert said in judged.messages[outcome] and "\n" not in judged.messages[outcome]


def test_a_helper_of_the_tests_comes_from_the_prompt_not_from_the_program(reward):
    # HumanEval's find_zero: the tests call poly, which the prompt defines.
    prompt = "def poly(x):\n    return x - 2\n\ndef f():\n    '''The zero of poly.'''\n"
    test = "def check(candidate):\n    assert abs(poly(candidate())) < 1e-6\n"
    row = {"test": test, "entry_point": "f"}
    forged = fenced("def poly(x):\n    return 0\ndef f():\n    return 5")
    for asked in (prompt, f"Complete it:\n```python\n{prompt}```\n", f"Complete it:\n{prompt}"):
        assert score(reward, fenced("def f():\n    return 2"), prompt=asked, **row) == (1.0, ["pass"])
        assert score(reward, forged, prompt=asked, **row) == (0.0, ["fail"])
    assert score(reward, forged, setup=prompt, **row) == (0.0, ["fail"])
    assert score(reward, forged, prompt="Find the zero.", **row)[1] == ["pass", "helper_of_program"]  # and says so


def test_without_isolation_every_row_is_left_out(monkeypatch):
    nothing = Description(None, "", 0.0, ("bubblewrap is not installed",))
    monkeypatch.setattr(choice, "_found", {"auto": (time.monotonic(), nothing)})
    judged = CodeReward()(prompts=["", ""], completions=[fenced(SQUARE), "no code"], tests=[TESTS, TESTS])
    assert list(judged) == [None, 0.0]
    assert judged.outcomes == {"refused": 1, "no_code": 1}
    assert "bubblewrap is not installed" in judged.messages["refused"]
    assert "isolation=rlimits" in judged.messages["refused"]


def test_a_sandbox_that_does_not_start_is_not_the_programs_fault(monkeypatch):
    def broken(*arguments):
        raise choice.StartError("the sandbox did not start: no space")

    monkeypatch.setattr("rewards.code.trial.start", broken)
    assert score(CodeReward(), fenced(SQUARE), tests=TESTS) == (None, ["refused"])


def test_what_is_late_is_left_out():
    assert score(CodeReward(deadline_seconds=1e-9), fenced(SQUARE), tests=TESTS) == (None, ["deadline"])


@pytest.mark.parametrize(("load", "factor"), [(0.0, 1.0), (3.0, 1.5), (100.0, 4.0)])
def test_a_crowded_machine_is_given_time(monkeypatch, load, factor):
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(trial, "cores", lambda: 2)
    assert trial.crowding() == factor  # 3 that want to run on 2 cores: half as long again


def test_equal_programs_run_once(reward, monkeypatch):
    started = []
    real = choice.start
    monkeypatch.setattr("rewards.code.trial.start", lambda *a: started.append(1) or real(*a))
    judged = reward(prompts=[""] * 8, completions=[fenced(SQUARE)] * 8, tests=[TESTS] * 8)
    assert (list(judged), len(started)) == ([1.0] * 8, 1)


def test_any_thread_may_ask(reward):
    values = []
    codes = [f"def f(x):\n    return x * x + {n} - {n}" for n in range(6)]
    threads = [
        threading.Thread(target=lambda code=code: values.append(score(reward, fenced(code), tests=TESTS)[0]))
        for code in codes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == [1.0] * 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"credit": "some"}, "code.credit must be all or fraction"),
        ({"isolation": "docker"}, "code.isolation must be one of auto, bubblewrap"),
        ({"cpu_seconds": 0}, "code.cpu_seconds must be a whole number of at least 1"),
        ({"memory_mb": 1}, "code.memory_mb must be at least 64"),
        ({"workers": 0}, "code.workers must be at least 1"),
        ({"deadline_seconds": 0}, "code.deadline_seconds must be positive"),
        ({"timeout": 3}, "its options: credit, isolation"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        get("code", **options)


def test_the_reference_solutions_pass_and_others_do_not(shared_data):
    # Every tenth here; all 591 pass as well, which takes a minute.
    rows = [json.loads(line) for line in (shared_data / "humaneval.jsonl").open(encoding="utf-8")][::10]
    solutions = [fenced(row["prompt"] + row["canonical_solution"]) for row in rows]
    reward = CodeReward(deadline_seconds=600)
    call = {
        "prompts": [row["prompt"] for row in rows],
        "test": [row["test"] for row in rows],
        "entry_point": [row["entry_point"] for row in rows],
    }
    assert list(reward(completions=solutions, **call)) == [1.0] * len(rows)
    assert list(reward(completions=solutions[1:] + solutions[:1], **call)) == [0.0] * len(rows)

    rows = [json.loads(line) for line in (shared_data / "mbpp_sanitized.jsonl").open(encoding="utf-8")][::10]
    solutions = [fenced(row["code"]) for row in rows]
    call = {"prompts": [""] * len(rows), "tests": [row["test_list"] for row in rows]}
    assert list(reward(completions=solutions, **call)) == [1.0] * len(rows)
    assert list(reward(completions=solutions[1:] + solutions[:1], **call)) == [0.0] * len(rows)


@pytest.mark.parametrize(
    ("code", "columns"),
    [
        ("def f(x: List[int]) -> Optional[int]:\n    return x[0]", {"tests": ["assert f([2]) == 2"]}),
        ("def f(x):\n    return deque(x)[-1] + gcd(2, 4) + inf * 0", {"tests": ["assert f([2]) != 5"]}),
        ("print(sqrt(4) + len(list(permutations([1, 2]))))", {"inputs": [""], "outputs": ["4"]}),
        ("@cache\ndef f(n):\n    return n and 1 + f(n - 1)", {"tests": ["assert f(9000) == 9000"]}),
        ("def f(n):\n    return n and 1 + f(n - 1)", {"tests": ["assert f(40000) == 40000"]}),
        ("print()\nprint(1e3)", {"inputs": [""], "outputs": ["1000"]}),
        ("print(1000)", {"inputs": [""], "outputs": ["\n\n1e3\n"]}),
    ],
)
def test_what_graders_give_every_program(reward, code, columns):
    assert score(reward, fenced(code), **columns) == (1.0, ["pass"])


def test_the_header_is_no_answer(reward):
    assert score(reward, fenced("x = 1"), tests=["assert gcd(4, 6) == 2"]) == (0.0, ["error"])
    assert score(reward, fenced("x = 1"), tests=["assert gcd(4, 6) + 0 == 2"])[0] == 0.0


def test_installed_packages_may_be_imported(reward):
    pytest.importorskip("numpy")
    code = fenced("import numpy as np\ndef f(x):\n    return np.int64(np.array([x, 1]).sum())")
    assert score(reward, code, tests=["assert f(1) == 2"]) == (1.0, ["pass"])
    assert score(reward, code, tests=["assert abs(f(1) - 2) < 1"]) == (1.0, ["pass"])
    test = "import numpy as np\nassert (np.array([f(1), f(2)]) == np.array([2, 3])).all()"
    assert score(reward, code, tests=[test]) == (1.0, ["pass"])
    assert score(CodeReward(packages=()), code, tests=["assert f(1) == 2"]) == (0.0, ["error"])
    with pytest.raises(ValueError, match=r"code\.packages must be a list of names"):
        CodeReward(packages="numpy")
