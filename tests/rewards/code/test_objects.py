"""Tests that use a program's own objects and exceptions: they work, or the row is left out with a reason."""

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
]
REFUSED = {  # the program alone could say, or messages can't carry it
    "assert merged(Bag(1), Bag(2)) == Bag(1, 2)": "the program's own word",
    "assert Bag(1) + Bag(2) == Bag(1, 2)": "the program's own word",
    "assert Bag(1) == [1]": "the program's own word",
    "assert merged(Bag(1), Bag(2)) == merged(Bag(1), Bag(2))": "the program's own word",
    "try:\n    Bag().take()\nexcept EmptyBag as error:\n    assert error.code == 3": "looks at code of an exception",
    "assert list(Bag(lambda: 3))[0]() == 3": "function can't be sent",
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
    ],
)
def test_what_stays_in_the_programs_process_is_left_out_and_said(reward, test, said):
    values = reward([""], ["```python\nclass A: pass\ndef f(): return A()\n```"], tests=[[test]])
    assert values == [None] and said in str(values.messages)


def test_a_test_that_fails_by_no_assertion_says_how(reward):
    code = "from collections import namedtuple\ndef f(): return namedtuple('P', 'x y')(1, 2)"
    values = reward([""], [f"```python\n{code}\n```"], tests=[["assert f().x == 1"]])
    assert values == [0.0] and "a test raises AttributeError: 'tuple' object has no attribute 'x'" in str(
        values.messages
    )
