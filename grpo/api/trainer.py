"""The trainer from Python, with TRL's names.

GRPOTrainer(model=..., reward_funcs=[...], args=..., train_dataset=...).
"""

import contextlib
import difflib
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import envs
from envs.adapters.trl import FactoryEnv, opened_by_reset, owned_env, owned_rewards, with_tools
from grpo.algorithms.seams import GroupFilter, Seams
from grpo.api import datasets
from grpo.api.callbacks import WatchedTrainer, split
from grpo.api.config import GRPOConfig
from grpo.api.functions import RewardFunction, listed, named
from grpo.api.peft import carried_settings, lora_settings
from grpo.api.use import evaluated, generated
from grpo.config import Config
from grpo.config.loading import to_yaml
from grpo.config.sections import ConfigError
from grpo.doctor.findings.judgement import lines_of
from grpo.model.loading import adapt, load_policy
from grpo.model.policy import Policy
from grpo.opening import IN_MEMORY, reward_set, try_rewards
from grpo.ranks import here
from grpo.ranks.session import joined
from grpo.ranks.settings import require_roles
from grpo.report.page import render
from grpo.rollout.source import RolloutSource
from grpo.runs import checkpoint, fingerprints
from grpo.runs.command import free_directory
from grpo.runs.directory import claim
from grpo.runs.interrupt import StopFlag
from grpo.runs.log import RunLog
from grpo.runs.logger import METRICS
from grpo.runs.ordinary import require_ordinary
from grpo.trainer import Trainer
from grpo.types import AdvantageFunction, LossFunction
from rewards.printable import say as told

DEFAULT_OUTPUT = Path("runs") / "trainer"
NOT_HERE = {  # arguments of TRL's trainer without an equivalent
    "reward_processing_classes": "reward models are not run here; the reward 'judge' asks any OpenAI-compatible server",
    "optimizers": "the optimizer is AdamW with the config's learning_rate, lr_schedule, adam_betas, weight_decay",
    "rollout_func": "completions are sampled by this package; an environment that answers is an Env with converse()",
}
INSTEAD = {  # attributes of TRL's trainer -> what there is here
    "state": "history has the metrics of every step (state.log_history), len(history) the steps (global_step)",
    "args": "config is the run's config",
    "train_dataset": "it is the train_dataset that was given",
    "eval_dataset": "it is the eval_dataset that was given; evaluate(eval_dataset) takes another",
    "add_callback": "give callbacks=[...] when the trainer is made",
    "remove_callback": "give callbacks=[...] when the trainer is made",
    "ref_model": "the reference is the start of the run; with beta 0 there is none",
    "optimizer": "it is made by train(); learning_rate, lr_schedule, adam_betas, weight_decay, optimizer set it",
    "lr_scheduler": "lr_schedule, warmup_steps, min_learning_rate set it",
    "save_state": "train() saves checkpoints that resume exactly: save_every, train(resume=True)",
    "push_to_hub": "python -m distill.export --model M --adapter RUN --output DIR --push owner/name",
    "create_model_card": "python -m distill.export writes a model card",
    "predict": "generate(prompts) completes prompts, evaluate(dataset) measures",
    "accelerator": "there is one process and one device",
    "log": "a reward's log_metric, or a callback",
    "log_metrics": "history has the metrics of every step, OUTPUT/summary.json the figures",
    "save_metrics": "OUTPUT/metrics.jsonl and OUTPUT/summary.json have them",
    "reward_funcs": "config.reward_weights has their names and weights",
    "reward_weights": "config.reward_weights",
    "tools": "they are those that were given",
    "get_train_dataloader": "prompts are in memory: shuffle_dataset, prompts_per_step",
}


class GRPOTrainer:
    """Train a model on a data set with reward functions.

    Args:
        model: hub id, local MLX directory, a loaded (model, tokenizer) of mlx_lm, or a loaded model with its tokenizer
            as processing_class. A model that carries LoRA layers goes on with those.
        reward_funcs: registered names ("accuracy"), "module:function", or functions, methods and objects of TRL's
            signature; one or several.
        args: the run's config, a GRPOConfig (or Config); its reward_weights may be a list, one weight a function.
        train_dataset: rows with a `prompt` (and whatever columns the rewards want), e.g. a datasets.Dataset or a
            DatasetDict; a function that returns rows; an Env; or a string, as for `data=`.
        eval_dataset: the same, held out, or a dict of several; evaluated every eval_every steps and by `evaluate`.
        processing_class: the tokenizer of a model that is given without.
        callbacks: functions of the steps done and the step's metrics, called after each step; or transformers'
            TrainerCallbacks, objects or classes, see `grpo.api.callbacks`.
        peft_config: peft's LoraConfig, or an object or dict with its r, lora_alpha, lora_dropout, target_modules.
        loss_fn, advantage_fn: in place of the config's loss_type and advantage, see `grpo.types`.
        rollout_fn: samples in the engine's place, see `grpo.rollout.source`.
        group_filter: whether a group, given its rewards, is learned from; others are replaced as with dynamic_sampling.
        tools: functions that the model may call.
        environment_factory: TRL's, a class with `reset` whose public methods are tools, or several by name; with
            get_reward it is a reward too, and without train_dataset `reset` gives the prompt.

    Raises ConfigError or envs.DataError, one line, for what can be put right.
    """

    def __init__(
        self,
        model: Any,
        reward_funcs: RewardFunction | Sequence[RewardFunction] | None = None,
        args: Config | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        *,
        callbacks: Sequence[Any] | None = None,
        peft_config: Any = None,
        loss_fn: LossFunction | None = None,
        advantage_fn: AdvantageFunction | None = None,
        group_filter: GroupFilter | None = None,
        rollout_fn: RolloutSource | None = None,
        tools: Sequence[Callable[..., Any]] | None = None,
        environment_factory: Callable[[], Any] | Mapping[str, Callable[[], Any]] | None = None,
        **others: Any,
    ) -> None:
        _refuse(others)
        config = args if isinstance(args, GRPOConfig) else GRPOConfig(**_given(args))
        owned: list[Any] = owned_rewards(environment_factory)
        functions = named([*listed(reward_funcs), *owned])
        self._functions = {name: function for name, function in functions.items() if not isinstance(function, str)}
        functions_of_steps, self._watchers = split(callbacks)
        self._seams = Seams(loss_fn, advantage_fn, group_filter, rollout_fn, callbacks=functions_of_steps)
        self._model = _loaded(model, processing_class)
        if train_dataset is None and environment_factory is not None:
            train_dataset = owned_env(environment_factory, config.steps * config.prompts_per_step)
        elif environment_factory is not None:
            train_dataset, eval_dataset = opened_by_reset(train_dataset), opened_by_reset(eval_dataset)
        options = {**config.data_options, **({} if config.shuffle_dataset else {"in_order": True})}
        self._data = datasets.read(train_dataset, eval_dataset, config.seed, options)
        self._env = with_tools(self._data.env, tools or (), environment_factory)
        changes = {
            "reward_weights": _weights(config, list(functions)[: len(functions) - len(owned)])
            | dict.fromkeys(list(functions)[len(functions) - len(owned) :], 1.0),
            "model": model if isinstance(model, str) else f"{IN_MEMORY}{type(self._model[0]).__module__}",
            "data": self._data.name,
            **({} if peft_config is None else lora_settings(peft_config)),
            **({} if isinstance(self._model, str) else carried_settings(self._model[0], peft_config)),
            **({} if loss_fn is None else {"loss_type": _name_of(loss_fn)}),
            **({} if advantage_fn is None else {"advantage": _name_of(advantage_fn)}),
            **({} if rollout_fn is None else {"rollout_source": _name_of(rollout_fn)}),
            **({} if group_filter is None else {"dynamic_sampling": True, "group_filter": _name_of(group_filter)}),
        }
        self.config = config.resolved(len(self._data.env.tasks("train")), **changes)
        self.output = Path(self.config.output or DEFAULT_OUTPUT)
        self._notes = [*config.notes, *self._data.notes]
        if eval_dataset is not None and not self.config.eval_every:
            self._notes.append(
                "eval_dataset is given but eval_every is 0: only evaluate() looks at it; eval_every (TRL: eval_steps) "
                "evaluates it while training"
            )

    def train(
        self, *, resume: bool = False, resume_from_checkpoint: bool | None = None, accept_changes: bool = False
    ) -> dict[str, Any]:
        """Run to the last step; returns, and writes, what summary.json holds.

        `resume` goes on from the newest checkpoint of the output directory, if there is one; TRL's name for it is
        `resume_from_checkpoint`.
        `accept_changes`: go on although the data, the rewards' files or the model changed since the checkpoint.
        """
        if not isinstance(resume_from_checkpoint, bool | None):
            raise ConfigError(
                "resume_from_checkpoint must be true or false: the newest whole checkpoint is resumed from"
            )
        resume = resume or bool(resume_from_checkpoint)
        if self.config.output is None:
            self.output = free_directory(DEFAULT_OUTPUT, resume=resume)
        if self.config.tensor_parallel:
            raise ConfigError("tensor_parallel is for `python -m grpo.train`: here every process loads the whole model")
        require_roles(self.config)
        with StopFlag() as stop, joined(stop, {"command": "GRPOTrainer.train"}) as ranks:
            ranks.require_same(self.config.model_dump(mode="json", exclude={"output"}))
            self.output = Path(ranks.from_first(lambda: str(self.output)))
            require_ordinary(self.output)
            with checkpoint.lock(self.output) if ranks.writes else contextlib.nullcontext():
                return self._train(stop, resume=resume, accept_changes=accept_changes)

    def _train(self, stop: StopFlag, *, resume: bool, accept_changes: bool) -> dict[str, Any]:
        writes = here().writes
        log = RunLog(self.output)
        say = log.heard(told) if writes else log.write
        start = claim(self.config, self.output, resume=resume, say=told) if writes else None
        log.begin()
        with log.failures(), reward_set(self.config, self._functions) as rewards:
            for line in [*self._env.report(), *(f"note: {note}" for note in [*self._notes, *rewards.notes])]:
                say(line)
            try_rewards(rewards, self._env, self._env.tasks("train"), self.config, self.output, say, stop)
            options: dict[str, Any] = {"resume_from": start, "seams": self._seams}
            found = self._made_of()
            here().require_same(found)
            made_of = fingerprints.compare(start, found, accept=accept_changes, say=say)
            kind = functools.partial(WatchedTrainer, watchers=self._watchers) if self._watchers else Trainer
            trainer = kind(self.config, self._policy, self._env, rewards, self.output, **options)
            trainer.state.fingerprints = made_of
            say(trainer.memory_plan.said)
            if writes:
                checkpoint.write_text(self.output / "config.yaml", to_yaml(self.config))
            summary = trainer.train(stop)
        if writes:
            checkpoint.write_text(self.output / "summary.json", json.dumps(summary, indent=1))
            checkpoint.write_text(self.output / "report.html", render([self.output]))
            for line in lines_of(summary["verdict"], self.output):
                say(line)
            say(f"curves, rollouts, warnings: {self.output}/report.html")
        return summary

    def _made_of(self) -> dict[str, str | None]:
        """The fingerprints of the data, the model and the rewards; a model given as an object has none."""
        model = self._model if isinstance(self._model, str) else None
        return {
            fingerprints.DATA: fingerprints.of_tasks(self._env),
            f"model {model}": None if model is None else fingerprints.of_model(model, self.config.revision),
            **fingerprints.of_rewards(self.config.reward_weights, self._functions),
        }

    def evaluate(self, eval_dataset: Any = None) -> dict[str, float]:
        """Figures of the model as it is on held-out tasks, by TRL's names: eval_reward, eval_rewards/NAME/mean, ...

        On the eval_dataset of the trainer if none is given here; of a dict of data sets each has its own,
        eval_SET_reward and so on. ConfigError if there is nothing held out.
        """
        held_out: Iterable[tuple[str, Sequence[envs.Task]]]
        if eval_dataset is not None:
            rows = opened_by_reset(eval_dataset) if isinstance(self._env, FactoryEnv) else eval_dataset
            held_out = datasets.held_out_tasks(rows, self.config.seed, self.config.data_options)
        else:
            held_out = self._data.held_out
        if not held_out:
            raise ConfigError("there is nothing to evaluate on: give eval_dataset, here or to the trainer")
        if isinstance(self._env, FactoryEnv):
            held_out = [(name, self._env.observed(tasks)) for name, tasks in held_out]
        with reward_set(self.config, self._functions) as rewards:
            figures: dict[str, float] = {}
            for name, tasks in held_out:
                prefix = f"eval_{name}_" if name else "eval_"
                found = evaluated(self._policy, tasks, rewards, self.config, env=self._env, step=len(self.history))
                figures |= {prefix + key: value for key, value in found.items()}
        return figures

    def generate(
        self,
        prompts: Any,
        *,
        num_generations: int = 1,
        max_completion_length: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> list[Any]:
        """Completions of prompts by the model as it is: a string each, or a list of num_generations strings.

        With tools or an environment that answers, a completion is the list of messages after its prompt.

        A prompt is a string or a list of messages, rendered as in training. What is not given is the config's; a
        temperature of 0 takes the likeliest token.
        """
        settings = {
            "max_completion_length": max_completion_length,
            "eval_temperature": temperature or None,
            "seed": seed,
        }
        config = self.config.model_copy(update={key: value for key, value in settings.items() if value is not None})
        return generated(self._policy, prompts, config, env=self._env, samples=num_generations, greedy=temperature == 0)

    def __getattr__(self, name: str) -> Any:
        """What TRL's trainer has under another name or not at all, said by name."""
        if hasattr(type(self), name):  # a property that failed with an AttributeError of its own: say that one
            return getattr(type(self), name).__get__(self, type(self))
        instead = INSTEAD.get(name, "docs/python.md lists what there is")
        raise AttributeError(f"GRPOTrainer has no {name}: {instead}")

    @property
    def history(self) -> list[dict[str, float]]:
        """The metrics of every step so far, as in metrics.jsonl."""
        path = self.output / METRICS
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    @property
    def model(self) -> Any:
        """The mlx_lm model as it is now, with its adapters."""
        return self._policy.model

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._policy.tokenizer

    processing_class = tokenizer  # TRL's name

    def save_model(self, output_dir: str | Path | None = None) -> None:
        """Write what was trained, as mlx_lm loads it with `adapter_path`; to the run directory if none is given.

        `python -m distill.export` makes a whole model of it.
        """
        folder = Path(output_dir) if output_dir is not None else self.output
        folder.mkdir(parents=True, exist_ok=True)
        self._policy.save_adapter(folder)

    @functools.cached_property
    def _policy(self) -> Policy:
        if isinstance(self._model, str):
            return load_policy(self.config, self._model)
        return adapt(self.config, *self._model, name=self.config.model)


def _refuse(others: Mapping[str, Any]) -> None:
    for name, value in others.items():
        if name not in NOT_HERE:
            close = difflib.get_close_matches(name, [*GRPOTrainer.__init__.__annotations__, *NOT_HERE], n=1)
            raise ConfigError(f"GRPOTrainer takes no {name}" + (f" (did you mean {close[0]}?)" if close else ""))
        if value is not None:
            raise ConfigError(f"{name} has no equivalent here: {NOT_HERE[name]}")


def _loaded(model: Any, tokenizer: Any) -> Any:
    """The model as a string, or a pair of model and tokenizer."""
    if isinstance(model, str | Path):
        if tokenizer is not None:
            raise ConfigError("processing_class goes with a loaded model: model=mlx_lm.load(...) gives both")
        return str(model)
    if isinstance(model, tuple) and len(model) >= 2:
        return tuple(model[:2])
    if tokenizer is None:
        raise ConfigError("a loaded model needs its tokenizer: model=mlx_lm.load(...), or processing_class=")
    if not hasattr(tokenizer, "has_chat_template"):
        from mlx_lm.tokenizer_utils import TokenizerWrapper

        tokenizer = TokenizerWrapper(tokenizer)
    return model, tokenizer


def _given(args: Any) -> dict[str, Any]:
    if args is None:
        return {}
    if not isinstance(args, Config):
        raise ConfigError(
            f"args must be a GRPOConfig of this package, got {type(args).__module__}.{type(args).__name__}"
        )
    return {name: getattr(args, name) for name in args.model_fields_set}


def _weights(config: GRPOConfig, names: Sequence[str]) -> dict[str, float]:
    """One weight a function: by place or by name as given, else 1."""
    given = config.given_weights
    by_place = [str(place) for place in range(len(given))]
    if given and list(given) == by_place:
        if len(given) != len(names):
            raise ConfigError(f"reward_weights must be one a reward function, got {len(given)} for {len(names)}")
        return dict(zip(names, given.values(), strict=True))
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ConfigError(f"reward_weights names {', '.join(unknown)}, reward_funcs are {', '.join(names)}")
    return {name: given.get(name, 1.0) for name in names}


def _name_of(function: Callable[..., Any]) -> str:
    """Return what a config would call the function by."""
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{kind.__module__}:{kind.__qualname__}"
