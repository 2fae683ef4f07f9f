"""AdamW with a schedule, a gradient norm limit and a guard against non-finite updates."""

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


def learning_rate(config: Schedule, step: int) -> float:
    """The rate of step `step` (from 0): linear warm-up, then constant, linear or cosine down to min_learning_rate."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.lr_schedule == "constant":
        return config.learning_rate
    progress = min(1.0, (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps))
    left = 1 - progress if config.lr_schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return config.min_learning_rate + (config.learning_rate - config.min_learning_rate) * left


class Optimizer:
    """Applies a gradient to a policy, or drops it; its state is saved and loaded by name."""

    def __init__(self, policy: Policy, config: Schedule) -> None:
        self.policy, self.config = policy, config
        self.adamw = optim.AdamW(
            config.learning_rate, betas=list(config.adam_betas), weight_decay=config.weight_decay, bias_correction=True
        )
        self.adamw.init(policy.model.trainable_parameters())
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
        self.adamw.learning_rate = learning_rate(self.config, step)
        model = self.policy.model
        model.update(
            self._update(tree_unflatten(list(gradient.items())), model.trainable_parameters(), mx.array(scale))
        )
        self.policy.unmerge()
        mx.eval(model.trainable_parameters(), self.adamw.state)
        return norm, True

    def _compiled(self) -> Callable[[dict, dict, mx.array], dict]:
        """(gradient, parameters, scale) -> parameters after AdamW's update: an operation or two a leaf, not twenty.

        Bound to the present state object; it does not hold `self`, or the moments would live until the garbage is
        collected.
        """
        adamw = self.adamw

        def update(gradient: dict, parameters: dict, scale: mx.array) -> dict:
            scaled = tree_map(lambda leaf: leaf * scale.astype(leaf.dtype), gradient)
            return cast(dict, adamw.apply_gradients(scaled, parameters))

        return cast(
            "Callable[[dict, dict, mx.array], dict]", mx.compile(update, inputs=adamw.state, outputs=adamw.state)
        )

    def state(self) -> dict[str, mx.array]:
        """AdamW's moments and step count by dotted name."""
        return dict(tree_flatten(self.adamw.state))

    def load_state(self, state: dict[str, mx.array]) -> None:
        """Restore what `state` returned."""
        self.adamw.state = tree_unflatten(list(state.items()))
        self._update = self._compiled()
