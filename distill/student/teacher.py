"""The teacher: a model that is only read, and whether the student speaks its vocabulary."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.tuner.utils import load_adapters

from grpo.config import ConfigError, LoRA
from grpo.policy import ADAPTER_CONFIG, Policy, load_policy


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


def require_same_vocabulary(student: Any, teacher: Any) -> None:
    """ConfigError unless both tokenizers give every token the same id: else the teacher scores other text."""
    mine, theirs = student.get_vocab(), teacher.get_vocab()
    if mine == theirs:
        return
    different = sum(theirs.get(token) != place for token, place in mine.items())
    example = next((token for token, place in mine.items() if theirs.get(token) != place), None)
    shown = f", e.g. {example!r} is {mine[example]} and {theirs.get(example)}" if example is not None else ""
    raise ConfigError(
        f"student and teacher must have the same vocabulary: {len(mine)} and {len(theirs)} tokens, {different} of the "
        f"student's differ{shown}; use method: sequence, which needs only the teacher's text"
    )
