"""Which experts a mixture's routers choose: heard while the network runs, and told to it (routing replay).

A block's router chooses by one `argpartition` of the scores of its experts. Where the block's own code calls it, the
choice can be replaced and everything after (weights, their normalisation, gradients) follows; where it is inside a
compiled function it can't, which is found out by trying. Routing replay: GSPO, arXiv 2507.18071; R3, arXiv 2510.11370.
"""

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.tuner.lora import LoRASwitchLinear

KINDS = (SwitchLinear, QuantizedSwitchLinear, LoRASwitchLinear)
UNKNOWN = -1  # in the place of an expert, where a choice was not heard


class Ear:
    """Hears the experts that each mixture of a network chooses in one pass, and may tell it which to take."""

    def __init__(self, told: mx.array | None = None) -> None:
        """`told`: [batch, time, mixtures, chosen] experts to take, UNKNOWN = the router's own choice."""
        self.told = told
        self.heard: dict[int, mx.array] = {}  # mixture -> the router's own choice, [..., chosen]

    def hear(self, mixture: int, experts: mx.array) -> None:
        """Keep a choice; that of a recomputation is the same again."""
        self.heard.setdefault(mixture, experts)

    def replaced(self, mixture: int, own: mx.array) -> mx.array:
        """Return the experts to take in the place of the router's own, [..., chosen]."""
        self.hear(mixture, own)
        if self.told is None or self.told[:, :, mixture].size != own.size:
            return own
        told = self.told[:, :, mixture].reshape(own.shape)
        return mx.where(told == UNKNOWN, own, told).astype(own.dtype)

    def choices(self) -> mx.array:
        """Return what was heard of one token a row, [batch, mixtures, chosen]."""
        parts = [self.heard[mixture] for mixture in sorted(self.heard)]
        return mx.stack([part.reshape(-1, part.shape[-1]) for part in parts], axis=1)

    def agreement(self, sampled: mx.array) -> tuple[mx.array, mx.array]:
        """Compare with the experts that were sampled, [batch, time, mixtures, chosen].

        Returns the sum over tokens of the share of experts that both chose, and the number of tokens compared.
        """
        known = sampled[:, :, 0, 0] != UNKNOWN  # [batch, time]
        total = mx.zeros(())
        for mixture, own in self.heard.items():
            other = sampled[:, :, mixture]
            same = (own.reshape(other.shape)[..., None] == other[..., None, :]).any(axis=-1).mean(axis=-1)
            total = total + mx.where(known, same, 0.0).sum()
        return mx.stop_gradient(total / max(len(self.heard), 1)), known.sum()


class _Local(threading.local):
    ear: Ear | None = None
    mixture: int | None = None  # whose block is running


_local = _Local()


def current() -> Ear | None:
    """Return the ear that listens now."""
    return _local.ear


@contextlib.contextmanager
def listening(ear: Ear | None) -> Iterator[None]:
    """Within this context the ear hears, and tells, what the network's mixtures choose; None = nobody does."""
    before, _local.ear = _local.ear, ear
    try:
        yield
    finally:
        _local.ear = before


class Mixtures:
    """The mixtures of experts of a network, numbered from its first block on."""

    def __init__(self, model: nn.Module) -> None:
        self.sizes: list[int] = []  # experts of each
        self._modules: set[str] = set()  # of the code of their blocks
        for layer in model.layers:
            for block, switch in _switches(layer):
                block.mixture = switch.mixture = len(self.sizes)
                self.sizes.append(_experts(switch))
                self._modules.add(type(block).__module__)
                _patch(type(switch), _hearing)
                _patch(type(block), _marking)
        self.replay_refused: str | None = "its routers have not been tried"

    def allow_replay(self, trunk: Any, caches: list[Any]) -> None:
        """Let routers be told what to choose; `replay_refused` says why they can't be, None if they can."""
        for name in self._modules:
            module = sys.modules[name]
            if not isinstance(module.mx, _Namespace):
                module.mx = _Namespace()  # type: ignore[attr-defined]
        probe, ear = mx.array([[1, 2, 3]]), Ear()
        with listening(ear):
            before = trunk(probe, caches)
        told = mx.zeros((1, 3, len(self.sizes), ear.choices().shape[-1]), mx.int32)
        told = told + mx.arange(told.shape[-1])
        second = _Taken(told)
        with listening(second):
            mx.eval(before, trunk(probe, caches))
        same = all(mx.array_equal(mx.sort(taken.reshape(told.shape[1], -1)), told[0, :, 0]) for taken in second.taken)
        whole = same and len(second.taken) == len(self.sizes)
        self.replay_refused = None if whole else "its routers choose inside compiled code"


def records(rows: Sequence[np.ndarray | None], width: int) -> mx.array | None:
    """Return recorded choices of padded rows, [batch, width, mixtures, chosen]; None if no row has any.

    A row's are [time, mixtures, chosen] of its first tokens; the others are UNKNOWN.
    """
    known = [row for row in rows if row is not None and len(row)]
    if not known:
        return None
    padded = np.full((len(rows), width, *known[0].shape[1:]), UNKNOWN, np.int32)
    for place, row in enumerate(rows):
        if row is not None and len(row):
            padded[place, : len(row)] = row[:width]
    return mx.array(padded)


class _Taken(Ear):
    """An ear that also keeps what the experts are called with."""

    def __init__(self, told: mx.array) -> None:
        super().__init__(told)
        self.taken: list[mx.array] = []

    def hear(self, mixture: int, experts: mx.array) -> None:
        if mixture in self.heard:
            self.taken.append(experts)
        super().hear(mixture, experts)


class _Namespace:
    """Stands for mlx.core in a module whose routers are told what to choose."""

    def __getattr__(self, name: str) -> Any:
        return getattr(mx, name)

    def argpartition(self, scores: mx.array, kth: int, axis: int = -1) -> mx.array:
        order = mx.argpartition(scores, kth=kth, axis=axis)
        ear, mixture = _local.ear, _local.mixture
        if ear is None or mixture is None or axis not in (-1, scores.ndim - 1):
            return order
        chosen = -kth if kth < 0 else kth + 1
        own = order[..., -chosen:] if kth < 0 else order[..., :chosen]
        taken = ear.replaced(mixture, own)
        rest = order[..., :-chosen] if kth < 0 else order[..., chosen:]
        return mx.concatenate([rest, taken] if kth < 0 else [taken, rest], axis=-1)


def _switches(layer: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Yield (block, its module of experts), in the order of their names."""
    for _, block in sorted(layer.named_modules(), key=lambda pair: pair[0]):
        for switch in block.children().values():
            if not isinstance(switch, nn.Module) or isinstance(switch, KINDS):
                continue  # an adapter on experts holds experts too
            if any(isinstance(part, KINDS) for part in switch.children().values()):
                yield block, switch


def _experts(switch: nn.Module) -> int:
    return next(part.num_experts for part in switch.children().values() if isinstance(part, KINDS))


def _patch(kind: type, wrapped: Any) -> None:
    if not getattr(kind.__call__, "knows_mixtures", False):
        kind.__call__ = wrapped(kind.__call__)  # type: ignore[method-assign]


def _hearing(plain: Any) -> Any:
    def call(switch: Any, x: mx.array, experts: mx.array, *rest: Any, **named: Any) -> Any:
        if _local.ear is not None and hasattr(switch, "mixture"):
            _local.ear.hear(switch.mixture, experts)
        return plain(switch, x, experts, *rest, **named)

    call.knows_mixtures = True  # type: ignore[attr-defined]
    return call


def _marking(plain: Any) -> Any:
    def call(block: Any, *given: Any, **named: Any) -> Any:
        before, _local.mixture = _local.mixture, getattr(block, "mixture", None)
        try:
            return plain(block, *given, **named)
        finally:
            _local.mixture = before

    call.knows_mixtures = True  # type: ignore[attr-defined]
    return call
