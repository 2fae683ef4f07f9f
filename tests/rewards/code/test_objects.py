# ruff: noqa: E501
"""Tests that use a program's own objects and exceptions: they work, or the row is left out with a reason."""

import sys

import pytest

from rewards.code.reward import CodeReward

BAG = """
class EmptyBag(ValueError):
    pass

class Bag:
    def __init__(self, *items): self.items = list(items)
    def __len__(self): return len(self.items)
    def __str__(self): return f"Bag{tuple(self.items)}"
    __repr__ = __str__
    def __iter__(self): return iter(self.items)
    def __contains__(self, x): return x in self.items
    def __getitem__(self, i): return self.items[i]
    def __setitem__(self, i, x): self.items[i] = x
    def __delitem__(self, i): del self.items[i]
    def __eq__(self, other): return isinstance(other, Bag) and self.items == other.items
    def __hash__(self): return hash(tuple(self.items))
    def __lt__(self, other): return len(self) < len(other)
    def __add__(self, other): return Bag(*self.items, *(other.items if isinstance(other, Bag) else [other]))
    def __radd__(self, other): return Bag(other, *self.items)
    def __neg__(self): return Bag(*[-x for x in self.items])
    def __int__(self): return len(self)
    def __float__(self): return len(self) / 2
    def __enter__(self): self.opened = True; return self
    def __exit__(self, *raised): self.opened = False
    def take(self):
        if not self.items:
            raise EmptyBag("nothing left")
        return self.items.pop()

MOST = 3

def primes():
    n = 2
    while True:
        if all(n % d for d in range(2, n)):
            yield n
        n += 1

def merged(a, b):
    return a + b
"""
WORK = [
    "assert len(Bag(1, 2)) == 2",
    "assert str(Bag(1, 2)) == 'Bag(1, 2)' and repr(Bag(3, 4)) == 'Bag(3, 4)' and f'{Bag(1, 2)}' == 'Bag(1, 2)'",
    "assert list(Bag(1, 2)) == [1, 2]",
    "assert Bag(1, 2, 3)[:2] == [1, 2] and Bag(1, 2, 3)[::-1] == [3, 2, 1]",
    "assert [x + 1 for x in Bag(*range(1000))] == list(range(1, 1001))",
    "assert 2 in Bag(1, 2) and 3 not in Bag(1, 2)",
    "b = Bag(1, 2)\nb[0] = 5\ndel b[1]\nassert b[0] == 5 and len(b) == 1",
    "assert Bag(1) == Bag(1)\nassert Bag(1) != Bag(2)",
    "assert len({Bag(1), Bag(1), Bag(2)}) == 2",
    "assert Bag(1) < Bag(1, 2) and Bag(1, 2) > Bag(1)",
    "assert list(Bag(1) + Bag(2)) == [1, 2] and list(Bag(1) + 2) == [1, 2] and list(0 + Bag(1)) == [0, 1]",
    "assert list(-Bag(1) + Bag(2) + Bag(3)) == [-1, 2, 3]",
    "assert int(Bag(1)) == 1 and float(Bag(1)) == 0.5",
    "with Bag(1) as b:\n    assert b.opened\nassert not b.opened",
    "b = Bag()\nb.colour = 'red'\nassert b.colour == 'red'",
    "b = Bag(1)\nassert b == b and b is merged(b, Bag()) or True\nassert isinstance(b, Bag)",
    "assert not isinstance(Bag(1), int) and not isinstance(3, Bag)\nassert len(Bag()) == 0",
    "assert list(merged(Bag(1), Bag(2))) == [1, 2]",
    "assert MOST == 3\nassert len(Bag()) == 0",
    "from itertools import islice\nassert list(islice(primes(), 5)) == [2, 3, 5, 7, 11]",
    "g = primes()\nassert next(g) == 2 and next(g) == 3\nfor p in g:\n    break\nassert p == 5 and next(g) == 7",
    "try:\n    Bag().take()\n    assert False\nexcept EmptyBag as error:\n    assert str(error) == 'nothing left'",
    "try:\n    Bag().take()\n    assert False\nexcept ValueError:\n    pass",
    "try:\n    Bag().take()\n    assert False\nexcept (KeyError, EmptyBag):\n    pass",
    "try:\n    Bag().take()\nexcept Exception as e:\n    assert type(e).__name__ == 'EmptyBag'",
    "try:\n    Bag().take()\nexcept Exception as e:\n    assert isinstance(e, EmptyBag)",
    "try:\n    Bag().take()\nexcept Exception as e:\n    assert type(e) is EmptyBag and e.args == ('nothing left',)",
    "try:\n    Bag().take()\nexcept Exception as e:\n    assert repr(e) == \"EmptyBag('nothing left')\"",
    "assert type(Bag(1)).__name__ == 'Bag' and Bag(1).__class__.__name__ == 'Bag'",
    "b = Bag(1)\nassert type(b) is Bag and type(b) == Bag and type(merged(b, b)) is Bag and not type(b) is not Bag",
    "assert type(Bag(1)) != type(primes()) and type(len(Bag(1))) is int",
    "import types\nassert isinstance(primes(), types.GeneratorType) and type(primes()) is types.GeneratorType and not isinstance(Bag(1), types.GeneratorType)",
    "from collections.abc import Iterator, Sized\nassert isinstance(primes(), Iterator) and not isinstance(Bag(), Iterator)",
    "from typing import Iterable\nassert isinstance(Bag(1), Iterable) and not isinstance(Bag(1), (int, Mapping_of_mine))".replace(
        "Mapping_of_mine", "dict"
    ),
    "assert isinstance(Bag, type) and not isinstance(Bag(1), type) and isinstance(Bag(), object)\nassert not len(Bag())",
    "assert issubclass(EmptyBag, ValueError) and not issubclass(EmptyBag, KeyError) and issubclass(Bag, object)",
    "b = Bag(1)\nb += Bag(2)\nassert list(b) == [1, 2]",
    "b = Bag(1)\nb.colour = 1\ndel b.colour\nassert not hasattr(b, 'colour')",
    "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(8) as pool:\n"
    "    assert list(pool.map(lambda n: len(Bag(*range(n))), range(50))) == list(range(50))",
    "try:\n    with Bag(1) as b:\n        raise KeyError(1)\nexcept KeyError:\n    pass\nassert not b.opened",
]
REFUSED = {  # the program alone could say, or messages can't carry it
    "assert merged(Bag(1), Bag(2)) == Bag(1, 2)": "the program's own word",
    "assert Bag(1) + Bag(2) == Bag(1, 2)": "the program's own word",
    "assert Bag(1) == [1]": "the program's own word",
    "assert merged(Bag(1), Bag(2)) == merged(Bag(1), Bag(2))": "the program's own word",
    "try:\n    Bag().take()\nexcept EmptyBag as error:\n    assert error.code == 3": "looks at code of an exception",
    "assert list(Bag(lambda: 3))[0]() == 3": "function can't be sent",
    "raised = None\ntry:\n    raise EmptyBag(1)\nexcept EmptyBag as e:\n    raised = e\nassert Bag()": "makes an exception",
    "class Box(Bag):\n    pass\nassert len(Box(1)) == 1": "makes a class of one of the program's",
    "try:\n    Bag().take()\nexcept EmptyBag as e:\n    assert e.__cause__ is None": "came from",
    "import copy\nassert len(copy.deepcopy(Bag(1))) == 1": "copies or pickles",
    "assert merged(Bag(1), Bag()) + merged(Bag(1), Bag()) == 1": "the program's own word",
    "match Bag(1):\n    case Bag():\n        pass\n    case _:\n        assert False": "a class of the program matches",
    "from dataclasses import asdict\nassert asdict(Bag(1)) == {}": "the names and source of the program",
    "assert sorted([merged(Bag(1), Bag()), merged(Bag(), Bag())]) == 1": "the program's own word",
}


@pytest.fixture(scope="module")
def reward():
    return CodeReward(cpu_seconds=2)


def score(reward, code, test, **columns):
    row = {"tests": [[test]], **{name: [value] for name, value in columns.items()}}
    judged = reward(prompts=[""], completions=[f"```python\n{code}\n```"], **row)
    return judged[0], judged.messages


@pytest.mark.parametrize("test", WORK)
def test_what_a_programs_objects_do_can_be_tested(reward, test):
    assert score(reward, BAG, test)[0] == 1.0
    assert score(reward, "class EmptyBag(Exception): pass\ndef Bag(*x): raise ArithmeticError", test)[0] == 0.0


@pytest.mark.parametrize(("test", "said"), REFUSED.items())
def test_what_only_the_program_could_say_is_left_out(reward, test, said):
    value, messages = score(reward, BAG, test)
    assert value is None and said in messages["bad_tests"]


ALWAYS = """
class Any:
    def yes(self, *others): return True
    def same(self, *others): return self
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__ = yes
    __ne__ = lambda self, other: False
    __add__ = __radd__ = __sub__ = __rsub__ = __abs__ = __neg__ = __getitem__ = same
    def __hash__(self): return hash(4)
    def __len__(self): return 4
    def __getattr__(self, name): return self
def f(x): return Any()
"""


@pytest.mark.parametrize(
    "test",
    [
        "assert f(2) + 0 == 4",
        "assert abs(f(2) - 4) < 1e-9",
        "assert 4 in [f(2)]",
        "assert f(2) in (4, 5)",
        "assert 4 == f(2) + 0",
        "assert {f(2): 1}[4] == 1",
        "assert f(2).value == 4",
        "assert max(f(2), 3) == 4",
        "assert sorted([f(2), 1]) == [1, 4]",
        "assert [f(2)] == [4]",
        "x = f(2)\nassert x >= 4 and x <= 4",
    ],
)
def test_an_object_that_equals_everything_has_no_value(reward, test):
    value, messages = score(reward, ALWAYS, test, entry_point="f")
    assert value == 0.0
    assert "bad_tests" not in messages


def test_a_function_with_the_name_of_a_class_makes_no_objects(reward):
    for test in ("assert F(2) + 0 == 4", "assert F(2) - 4 < 1e-9", "x = F(2)\nassert x == 4"):
        assert score(reward, ALWAYS.replace("def f(", "def F("), test, entry_point="F")[0] == 0.0


def test_a_failure_by_an_own_object_is_no_silent_one(reward):
    messages = score(reward, ALWAYS, "x = f(2)\nassert x == 4", entry_point="f")[1]
    assert "object of its own class" in messages["own_object"]


@pytest.mark.parametrize(
    ("code", "test"),
    [
        (
            "from decimal import Decimal\ndef f(): return Decimal('1.50')",
            "from decimal import Decimal\nassert f() == Decimal('1.5')",
        ),
        ("from fractions import Fraction\ndef f(): return Fraction(1, 2)", "assert f() + f() == 1"),
        ("from datetime import date\ndef f(): return date(2024, 2, 29)", "assert f().month == 2"),
        ("from datetime import datetime\ndef f(): return datetime(2024, 2, 29, 1)", "assert f().hour == 1"),
        ("from datetime import timedelta\ndef f(): return timedelta(hours=25)", "assert f().days == 1"),
        ("from datetime import time\ndef f(): return time(1, 2, 3)", "assert f().minute == 2"),
    ],
)
def test_values_of_the_library_come_back_as_they_are(reward, code, test):
    assert reward([""], [f"```python\n{code}\n```"], tests=[[test]]) == [1.0]


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (
            "import io, contextlib\nb = io.StringIO()\n"
            "with contextlib.redirect_stdout(b):\n    f()\nassert b.getvalue() == ''",
            "prints",
        ),
        ("assert f.__doc__ is None", "the names and source of the program"),
        ("import asyncio\nassert asyncio.run(f()) == 1", "coroutines"),
        ("import inspect\nassert inspect.isfunction(f)", "the names and source of the program"),
        ("import sys, io\nsys.stdin = io.StringIO('1')\nassert f() == 1", "changes in its own process"),
        ("import os\nos.environ['A'] = '1'\nassert f() == 1", "changes in its own process"),
        (
            "from unittest.mock import patch\nwith patch('builtins.input', return_value='1'):\n    assert f() == 1",
            "changes in its own process",
        ),
        (
            "import tempfile\nwith tempfile.NamedTemporaryFile() as t:\n    assert f(t.name) == 1",
            "files that it writes",
        ),
        ("with open('a.txt', 'w') as file:\n    file.write('x')\nassert f('a.txt') == 1", "files that it writes"),
    ],
)
def test_what_stays_in_the_programs_process_is_left_out_and_said(reward, test, said):
    values = reward([""], ["```python\nclass A: pass\ndef f(): return A()\n```"], tests=[[test]])
    assert values == [None] and said in str(values.messages)


def test_a_test_that_fails_by_no_assertion_says_how(reward):
    values = reward([""], ["```python\ndef f(): return (1, 2)\n```"], tests=[["assert f().x == 1"]])
    said = "a test raises AttributeError: 'tuple' object has no attribute 'x'"
    assert values == [0.0] and said in str(values.messages)


NUMBERS = """
import numpy as np
from collections import deque
def f(x): return np.array(x, dtype=float) * 2
def size(x): return x.shape[0]
def last(n): return deque([1, 2, 3], maxlen=n)
"""


@pytest.mark.parametrize(
    "test",
    [
        "import numpy as np\ny = f([1, 2, 3])\nassert y.shape == (3,) and y.dtype == float and y.sum() == 12",
        "import numpy as np\nassert np.allclose(f(np.eye(2)), 2 * np.eye(2)) and size(np.eye(2)) == 2",
        "import numpy as np\nassert isinstance(f([1]), np.ndarray) and f([[1, 2]]).tolist() == [[2.0, 4.0]]",
        "from collections import deque\nassert isinstance(last(2), deque) and last(2) == deque([2, 3]) != last(3) and last(2).maxlen == 2",
    ],
)
def test_arrays_and_queues_come_back_as_they_are(reward, test):
    pytest.importorskip("numpy")
    assert score(reward, NUMBERS, test)[0] == 1.0


def test_an_empty_array_equals_nothing(reward):
    pytest.importorskip("numpy")
    code = "import numpy as np\ndef f(x): return np.zeros((0, 1))"
    for test in ("assert np.all(f(1) == np.array([1, 2]))", "assert np.allclose(f(1), [1, 2])"):
        assert score(reward, code, f"import numpy as np\n{test}")[0] == 0.0


WITHIN = """
class Never:
    def __enter__(self): return self
    def __exit__(self, *raised): return True
    x = 1
"""


def test_a_context_manager_swallows_no_failed_assertion(reward):
    assert score(reward, WITHIN, "with Never() as n:\n    assert n.x == 2\n")[0] == 0.0
    value, messages = score(reward, WITHIN, "with Never() as n:\n    {}[n.x]\n    assert False")
    assert value is None and "the program's own word" in messages["bad_tests"]


LEAVES = """
import sys
class Low(Exception):
    def __init__(self, need, have):
        super().__init__(need, have)
        self.need = need
class Lower(Low): pass
def leave(): sys.exit(3)
def missing(): return {}["k"]
def text(): return b"\\xff".decode()
def file(): raise FileNotFoundError(2, "no such", "x")
def low(n): raise (Lower if n else Low)(5, 2)
"""


@pytest.mark.parametrize(
    "test",
    [
        "try:\n    leave()\n    assert False\nexcept SystemExit as e:\n    assert e.code == 3",
        "try:\n    missing()\n    assert False\nexcept KeyError as e:\n    assert e.args[0] == 'k' and str(e) == \"'k'\"",
        "try:\n    text()\n    assert False\nexcept UnicodeDecodeError as e:\n    assert e.start == 0",
        "try:\n    file()\n    assert False\nexcept OSError as e:\n    assert e.errno == 2 and type(e) is FileNotFoundError",
        "try:\n    low(1)\n    assert False\nexcept Low as e:\n    assert e.args == (5, 2)\n"
        "try:\n    low(0)\n    assert False\nexcept Lower:\n    assert False\nexcept Low:\n    pass",
        "try:\n    low(1)\n    assert False\nexcept Low as e:\n    assert type(e).__name__ == 'Lower'",
        "try:\n    low(1)\n    assert False\nexcept Low as e:\n    assert e.need == 5",
    ],
)
def test_exceptions_arrive_with_their_arguments(reward, test):
    assert score(reward, LEAVES, test)[0] == 1.0


LIES = """
class Kind(type):
    __module__ = "builtins"
    __eq__ = __instancecheck__ = __subclasscheck__ = lambda *_: True
    __hash__ = type.__hash__
class int2(metaclass=Kind):
    __module__, __qualname__ = "builtins", "int"
    __class__ = property(lambda self: int)
def f(x): return int2()
"""


@pytest.mark.parametrize(
    "test",
    [
        "assert isinstance(f(2), int)",
        "assert isinstance(f(2), (float, int))",
        "assert type(f(2)) is int",
        "assert type(f(2)) == int",
        "assert f(2).__class__ == int",
        "assert issubclass(type(f(2)), int)",
        "x = f(2)\nassert type(x) in (int, float)",
    ],
)
def test_an_object_that_says_it_is_a_number_is_none(reward, test):
    assert score(reward, LIES, test, entry_point="f")[0] == 0.0


BUILT_ON = """
from collections import Counter, defaultdict, namedtuple
from enum import IntEnum
Point = namedtuple("Point", "x y")
class Colour(IntEnum):
    RED = 1
    BLUE = 2
class Name(str):
    def __str__(self): return "Mr " + str.__str__(self)
    def shout(self): return self.upper()
class Stack(list):
    def push(self, x): self.append(x)
    def top(self): return self[-1]
def point(x): return Point(x, 2)
def moved(p): return p._replace(x=p.x + 1)
def colour(n): return Colour(n)
def name(x): return Name(x)
def stack(n): return Stack(range(n))
def counts(text): return Counter(text)
"""


@pytest.mark.parametrize(
    "test",
    [
        "p = point(1)\nassert p == (1, 2) and p.x == 1 and p[1] == 2 and p._fields == ('x', 'y')",
        "p = point(1)\nassert type(p).__name__ == 'Point' and type(p) is Point and isinstance(p, Point) and isinstance(p, tuple)",
        "assert repr(point(1)) == 'Point(x=1, y=2)' == f'{Point(1, 2)}' and moved(point(1)).x == 2",
        "assert [p.x for p in map(point, range(300))] == list(range(300)) and Point(1, 2) == point(1)",
        "assert colour(2) == 2 and colour(2).name == 'BLUE' and colour(1) is Colour.RED and colour(1) in (Colour.RED, 7)",
        "assert name('x') == 'x' and str(name('x')) == 'Mr x' and name('x').shout() == 'X'",
        "s = Stack()\ns.push(3)\nassert len(s) == 1 and s.top() == 3 and s[0] == 3 and list(s) == [3]",
        "assert stack(2) == [0, 1] and len(stack(2)) == 2 and type(stack(0)).__name__ == 'Stack'",
        "from collections import Counter\nassert counts('aab') == {'a': 2, 'b': 1} and isinstance(counts(''), Counter)",
    ],
)
def test_objects_of_classes_built_on_values_are_values_and_more(reward, test):
    assert score(reward, BUILT_ON, test)[0] == 1.0


@pytest.mark.parametrize("test", ["assert stack(2).top() == 1", "assert counts('aab').most_common(1) == [('a', 2)]"])
def test_what_such_an_object_that_can_change_does_is_left_out(reward, test):
    value, messages = score(reward, BUILT_ON, test)
    assert value is None and "can't be asked for" in messages["bad_tests"]


GREEDY = """
class Four(int):
    __eq__ = __lt__ = __gt__ = __contains__ = lambda self, other: True
    __hash__ = int.__hash__
    __add__ = __sub__ = __abs__ = lambda self, *other: self
    def __str__(self): return "4"
def f(x): return Four(5)
"""


@pytest.mark.parametrize(
    "test", ["x = f(2)\nassert x == 4", "assert abs(f(2) - 4) < 1e-9", "assert f(2) in (4, 6)", "assert int(f(2)) == 4"]
)
def test_a_number_of_an_own_class_is_the_number_that_it_is(reward, test):
    assert score(reward, GREEDY, test, entry_point="f")[0] == 0.0


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no groups of exceptions")
def test_a_group_of_exceptions_arrives_as_an_exception_of_its_name(reward):
    code = "def group(): raise ExceptionGroup('both', [ValueError(1), KeyError(2)])"
    test = (
        "try:\n    group()\n    assert False\nexcept Exception as e:\n    assert type(e).__name__ == 'ExceptionGroup'"
    )
    assert score(reward, code, test)[0] == 1.0
