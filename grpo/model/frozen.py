"""Load a model that is never trained: a teacher, or one to evaluate."""

import json
from pathlib import Path

import mlx.core as mx
from mlx_lm.tuner.utils import load_adapters

from grpo.config.layers import build
from grpo.config.sections import ConfigError, ModelSettings
from grpo.model.loading import load_policy
from grpo.model.policy import ADAPTER_CONFIG, Policy


def load_teacher(model: str, adapter: str | None = None, *, dtype: str = "auto") -> Policy:
    """The teacher, with its adapter (LoRA, DoRA or full) if it has one; ConfigError, one line, where there is none."""
    policy = load_policy(
        build(ModelSettings, {"model": model, "dtype": dtype, "fine_tune": "none"}, source="teacher"), model
    )
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
