"""Callbacks of transformers' kind: objects with on_train_begin, on_step_end, on_log, on_evaluate, on_save, ...

A class that was written for transformers' or TRL's trainers is called as there, `event(args, state, control, **more)`,
with what exists here: `args` is the run's config, which also answers to TRL's names, `state` counts steps and keeps the
log, `control.should_training_stop`, `should_save` and `should_evaluate` are obeyed. transformers itself is not needed.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from grpo.algorithms.seams import StepCallback
from grpo.api.trl_names import RENAMED
from grpo.api.use import trl_figures
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.ranks import here
from grpo.report.reading import read_lines
from grpo.runs.logger import METRICS
from grpo.trainer import Trainer

EVENTS = (
    "on_init_end",
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_step_begin",
    "on_step_end",
    "on_evaluate",
    "on_save",
    "on_log",
    "on_predict",  # these two never happen: there is no predict() and no push while training
    "on_push_begin",
)
REFUSED = {  # events that happen here too but can't be told
    "on_substep_end": "micro-batches are cut by token_budget; on_step_end comes after all updates of a step",
    "on_pre_optimizer_step": "updates are made inside a step: max_grad_norm clips, metrics have grad_norm; use "
    "on_step_begin or on_step_end",
    "on_optimizer_step": "updates are made inside a step; use on_step_end",
    "on_prediction_step": "held-out tasks are decoded together; a bar is shown in a terminal, on_evaluate comes after",
}
GIVEN = ("model", "processing_class", "tokenizer", "optimizer", "logs", "metrics")  # what events get beside the three


@dataclass
class CallbackState:
    """What transformers calls the trainer's state, as far as it exists here."""

    max_steps: int
    num_train_epochs: float
    global_step: int = 0
    epoch: float = 0.0
    log_history: list[dict[str, float]] = field(default_factory=list)
    best_metric: float | None = None  # of metric_for_best_model
    best_model_checkpoint: str | None = None  # directory of its adapter
    best_global_step: int | None = None
    num_input_tokens_seen: int = 0
    logging_steps: int = 1
    is_local_process_zero: bool = True
    is_world_process_zero: bool = True
    is_hyper_param_search: bool = False


@dataclass
class Control:
    """What a callback may ask for."""

    should_training_stop: bool = False
    should_save: bool = False
    should_evaluate: bool = False
    should_log: bool = False  # every step is logged anyway
    should_epoch_stop: bool = False


class Arguments:
    """The config of the run under our names and TRL's."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def __getattr__(self, name: str) -> Any:
        config = self._config
        theirs: dict[str, Any] = {
            "max_steps": config.steps,
            "logging_steps": 1,
            "logging_strategy": "steps",
            "eval_strategy": "steps" if config.eval_every else "no",
            "save_strategy": "steps" if config.save_every else "no",
            "load_best_model_at_end": config.metric_for_best_model is not None,  # in best/, beside the newest
            "greater_is_better": True,
            "world_size": 1,
            "process_index": 0,
            "local_process_index": 0,
        }
        if name in theirs:
            return theirs[name]
        ours = RENAMED.get(name, name)
        if ours in Config.model_fields:
            return getattr(config, ours)
        raise AttributeError(f"args of a callback is this run's config, which has no {name}")


def split(given: Sequence[Any] | None) -> tuple[tuple[StepCallback, ...], tuple[Any, ...]]:
    """Return functions of a step and its metrics, and objects with events; ConfigError for what is neither.

    A class is made an object of, as transformers does.
    """
    functions: list[StepCallback] = []
    objects: list[Any] = []
    for one in given or ():
        if isinstance(one, type) and any(hasattr(one, event) for event in EVENTS):
            one = one()
        if any(hasattr(one, event) for event in EVENTS):
            _require_possible(one)
            objects.append(one)
        elif callable(one) and not isinstance(one, type):
            functions.append(one)
        else:
            raise ConfigError(
                f"a callback is a function of the steps done and the step's metrics, or an object with on_step_end, "
                f"on_log, ..., got {getattr(one, '__name__', type(one).__name__)}"
            )
    return tuple(functions), tuple(objects)


def _require_possible(callback: Any) -> None:
    """ConfigError for an event, or an argument of one, that there is not."""
    kind = type(callback)
    for event, instead in REFUSED.items():
        if _own(kind, event):
            raise ConfigError(f"callback {kind.__name__} has {event}, which has no equivalent here: {instead}")
    for event in filter(lambda name: _own(kind, name), EVENTS):
        parameters = list(inspect.signature(getattr(callback, event)).parameters.values())[3:]
        for one in parameters:
            required = one.default is one.empty and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
            if required and one.name not in GIVEN:
                raise ConfigError(
                    f"callback {kind.__name__}.{event} needs {one.name}, which there is not; there are "
                    f"{', '.join(GIVEN)}"
                )


def _own(kind: type, event: str) -> bool:
    """Return whether a class does something on an event: transformers' TrainerCallback has all of them, empty."""
    return any(event in vars(base) for base in kind.__mro__ if base.__name__ != "TrainerCallback")


class WatchedTrainer(Trainer):
    """The trainer with callbacks that are told of its events."""

    def __init__(self, *arguments: Any, watchers: Sequence[Any], **options: Any) -> None:
        self.watchers, self.control = watchers, Control()
        super().__init__(*arguments, **options)
        an_epoch = len(self.train_prompts) / self.config.prompts_per_step
        self.seen = CallbackState(self.config.steps, self.config.steps / an_epoch)
        self.seen.log_history += read_lines(self.output / METRICS)[0]  # of a run that is resumed
        self._warned = False
        self._tell("on_init_end")

    def _tell(self, event: str, **more: Any) -> None:
        """Call an event of every callback; an error in one ends the run, as an error of the trainer does.

        Over ranks rank 0 calls them, and what they ask for holds for all.
        """
        if not here().writes:
            return
        seen, best = self.seen, self.state.best
        seen.global_step, seen.num_input_tokens_seen = self.state.step, self.state.tokens
        seen.epoch = self.state.order.position / len(self.train_prompts)
        if best is not None:
            seen.best_metric, seen.best_global_step = best["value"], best["step"]
            seen.best_model_checkpoint = str(self.output / "best") if best["step"] else None
        tokenizer = self.policy.tokenizer
        more |= {"model": self.policy.model, "processing_class": tokenizer, "tokenizer": tokenizer}
        for watcher in self.watchers:
            call: Callable[..., Any] | None = getattr(watcher, event, None)
            if call is not None:
                asked = call(Arguments(self.config), seen, self.control, optimizer=self.optimizer, **more)
                self.control = asked if asked is not None else self.control

    def _begin(self) -> None:
        self._tell("on_train_begin")
        super()._begin()

    def _is_over(self) -> bool:
        return super()._is_over() or here().from_first(lambda: self.control.should_training_stop)

    def _step(self, step: int) -> None:
        epoch, n = int(self.state.order.position // len(self.train_prompts)), len(self.train_prompts)
        if step == 0 or self.state.order.position % n < self.config.prompts_per_step:
            self._tell("on_epoch_begin")
        self._tell("on_step_begin")
        super()._step(step)
        if int(self.state.order.position // n) > epoch:
            self._tell("on_epoch_end")
        self._obey()

    def _log(self, metrics: dict[str, float]) -> None:
        self._tell("on_step_end")
        super()._log(metrics)
        self.seen.log_history.append({**metrics, "step": self.state.step, "epoch": self.seen.epoch})
        self._tell("on_log", logs=dict(metrics))

    def _evaluate(self, step: int, when: str, greedy: bool = False) -> dict[str, Any]:
        figures = super()._evaluate(step, when, greedy)
        self._tell("on_evaluate", metrics=trl_figures(figures, self.config, "eval_"))
        return figures

    def _save(self) -> None:
        super()._save()
        self._tell("on_save")

    def _finish(self) -> dict[str, Any]:
        summary = super()._finish()
        self._tell("on_train_end")
        return summary

    def _obey(self) -> None:
        """Do what callbacks have asked for since the last step."""
        if here().from_first(lambda: self.control.should_evaluate):
            self.control.should_evaluate = False
            if self.eval_prompts or self.benchmarks:
                self._evaluate(self.state.step, f"after step {self.state.step}")
            else:
                self._warn("should_evaluate needs held-out tasks: eval_dataset and eval_every")
        if self.control.should_save:
            self.control.should_save = False
            self._save()
            self.control.should_save = False  # an on_save may return the control it was given
        if self.control.should_epoch_stop:
            self.control.should_epoch_stop = False
            self._warn("should_epoch_stop does nothing here: should_training_stop ends the run after the step")

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            self.logger.say(f"  warning: a callback's {text}")
