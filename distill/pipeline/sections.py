"""The keys of the stages that no other command has, and what every stage is measured on. Needs no mlx."""

from typing import Any, Literal

from pydantic import Field, model_validator

from grpo.config.sections import ColdStart, Section


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


class HeldOut(Section):
    """The problems every stage is measured on, and how."""

    data: str = Field("digit_sums", description="an environment's name, a JSONL file or a hub data set")
    data_options: dict[str, Any] = Field(default_factory=dict, description="options of the environment")
    split: str = Field("test", description="of the environment")
    template: Literal["chat", "plain", "r1_zero"] = Field("chat", description="how a task becomes a prompt")
    system_prompt: str | None = Field(None, description="system message of the chat template")
    max_prompt_length: int = Field(1024, ge=1, description="tokens; a longer prompt is left out")
    tasks: int = Field(200, ge=2, description="problems, if there are that many")
    samples: int = Field(1, ge=1, description="completions of each")
    temperature: float = Field(1.0, gt=0, description="of sampling")
    top_p: float = Field(1.0, gt=0, le=1, description="after the temperature")
    max_completion_length: int = Field(256, ge=1, description="tokens")
    max_rows: int = Field(64, ge=1, description="completions decoded together")
    rewards: list[str] = Field(
        default_factory=lambda: ["accuracy", "format", "language"], min_length=1, description="the table's columns"
    )
    reward_options: dict[str, dict[str, Any]] = Field(default_factory=dict, description="reward -> its options")


class Comparison(Section):
    """Distillation against RL on the same student, stages by name."""

    start: str = Field(description="the student before either")
    distilled: str = Field(description="the student after distillation")
    trained: str = Field(description="the student after RL")
    corpus: str = Field(description="the stage that sampled the corpus: its tokens are the price of distillation")
    controls: list[str] = Field(
        default_factory=list, description="stages that are controls: the same student made in other ways"
    )


class GivenModel(Section):
    """A model that is there already: the base of a recipe, with a row of its own in the table."""

    model: str = Field(description="hub id or local MLX directory")


class Pruning(Section):
    """A smaller model out of a larger one: some of its blocks, to be healed by a supervised stage."""

    model: str = Field(description="hub id or local MLX directory")
    blocks: list[int] | None = Field(
        None, min_length=1, description="which of its blocks stay, in this order, counted from 0"
    )
    keep: int | None = Field(
        None,
        ge=1,
        description="in place of blocks: how many stay; one after another goes, each time the one that the loss on "
        "data misses least",
    )
    data: str | None = Field(None, description="for keep: a corpus of what the student is to say")
    max_rows: int = Field(32, ge=1, description="for keep: rows of data, from its start")
    template: Literal["chat", "plain"] = Field("chat", description="for keep: how rows are rendered, as in distill.sft")
    system_prompt: str | None = Field(None, description="for keep: system message of rows that have none")

    @model_validator(mode="after")
    def _one_way(self) -> "Pruning":
        if (self.blocks is None) == (self.keep is None):
            raise ValueError("say which blocks stay (blocks), or how many (keep with data)")
        if self.keep is not None and self.data is None:
            raise ValueError("keep needs data: rows by whose loss the blocks are chosen")
        if self.keep is None and (unused := self.model_fields_set & {"data", "max_rows", "template", "system_prompt"}):
            raise ValueError(f"{sorted(unused)[0]} is for keep, and blocks are named")
        return self


class Selecting(Section):
    """A small set out of a large one, see `distill.select`."""

    data: str = Field(description="corpus: a JSONL, JSON, parquet or CSV file, or a hub data set")
    count: int = Field(1000, ge=1, description="rows")
    min_difficulty: int = Field(1, ge=1, le=5, description="of a row that says its difficulty")
    max_pass_rate: float = Field(1.0, ge=0, le=1, description="of a row that says its prompt's pass rate")
    min_certainty: float = Field(0.0, ge=0, le=1, description="of a row that says it")
    min_verdict: float = Field(0.0, ge=0, le=1, description="of every verdict of a row")
    pool: int = Field(4, ge=1, description="hardest rows a place is chosen from; 1 = hardness alone")
    distance: Literal["words", "coordinates", "model"] = Field("words", description="what lies near what")
    embedding_model: str | None = Field(None, description="for distance model")


class WrittenRows(Section):
    """Rows written from an environment's tasks by a pattern: a cold start where the data have worked solutions."""

    data: str = Field(description="an environment's name, a JSONL file or a hub data set")
    data_options: dict[str, Any] = Field(default_factory=dict, description="options of the environment")
    split: str = Field("train", description="of the environment")
    count: int = Field(100, ge=1, description="rows, from the start of the split")
    completion: str = Field(
        description="the assistant's text, with the task's columns in braces, e.g. <answer>{answer}</answer>"
    )
    seed: int = Field(0, ge=0, description="of the environment")


class Evaluation(Section):
    """Comparisons of the last stage, besides the table of all stages."""

    comparison: Comparison | None = Field(None, description="of distillation with RL; none = no such table")
