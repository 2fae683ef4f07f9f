"""Run parts of an evaluation side by side on a CPU, each on its own thread and share of the cores.

MLX computes matrix products with all cores and everything else with one. Two independent parts, each with half of the
cores for its products, leave no core without work. Needs a BLAS whose number of threads can be set, and an MLX that
looks at more of a graph at a time than its default (20 operations): or it would hand one part's operations to
their lane before the other's.
"""

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import mlx.core as mx

from grpo.cpu.blas import WIDTH_VARIABLE, load_blas
from grpo.cpu.switch import plain, serves
from grpo.ranks import here

LANES = 2  # parts of an evaluation side by side; measured with two cores alone
LEAST_WIDTH = 60  # below it two parts are slower than one after the other

_HERE = contextlib.nullcontext()

Made = TypeVar("Made")
Threads = tuple[Callable[[], int], Callable[[int], None]]  # tells and sets how many a product takes


def lanes() -> int:
    """Return the number of parts that can run side by side here."""
    width = os.environ.get(WIDTH_VARIABLE, "")
    threads = _threads_of_blas()
    if here().sharded or not serves() or threads is None or not width.isdigit():
        return 1
    return min(LANES, threads[0]()) if int(width) >= LEAST_WIDTH else 1


def most_lanes(on_cpu: bool) -> int:
    """Return the number of lanes that memory is to be reckoned with, for a run on the CPU or not."""
    return LANES if on_cpu and not plain() else 1


def side_by_side(parts: Sequence[Callable[[], Made]]) -> list[Made]:
    """Run the parts and evaluate their results together, each part on a lane of its own if there are enough."""
    made = on_lanes(parts)
    evaluate(made)
    return made


def on_lanes(parts: Sequence[Callable[[], Made]]) -> list[Made]:
    """Run the parts, each on a lane of its own if there are enough; the results are not evaluated yet."""
    if len(parts) > lanes():
        return [part() for part in parts]
    made = []
    for number, part in enumerate(parts):
        with lane(number):
            made.append(part())
    return made


def evaluate(made: Sequence[Any], parts: int | None = None) -> None:
    """Evaluate in one call arrays that are spread over `parts` lanes, by default one for each element of `made`.

    The number has to be given: the arrays do not show on which lanes they are.
    """
    with divided(len(made) if parts is None else parts):
        mx.eval(made)


@contextlib.contextmanager
def divided(parts: int) -> Iterator[None]:
    """Within this context, give a product its lane's share of the BLAS's threads.

    Put the parts on their lanes before: inside, with one thread left, there are no lanes.
    """
    if not 1 < parts <= lanes():
        yield
        return
    get, limit = cast("Threads", _threads_of_blas())
    before = get()
    limit(max(1, before // parts))
    try:
        yield
    finally:
        limit(before)


def lane(number: int) -> contextlib.AbstractContextManager:
    """Within this context, put operations on this lane, beside the caller's stream and the other lanes.

    Where there are no lanes it runs on the caller's stream.
    """
    return cast("contextlib.AbstractContextManager", mx.stream(_local.streams[number])) if lanes() > 1 else _HERE


class _Local(threading.local):
    @functools.cached_property
    def streams(self) -> list[mx.Stream]:
        """The streams of this thread; another thread could not use them."""
        return [mx.new_stream(mx.cpu) for _ in range(LANES)]


_local = _Local()


@functools.cache
def _threads_of_blas() -> Threads | None:
    library = ctypes.CDLL(load_blas().path)
    for get, limit in (
        ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
        ("openblas_get_num_threads", "openblas_set_num_threads"),
    ):
        if hasattr(library, get) and hasattr(library, limit):
            return getattr(library, get), getattr(library, limit)
    return None
