"""AdamW or Muon with a schedule, a gradient norm limit and a guard against non-finite updates."""

import math
from collections.abc import Callable
from typing import cast

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from grpo.config.sections import Schedule
from grpo.model.policy import Policy
from grpo.runs.interrupt import TrainingFailed

MAX_BAD_UPDATES = 3
NOT_FOR_MUON = ("embed", "lm_head", "wte", "output.weight")  # rows that stand for tokens


def learning_rate(config: Schedule, step: int) -> float:
    """The rate of step `step` (from 0): linear warm-up, then constant, linear or cosine down to min_learning_rate.

    With lr_cycles the way down is gone that many times, from the peak again each time (SGDR, arXiv 1608.03983).
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.lr_schedule == "constant":
        return config.learning_rate
    progress = min(1.0, (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps))
    if config.lr_cycles > 1 and progress < 1:
        progress = progress * config.lr_cycles % 1
    left = 1 - progress if config.lr_schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return config.min_learning_rate + (config.learning_rate - config.min_learning_rate) * left


class Optimizer:
    """Applies a gradient to a policy, or drops it; its state is saved and loaded by name."""

    def __init__(self, policy: Policy, config: Schedule) -> None:
        self.policy, self.config = policy, config
        self.inner, self.rated = _made(config)
        self.inner.init(policy.model.trainable_parameters())
        self._update = self._compiled()
        self.bad_updates = 0  # in a row

    def apply(self, gradient: dict[str, mx.array], loss: float, step: int) -> tuple[float, bool]:
        """Clip to max_grad_norm and update; return the norm before clipping and whether the update was made.

        An update whose loss or gradient norm is not finite is dropped; the third in a row raises TrainingFailed.
        """
        norm = mx.sqrt(
            sum((leaf.astype(mx.float32).square().sum() for leaf in gradient.values()), mx.array(0.0))
        ).item()
        assert isinstance(norm, float)
        if not (math.isfinite(norm) and math.isfinite(loss)):
            self.bad_updates += 1
            if self.bad_updates >= MAX_BAD_UPDATES:
                raise TrainingFailed(
                    f"{self.bad_updates} updates in a row were not finite (loss {loss}, gradient norm {norm}) "
                    f"at step {step + 1}: try a lower learning_rate, or dtype: float32"
                )
            return norm, False
        self.bad_updates = 0
        scale = min(1.0, self.config.max_grad_norm / (norm + 1e-6))
        for part, factor in self.rated:
            part.learning_rate = learning_rate(self.config, step) * factor
        model = self.policy.model
        model.update(
            self._update(tree_unflatten(list(gradient.items())), model.trainable_parameters(), mx.array(scale))
        )
        self.policy.unmerge()
        mx.eval(model.trainable_parameters(), self.inner.state)
        return norm, True

    def _compiled(self) -> Callable[[dict, dict, mx.array], dict]:
        """(gradient, parameters, scale) -> parameters after the update: an operation or two a leaf, not twenty.

        Bound to the present state object; it does not hold `self`, or the moments would live until the garbage is
        collected.
        """
        inner = self.inner

        def update(gradient: dict, parameters: dict, scale: mx.array) -> dict:
            scaled = tree_map(lambda leaf: leaf * scale.astype(leaf.dtype), gradient)
            return cast(dict, inner.apply_gradients(scaled, parameters))

        return cast(
            "Callable[[dict, dict, mx.array], dict]", mx.compile(update, inputs=inner.state, outputs=inner.state)
        )

    def state(self) -> dict[str, mx.array]:
        """The optimizer's moments and step count by dotted name."""
        return dict(tree_flatten(self.inner.state))

    def load_state(self, state: dict[str, mx.array]) -> None:
        """Restore what `state` returned."""
        self.inner.state = tree_unflatten(list(state.items()))
        self._update = self._compiled()


def _made(config: Schedule) -> tuple[optim.Optimizer, list[tuple[optim.Optimizer, float]]]:
    """Return the optimizer, and its parts with what each multiplies the rate by.

    One AdamW for everything where nothing else is asked for. LoRA+ gives adapters' B a part with its own rate; Muon
    (Jordan et al., kellerjordan.github.io/posts/muon) takes what has two dimensions and is no embedding or head.
    """

    def adamw() -> optim.Optimizer:
        betas = list(config.adam_betas)
        return optim.AdamW(config.learning_rate, betas=betas, weight_decay=config.weight_decay, bias_correction=True)

    def matrices() -> optim.Optimizer:
        if config.optimizer == "adamw":
            return adamw()
        return optim.Muon(config.learning_rate, momentum=config.adam_betas[0], weight_decay=config.weight_decay)

    parts: list[tuple[optim.Optimizer, float]] = []
    filters: list[Callable[[str, mx.array], bool]] = []
    if config.lora_plus_ratio != 1:
        parts.append((matrices(), config.lora_plus_ratio))
        filters.append(lambda name, leaf: name.endswith("lora_b"))
    if config.optimizer == "muon":
        parts.append((matrices(), 1.0))
        filters.append(lambda name, leaf: leaf.ndim == 2 and not any(part in name for part in NOT_FOR_MUON))
    parts.append((adamw(), 1.0))
    if len(parts) == 1:
        return parts[0][0], parts
    return optim.MultiOptimizer([part for part, _ in parts], filters), parts
