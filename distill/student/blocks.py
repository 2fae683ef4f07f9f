"""Choose the blocks of a model that a smaller one keeps: those that the loss on some rows would miss most.

Blocks are dropped one by one. Each time every block that is left is tried, and the one goes without which the loss is
least. Shortened LLaMA (arXiv 2402.02834) orders blocks by perplexity too, but scores them once, in the whole model.
Dropping k of n blocks takes k (2n - k + 1) / 2 passes over the rows.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.sft.config import SFTConfig
from distill.sft.run import read_examples
from distill.sft.step import Supervised, counted
from distill.student.prune import Source
from grpo.config.sections import ConfigError, ModelSettings
from grpo.model.loading import adapt, load_policy
from grpo.model.policy import Policy
from grpo.runs import checkpoint


def choose_blocks(
    config: SFTConfig, keep: int, record: Path, check: Callable[[], None], say: Callable[[str], None]
) -> list[int]:
    """Return which `keep` blocks of `config.model` stay, in their order, by the loss on the rows of `config.data`.

    `record` is a JSON file, written after every block, from which an interrupted call goes on: `steps` are the blocks
    that went, in that order, each with the mean loss of a token without it, in nats; the first is the whole model's.
    `check` is called between passes and may raise. ConfigError, one line, if there is no row, or if the architecture
    can't do with fewer blocks.
    """
    source = Source(config.model)
    if keep >= source.count:
        raise ConfigError(f"keep must be less than the {source.count} blocks of {config.model}, got {keep}")
    frozen = ModelSettings(model=config.model, dtype=config.dtype, fine_tune="none")
    whole = load_policy(frozen, config.model)
    tokenizer = whole.tokenizer
    examples, _ = read_examples(config, whole, config.data, say)
    tokens = counted(examples)

    def loss(policy: Policy) -> float:
        scored = Supervised(policy, token_budget=config.token_budget, logits_chunk=config.logits_chunk)
        batches, _ = scored.micro_batches(examples)
        total = float(sum(np.asarray(scored.losses(batch)).sum() for batch in batches))
        return total / tokens if math.isfinite(total) else math.inf

    refused = ""

    def without(blocks: Sequence[int]) -> float:
        nonlocal refused
        check()
        try:
            return loss(adapt(frozen, source.network(blocks), tokenizer, name=config.model))
        except Exception as error:  # whatever mlx_lm's model classes raise: such a model can't be
            refused = " ".join(str(error).split())[:200] or type(error).__name__
            return math.inf

    stay = list(range(source.count))
    steps = _recorded(record, stay)
    for step in steps[1:]:
        stay.remove(step["block"])
    if not steps:
        began = time.monotonic()
        steps.append({"block": None, "loss": loss(whole)})
        passes = (source.count - keep) * (source.count + keep + 1) // 2
        minutes = passes * (time.monotonic() - began) / 60
        say(f"  {len(stay)} blocks: loss {steps[0]['loss']:.4f} on {len(examples)} examples; {passes} passes to come, "
            f"about {minutes:.0f} min")  # fmt: skip
    del whole
    while len(stay) > keep:
        losses = [without(stay[:place] + stay[place + 1 :]) for place in range(len(stay))]
        least = losses.index(min(losses))
        if losses[least] == math.inf:
            why = refused or "no loss is finite"
            raise ConfigError(
                f"model {config.model}: none of the {len(stay)} blocks that are left can go: {why}; name those that "
                "stay (blocks)"
            )
        steps.append({"block": stay.pop(least), "loss": losses[least]})
        checkpoint.write_text(record, json.dumps({"steps": steps}, indent=1))
        lost = losses.count(math.inf)
        fixed = f" ({lost} others can't go: {refused})" if lost and refused else ""
        say(f"  without block {steps[-1]['block']}: {len(stay)} blocks, loss {losses[least]:.4f}{fixed}")
    return stay


def _recorded(record: Path, blocks: Sequence[int]) -> list[dict[str, Any]]:
    """Return the steps of an interrupted call; ConfigError, one line, for a record that is not one."""
    if not record.exists():
        return []
    try:
        steps: list[dict[str, Any]] = checkpoint.read_object(record)["steps"]
        gone = [step["block"] for step in steps[1:]]
        whole = len(set(gone)) == len(gone) and set(gone) < set(blocks)
        whole = whole and all(isinstance(step["loss"], float) for step in steps)
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise ConfigError(f"{record} is damaged: take it away, the blocks are chosen again")
    return steps
