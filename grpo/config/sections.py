"""Define the sections that several configs share."""

from collections.abc import Mapping
from typing import Any, Literal, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from grpo.config.reference import choices, takes_none
from rewards.printable import secret_in

NONE_WORDS = frozenset({"none", "null", ""})


class ConfigError(ValueError):
    """The user's input is wrong; the message is one clear line."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read_none(cls, given: Any) -> Any:
        """`none`, `null` and nothing at all mean none, wherever a key allows it."""
        if not isinstance(given, Mapping):
            return given
        fields = cls.model_fields
        return {key: _none_of(fields[key], value) if key in fields else value for key, value in given.items()}

    @model_validator(mode="after")
    def _hold_no_secret(self) -> "Section":
        """Settings are written to config.yaml, log and model card: a key or password must not stand among them."""
        if (place := secret_in(dict(self))) is not None:
            raise ValueError(
                f"{place} holds a key or password, which would be written to config.yaml: give it by an environment "
                "variable (JUDGE_API_KEY, SERVER_API_KEY, HF_TOKEN)"
            )
        return self


def _none_of(field: FieldInfo, value: Any) -> Any:
    """Return what a value that says none means for a field: None, its choice "none", or an empty section."""
    if value is not None and not (isinstance(value, str) and value.strip().lower() in NONE_WORDS):
        return value
    kind = field.annotation
    if takes_none(kind):
        return None
    if "none" in choices(kind):
        return "none"
    if get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return {}
    return value


class LoRA(Section):
    """Low-rank adapters on frozen weights (arXiv 2106.09685)."""

    rank: int = Field(16, ge=1, description="rank of the update of each matrix")
    alpha: float = Field(32.0, gt=0, description="the update is multiplied by alpha / rank")
    rank_stabilised: bool = Field(
        False, description="alpha / sqrt(rank) instead of alpha / rank (rsLoRA, arXiv 2312.03732)"
    )
    init: Literal["zero", "pissa"] = Field(
        "zero",
        description="what adapters begin as: nothing, or pissa = the principal part of their weights (arXiv "
        "2404.02948), which may not be quantised; it is written as an ordinary adapter of twice the rank",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share of an adapter's inputs dropped in the training pass")
    targets: list[str] | Literal["all"] = Field(
        "all", description="layers by their last name, e.g. [q_proj, v_proj]; all = every linear layer"
    )
    layers: int = Field(-1, description="how many blocks, counted from the last, get adapters; -1 = all of them")


class ColdStart(Section):
    """Supervised steps on imperfect chains that make the embedded miniature model before RL."""

    steps: int = Field(280, ge=1, description="supervised steps")
    batch: int = Field(64, ge=1, description="chains a step")
    learning_rate: float = Field(3e-3, gt=0, description="peak rate of its AdamW")
    wrong: float = Field(0.3, ge=0, le=1, description="share of chains with a wrong step")
    mixed: float = Field(0.15, ge=0, le=1, description="share of chains that switch language midway")
    mixed_wrong: float | None = Field(
        None,
        ge=0,
        le=1,
        description="if given, each step is wrong with a probability of its own: this where its result is in the other "
        "language, `wrong` where it is not",
    )
    broken: float = Field(0.3, ge=0, le=1, description="share of chains with a broken format")


class ModelSettings(Section):
    """The model to load and the weights of it to train."""

    model: str = Field(description="hub id or local MLX directory")
    revision: str | None = Field(None, description="branch, tag or commit of a hub model")
    adapter: str | None = Field(None, description="directory of LoRA adapters to continue from")
    fine_tune: Literal["lora", "dora", "full", "none"] = Field(
        "lora", description="train adapters (on a quantised model too), or all weights of one that is not quantised"
    )
    full_layers: int = Field(
        -1, description="with fine_tune full: how many blocks, counted from the last, are trained; -1 = everything"
    )
    lora: LoRA = Field(default_factory=LoRA, description="adapters, when fine_tune is lora or dora")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the weights; auto = as stored, float32 on a CPU"
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute each block in the backward pass: less memory, about a third more time"
    )
    merge_adapter: bool = Field(
        True, description="in float32 compute with the adapter added into the weights: faster, same numbers to rounding"
    )
    seed: int = Field(0, ge=0, description="of data order, sampling and adapters")


class DataPart(Section):
    """One environment of several that a run trains on."""

    env: str = Field(description="its name, a file, a hub id or module:function")
    weight: float = Field(1.0, gt=0, description="its share of the tasks, beside the other weights")
    options: dict[str, Any] = Field(default_factory=dict, description="of this environment")


class TurnSettings(Section):
    """Limits and credit of conversations with an environment that answers."""

    max_turns: int = Field(8, ge=1, description="turns of the model in a conversation, where an environment answers")
    max_conversation_length: int | None = Field(
        None, ge=1, description="tokens of a conversation, replies included; none = max_turns of max_completion_length"
    )
    max_reply_length: int = Field(512, ge=1, description="tokens of a reply; a longer one loses its middle")
    reply_timeout_seconds: float = Field(
        30.0, gt=0, description="an environment that takes longer to reply ends its conversation, which is left out"
    )
    wait_for_replies: bool = Field(
        False,
        description="decode on only when all replies have come: the same bits again however slow the environment; "
        "otherwise others go on, and only quick replies are waited for",
    )


class OptimizerSettings(Section):
    """The optimizer, its learning rate and its limits."""

    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="muon orthogonalises the update of every matrix (adapters' too); AdamW has the rest"
    )
    learning_rate: float = Field(1e-5, gt=0, description="peak rate")
    lora_plus_ratio: float = Field(
        1.0, gt=0, description="rate of adapters' B over that of their A (LoRA+, arXiv 2402.12354: 16)"
    )
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="after the warm-up, down to min_learning_rate"
    )
    lr_cycles: int = Field(1, ge=1, description="times linear or cosine goes down, from the peak again each time")
    warmup_steps: int = Field(0, ge=0, description="steps of linear warm-up")
    min_learning_rate: float = Field(0.0, ge=0, description="where linear and cosine end")
    weight_decay: float = Field(0.0, ge=0, description="share of the rate by which weights shrink")
    adam_betas: tuple[float, float] = Field((0.9, 0.99), description="AdamW's")
    max_grad_norm: float = Field(1.0, gt=0, description="the gradient is scaled down to this norm")


class Schedule(OptimizerSettings):
    """An optimizer's settings with the number of steps that its schedule ends after."""

    steps: int = Field(ge=1, description="optimizer steps")


class RunSettings(Section):
    """The files a run keeps, and where."""

    output: str | None = Field(None, description="run directory; none = a new one under runs/")
    save_every: int = Field(50, ge=0, description="steps between checkpoints; 0 = only when stopped and at the end")
    keep_checkpoints: int = Field(3, ge=1, description="the newest that are kept")
    wandb_project: str | None = Field(
        None, description="also log to this Weights & Biases project (pip install 'grpo-mlx[wandb]')"
    )
    trackio_project: str | None = Field(
        None, description="also log to this trackio project, kept on this machine (pip install 'grpo-mlx[trackio]')"
    )


class BenchmarkSettings(Section):
    """Benchmarks that a run is measured by."""

    eval_benchmarks: list[str | dict[str, Any]] = Field(
        default_factory=list,
        description="benchmarks measured before, every eval_every steps and after: NAME or NAME:PROBLEMS, e.g. [gsm8k, "
        "math500:50], or an object of the benchmark's flags, e.g. {name: gsm8k, limit: 50, data: FILE, samples: 4} "
        "or {name: aime, year: 2025}",
    )

    @model_validator(mode="after")
    def _some_rhythm(self) -> "BenchmarkSettings":
        if self.eval_benchmarks and not getattr(self, "eval_every", 1):
            raise ValueError("eval_benchmarks need eval_every: the steps between measurements, got 0")
        return self


class LoggedRun(Schedule, RunSettings):
    """The length of a run and the services its log also goes to."""
