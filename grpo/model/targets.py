"""Choose the layers that get adapters: every linear layer, routed experts included, and no router."""

import contextlib
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.tuner.lora import LoRASwitchLinear

from grpo.config.sections import ConfigError, LoRA
from grpo.ranks import here
from grpo.ranks.sharded import SHARDED

LINEAR, EXPERTS = (nn.Linear, nn.QuantizedLinear), (SwitchLinear, QuantizedSwitchLinear)
ROUTERS = ("gate", "router")  # names of the layers that choose experts
PROBE = ((1, 2, 3, 4),)


def adapted_names(model: nn.Module, lora: LoRA, *, experts: bool = True) -> list[str]:
    """Return the names inside a block of the layers that get an adapter; ConfigError if there are none.

    Routers are left out unless they are named, and always a layer whose weight the model's code reads without calling
    it, since an adapter would not act there.
    """
    kinds = SHARDED if here().sharded else LINEAR + (EXPERTS if experts else ())
    found = {name for layer in model.layers for name, part in layer.named_modules() if isinstance(part, kinds)}
    read = _read_directly(model)
    if lora.targets == "all":
        return sorted(found - read - {name for layer in model.layers for name in routers(layer)})
    chosen = {name for name in found if _last(name) in lora.targets}
    if chosen & read:
        raise ConfigError(
            f"lora.targets: {sorted(chosen & read)[0]} can't have an adapter: the model reads its weight without "
            "calling it"
        )
    if missing := [name for name in lora.targets if name not in {_last(one) for one in found}]:
        names = ", ".join(sorted({_last(name) for name in found - read}))
        raise ConfigError(f"lora.targets: this model has no linear layer {missing[0]}; it has {names}")
    if not chosen:
        raise ConfigError("lora.targets is empty: name layers, or leave it out for all of them")
    return sorted(chosen)


def routers(block: nn.Module) -> set[str]:
    """Return the names of the linear layers in a block that choose experts."""
    parts = dict(block.named_modules())
    switches = {name: part for name, part in parts.items() if isinstance(part, (*EXPERTS, LoRASwitchLinear))}
    if not switches:
        return set()
    counts = {_experts(part) for part in switches.values()}
    found = set()
    for name, part in parts.items():
        inside = any(name == switch or name.startswith(f"{_parent(switch)}.") for switch in switches)
        if inside or not isinstance(part, LINEAR):
            continue
        named = any(piece in ROUTERS for piece in name.split("."))
        if named or part.weight.shape[0] in counts:
            found.add(name)
    return found


def described(model: nn.Module) -> str:
    """Return which layers have an adapter and which linear layers have none, for the log."""
    adapted, others = set(), set()
    for layer in model.layers:
        chosen = routers(layer)
        for name, part in layer.named_modules():
            if hasattr(part, "lora_a"):
                experts = " of the experts" if isinstance(part, LoRASwitchLinear) else ""
                adapted.add(f"{_last(name)}{experts}")
            elif isinstance(part, LINEAR + EXPERTS) and not name.endswith(".linear"):
                others.add(f"{_last(name)}{' (router)' if name in chosen else ''}")
    left = f", none on {', '.join(sorted(others - adapted))}" if others - adapted else ""
    return f"adapters on {', '.join(sorted(adapted))}{left}"


def _read_directly(model: nn.Module) -> set[str]:
    """Return the names inside a block of linear layers whose weight is read from outside while the model runs."""
    found: set[int] = set()
    parts = [part for layer in model.layers for part in layer.modules() if isinstance(part, LINEAR)]
    training = model.training
    model.train()
    with contextlib.ExitStack() as watched:
        for part in parts:
            watched.enter_context(_watched(part, found))
        model(mx.array(PROBE))
    model.train(training)
    return {name for layer in model.layers for name, part in layer.named_modules() if id(part) in found}


@contextlib.contextmanager
def _watched(part: Any, found: set[int]) -> Iterator[None]:
    """Note in `found` when somebody else asks this layer for its weight; its own code takes it from the dict."""
    kind = type(part)

    class Watched(kind):  # type: ignore[misc, valid-type]
        @property
        def weight(self) -> mx.array:
            found.add(id(self))
            return self["weight"]

        @weight.setter
        def weight(self, value: mx.array) -> None:
            found.add(id(self))
            self["weight"] = value

    part.__class__ = Watched
    try:
        yield
    finally:
        part.__class__ = kind


def _experts(part: Any) -> int:
    return part.num_experts


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
