"""A loss or an advantage by name: a built-in one, or the user's as `module:function`."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from grpo.algorithms.estimators import ADVANTAGES
from grpo.algorithms.surrogates import Limits
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.losses import LOSSES, token_losses
from grpo.types import AdvantageFunction, LossFunction, LossInputs, LossOutputs
from rewards.imports import user_object


def loss_named(name: str) -> LossFunction:
    """Return the loss of a config's `loss_type`."""
    if ":" in name:
        return user_function("loss_type", name)

    def built_in(inputs: LossInputs) -> LossOutputs:
        config = inputs.config
        losses = token_losses(
            inputs.policy_logprobs,
            inputs.sampler_logprobs,
            inputs.advantages,
            inputs.mask,
            loss_type=name,
            limits=limits_of(config),
            reference_logprobs=inputs.reference_logprobs,
            beta=config.beta,
            weighted_kl=config.use_bias_correction_kl,
        )
        return LossOutputs(losses, unit=LOSSES[name].unit)

    return built_in


def advantage_named(name: str) -> AdvantageFunction:
    """Return the estimator of a config's `advantage`."""
    return user_function("advantage", name) if ":" in name else ADVANTAGES[name].function


def limits_of(config: Config) -> Limits:
    """Return how far a token may move the policy, as the config says."""
    return Limits(
        clip_low=config.epsilon,
        clip_high=config.clip_high,
        dual_clip=config.delta,
        importance=config.importance_sampling_level,
        divergence=config.divergence,
        temperature_positive=config.sapo_temperature_pos,
        temperature_negative=config.sapo_temperature_neg,
    )


def user_function(key: str, name: str) -> Callable[..., Any]:
    """Import `module:function`, from the working directory too; ConfigError in one line if that fails."""
    try:
        found: Callable[..., Any] = user_object(name, key)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not callable(found):
        raise ConfigError(f"{key} {name!r} must be a function, got a {type(found).__name__}")
    return found


def try_loss(loss: LossFunction, config: Config) -> bool:
    """Run a user's loss on two made-up rows and return whether rows of advantage 0 teach it anything.

    Where they don't, they are left out of a run without a KL term, as with the built-in losses. ConfigError in one line
    if the loss fails or returns something else than LossOutputs.
    """
    mask = mx.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    logprobs = mx.array([[-0.5, -1.5, -2.5], [-1.0, -0.25, 0.0]])
    entropies = mx.array([[0.5, 1.0, 1.5], [0.25, 0.75, 0.0]])

    def total(policy: mx.array, entropies: mx.array) -> mx.array:
        outputs = loss(
            LossInputs(
                policy_logprobs=policy,
                sampler_logprobs=logprobs - 0.1 * mask,
                reference_logprobs=logprobs - 0.05 * mask if config.beta > 0 else None,
                advantages=mx.zeros((2,)),
                mask=mask,
                config=config,
                entropies=entropies if "entropies" in needs(loss) else None,
            )
        )
        if not isinstance(outputs, LossOutputs) or outputs.token_losses.shape != mask.shape:
            shape = getattr(getattr(outputs, "token_losses", outputs), "shape", type(outputs).__name__)
            raise TypeError(f"it must return LossOutputs with token_losses [batch, time] = {mask.shape}, got {shape}")
        return mx.where(mask != 0, outputs.token_losses, 0.0).sum()

    try:
        gradients = mx.grad(total, argnums=(0, 1))(logprobs, entropies)
        mx.eval(gradients)
    except Exception as error:  # the user's code
        reason = " ".join(str(error).split())
        raise ConfigError(f"loss_type {config.loss_type}: {type(error).__name__}: {reason}") from error
    return any(bool(gradient.any().item()) for gradient in gradients)


def needs(loss: LossFunction) -> frozenset[str]:
    """Return what a loss asks for beside the arrays that are always there."""
    return frozenset(getattr(loss, "needs", ()))
