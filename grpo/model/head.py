"""The projection to the vocabulary: found in a network, whole or a block of the vocabulary at a time.

mlx_lm's models differ in what surrounds it: nested language models, tied embeddings, logits that are scaled or capped.
Instead of repeating their code, it is called with its network or its projection exchanged for a moment.
"""

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

IN_BLOCKS = (nn.Linear, nn.Embedding, nn.QuantizedLinear, nn.QuantizedEmbedding)  # a row of every array is a token's
PROBE = ((1, 2, 3, 4),)
REFUSALS = (TypeError, ValueError, AttributeError, IndexError, KeyError)  # of a module called in another way

Project = Callable[[mx.array], mx.array]
Around = Callable[[mx.array, Project], mx.array]  # hidden [m, hidden], projection -> logits [m, ids]


@dataclass(frozen=True)
class FrozenHead:
    """A frozen projection to the vocabulary that can also be computed for a part of it."""

    size: int  # of the vocabulary
    project: Callable[[mx.array, slice], mx.array]  # hidden [m, hidden], ids -> logits [m, ids]
    chosen: Callable[[mx.array, mx.array], mx.array]  # hidden [m, hidden], ids [m] -> the logit of each row's id, [m]


class Head:
    """The projection, the module that owns its weights (the embedding if `tied`) and what the model does around it.

    `around` is None where the logits are the projection alone.
    """

    def __init__(self, module: nn.Module, tied: bool, around: Around | None = None) -> None:
        self.module, self.tied, self.around = module, tied, around

    def __call__(self, hidden: mx.array) -> mx.array:
        return self._through(hidden, lambda states: self._of(self.module, states))

    def frozen(self) -> FrozenHead | None:
        """For grpo.logprobs; None where it is trained or of a kind not known here."""
        if type(self.module) not in IN_BLOCKS or self.module.trainable_parameters():
            return None
        return FrozenHead(self.module.weight.shape[0], self.block, self._chosen)

    def _through(self, hidden: mx.array, project: Project) -> mx.array:
        return project(hidden) if self.around is None else self.around(hidden, project)

    def _of(self, module: Any, hidden: mx.array) -> mx.array:
        return module.as_linear(hidden) if self.tied else module(hidden)

    def block(self, hidden: mx.array, ids: slice) -> mx.array:
        """Logits of these ids alone, [m, ids]."""
        part = _part(self.module, ids)
        return self._through(hidden, lambda states: self._of(part, states))

    def _chosen(self, hidden: mx.array, ids: mx.array) -> mx.array:
        part: Any = _part(self.module, ids)
        rows = part.weight
        if "scales" in part:
            settings = {"group_size": part.group_size, "bits": part.bits, "mode": part.mode}
            rows = mx.dequantize(rows, part.scales, part.get("biases"), **settings)
        bias = part.get("bias")

        def project(states: mx.array) -> mx.array:
            logits = (states * rows).sum(axis=-1, keepdims=True)
            return logits if bias is None else logits + bias[:, None]

        return self._through(hidden, project)[..., 0]


class Trunk:
    """The network up to its last hidden states: (tokens [batch, time], caches) -> [batch, time, hidden]."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.by_name = "cache" in inspect.signature(module.__call__).parameters

    def __call__(self, tokens: mx.array, caches: Any = None) -> mx.array:
        return self.module(tokens, cache=caches) if self.by_name else self.module(tokens, caches)


class CapturingTrunk(Trunk):
    """The same where the module that runs the blocks projects too: what its projection is given."""

    def __init__(self, model: nn.Module, place: "Place", tied: bool) -> None:
        super().__init__(model)
        self.place, self.tied = place, tied

    def __call__(self, tokens: mx.array, caches: Any = None) -> mx.array:
        captured: list[mx.array] = []

        def capture(hidden: mx.array) -> mx.array:
            captured.append(hidden)
            return hidden

        with _exchanged(self.place, _Projecting(self.place.module, capture, self.tied)):
            super().__call__(tokens, caches)
        return captured[-1]


@dataclass(frozen=True)
class Place:
    """The place of a module in its model: `owner[name]` is the module."""

    owner: Any
    name: Any

    @property
    def module(self) -> Any:
        return self.owner[self.name]


class _Standing:
    """Stands in a module's place for one call, with the module's attributes."""

    def __init__(self, module: Any, call: Callable[..., Any]) -> None:
        self._module, self._call = module, call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._call(*arguments, **named)


class _Projecting(_Standing):
    """Stands for a module that projects to the vocabulary, an embedding if `tied`."""

    def __init__(self, module: Any, project: Project, tied: bool) -> None:
        super().__init__(module, module if tied else project)
        if tied:
            self.as_linear = project


@contextlib.contextmanager
def _exchanged(place: Place, other: Any) -> Iterator[None]:
    module = place.module
    place.owner[place.name] = other
    try:
        yield
    finally:
        place.owner[place.name] = module


def find_head(model: nn.Module) -> tuple[Trunk, Head | None]:
    """Return the trunk and the head, if projecting the trunk's output really gives the model's logits.

    Otherwise return the model itself and None.
    """
    whole, places = Trunk(model), list(_places(model))
    logits = whole(mx.array(PROBE))
    block = model.layers[0]
    holders = [place for place in places if place.module is not block and _holds(place.module, block)]
    for place in reversed(holders):  # the innermost first
        if found := _split_at(model, place, logits):
            return found
    return _split_inside(model, logits) or (whole, None)


def close(first: mx.array, second: mx.array) -> bool:
    """Return whether two ways through a network agree up to rounding."""
    tolerance = 1e-3 if second.dtype == mx.float32 else 5e-2
    scale = mx.abs(second).max()
    return first.shape == second.shape and bool((mx.abs(first - second).max() <= tolerance * scale + 1e-6).item())


def _split_at(model: nn.Module, place: Place, logits: mx.array) -> tuple[Trunk, Head] | None:
    """Try the module there as the trunk; the head is the model's code with hidden states in the trunk's place."""
    trunk, probe = Trunk(place.module), mx.array(PROBE)
    try:
        hidden = trunk(probe)
    except REFUSALS:  # it takes something other than tokens
        return None
    if not isinstance(hidden, mx.array) or hidden.ndim != 3 or not mx.issubdtype(hidden.dtype, mx.floating):
        return None

    def rest(states: mx.array) -> mx.array:
        with _exchanged(place, _Standing(trunk.module, lambda *_, **__: states[None])):
            return Trunk(model)(probe)[0]

    def around(hidden: mx.array, project: Project) -> mx.array:
        assert found is not None
        with _exchanged(*_projecting(*found, lambda states: project(states[0])[None])):
            return rest(hidden)

    vocab = logits.shape[-1]
    found = _projection(model, lambda: rest(hidden[0]), vocab)
    if found is not None:
        return _checked(trunk, *found, around, logits)
    for inner in _places(model):  # a weight that is multiplied by without its module being called
        if _projects_to(inner.module, vocab):
            head = Head(inner.module, isinstance(inner.module, nn.Embedding | nn.QuantizedEmbedding))
            with contextlib.suppress(*REFUSALS):
                if close(head(hidden[0]), logits[0]):
                    return trunk, head
    return None


def _split_inside(model: nn.Module, logits: mx.array) -> tuple[Trunk, Head] | None:
    """Split where the projection is called, if the module that runs the blocks calls it.

    The model's code behind it is run on one token, whose blocks are never evaluated.
    """
    whole, probe = Trunk(model), mx.array(PROBE)

    def around(hidden: mx.array, project: Project) -> mx.array:
        assert found is not None
        with _exchanged(*_projecting(*found, lambda _: project(hidden)[None])):
            return whole(probe[:, :1])[0]

    found = _projection(model, lambda: whole(probe), logits.shape[-1])
    return found and _checked(CapturingTrunk(model, *found), *found, around, logits)


def _projection(model: nn.Module, run: Callable[[], mx.array], vocab: int) -> tuple[Place, bool] | None:
    """Return where the module is that projects to the vocabulary when `run` is called, and whether it is tied."""
    for place in _places(model):
        module = place.module
        if not _projects_to(module, vocab):
            continue
        tied = isinstance(module, nn.Embedding | nn.QuantizedEmbedding)
        head, called = Head(module, tied), list[mx.array]()

        def project(states: mx.array, head: Head = head, called: list[mx.array] = called) -> mx.array:
            called.append(states)
            return head(states)

        with contextlib.suppress(*REFUSALS), _exchanged(*_projecting(place, tied, project)):
            run()
        if called:
            return place, tied
    return None


def _projects_to(module: nn.Module, vocab: int) -> bool:
    return type(module) in IN_BLOCKS and module.weight.shape[0] == vocab


def _checked(trunk: Trunk, place: Place, tied: bool, around: Around, logits: mx.array) -> tuple[Trunk, Head] | None:
    """Return trunk and head if they give these logits, without `around` if it changes nothing."""
    hidden, half = trunk(mx.array(PROBE))[0], logits.shape[-1] // 2
    for head in (Head(place.module, tied), Head(place.module, tied, around)):
        if close(head(hidden), logits[0]) and close(head.block(hidden, slice(half, None)), logits[0, :, half:]):
            return trunk, head
    return None


def _projecting(place: Place, tied: bool, project: Project) -> tuple[Place, _Projecting]:
    return place, _Projecting(place.module, project, tied)


def _places(owner: Any) -> Iterator[Place]:
    """Yield every module inside, each before those inside it."""
    named = enumerate(owner) if isinstance(owner, list | tuple) else list(owner.items())
    for name, part in named:
        if isinstance(part, nn.Module):
            yield Place(owner, name)
        if isinstance(part, dict | list | tuple):  # a module is a dict of its parts
            yield from _places(part)


def _holds(module: nn.Module, part: nn.Module) -> bool:
    return any(inner is part for inner in module.modules())


def _part(module: Any, ids: slice | mx.array) -> nn.Module:
    """The same projection to these ids alone."""
    part = copy.copy(module)
    part.update({name: array[ids] for name, array in module.parameters().items()})
    return part
