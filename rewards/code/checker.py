"""The trusted process: runs tests that could not be taken apart, and reaches the program under test by messages.

The program's process never sees a test, and nothing of the program ever runs here: what comes back are exact built-in
values, or handles whose every use is another message. (Sandboxed all the same: tests come from a data set.)

Requests: {"setup", "imports", "names", "entry_point"} -> {"remote": [names]} or {"error"}; {"test", "function"} ->
{"verdict", "calls", "text"}, and before that any number of {"ask": request for the program}, each answered by
{"reply"}.
"""

import builtins
import collections
import importlib
import sys
from types import ModuleType
from typing import Any

from rewards.code.program import described, provide_header
from rewards.code.values import Malformed, decode, encode
from rewards.sandbox.guard import Channel, Confinement, seal


class Wire:
    """The way to the program, through the parent."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.calls = 0
        self.current = 0  # id of the request being worked on

    def ask(self, request: dict[str, Any]) -> Any:
        """The value, or the exception, that the program answers a request with."""
        self.calls += 1
        self.channel.send({"id": self.current, "ask": {**request, "refs": True}})
        answer = self.channel.receive()
        self.current = answer["id"]
        reply = answer["reply"]
        if "error" in reply:
            raise raised(reply["error"])
        return decode(reply["value"], lambda number: Remote(self, {"ref": number}))


class Remote:
    """A function or object of the program. It equals nothing but itself and holds no value."""

    def __init__(self, wire: Wire, target: Any) -> None:
        self.__dict__.update(_wire=wire, _target=target)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        sent = [_encoded(list(arguments)), _encoded(keywords)]
        return self._wire.ask({"call": self._target, "args": sent[0], "kwargs": sent[1]})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not isinstance(self._target, dict):
            raise AttributeError(name)
        return self._wire.ask({"get": self._target, "name": name})

    def __bool__(self) -> bool:
        return self._wire.ask({"truth": self._target}) is True if isinstance(self._target, dict) else True


class Unjudgeable(BaseException):
    """A test that needs what messages can't carry."""


def _encoded(value: Any) -> Any:
    def refer(found: Any) -> int:
        if isinstance(found, Remote) and isinstance(found._target, dict):
            return int(found._target["ref"])
        raise Unjudgeable(f"an argument of type {type(found).__name__} can't be sent to the program")

    return encode(value, refer)


def raised(error: dict[str, Any]) -> Exception:
    """The program's exception as the nearest built-in one, marked as the program's."""
    for name in error.get("types", []):
        kind = getattr(builtins, str(name), None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            break
    else:
        kind = RuntimeError
    if issubclass(kind, StopIteration | StopAsyncIteration):
        kind = RuntimeError  # it would end the test's own loop (`all(map(f, ...))`, `for`) as if that were through
    try:
        made = kind(str(error.get("text")))
    except TypeError:  # UnicodeDecodeError and the like want more
        made = RuntimeError(str(error.get("text")))
    made.of_program = True  # type: ignore[attr-defined]
    return made


def serve(channel: Channel, confinement: Confinement) -> None:
    """Prepare, then judge one test after the other until the input ends."""
    request = channel.receive()
    if request is None:
        return
    seal(confinement)
    wire = Wire(channel)
    module = ModuleType("tests")
    sys.modules["tests"] = module
    try:
        remote = prepare(module.__dict__, request, wire)
        reply: dict[str, Any] = {"remote": remote}
    except BaseException as error:  # a setup that fails in any way is a row that can't be judged
        reply = {"error": described(error)}
    channel.send({"id": request["id"], **reply})
    while (request := channel.receive()) is not None:
        wire.current, wire.calls = request["id"], 0
        verdict, text = judge(module.__dict__, request)
        channel.send({"id": wire.current, "verdict": verdict, "calls": wire.calls, "text": text})


def prepare(names: dict[str, Any], request: dict[str, Any], wire: Wire) -> list[str]:
    """Run setup and imports; names that stay undefined become the program's, modules of the library are imported.

    Returns the names taken from the program.
    """
    known = set(vars(builtins))
    provide_header()  # a setup may rely on it as the program does
    exec(compile(request["setup"], "setup.py", "exec"), names)
    exec(compile(request["imports"], "imports.py", "exec"), names)
    remote = []
    for name, called in request["names"].items():
        if name == "candidate" and request["entry_point"] is not None:
            continue
        if name == request["entry_point"] or not (name in names or name in known):
            if name != request["entry_point"] and not called and name in sys.stdlib_module_names:
                names[name] = importlib.import_module(name)
                continue
            if name != request["entry_point"] and name in collections.__all__:
                continue  # deque, Counter: of the header
            names[name] = Remote(wire, name)
            remote.append(name)
    if request["entry_point"] is not None:
        entry = Remote(wire, request["entry_point"])
        names.setdefault("candidate", entry)
        names[request["entry_point"].split(".")[0]] = entry
    seeded = importlib.import_module("random")
    seeded.seed(0)  # the same tests in every run
    return remote


def judge(names: dict[str, Any], request: dict[str, Any]) -> tuple[str, str]:
    """pass, fail, error (the program raised), forged, or bad (the test is faulty), and what happened.

    Bad is only what no program can bring about, since it costs the program nothing: not NameError, which an empty
    list can cause in a test with a loop.
    """
    try:
        exec(compile(request["test"], "test.py", "exec"), names)
        if request["function"] is not None:
            names[request["function"]](names[request["entry_point"].split(".")[0]])
    except AssertionError as error:
        return "fail", str(error)[:200]
    except Malformed as error:
        return "forged", f"no value: {error}"[:200]
    except Unjudgeable as error:
        return "bad", str(error)[:200]
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"[:200]
        if getattr(error, "of_program", False):
            return "error", text
        return ("bad" if isinstance(error, ImportError) else "fail"), text
    return "pass", ""
