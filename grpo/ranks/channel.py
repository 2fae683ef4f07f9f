"""Find a lost rank, meet, and end all ranks together: a TCP connection from every rank to rank 0.

MLX's collectives know no deadline: a peer whose machine is gone leaves the others waiting. Each side sends a beat every
few seconds. A connection that closes, or one that is silent for too long, is a lost rank. Rank 0 tells the others; when
rank 0 is lost each rank notices it. The messages are lines of JSON.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grpo.config.sections import ConfigError
from grpo.ranks.alone import RankLost
from grpo.ranks.line import LOOK_SECONDS
from grpo.runs.interrupt import Interrupted

BEAT_SECONDS = 2.0
SILENT_SECONDS = 20.0  # without a beat, from which on a rank is lost
CONNECT_SECONDS = 30.0
PARTING_SECONDS = 1.0  # for a last message to arrive


@dataclass(frozen=True)
class End:
    """Why this rank is to end, decided elsewhere."""

    kind: str  # "stop", "lost" or "failed"
    rank: int  # whose doing it is
    text: str = ""
    number: int = 0  # the signal, of a stop
    input: bool = False  # whether the user can put it right, of a failure


class SharedConfigError(ConfigError):
    """A ConfigError that all ranks end with; only rank 0 prints it."""


class Channel:
    """This rank's connections: of rank 0 to all others, of the others to rank 0."""

    def __init__(self, rank: int, names: Sequence[str], connections: dict[int, socket.socket]) -> None:
        """`names` are what messages call the ranks by, `connections` the sockets by rank."""
        self.rank, self.names, self.connections = rank, names, connections
        self.end: End | None = None
        self.lost: set[int] = set()
        self.signalled: int | None = None  # a signal that another rank received
        self._parted: set[int] = set()
        self._turn = 0  # of meeting
        self._here = dict.fromkeys(connections, 0)  # the turn each peer has come to
        self._came = threading.Condition()
        self._heard = dict.fromkeys(connections, time.monotonic())
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in connections.items()]
        for thread in [*self._readers, threading.Thread(target=self._beat, daemon=True)]:
            thread.start()

    def check(self) -> None:
        """Raise what ends this rank: Interrupted, RankLost, or ConfigError for what the user can put right."""
        end = self.end
        if end is None:
            return
        if end.kind == "stop":
            raise Interrupted(end.number)
        if end.kind == "failed" and end.input:
            raise SharedConfigError(f"{self.names[end.rank]}: {end.text}")
        said = f"failed: {end.text}" if end.kind == "failed" else f"is lost: {end.text}"
        raise RankLost(f"{self.names[end.rank]} {said}")

    def meet(self, look: Callable[[], None]) -> None:
        """Wait until all ranks have called it as often; `look` is called meanwhile and may raise."""
        self._turn += 1
        if self.rank != 0:
            self.tell(kind="here", turn=self._turn)
        with self._came:
            while min(self._here.values()) < self._turn:
                if not self._came.wait(LOOK_SECONDS):
                    look()
                    absent = (peer for peer, turn in self._here.items() if turn < self._turn)
                    if (gone := next((peer for peer in absent if peer in self._parted), None)) is not None:
                        raise RankLost(f"{self.names[gone]} has ended before the others")
        if self.rank == 0:
            self.tell(kind="here", turn=self._turn)

    def wait_for_end(self, seconds: float) -> None:
        """Wait until it is known why this rank is to end, at most this long."""
        deadline = time.monotonic() + seconds
        while self.end is None and time.monotonic() < deadline:
            time.sleep(0.05)

    def tell(self, **message: Any) -> None:
        """Send a message to rank 0, or from rank 0 to all."""
        line = (json.dumps(message) + "\n").encode()
        with self._lock:
            for connection in self.connections.values():
                with contextlib.suppress(OSError):  # its reader finds out
                    connection.sendall(line)

    def part(self, **message: Any) -> None:
        """Send a last message, give it time to arrive, and close."""
        self.tell(**message)
        self._closing.set()
        deadline = time.monotonic() + PARTING_SECONDS
        for connection in self.connections.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        for thread in self._readers:
            thread.join(max(0.0, deadline - time.monotonic()))
        for connection in self.connections.values():
            with contextlib.suppress(OSError):
                connection.close()

    def _read(self, peer: int, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection.makefile("r", encoding="utf-8") as lines:
            for line in lines:
                self._heard[peer] = time.monotonic()
                self._take(peer, json.loads(line))
        self._gone(peer, "its connection closed")

    def _take(self, peer: int, message: dict[str, Any]) -> None:
        kind = message.pop("kind")
        if kind == "here":
            with self._came:
                self._here[peer] = message["turn"]
                self._came.notify_all()
        elif kind == "signal":
            self.signalled = message["number"]
        elif kind == "bye":
            self._parted.add(peer)
        elif kind in ("stop", "lost", "failed"):
            if kind != "lost" and message["rank"] == peer:
                self._parted.add(peer)
            self._end(End(kind, **message))

    def _gone(self, peer: int, text: str) -> None:
        if not self._closing.is_set() and peer not in self._parted:
            self._end(End("lost", peer, text))

    def _end(self, end: End) -> None:
        if end.kind == "lost":
            self.lost.add(end.rank)
        if self.end is None:
            self.end = end
            if self.rank == 0:
                self.tell(**vars(end))

    def _beat(self) -> None:
        while not self._closing.wait(BEAT_SECONDS):
            self.tell(kind="beat")
            for peer, heard in self._heard.items():
                silent = time.monotonic() - heard
                if silent > SILENT_SECONDS:
                    self._gone(peer, f"nothing was heard of it for {silent:.0f} s")


def listen(address: str) -> socket.socket:
    """Open rank 0's port; ConfigError if the address is not this machine's."""
    try:
        return socket.create_server((address, 0))
    except OSError as error:
        raise ConfigError(f"rank 0 can't listen on {address}, its address for the other ranks: {error}") from error


def accept(listener: socket.socket, count: int, token: str) -> dict[int, socket.socket]:
    """Return the connections of `count` other ranks, by rank; whoever does not know the token is turned away."""
    found: dict[int, socket.socket] = {}
    deadline = time.monotonic() + CONNECT_SECONDS
    with listener:
        while len(found) < count:
            listener.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                raise ConfigError(f"{count - len(found)} ranks did not connect to rank 0 in time") from None
            connection.settimeout(5.0)
            with contextlib.suppress(OSError, ValueError):
                rank, _, given = _line(connection).partition(" ")
                if given == token and 0 < int(rank) <= count:
                    connection.settimeout(None)
                    found[int(rank)] = connection
                    continue
            connection.close()
    return found


def connect(address: str, port: int, rank: int, token: str) -> socket.socket:
    """Connect to rank 0; ConfigError if it can't be reached."""
    try:
        connection = socket.create_connection((address, port), CONNECT_SECONDS)
        connection.sendall(f"{rank} {token}\n".encode())
    except OSError as error:
        raise ConfigError(f"rank {rank} can't reach rank 0 at {address}:{port}: {error}") from error
    connection.settimeout(None)
    return connection


def _line(connection: socket.socket) -> str:
    """Read one short line, byte by byte: what follows belongs to the reader."""
    read = b""
    while not read.endswith(b"\n") and len(read) < 100:
        byte = connection.recv(1)
        if not byte:
            break
        read += byte
    return read.decode().strip()
