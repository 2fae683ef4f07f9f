"""Define the sections that several configs share."""

from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field


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
