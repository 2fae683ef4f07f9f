"""What the embedded model's parts of a pipeline can be told. Needs no mlx."""

from typing import Literal

from pydantic import Field

from grpo.config import ColdStart, Section


class MiniatureConfig(ColdStart):
    """The embedded model: what a base model is to the recipe."""

    seed: int = Field(0, ge=0, description="of its weights and its chains")


class MiniatureStudent(Section):
    """A smaller model with the embedded model's vocabulary, taught on imperfect chains like that one was."""

    like: str = Field(description="directory of the embedded model: vocabulary and tokenizer are its own")
    hidden_size: int = Field(64, ge=8, description="width; a multiple of its 4 heads")
    num_hidden_layers: int = Field(2, ge=1, description="blocks")
    rows: int = Field(4000, ge=1, description="imperfect chains it is taught on")
    wrong: float = Field(0.3, ge=0, le=1, description="share of chains with a wrong step")
    mixed: float = Field(0.2, ge=0, le=1, description="share of chains that switch language midway")
    broken: float = Field(0.3, ge=0, le=1, description="share of chains with a broken format")
    epochs: float = Field(2.0, gt=0, description="passes over the chains")
    examples_per_step: int = Field(64, ge=1, description="chains a step")
    learning_rate: float = Field(3e-3, gt=0, description="peak rate of its AdamW")
    seed: int = Field(0, ge=0, description="of its weights and its chains")


class MiniatureRows(Section):
    """Rows of the embedded model's task."""

    rows: Literal["clean", "general", "scenarios"] = Field(
        description="clean: worked solutions; general: figures for number words, without reasoning; scenarios: tasks "
        "of both kinds for RL"
    )
    count: int = Field(100, ge=1, description="rows, if there are that many")
    seed: int = Field(0, ge=0, description="of their order; the held-out tasks of this seed are left out")
