"""The process in which an answer's program runs: loads it and answers calls, or runs it once for each input.

It holds nothing but the program and one input at a time; what it says is believed to be its output and no more.

Requests: {"code", "setup", "nodes"} -> {"loaded"} or {"error"}; {"call": name or {"ref": n}, "args", "kwargs"}, {"op":
name, "args"}, {"get": name or {"ref": n}, "name"}, {"find": name}, {"advance": {"ref": n}, "count"} and {"truth":
{"ref": n}} -> {"value"} or {"error"}; {"script": code} -> {"loaded"}, then {"input", "most": characters} -> {"output",
"status", "said"}; without forks {"script", "input"} -> raw output until the end.
"""

import atexit
import builtins
import collections
import contextlib
import importlib
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from rewards.code.leetcode import ListNode, TreeNode, called
from rewards.code.remote import OPERATIONS
from rewards.code.threads import Threads
from rewards.code.values import decode, encode, pack
from rewards.sandbox.guard import Channel, Confinement, seal

# What graders of LiveCodeBench and APPS import before a program: modules, and every public name of these.
HEADER = (
    "string",
    "re",
    "datetime",
    "collections",
    "heapq",
    "bisect",
    "copy",
    "math",
    "random",
    "statistics",
    "itertools",
    "functools",
    "operator",
    "io",
    "json",
    "typing",
)
RECURSION_LIMIT = 50_000  # as these graders set it
LONGEST_MESSAGE = 1000  # bytes
CHANGEABLE = (list, dict, set, collections.deque)
MEMORY_STATUS = 86  # exit code for a MemoryError
_CODE_NAME = "answer.py"


class Packages:
    """Finds the packages that the user lets programs import, each in its own directory and nowhere else."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The specification of one of the packages; None for any other module."""
        place = self._places.get(name)
        if place is None:
            return None
        start = f"{place}/__init__.py"
        return importlib.util.spec_from_file_location(name, start, submodule_search_locations=[place])


def serve(channel: Channel, confinement: Confinement) -> None:
    """Answer requests until the input ends."""
    request = channel.receive()
    if request is None:
        return
    provide_header()
    sys.meta_path[:0] = [Threads()]
    sys.meta_path.append(Packages(confinement.packages))
    if "script" not in request:
        seal(confinement)
        _serve_calls(channel, request)
    elif confinement.forks:
        _serve_inputs(channel, request, confinement)
    else:
        _run_here(channel, request, confinement)


def provide_header() -> None:
    """Make the names that graders import for a program known to it.

    They join the built-in names, of which they replace none, so that a program that lacks the function asked for can't
    pass with one of the library's (`gcd`).
    """
    found: dict[str, Any] = {"exit": sys.exit, "quit": sys.exit}  # of the site module, which is not loaded
    for name in HEADER:
        module = importlib.import_module(name)
        found |= {public: getattr(module, public) for public in _public(module)}
    found |= {name: sys.modules[name] for name in (*HEADER, "sys", "os")}  # over functions of the same name
    found |= {"ListNode": ListNode, "TreeNode": TreeNode}
    for name, value in found.items():
        vars(builtins).setdefault(name, value)
    sys.setrecursionlimit(RECURSION_LIMIT)


def shared_classes(names: Mapping[str, Any], nodes: bool) -> dict[str, type]:
    """The classes that a setup defines, which both processes know; `nodes`: and those of LeetCode's header."""
    shared: dict[str, type] = {"ListNode": ListNode, "TreeNode": TreeNode} if nodes else {}
    for name, value in names.items():
        own = isinstance(value, type) and value.__module__ == names.get("__name__")
        if own and value.__name__ == name and not issubclass(value, BaseException):
            shared[name] = value
    return shared


def _public(module: ModuleType) -> list[str]:
    """The names that `from module import *` binds."""
    return list(getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")])


def compiled(code: str | list[str]) -> Any:
    """The first of several readings of an answer that is Python, compiled. Raises the first one's SyntaxError."""
    readings = [code] if isinstance(code, str) else code
    for reading in readings:
        try:
            return compile(reading, _CODE_NAME, "exec")
        except (SyntaxError, ValueError):
            continue
    return compile(readings[0], _CODE_NAME, "exec")


class Program:
    """A loaded answer: its names, and the objects that could not be sent."""

    def __init__(self, setup: str, code: str | list[str], *, nodes: bool) -> None:
        module = ModuleType("answer")
        sys.modules["answer"] = module  # dataclasses and pickle look a class's module up
        self.names = module.__dict__
        self.kept: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._failed: dict[int, BaseException] = {}  # iterators that raised after the items last sent
        exec(compile(setup, "setup.py", "exec"), self.names)
        self.shared = shared_classes(self.names, nodes)
        exec(compiled(code), self.names)
        for name in self.shared:
            own = self.names.get(name)
            if isinstance(own, type):  # the answer defined it again
                self.shared[name] = own

    def keep(self, value: Any) -> dict[str, Any]:
        """The data that stands for an object that stays here."""
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self.kept)
            self.kept.append(value)
        return {"ref": self._numbers[id(value)]}

    def target(self, name: str) -> Any:
        """Return the object of a name: a global, a method by `Class.method`, or a method of `Solution` (LeetCode)."""
        first, *rest = name.replace("()", "").split(".")
        if first not in self.names and isinstance(self.names.get("Solution"), type):
            first, rest = "Solution", [first, *rest]
        if first not in self.names:
            raise NameError(f"name {first!r} is not defined")
        found = self.names[first]
        for attribute in rest:
            found = getattr(found() if isinstance(found, type) else found, attribute)
        return found

    def answer(self, request: dict[str, Any]) -> Any:
        """The value a request asks for, encoded."""
        if "truth" in request:
            return bool(self.kept[request["truth"]["ref"]])
        if "advance" in request:
            return encode(self._advance(request["advance"]["ref"], request["count"]), self.keep)
        if "find" in request:
            return pack(self.target(request["find"]), self.keep, self.shared)
        if "get" in request:
            return pack(getattr(self._meant(request["get"]), request["name"]), self.keep, self.shared)
        arguments = decode(request["args"], self.kept.__getitem__, self.shared)
        if "op" in request:
            return pack(OPERATIONS[request["op"]](*arguments), self.keep, self.shared)
        function = self._meant(request["call"])
        keywords = decode(request["kwargs"], self.kept.__getitem__, self.shared)
        if request.get("refs"):
            made = function(*arguments, **keywords)
            if isinstance(function, type) and isinstance(made, CHANGEABLE) and type(made) not in CHANGEABLE:
                return self.keep(made)  # an object of a class of its own, whose methods change it
            return pack(made, self.keep, self.shared)
        if request.get("leetcode"):
            value = called(function, arguments, keywords, self.shared)
        else:
            value = function(*arguments, **keywords)
        return bool(value) if request.get("as_truth") else encode(value)

    def _meant(self, target: Any) -> Any:
        return self.target(target) if isinstance(target, str) else self.kept[target["ref"]]

    def _advance(self, number: int, count: int) -> tuple[list[Any], bool]:
        """The next items of an iterator, at most `count`, and whether it has ended."""
        if number in self._failed:
            raise self._failed.pop(number)
        items: list[Any] = []
        while len(items) < count:
            try:
                items.append(next(self.kept[number]))
            except StopIteration:
                return items, True
            except BaseException as error:
                if not items:
                    raise
                self._failed[number] = error
                break
        return items, False


def _serve_calls(channel: Channel, request: dict[str, Any]) -> None:
    try:
        program = Program(request["setup"], request["code"], nodes=request.get("nodes", False))
    except BaseException as error:  # whatever an untrusted program raises, SystemExit too
        channel.send({"id": request["id"], "error": described(error)})
        return
    channel.send({"id": request["id"], "loaded": True})
    while (request := channel.receive()) is not None:
        try:
            reply: dict[str, Any] = {"value": program.answer(request)}
        except BaseException as error:
            reply = {"error": described(error)}
        channel.send({"id": request["id"], **reply})


def described(error: BaseException) -> dict[str, Any]:
    """The names of an exception's classes, its message, and of its arguments and attributes what is plain."""
    names = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, BaseException)]
    said: dict[str, Any] = {"types": names, "text": ""}
    with contextlib.suppress(BaseException):  # __str__ is the program's own
        said["text"] = str(error)[:300]
    for name, values in (("args", list(error.args)), ("attributes", _plain(error))):
        with contextlib.suppress(BaseException):  # any object may be among them
            data = encode(values)
            if len(json.dumps(data)) <= LONGEST_MESSAGE:
                said[name] = data
    return said


def _plain(error: BaseException) -> dict[str, Any]:
    """The attributes of an exception that are plain values."""
    found = {}
    for name, value in list(vars(error).items()):
        with contextlib.suppress(BaseException):
            encode(value)
            found[name] = value
    return found


def _serve_inputs(channel: Channel, request: dict[str, Any], confinement: Confinement) -> None:
    """Fork a child for each input: each run starts clean, and starting Python again would take ten times as long."""
    code = request["script"]
    channel.send({"id": request["id"], "loaded": True})
    while (request := channel.receive()) is not None:
        given, written, said = (os.memfd_create(name) for name in ("input", "output", "said"))
        rest = memoryview(request["input"].encode("utf-8", "surrogateescape"))
        while rest:
            rest = rest[os.write(given, rest) :]
        os.lseek(given, 0, os.SEEK_SET)
        child = os.fork()
        if child == 0:
            os.dup2(given, 0)
            os.dup2(written, 1)
            os.dup2(said, 3)
            os.closerange(4, 256)
            run_script(code, confinement, 3)
        _, status, used = os.wait4(child, 0)
        os.close(given)
        output, message = _content(written, 4 * request["most"]), _content(said, LONGEST_MESSAGE)
        reply = {"output": output, "status": os.waitstatus_to_exitcode(status), "said": message}
        channel.send({"id": request["id"], **reply, "cpu_seconds": used.ru_utime + used.ru_stime})


def _content(descriptor: int, most: int) -> str:
    """Return at most `most` bytes written to a file in memory, and close it."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb") as file:
        return file.read(most).decode("utf-8", "replace")


def _one_line(error: BaseException) -> str:
    said = described(error)
    return f"{said['types'][0]}: {said['text']}"


def _run_here(channel: Channel, request: dict[str, Any], confinement: Confinement) -> None:
    """Run the program in this process, its standard output being the replies' pipe."""
    reading, writing = os.pipe()

    def feed() -> None:
        with open(writing, "w", encoding="utf-8") as file:
            file.write(request["input"])

    threading.Thread(target=feed, daemon=True).start()
    os.dup2(reading, 0)
    os.dup2(channel.replies, 1)
    run_script(request["script"], confinement)


def run_script(code: str | list[str], confinement: Confinement, said: int = 2) -> None:
    """Run a program as `__main__` and end the process with its exit code. Does not return.

    `said` is the descriptor that the exception it ends with is written to.
    """
    status = 0
    try:
        seal(confinement)
        sys.argv = ["main.py"]
        module = ModuleType("__main__")
        sys.modules["__main__"] = module
        exec(compiled(code), module.__dict__)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except MemoryError:
        status = MEMORY_STATUS
    except BaseException as error:
        with contextlib.suppress(BaseException):
            os.write(said, _one_line(error).encode("utf-8", "replace"))
        status = 1
    with contextlib.suppress(BaseException):
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()  # where fast programs write their output
    try:
        sys.stdout.flush()
    except BaseException:  # output over its limit: not all of it was written
        status = status or 1
    os._exit(status & 0xFF)
