"""`multiprocessing` for programs that may start no process: the same names, made of threads.

The library has such a double itself, `multiprocessing.dummy`; the modules are imported as they are and given its names.
"""

import importlib
import importlib.machinery
import os
import threading
from types import ModuleType
from typing import Any

# Of `multiprocessing.dummy`; locks and queues are those of threads.
NAMES = (
    *("Process", "Pool", "Queue", "JoinableQueue", "Pipe", "Manager", "Value", "Array", "Lock", "RLock"),
    *("Semaphore", "BoundedSemaphore", "Condition", "Event", "Barrier", "current_process", "active_children"),
)


class SimpleQueue:
    """A pipe between threads: the library's own, which its pools wait on, needs a semaphore of the system."""

    def __init__(self, *, ctx: Any = None) -> None:
        pipe = importlib.import_module("multiprocessing.connection").Pipe
        self._reader, self._writer = pipe(duplex=False)
        self._reading, self._writing = threading.Lock(), threading.Lock()

    def get(self) -> Any:
        """The next object; waits for it."""
        with self._reading:
            return self._reader.recv()

    def put(self, one: Any) -> None:
        """Add an object."""
        with self._writing:
            self._writer.send(one)

    def empty(self) -> bool:
        """Return whether there is nothing to get."""
        return not self._reader.poll()

    def close(self) -> None:
        """Close the pipe."""
        self._reader.close()
        self._writer.close()


def _use_threads(module: ModuleType) -> None:
    """Replace what starts processes in one of `MODULES`."""
    names = vars(module)
    if module.__name__ == "multiprocessing":
        double = vars(importlib.import_module("multiprocessing.dummy"))
        names |= {name: double[name] for name in NAMES} | {"SimpleQueue": SimpleQueue}
        names |= {"get_context": lambda method=None: module, "set_start_method": lambda method, force=False: None}
        names |= {"cpu_count": lambda: os.cpu_count() or 1, "freeze_support": lambda: None}
    else:
        names["ProcessPoolExecutor"] = importlib.import_module("concurrent.futures.thread").ThreadPoolExecutor


MODULES = ("multiprocessing", "concurrent.futures.process")


class Threads:
    """Finds the modules that start processes and changes them once they are loaded."""

    def __init__(self, loader: Any = None) -> None:
        self._loader = loader

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The specification of one of `MODULES`; None for any other module."""
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name in MODULES else None
        if spec is not None:
            loader: Any = Threads(spec.loader)
            spec.loader = loader
        return spec

    def create_module(self, spec: Any) -> Any:
        """Let the library's own loader make the module."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the library's module, then replace its names."""
        self._loader.exec_module(module)
        _use_threads(module)
