"""Everything a run can be told, in one tree: defaults <- YAML file <- `a.b=c` overrides. Needs no mlx.

An unknown key, a wrong type or an impossible combination is a ConfigError of one line. Names are TRL's where the
meaning is TRL's.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

FREE_FORM = ("reward_weights", "reward_gates", "reward_clip", "data_options")  # sections whose keys may hold dots


class ConfigError(ValueError):
    """The user's input is wrong; the message is one clear line."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class LoRA(Section):
    """Low-rank adapters on frozen weights (arXiv 2106.09685)."""

    rank: int = Field(16, ge=1, description="rank of the update of each matrix")
    alpha: float = Field(32.0, gt=0, description="the update is multiplied by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of an adapter's inputs dropped in the training pass")
    targets: list[str] | Literal["all"] = Field(
        "all", description="layers by their last name, e.g. [q_proj, v_proj]; all = every linear layer"
    )
    layers: int = Field(-1, description="how many blocks, counted from the last, get adapters; -1 = all of them")


class ColdStart(Section):
    """How the embedded miniature model is made before RL: supervised steps on imperfect chains."""

    steps: int = Field(280, ge=1, description="supervised steps")
    batch: int = Field(64, ge=1, description="chains a step")
    learning_rate: float = Field(3e-3, gt=0, description="peak rate of its AdamW")
    wrong: float = Field(0.3, ge=0, le=1, description="share of chains with a wrong step")
    mixed: float = Field(0.15, ge=0, le=1, description="share of chains that switch language midway")
    broken: float = Field(0.3, ge=0, le=1, description="share of chains with a broken format")


class Config(Section):
    """One run of `python -m grpo.train`."""

    model: str = Field(
        "miniature", description="hub id, local MLX directory, or miniature = the embedded model, made on the spot"
    )
    revision: str | None = Field(None, description="branch, tag or commit of a hub model")
    adapter: str | None = Field(
        None, description="directory of adapters to start from; they are then also the reference"
    )
    fine_tune: Literal["lora", "full"] = Field(
        "lora", description="train adapters, or all weights of a model that is not quantised"
    )
    lora: LoRA = Field(default_factory=LoRA, description="adapters, when fine_tune is lora")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the weights; auto = as stored, float32 on a CPU"
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute each block in the backward pass: less memory, about a third more time"
    )
    cold_start: ColdStart = Field(default_factory=ColdStart, description="of the miniature model")

    data: str = Field(
        "digit_sums", description="an environment's name (python -m envs list), a JSONL file or a hub data set"
    )
    data_options: dict[str, Any] = Field(
        default_factory=dict, description="options of the environment (python -m envs show NAME)"
    )
    template: Literal["chat", "plain", "r1_zero"] = Field(
        "chat", description="how a task becomes a prompt: the model's chat template, as it is, or R1-Zero's"
    )
    system_prompt: str | None = Field(None, description="system message of the chat template")
    max_prompt_length: int = Field(1024, ge=1, description="tokens; a longer prompt is left out and counted")

    reward_weights: dict[str, float] = Field(
        default_factory=lambda: {"accuracy": 1.0, "format": 0.3, "language": 0.2},
        description="registered reward or package.module:function -> its weight; 0 = measured only",
    )
    reward_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="reward -> its options, e.g. {accuracy: {extract: last_number}}"
    )
    reward_gates: dict[str, str] = Field(
        default_factory=dict,
        description="reward -> the reward that must hold for it to count, e.g. {accuracy: format} or {cosine: "
        "language>=0.8}; holds from 0.5 on if not said",
    )
    reward_clip: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="reward -> [low, high] that its values are held between"
    )
    multi_objective_aggregation: Literal["sum_then_normalize", "normalize_then_sum"] = Field(
        "sum_then_normalize",
        description="normalize_then_sum = GDPO: each reward's advantages are normalised in their group before they are "
        "weighed and summed, then once more over the batch",
    )
    reward_timeout_seconds: float = Field(
        60.0, gt=0, description="a reward that takes longer on one batch is left out of it"
    )
    control: Literal["none", "random_reward"] = Field(
        "none", description="random_reward = train on coin flips instead: what such a run gains is not learning"
    )

    seed: int = Field(0, ge=0, description="of everything: data order, sampling, adapters")
    steps: int = Field(200, ge=1, description="rollout batches")
    output: str | None = Field(None, description="run directory; none = a new one under runs/")
    prompts_per_step: int = Field(2, ge=1, description="prompts of a rollout batch")
    num_generations: int = Field(16, ge=2, description="samples of each prompt (G)")
    max_completion_length: int = Field(256, ge=1, description="tokens")
    temperature: float = Field(
        1.0, gt=0, description="of sampling in training; every logprob is of logits / temperature"
    )
    top_p: float = Field(1.0, description="must be 1 in training")
    top_k: int = Field(0, description="must be 0 in training")
    max_rows: int = Field(64, ge=1, description="completions decoded together; more wait until rows are free")
    merge_adapter: bool = Field(
        True, description="decode with the adapter added into the weights: faster, same numbers to rounding"
    )
    kv_bits: Literal[0, 4, 8] = Field(
        0, description="completions' keys and values while decoding: quantised, a quarter or an eighth of the memory"
    )

    num_updates: int = Field(
        1, ge=1, description="optimizer updates a rollout batch, each on an equal share of its prompts"
    )
    num_iterations: int = Field(1, ge=1, description="passes over each rollout batch")
    loss_type: Literal["grpo", "bnpo", "dapo", "dr_grpo", "gspo", "cispo"] = Field(
        "grpo", description="see grpo.losses"
    )
    scale_rewards: Literal["group", "batch", "none"] = Field(
        "group", description="what the advantages' std is taken over"
    )
    epsilon: float = Field(
        0.2, gt=0, description="clip range of the ratio below 1 (and above, if epsilon_high is not given)"
    )
    epsilon_high: float | None = Field(
        None, gt=0, description="clip range above 1 (DAPO: 0.28); for cispo the bound itself"
    )
    delta: float | None = Field(None, gt=1, description="dual clip: upper bound of the ratio for negative advantages")
    importance_sampling_level: Literal["token", "sequence"] = Field(
        "token", description="a ratio a token or one a completion"
    )
    beta: float = Field(0.01, ge=0, description="weight of the KL to the start of the run; 0 = no reference is run")
    mask_truncated_completions: bool = Field(
        False, description="leave completions without a stop token out of the loss (DAPO's overlong filtering)"
    )
    token_budget: int = Field(
        1024,
        ge=1,
        description="tokens, padding included, that are learned from at a time (in two micro-batches side by side on a "
        "CPU); less = less memory, same gradient",
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        description="what the run may take: token_budget is lowered until the estimate fits; none = as it is",
    )
    logits_chunk: int = Field(128, ge=1, description="positions whose vocabulary row exists at a time")

    learning_rate: float = Field(1e-5, gt=0, description="peak rate of AdamW")
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="after the warm-up, down to min_learning_rate"
    )
    warmup_steps: int = Field(0, ge=0, description="steps of linear warm-up")
    min_learning_rate: float = Field(0.0, ge=0, description="where linear and cosine end")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's")
    adam_betas: tuple[float, float] = Field((0.9, 0.99), description="AdamW's")
    max_grad_norm: float = Field(1.0, gt=0, description="the gradient is scaled down to this norm")

    save_every: int = Field(50, ge=0, description="steps between checkpoints; 0 = only when stopped and at the end")
    keep_checkpoints: int = Field(3, ge=1, description="the newest that are kept")
    eval_every: int = Field(
        0, ge=0, description="steps between evaluations on held-out tasks; 0 = never, not even before and after"
    )
    eval_tasks: int = Field(200, ge=1, description="held-out tasks evaluated, if there are that many")
    eval_samples: int = Field(1, ge=1, description="samples of each at eval_temperature")
    eval_temperature: float = Field(1.0, gt=0, description="of sampling in evaluations")
    eval_top_p: float = Field(1.0, gt=0, le=1, description="in evaluations, after the temperature")
    eval_greedy: bool = Field(
        False, description="before and after training also take the likeliest token, under summary's greedy"
    )
    completions_every: int = Field(1, ge=0, description="steps between files of completions; 0 = none")
    wandb_project: str | None = Field(
        None, description="also log to this Weights & Biases project (pip install 'grpo-mlx[wandb]')"
    )

    @field_validator("reward_weights", mode="before")
    @classmethod
    def _without_nulls(cls, weights: Any) -> Any:
        """`reward_weights.language=null` takes a default reward out."""
        return {k: v for k, v in weights.items() if v is not None} if isinstance(weights, dict) else weights

    @field_validator("reward_weights")
    @classmethod
    def _some_reward(cls, weights: dict[str, float]) -> dict[str, float]:
        if not any(weights.values()):
            raise ValueError("at least one reward needs a weight other than 0, or nothing is learned")
        return weights

    @model_validator(mode="after")
    def _possible(self) -> "Config":
        for rule, reason in self._rules():
            if not rule:
                raise ValueError(reason)
        return self

    def _rules(self) -> list[tuple[bool, str]]:
        """What must hold between keys, and the reason given where it does not."""
        unfiltered = "logprobs of filtered draws are not the policy's"
        return [
            (
                self.top_p == 1,
                f"top_p must be 1 in training, got {self.top_p}: {unfiltered} (evaluations have eval_top_p)",
            ),
            (self.top_k == 0, f"top_k must be 0 in training, got {self.top_k}: {unfiltered}"),
            (
                self.prompts_per_step % self.num_updates == 0,
                f"prompts_per_step must be a multiple of num_updates, got {self.prompts_per_step} and "
                f"{self.num_updates}: every update takes whole groups",
            ),
            (
                self.max_rows >= self.num_generations,
                f"max_rows must be at least num_generations, got {self.max_rows} and {self.num_generations}: "
                "a group is decoded together",
            ),
            (
                self.fine_tune == "lora" or self.adapter is None,
                "adapter needs fine_tune: lora; for full fine-tuning fuse it into the model first (mlx_lm.fuse)",
            ),
            (
                not (self.gradient_checkpointing and self.lora.dropout),
                "gradient_checkpointing can't be combined with lora.dropout: the block made again would drop others",
            ),
            (
                self.multi_objective_aggregation == "sum_then_normalize" or self.scale_rewards == "group",
                f"multi_objective_aggregation normalize_then_sum needs scale_rewards: group, got {self.scale_rewards}: "
                "it brings its own scaling",
            ),
            (
                self.min_learning_rate <= self.learning_rate,
                f"min_learning_rate must be at most learning_rate, got {self.min_learning_rate} and "
                f"{self.learning_rate}",
            ),
            (
                self.loss_type != "cispo" or self.epsilon_high is not None,
                "loss_type cispo needs epsilon_high, the upper bound of the ratio itself, e.g. 5.0",
            ),
        ]

    @property
    def clip_high(self) -> float:
        """Clip range of the ratio above 1; for cispo the bound itself."""
        return self.epsilon if self.epsilon_high is None else self.epsilon_high

    @property
    def batch(self) -> int:
        """Completions of a rollout batch."""
        return self.prompts_per_step * self.num_generations


class ModelSettings(Protocol):
    """What of a config says which model is loaded and what of it is trained."""

    @property
    def revision(self) -> str | None: ...
    @property
    def adapter(self) -> str | None: ...
    @property
    def fine_tune(self) -> str: ...
    @property
    def lora(self) -> LoRA: ...
    @property
    def dtype(self) -> str: ...
    @property
    def gradient_checkpointing(self) -> bool: ...
    @property
    def seed(self) -> int: ...


class OptimizerSettings(Protocol):
    """What of a config says how a gradient becomes an update."""

    @property
    def steps(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def lr_schedule(self) -> str: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def min_learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def adam_betas(self) -> tuple[float, float]: ...
    @property
    def max_grad_norm(self) -> float: ...


class LogSettings(Protocol):
    """What of a config a run's log needs."""

    @property
    def steps(self) -> int: ...
    @property
    def wandb_project(self) -> str | None: ...
    def model_dump(self, *, mode: str) -> dict[str, Any]: ...


AnyConfig = TypeVar("AnyConfig", bound=Section)


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """The config of an RL run, see `load`."""
    return load(Config, path, overrides)


def load(kind: type[AnyConfig], path: str | Path | None, overrides: Sequence[str] = ()) -> AnyConfig:
    """The config of a YAML file (None = all defaults) with `a.b=c` overrides on top.

    Raises ConfigError, one line, for a missing or broken file, an unknown key, a wrong type or an impossible
    combination.
    """
    tree = read_yaml(path) if path is not None else {}
    for override in overrides:
        _apply(tree, override)
    return build(kind, tree, source=str(path) if path is not None else "config")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; ConfigError if it holds none."""
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the config {path}: {reason}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold `key: value` lines, got a {type(tree).__name__}")
    return tree


def build(model: type[Any], tree: dict[str, Any], *, source: str) -> Any:
    """A validated config of this model, errors folded into one line."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: " + "; ".join(_explain(model, part) for part in error.errors()[:3])) from None


def _explain(model: type[BaseModel], error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {where}{_nearest(where, model)}"
    message = error["msg"].removeprefix("Value error, ")
    if not where:
        return message
    return f"{where}: {message[:1].lower() + message[1:]}, got {error['input']!r}"


def _nearest(name: str, model: type[BaseModel]) -> str:
    close = difflib.get_close_matches(name, [key for key, _, _, _ in keys(model)], n=1)
    return f" (did you mean {close[0]}?)" if close else ", see --help for all keys"


def _apply(tree: dict[str, Any], override: str) -> None:
    """Write one `a.b=c` into the tree; what follows a free-form section's name is one key, dots and all."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r} must look like key=value")
    try:
        value = yaml.safe_load(text) if text.strip() else None
    except yaml.YAMLError:
        value = text
    head, _, rest = key.partition(".")
    parts = [head, rest] if head in FREE_FORM and rest else key.split(".")
    for part in parts[:-1]:
        if tree.get(part) is None:
            tree[part] = _default_section(part)
        tree = tree[part]
        if not isinstance(tree, dict):
            raise ConfigError(f"override {override!r}: {part} is a single value, not a section")
    tree[parts[-1]] = value


def _default_section(name: str) -> dict[str, Any]:
    """An override of one reward's weight keeps the default weights of the others."""
    return dict(Config().reward_weights) if name == "reward_weights" else {}


def keys(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Every key of the tree: (a.b, type, default, meaning)."""
    rows: list[tuple[str, str, str, str]] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows += keys(kind, f"{prefix}{name}.")
            continue
        default = "required" if field.is_required() else field.get_default(call_default_factory=True)
        shown = (
            kind.__name__
            if isinstance(kind, type) and not hasattr(kind, "__args__")
            else str(kind).replace("typing.", "")
        )
        rows.append((prefix + name, shown, "none" if default is None else str(default), field.description or ""))
    return rows


def describe(model: type[BaseModel]) -> str:
    """All keys with meaning and default, for --help."""
    lines = [f"  {name} = {default}\n      {meaning}" for name, _, default, meaning in keys(model)]
    return "config keys (in a YAML file, or as key=value on the command line):\n" + "\n".join(lines)


def to_yaml(config: BaseModel) -> str:
    """The resolved config; `load_config` reads it back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
