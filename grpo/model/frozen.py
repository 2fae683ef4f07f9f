"""Load a model that is never trained: a teacher, or one to evaluate."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx
from mlx_lm.tuner.utils import load_adapters

from grpo.config.sections import ConfigError, LoRA
from grpo.model.loading import load_policy
from grpo.model.policy import ADAPTER_CONFIG, Policy


@dataclass(frozen=True)
class _Frozen:
    """Settings of a model of which nothing is trained."""

    dtype: str
    revision: str | None = None
    adapter: str | None = None
    fine_tune: str = "none"
    lora: LoRA = field(default_factory=LoRA)
    gradient_checkpointing: bool = False
    seed: int = 0


def load_teacher(model: str, adapter: str | None = None, *, dtype: str = "auto") -> Policy:
    """The teacher, with its adapter (LoRA, DoRA or full) if it has one; ConfigError, one line, where there is none."""
    policy = load_policy(_Frozen(dtype), model)
    if adapter is None:
        return policy
    try:
        kind = json.loads((Path(adapter) / ADAPTER_CONFIG).read_text()).get("fine_tune_type", "lora")
        network = load_adapters(policy.model, adapter)
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"teacher_adapter {adapter} does not fit {model} or can't be read: {reason}") from error
    network.freeze()
    network.eval()
    mx.eval(network.parameters())
    return Policy(network, policy.tokenizer, adapter_settings=None, fine_tune=kind)
