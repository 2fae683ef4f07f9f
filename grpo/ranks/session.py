"""Join the ranks of a run at its start, check that they run the same, and part from them at its end."""

import atexit
import contextlib
import hashlib
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from grpo.config.sections import ConfigError
from grpo.ranks.alone import ALONE, Alone, set_here
from grpo.ranks.launch import first_address, world
from grpo.runs.interrupt import StopFlag

CODE = ("grpo", "rewards", "envs", "distill")


@contextlib.contextmanager
def joined(stop: StopFlag, told: Mapping[str, Any]) -> Iterator[Alone]:
    """Within this context, `here()` is this process's rank, if a launcher started several.

    `told` is what every rank must have been told alike, the config above all; code and versions must agree too. Raises
    ConfigError, on all ranks, where they do not. An exception that leaves the context ends the other ranks.
    """
    if world() == 1:
        yield ALONE
        return
    from grpo.ranks.group import Ranks

    global _last
    ranks: Ranks | None = None
    error: BaseException | None = None
    try:
        ranks = _connected(stop)
        set_here(ranks)
        stop.decide = ranks.decide
        ranks.require_same({"processes": world(), **code(), **told})
        yield ranks
    except BaseException as raised:
        error = raised
        raise
    finally:
        stop.decide = StopFlag().decide
        set_here(ALONE)
        if ranks is not None:
            ranks.part(error)
            _last = ranks
            if ranks.stuck:
                atexit.register(leave, 1)  # where no command ends the process with a code of its own


_last: Alone = ALONE  # what this process was, when it has parted


def leave(code: int) -> int:
    """Return the exit code; where a collective never ended, end the process with it now, or it would wait for ever."""
    if _last.stuck:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def quiet(error: BaseException) -> bool:
    """Return whether another rank says this error: it ends all, and rank 0 prints."""
    return _last.says_nothing_of(error)


@cache
def code() -> dict[str, Any]:
    """Return what has to be the same code: a digest of each package's source, and the versions of what computes."""
    from grpo.runs.log import PACKAGES

    found: dict[str, Any] = {"python": sys.version.split()[0]}
    root = Path(__file__).resolve().parents[2]
    for package in CODE:
        digest = hashlib.sha256()
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
        found[f"code of {package}"] = digest.hexdigest()[:16]
    from importlib.metadata import PackageNotFoundError, version

    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[f"version of {name}"] = version(name)
    return found


def _connected(stop: StopFlag) -> Any:
    """Return the group of all ranks, with the channel that notices losses."""
    import mlx.core as mx

    from grpo.ranks import channel
    from grpo.ranks.group import Ranks
    from grpo.ranks.line import Line

    line = Line()
    try:
        group = line.run(lambda: mx.distributed.init(strict=True), stop.check)
    except RuntimeError as error:
        raise ConfigError(f"the {world()} processes that were launched can't be joined: {error}") from error
    ranks = Ranks(group, line, stop)
    hosts = ranks.gather([socket.gethostname(), os.getpid()])
    names = [f"rank {rank} ({host}, process {pid})" for rank, (host, pid) in enumerate(hosts)]
    ranks.beside = sum(host == hosts[ranks.rank][0] for host, _ in hosts)
    address = first_address() or ("127.0.0.1" if ranks.beside == ranks.size else socket.gethostbyname(hosts[0][0]))
    if ranks.rank == 0:
        listener, token = channel.listen(address), secrets.token_hex(16)
        ranks.gather([listener.getsockname()[1], token])
        connections = channel.accept(listener, ranks.size - 1, token)
    else:
        port, token = ranks.gather(None)[0]
        connections = {0: channel.connect(address, port, ranks.rank, token)}
    ranks.channel = channel.Channel(ranks.rank, names, connections)
    return ranks
