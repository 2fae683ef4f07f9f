"""Objects of the program as its tests see them: every use of one is a message to the program's process.

What a use gives is an exact built-in value, or another such object. What the program alone would decide is not asked
for: an object that a function gave equals no value and has no order, whatever its `__eq__` says. Only where a test
itself makes the object by the name of its class (`Point(1, 2) == Point(1, 2)`) its comparison is what is tested.
"""

import builtins
import functools
import importlib
import operator
import threading
from collections.abc import Callable, Iterator
from typing import Any

from rewards.code.values import BASES, Malformed, decode, encode, pack
from rewards.sandbox.guard import Channel

RAISES = "a test raises"  # begins what is said of a test that failed by no assertion
MOST_AT_ONCE = 256  # items of an iterator that one message brings
ASKED = ("__name__", "__qualname__", "__wrapped__", "__defaults__", "__bases__", "__mro__")  # of the program
# Operations that a test may ask for by name; the program's process carries them out.
OPERATIONS: dict[str, Callable[..., Any]] = {
    "len": len,
    "str": str,
    "repr": repr,
    "hash": hash,
    "int": int,
    "float": float,
    "format": format,
    "iter": iter,
    "reversed": reversed,
    "type": type,
    "name": lambda kind: [str(kind.__module__), str(kind.__qualname__)],
    "isinstance": isinstance,
    "issubclass": issubclass,
    "isinstance of": lambda one, module, name: isinstance(one, _of_library(module, name)),
    "issubclass of": lambda one, module, name: issubclass(one, _of_library(module, name)),
    "round": round,
    "setattr": setattr,
    "delattr": delattr,
    "enter": lambda one: type(one).__enter__(one),
    "exit": lambda one, *raised: type(one).__exit__(one, *_exception(*raised)),
    **{name: getattr(operator, name) for name in ("getitem", "setitem", "delitem", "contains")},
}
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
ARITHMETIC = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lshift", "rshift"),
    *("neg", "pos", "abs", "invert"),
)
ALONE = ("neg", "pos", "abs", "invert")  # of one operand
IN_PLACE = tuple(f"i{name.rstrip('_')}" for name in ARITHMETIC if name not in ALONE)
OPERATIONS |= {name: getattr(operator, name) for name in (*COMPARISONS, *ARITHMETIC, *IN_PLACE)}


def _of_library(module: str, name: str) -> Any:
    return operator.attrgetter(name)(importlib.import_module(module))


def _exception(name: str | None = None, *arguments: Any) -> tuple[Any, Any, None]:
    """What `__exit__` is given where a test raised a built-in exception inside, or none."""
    kind = None if name is None else getattr(builtins, name)
    return kind, kind and kind(*arguments), None


class Unjudgeable(BaseException):
    """A test that needs what messages can't carry, or what only the program could say."""


class Wire:
    """The way to the program, through the parent.

    Args:
        entry_point: the name of what is tested, which makes values and no objects; None if there is none.

    """

    def __init__(self, channel: Channel, entry_point: str | None) -> None:
        self.channel, self.entry_point = channel, entry_point
        self.shared: dict[str, type] = {}  # classes that both sides know, whose objects are sent whole
        self.calls = 0
        self.current = 0  # id of the request being worked on
        self.opaque = False  # whether an object of the program was compared with a value
        self.exceptions: Callable[[dict[str, Any]], BaseException] = lambda error: RuntimeError(error.get("text"))
        self._known: dict[int, Remote] = {}
        self._lock = threading.Lock()

    def ask(self, request: dict[str, Any]) -> Any:
        """The value, or the exception, that the program answers a request with; for one thread at a time."""
        with self._lock:
            self.calls += 1
            self.channel.send({"id": self.current, "ask": {**request, "refs": True}})
            answer = self.channel.receive()
            self.current = answer["id"]
        reply = answer["reply"]
        if "error" in reply:
            raise self.exceptions(reply["error"])
        return decode(reply["value"], self._remote, self.shared, combined)

    def operate(self, name: str, *arguments: Any) -> Any:
        """The value of an operation of `OPERATIONS`."""
        return self.ask({"op": name, "args": self.packed(list(arguments))})

    def packed(self, value: Any) -> Any:
        """Arguments of a request. Unjudgeable for what can't be sent."""
        return pack(value, _reference, self.shared)

    def _remote(self, number: int) -> "Remote":
        return self._known.setdefault(number, Remote(self, {"ref": number}))


def _reference(found: Any) -> dict[str, Any] | None:
    if isinstance(found, BASES):
        return remote_of(found)._target if remote_of(found) is not None else None
    if isinstance(found, Remote):
        meant = found._found()
        return meant._target if isinstance(meant, Remote) else encode(meant)
    raise Unjudgeable(f"an argument of type {type(found).__name__} can't be sent to the program")


class Remote:
    """A function, class or object of the program; a name of the program's until it is used."""

    def __init__(self, wire: Wire, target: Any) -> None:
        # `_made`: by the test itself, by the name of its class; `_derived`: by arithmetic on such; `_kind`: a class
        # that `type` gave
        self.__dict__.update(_wire=wire, _target=target, _made=False, _derived=False, _kind=False)
        self.__dict__.update(_items=[], _most=1, _ended=False)

    def _found(self) -> Any:
        """This object, or what the name stands for, which may be a plain value."""
        return self if isinstance(self._target, dict) else self._wire.ask({"find": self._target})

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        sent = {"args": self._wire.packed(list(arguments)), "kwargs": self._wire.packed(keywords)}
        value = self._wire.ask({"call": self._target, **sent})
        if isinstance(value, Remote) and isinstance(self._target, str):
            value.__dict__["_made"] = self._target[:1].isupper() and self._target != self._wire.entry_point
        return value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ASKED:
            raise AttributeError(name)
        return self._wire.ask({"get": self._target, "name": name})

    def __delattr__(self, name: str) -> None:
        self._wire.operate("delattr", self, name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise Unjudgeable("a test copies or pickles an object of the program")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> Any:
        raise Unjudgeable("a test makes a class of one of the program's")

    def __setattr__(self, name: str, value: Any) -> None:
        self._wire.operate("setattr", self, name, value)

    def __bool__(self) -> bool:
        found = self._found()
        return self._wire.ask({"truth": found._target}) is True if isinstance(found, Remote) else bool(found)

    def __iter__(self) -> Iterator[Any]:
        found = self._found()
        return self._wire.operate("iter", found) if isinstance(found, Remote) else iter(found)

    def __next__(self) -> Any:
        state = self.__dict__
        if not state["_items"] and not state["_ended"]:
            items, state["_ended"] = self._wire.ask({"advance": self._target, "count": state["_most"]})
            state["_items"], state["_most"] = items[::-1], min(2 * state["_most"], MOST_AT_ONCE)
        if not state["_items"]:
            raise StopIteration
        return state["_items"].pop()

    def __contains__(self, item: Any) -> bool:
        found = self._found()
        if isinstance(found, Remote) and found._made:
            return found._wire.operate("contains", found, item) is True
        return any(item is one or item == one for one in found)

    def __instancecheck__(self, value: Any) -> bool:
        if isinstance(value, BaseException):
            return self._target in getattr(value, "of_program", ())
        return isinstance(value, Remote) and self._wire.operate("isinstance", value, self) is True

    def __subclasscheck__(self, kind: Any) -> bool:
        return isinstance(kind, Remote) and self._wire.operate("issubclass", kind, self) is True

    def __hash__(self) -> int:
        found = self._found()
        if not isinstance(found, Remote):
            return hash(found)
        return int(found._wire.operate("hash", found)) if found._made else found._target["ref"]

    def __eq__(self, other: object) -> Any:
        return _compared("eq", self, other)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is None:
            self._wire.operate("exit", self)
        if kind is None or not issubclass(kind, Exception):
            return
        # the exception's first built-in class; a failed assertion's text may hold what is expected
        names = (kind.__name__, *getattr(kind, "of_program", ()), "Exception")
        name = next(name for name in names if isinstance(getattr(builtins, name, None), type))
        arguments = () if error is None or kind is AssertionError else error.args
        if self._wire.operate("exit", self, name, *arguments) and kind is not AssertionError:
            raise Unjudgeable("whether an exception inside a with block counts would be the program's own word")


def _compared(name: str, left: Any, right: Any) -> Any:
    """A comparison in which the program has a say only about objects that the test made."""
    sides = [one._found() if isinstance(one, Remote) else one for one in (left, right)]
    remote = [one for one in sides if isinstance(one, Remote)]
    if not remote:
        return OPERATIONS[name](*sides)
    if len(remote) == 2 and remote[0]._target == remote[1]._target and name in ("eq", "ne"):
        return name == "eq"
    if any(one._kind for one in remote) and name in ("eq", "ne"):
        return name == "ne"
    if len(remote) == 2 and remote[0]._made and remote[1]._made:
        return remote[0]._wire.operate(name, *sides) is True
    if any(one._made or one._derived for one in remote) or len(remote) == 2:
        raise Unjudgeable("whether objects of the program are equal, or in order, would be the program's own word")
    remote[0]._wire.opaque = True
    return NotImplemented


def _of_comparison(name: str) -> Callable[..., Any]:
    return lambda self, other: _compared(name, self, other)


def _of_value(name: str) -> Callable[..., Any]:
    """A method that gives what the program's own gives."""

    def method(self: Remote, *arguments: Any) -> Any:
        found = self._found()
        return self._wire.operate(name, found, *arguments) if found is self else OPERATIONS[name](found, *arguments)

    return method


def _of_arithmetic(name: str, turned: bool = False) -> Callable[..., Any]:
    """A method for objects that the test made; any other takes no part in sums, as it has no value."""

    def method(self: Remote, *others: Any) -> Any:
        operands = [one._found() if isinstance(one, Remote) else one for one in (self, *others)]
        remote = [one for one in operands if isinstance(one, Remote)]
        if turned:
            operands.reverse()
        if remote and not any(one._made or one._derived for one in remote):
            if len(remote) == 2:
                raise Unjudgeable("what objects of the program come to together would be the program's own word")
            return NotImplemented
        value = self._wire.operate(name, *operands) if remote else OPERATIONS[name](*operands)
        if isinstance(value, Remote):
            value.__dict__["_derived"] = True
        return value

    return method


for _name in COMPARISONS[1:]:
    setattr(Remote, f"__{_name}__", _of_comparison(_name))
for _name in (
    *("len", "str", "repr", "int", "float", "round", "format", "reversed"),
    *("getitem", "setitem", "delitem", "enter"),
):
    setattr(Remote, f"__{_name}__", _of_value(_name))
for _name in ARITHMETIC:
    _plain = _name.rstrip("_")
    setattr(Remote, f"__{_plain}__", _of_arithmetic(_name))
    if _name not in ALONE:
        setattr(Remote, f"__r{_plain}__", _of_arithmetic(_name, turned=True))
for _name in IN_PLACE:
    setattr(Remote, f"__{_name}__", _of_arithmetic(_name))


def combined(value: Any, remote: Any) -> Any:
    """An object of the program's subclass of a built-in class: compared as the value that it is, else asked about."""
    if type(value) not in BASES or type(remote) is not Remote:
        raise Malformed("sub must hold a value and an object")
    kind: Any = type(value)
    made = _subclass(kind)(value)
    made.__dict__["of_program"] = remote
    return made


def remote_of(value: Any) -> Any:
    """The object of the program that `combined` made a value of; None for any other value."""
    return getattr(value, "__dict__", {}).get("of_program") if isinstance(value, BASES) else None


@functools.cache
def _subclass(kind: type) -> type:
    changeable = not issubclass(kind, str | int | float | tuple | frozenset)

    def asked(self: Any, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if changeable:  # what it does there does not change the value here
            raise Unjudgeable(f"{name} of an object of the program's subclass of {kind.__name__} can't be asked for")
        return getattr(remote_of(self), name)

    methods: dict[str, Any] = {"__getattr__": asked, "__missing__": lambda self, key: asked(self, repr(key))}
    for name in ("str", "repr", "format"):
        methods[f"__{name}__"] = lambda self, *rest, name=name: remote_of(self)._wire.operate(
            name, remote_of(self), *rest
        )
    return type(kind.__name__, (kind,), methods)
