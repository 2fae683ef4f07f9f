"""Settings in TRL's names as settings in ours. Each has a meaning, a note or an error."""

import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from grpo.api.trl_names import REFUSED, RENAMED, TRANSLATED, WITHOUT_EFFECT, known
from grpo.config import Config
from grpo.config.sections import ConfigError

TRL_BATCH = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_generations": 8}  # TRL's defaults
BATCH_NAMES = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "steps_per_generation",
    "generation_batch_size",
)
ADAMW = ("adamw", "adamw_hf", "adamw_torch", "adamw_torch_fused")
BETA1, BETA2 = Config.model_fields["adam_betas"].default


@dataclass(frozen=True)
class Pending:
    """Convert settings that are steps only once the data set's size is known."""

    epochs: float | None = None  # num_train_epochs
    warmup_ratio: float | None = None
    every_epoch: tuple[str, ...] = ()  # of our keys: save_every, eval_every

    def resolve(self, rows: int, config: Config) -> dict[str, Any]:
        """Return the settings in steps, for a data set of that many prompts."""
        an_epoch = max(1, math.ceil(rows / config.prompts_per_step))
        steps = config.steps
        found: dict[str, Any] = dict.fromkeys(self.every_epoch, an_epoch)
        if self.epochs is not None:
            found["steps"] = steps = max(1, math.ceil(self.epochs * rows / config.prompts_per_step))
        if self.warmup_ratio is not None:
            found["warmup_steps"] = math.ceil(self.warmup_ratio * steps)
        return found


@dataclass
class Translated:
    """Settings in our names."""

    tree: dict[str, Any]
    pending: Pending = field(default_factory=Pending)
    notes: list[str] = field(default_factory=list)  # a line each, for the user


def translate(given: Mapping[str, Any]) -> Translated:
    """Translate settings, ours and TRL's mixed; ConfigError, one line, for a name or value that has no equivalent."""
    done = Translated({})
    theirs: dict[str, Any] = {}
    for name, value in given.items():
        if name in Config.model_fields:
            done.tree[name] = value
        elif name in RENAMED:
            if RENAMED[name] in given:
                raise ConfigError(f"{name} and {RENAMED[name]} are the same setting: give one of them")
            _rename(done.tree, name, value)
        elif name in TRANSLATED:
            theirs[name] = value
        elif name in WITHOUT_EFFECT:
            if value is not None and value is not False:
                done.notes.append(f"{name} changes nothing here: {WITHOUT_EFFECT[name]}")
        elif name in REFUSED:
            _refuse(name, value)
        else:
            raise ConfigError(f"unknown setting {name}{_nearest(name)}")
    for step in (_values, _model, _batch, _length, _rhythm, _report, _corrections):
        step(done, theirs)
    return done


def _rename(tree: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        tree[RENAMED[name]] = "constant" if name == "lr_scheduler_type" and value == "constant_with_warmup" else value


def _refuse(name: str, value: Any) -> None:
    same, instead = REFUSED[name]
    if getattr(value, "value", value) not in same:  # the value of an enum of transformers'
        raise ConfigError(f"{name}={value!r:.60} has no equivalent here: {instead}")


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, [*Config.model_fields, *known()], n=1)
    return f" (did you mean {close[0]}?)" if close else "; python -m grpo.train --help lists all"


def _values(done: Translated, theirs: Mapping[str, Any]) -> None:
    """Values that are written otherwise."""
    tree = done.tree
    if isinstance(tree.get("scale_rewards"), bool):
        tree["scale_rewards"] = "group" if tree["scale_rewards"] else "none"
    for name in ("reward_weights", "num_generations"):  # none says the default there
        if tree.get(name, 0) is None:
            del tree[name]
    if isinstance(tree.get("reward_weights"), list | tuple):
        tree["reward_weights"] = {str(place): weight for place, weight in enumerate(tree["reward_weights"])}
    if theirs.get("adam_beta1") is not None or theirs.get("adam_beta2") is not None:
        beta1, beta2 = theirs.get("adam_beta1"), theirs.get("adam_beta2")
        tree["adam_betas"] = (BETA1 if beta1 is None else beta1, BETA2 if beta2 is None else beta2)
    if theirs.get("max_tool_calling_iterations") is not None:  # the turn after the last call is one more
        tree.setdefault("max_turns", theirs["max_tool_calling_iterations"] + 1)
    if isinstance(tree.get("metric_for_best_model"), str):
        tree["metric_for_best_model"] = tree["metric_for_best_model"].removeprefix("eval_")
    optim = theirs.get("optim")
    name = str(getattr(optim, "value", optim or "adamw"))
    if name not in ADAMW and name != "muon":
        raise ConfigError(f"optim={name!r} has no equivalent here: optimizer is adamw or muon")
    if optim is not None:
        tree.setdefault("optimizer", "muon" if name == "muon" else "adamw")
    if theirs.get("log_completions") is not None and "completions_every" not in tree:
        tree["completions_every"] = int(theirs["log_completions"])


def _corrections(done: Translated, theirs: Mapping[str, Any]) -> None:
    """The weights against a sampler that is not the trainer, which TRL knows for vLLM alone."""
    given = {name: value for name, value in theirs.items() if name.startswith("vllm_importance_sampling_")}
    if given.get("vllm_importance_sampling_correction") is False:
        done.tree.setdefault("importance_sampling_cap", None)
        return
    if not given:
        return
    caps = (given.get(f"vllm_importance_sampling_{name}") for name in ("clip_max", "cap"))
    done.tree.setdefault("importance_sampling_cap", next((cap for cap in caps if cap is not None), 3.0))
    done.tree.setdefault("importance_sampling_mode", given.get("vllm_importance_sampling_mode", "sequence_mask"))
    if given.get("vllm_importance_sampling_clip_min") is not None:
        done.tree.setdefault("importance_sampling_min", given["vllm_importance_sampling_clip_min"])


def _model(done: Translated, theirs: Mapping[str, Any]) -> None:
    """The weights' type and how they are loaded."""
    tree = done.tree
    if theirs.get("bf16") and theirs.get("fp16"):
        raise ConfigError("bf16 and fp16 can't both be true")
    halves = {"bf16": "bfloat16", "fp16": "float16"}
    wanted = next((kind for name, kind in halves.items() if theirs.get(name)), None)
    if wanted is None and theirs.get("bf16") is False:
        wanted = "float32"
    if wanted is not None:
        tree.setdefault("dtype", wanted)
    for name, value in (theirs.get("model_init_kwargs") or {}).items():
        if name in ("dtype", "torch_dtype"):
            tree.setdefault("dtype", str(value).removeprefix("torch."))
        elif name == "revision":
            tree.setdefault("revision", value)
        elif name in ("attn_implementation", "device_map", "use_cache", "low_cpu_mem_usage"):
            done.notes.append(f"model_init_kwargs {name} changes nothing here: it is torch's")
        elif not (name == "trust_remote_code" and not value):
            raise ConfigError(
                f"model_init_kwargs {name}={value!r:.60} has no equivalent here; there are dtype, revision"
            )


def _batch(done: Translated, theirs: Mapping[str, Any]) -> None:
    """Completions a device, accumulated and generated, as prompts of a rollout batch and its updates."""
    named = {name: theirs[name] for name in BATCH_NAMES if theirs.get(name) is not None}
    if not named:
        return
    for ours in ("prompts_per_step", "num_updates"):
        if ours in done.tree:
            raise ConfigError(f"{ours} and {', '.join(named)} say the same: give one or the other")
    for name, value in named.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name} must be a whole number of at least 1, got {value!r}")
    if "generation_batch_size" in named and "steps_per_generation" in named:
        raise ConfigError("give generation_batch_size or steps_per_generation, not both: one follows from the other")
    device = named.get("per_device_train_batch_size", TRL_BATCH["per_device_train_batch_size"])
    accumulated = named.get("gradient_accumulation_steps", TRL_BATCH["gradient_accumulation_steps"])
    steps = named.get("steps_per_generation", accumulated)
    if "generation_batch_size" in named:
        steps, rest = divmod(named["generation_batch_size"], device)
        if rest or not steps:
            raise ConfigError(
                f"generation_batch_size must be a multiple of per_device_train_batch_size, got "
                f"{named['generation_batch_size']} and {device}"
            )
    if "num_generations" not in done.tree:
        done.tree["num_generations"] = TRL_BATCH["num_generations"]
        done.notes.append(
            f"num_generations is {TRL_BATCH['num_generations']}, TRL's default, as the batch is in its terms"
        )
    samples = done.tree["num_generations"]
    if max(steps, accumulated) % min(steps, accumulated):
        raise ConfigError(
            f"of steps_per_generation and gradient_accumulation_steps one must be a multiple of the other, got {steps} "
            f"and {accumulated}"
        )
    completions = device * max(steps, accumulated)
    if not isinstance(samples, int) or samples < 1 or completions % samples:
        raise ConfigError(
            f"a generation batch of {completions} completions ({device} a device x {max(steps, accumulated)}) must be "
            f"a multiple of num_generations, got {samples}"
        )
    done.tree["prompts_per_step"] = completions // samples
    done.tree["num_updates"] = max(1, steps // accumulated)


def _updates(tree: Mapping[str, Any]) -> int:
    """Optimizer updates of a rollout batch: what TRL calls a step."""
    return int(tree.get("num_updates", 1)) * int(tree.get("num_iterations", 1))


def _length(done: Translated, theirs: Mapping[str, Any]) -> None:
    """Translate the length of the run and its warm-up."""
    tree = done.tree
    updates = _updates(tree)
    most = theirs.get("max_steps")
    if most is not None and most != -1:  # -1: num_train_epochs counts
        if "steps" in tree:
            raise ConfigError("max_steps and steps say the same: give one of them")
        tree["steps"] = _in_batches(done, "max_steps", most, updates)
    elif theirs.get("num_train_epochs") is not None:
        if "steps" in tree:
            raise ConfigError("num_train_epochs and steps say the same: give one of them")
        done.pending = replace(done.pending, epochs=_positive("num_train_epochs", theirs["num_train_epochs"]))
    ratio, warmup = theirs.get("warmup_ratio"), tree.get("warmup_steps")
    if isinstance(warmup, float) and 0 < warmup < 1:  # transformers 5 takes a share of the run there
        ratio = tree.pop("warmup_steps")
    if ratio:
        done.pending = replace(done.pending, warmup_ratio=_positive("warmup_ratio", ratio))


def _rhythm(done: Translated, theirs: Mapping[str, Any]) -> None:
    """When a run is saved and evaluated."""
    tree, updates = done.tree, _updates(done.tree)
    for name, ours in (("save_strategy", "save_every"), ("eval_strategy", "eval_every")):
        strategy = theirs.get(name)
        strategy = getattr(strategy, "value", strategy)
        if strategy == "no":
            tree[ours] = 0
        elif strategy == "epoch":
            tree.pop(ours, None)
            done.pending = replace(done.pending, every_epoch=(*done.pending.every_epoch, ours))
        elif strategy not in (None, "steps"):
            raise ConfigError(f"{name} must be no, steps or epoch, got {strategy!r}")
        elif strategy == "steps" and ours == "eval_every" and ours not in tree:
            raise ConfigError("eval_strategy='steps' needs eval_steps")
    for name, ours in (("save_steps", "save_every"), ("eval_steps", "eval_every")):
        if updates > 1 and isinstance(tree.get(ours), int) and tree[ours] > 0:
            tree[ours] = _in_batches(done, name, tree[ours], updates)


def _in_batches(done: Translated, name: str, value: Any, updates: int) -> Any:
    """TRL's optimizer updates as rollout batches."""
    if updates == 1 or isinstance(value, bool) or not isinstance(value, int):
        return value
    batches = math.ceil(value / updates)
    done.notes.append(f"{name}={value} updates are {batches} rollout batches, of {updates} updates each")
    return batches


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"{name} must be a positive number, got {value!r}")
    return float(value)


def _report(done: Translated, theirs: Mapping[str, Any]) -> None:
    """Translate the services that figures go to; TensorBoard's files are always written."""
    wanted = theirs.get("report_to")
    for place in [wanted] if isinstance(wanted, str) else wanted or []:
        if place == "wandb":
            done.tree.setdefault("wandb_project", os.environ.get("WANDB_PROJECT", "grpo"))
        elif place == "trackio":
            done.tree.setdefault("trackio_project", os.environ.get("TRACKIO_PROJECT", "grpo"))
        elif place == "none":
            done.notes.append(
                "report_to='none': metrics.jsonl and TensorBoard's files are written to output_dir anyway"
            )
        elif place not in ("tensorboard", "all"):
            raise ConfigError(
                f"report_to={place!r} has no equivalent here: there are tensorboard, wandb, trackio and none"
            )
