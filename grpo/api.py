"""The trainer from Python, with TRL's names.

GRPOTrainer(model=..., reward_funcs=[...], args=..., train_dataset=...).
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import model_validator

import envs
from envs.adapters.trl import with_tools
from envs.data import from_rows
from grpo.algorithms.seams import GroupFilter, Seams, StepCallback
from grpo.config import Config
from grpo.config.loading import to_yaml
from grpo.config.sections import ConfigError
from grpo.model.loading import adapt, load_policy
from grpo.model.policy import Policy
from grpo.opening import reward_set
from grpo.runs import checkpoint
from grpo.runs.directory import claim
from grpo.runs.interrupt import StopFlag
from grpo.trainer import Trainer
from grpo.types import AdvantageFunction, LossFunction

RewardFunction = str | Callable[..., Any]
# TRL's (transformers') name -> ours, where they differ
TRL_NAMES = {
    "output_dir": "output",
    "max_steps": "steps",
    "save_steps": "save_every",
    "eval_steps": "eval_every",
    "save_total_limit": "keep_checkpoints",
    "lr_scheduler_type": "lr_schedule",
}


class GRPOConfig(Config):
    """`grpo.config.Config` that also takes TRL's names.

    They are output_dir, max_steps, save_steps, eval_steps, save_total_limit, lr_scheduler_type, adam_beta1,
    adam_beta2, a boolean scale_rewards, and a list of reward_weights in the order of reward_funcs.
    """

    @model_validator(mode="before")
    @classmethod
    def _from_trl(cls, given: Any) -> Any:
        tree = {TRL_NAMES.get(name, name): value for name, value in dict(given).items()}
        if isinstance(tree.get("scale_rewards"), bool):
            tree["scale_rewards"] = "group" if tree["scale_rewards"] else "none"
        if isinstance(tree.get("reward_weights"), list):
            tree["reward_weights"] = {str(place): weight for place, weight in enumerate(tree["reward_weights"])}
        beta1, beta2 = tree.pop("adam_beta1", None), tree.pop("adam_beta2", None)
        if beta1 is not None or beta2 is not None:
            tree["adam_betas"] = (0.9 if beta1 is None else beta1, 0.99 if beta2 is None else beta2)
        return tree


class GRPOTrainer:
    """Train a model on a data set with reward functions.

    Args:
        model: hub id, local MLX directory, or a loaded (model, tokenizer) of mlx_lm. reward_funcs: registered names
        ("accuracy"), "module:function", or functions of TRL's signature; one or several. args: the run's config, a
        GRPOConfig; its reward_weights may be a list, one weight a function (default 1.0 each). train_dataset: rows
        with a `prompt` (and whatever columns the rewards want), e.g. a datasets.Dataset, or an Env. eval_dataset: the
        same, held out; evaluated every eval_every steps. loss_fn, advantage_fn: in place of the config's loss_type and
        advantage, see `grpo.types`. group_filter: whether a group, given its rewards, is learned from; others are
        replaced as with dynamic_sampling. callbacks: called with the steps done and the step's metrics after each step.
        tools: functions that the model may call. environment_factory: TRL's, a class with `reset` whose public methods
        are tools.
    """

    def __init__(
        self,
        model: str | tuple[Any, Any],
        reward_funcs: RewardFunction | Sequence[RewardFunction],
        args: Config,
        train_dataset: "envs.Env | Iterable[dict[str, Any]]",
        eval_dataset: "Iterable[dict[str, Any]] | None" = None,
        *,
        loss_fn: LossFunction | None = None,
        advantage_fn: AdvantageFunction | None = None,
        group_filter: GroupFilter | None = None,
        callbacks: Sequence[StepCallback] = (),
        tools: Sequence[Callable[..., Any]] = (),
        environment_factory: Callable[[], Any] | None = None,
    ) -> None:
        functions = [reward_funcs] if isinstance(reward_funcs, str) or callable(reward_funcs) else list(reward_funcs)
        names = [
            function if isinstance(function, str) else getattr(function, "__name__", type(function).__name__)
            for function in functions
        ]
        if len(set(names)) < len(names):
            raise ConfigError(f"reward_funcs must have different names, got {', '.join(names)}")
        given = args.reward_weights if "reward_weights" in args.model_fields_set else {}
        weights = {name: given.get(name, given.get(str(place), 1.0)) for place, name in enumerate(names)}
        config = args.model_copy(
            update={
                "reward_weights": weights,
                "model": model if isinstance(model, str) else "in memory",
                **({} if loss_fn is None else {"loss_type": _name_of(loss_fn)}),
                **({} if group_filter is None else {"dynamic_sampling": True, "group_filter": _name_of(group_filter)}),
                **({} if advantage_fn is None else {"advantage": _name_of(advantage_fn)}),
            }
        )
        self.config, self.output = config, Path(config.output or "runs/trainer")
        self._seams = Seams(loss_fn, advantage_fn, group_filter, callbacks=tuple(callbacks))
        self._functions = {n: f for n, f in zip(names, functions, strict=True) if not isinstance(f, str)}
        self._model = model
        self._env = with_tools(_environment(train_dataset, eval_dataset, config.seed), tools, environment_factory)

    def train(self, *, resume: bool = False) -> dict[str, Any]:
        """Run to the last step; returns, and writes, what summary.json holds."""
        with checkpoint.lock(self.output), StopFlag() as stop:
            print("\n".join(self._env.report()))
            start = claim(self.config, self.output, resume=resume, say=print)
            rewards = reward_set(self.config, self._functions)
            options: dict[str, Any] = {"resume_from": start, "seams": self._seams}
            trainer = Trainer(self.config, self._policy(), self._env, rewards, self.output, **options)
            checkpoint.write_text(self.output / "config.yaml", to_yaml(self.config))
            summary = trainer.train(stop)
            checkpoint.write_text(self.output / "summary.json", json.dumps(summary, indent=1))
        return summary

    def _policy(self) -> Policy:
        if isinstance(self._model, str):
            return load_policy(self.config, self._model)
        return adapt(self.config, *self._model, name="in memory")


def _name_of(function: Callable[..., Any]) -> str:
    """Return what a config would call the function by."""
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{kind.__module__}:{kind.__qualname__}"


def _environment(train: Any, held_out: Any, seed: int) -> envs.Env:
    if isinstance(train, envs.Env):
        return train
    env = from_rows(train, name="train_dataset", seed=seed)
    if held_out is None:
        return env
    test = from_rows(held_out, name="eval_dataset", seed=seed)
    splits = {"train": env.tasks("train"), "test": test.tasks("train")}
    return envs.Env("train_dataset", splits, skipped=[*env.skipped, *test.skipped])
