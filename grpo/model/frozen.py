"""Load a model that is never trained: a teacher, or one to evaluate."""

import mlx.core as mx

from grpo.config.layers import build
from grpo.config.sections import ModelSettings
from grpo.model.adapter_files import attach
from grpo.model.loading import load_policy
from grpo.model.policy import Policy


def load_teacher(model: str, adapter: str | None = None, *, dtype: str = "auto", revision: str | None = None) -> Policy:
    """The teacher, with its adapter (LoRA, DoRA or full) if it has one; ConfigError, one line, where there is none."""
    settings = {"model": model, "revision": revision, "dtype": dtype, "fine_tune": "none"}
    policy = load_policy(build(ModelSettings, settings, source="teacher"), model)
    if adapter is None:
        return policy
    network, kind = policy.model, attach(policy.model, adapter).kind
    network.freeze()
    network.eval()
    mx.eval(network.parameters())
    return Policy(network, policy.tokenizer, adapter_settings=None, fine_tune=kind)
