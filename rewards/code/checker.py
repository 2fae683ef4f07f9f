"""The trusted process: runs tests that could not be taken apart, and reaches the program under test by messages.

The program's process never sees a test, and nothing of the program ever runs here: what comes back are exact built-in
values, or handles whose every use is another message. (Sandboxed all the same: tests come from a data set.)

Requests: {"setup", "imports", "names", "exceptions", "entry_point"} -> {"remote": [names]} or {"error"}; {"test",
"function"} -> {"verdict", "calls", "opaque", "text"}, and before that any number of {"ask": request for the program},
each answered by {"reply"}.
"""

import builtins
import collections
import importlib
import sys
from types import ModuleType
from typing import Any

from rewards.code import exceptions, kinds
from rewards.code.program import Packages, described, provide_header, shared_classes
from rewards.code.reading import compiled
from rewards.code.remote import RAISES, Remote, Unjudgeable, Wire
from rewards.code.values import Malformed
from rewards.sandbox.guard import Channel, Confinement, seal


def serve(channel: Channel, confinement: Confinement) -> None:
    """Prepare, then judge one test after the other until the input ends."""
    request = channel.receive()
    if request is None:
        return
    sys.meta_path.append(Packages(confinement.packages))
    seal(confinement)
    module = ModuleType("tests")
    sys.modules["tests"] = module
    wire = Wire(channel, request["entry_point"])
    wire.exceptions = lambda error: exceptions.raised(error, module.__dict__)
    try:
        remote = prepare(module.__dict__, request, wire)
        reply: dict[str, Any] = {"remote": remote}
    except BaseException as error:  # a setup that fails in any way is a row that can't be judged
        reply = {"error": described(error)}
    channel.send({"id": request["id"], **reply})
    while (request := channel.receive()) is not None:
        wire.current, wire.calls, wire.opaque = request["id"], 0, False
        verdict, text = judge(module.__dict__, request)
        said = {"verdict": verdict, "calls": wire.calls, "opaque": wire.opaque, "text": text}
        channel.send({"id": wire.current, **said})


def prepare(names: dict[str, Any], request: dict[str, Any], wire: Wire) -> list[str]:
    """Run setup and imports; names that stay undefined become the program's, modules of the library are imported.

    Returns the names taken from the program.
    """
    known = set(vars(builtins))
    provide_header()  # a setup may rely on it as the program does
    exec(compile(request["setup"], "setup.py", "exec"), names)
    wire.shared |= shared_classes(names, request["entry_point"] is not None)
    exec(compile(request["imports"], "imports.py", "exec"), names)
    for name in request["exceptions"]:  # of the program, that tests catch by name
        if name not in names and name not in known:
            names[name] = exceptions.named(name)
    names |= kinds.functions_of(wire)
    remote = []
    for name, called in request["names"].items():
        if name == "candidate" and request["entry_point"] is not None:
            continue
        if name == request["entry_point"] or not (name in names or name in known):
            if name != request["entry_point"] and not called and name in sys.stdlib_module_names:
                names[name] = importlib.import_module(name)
                continue
            if name != request["entry_point"] and (name in collections.__all__ or name in wire.shared):
                continue  # deque, Counter, ListNode: of the header
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
        exec(compiled(request["test"]), names)
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
        if "of_program" in vars(type(error)):
            return "error", text
        return ("bad" if isinstance(error, ImportError) else "fail"), f"{RAISES} {text}"
    return "pass", ""
