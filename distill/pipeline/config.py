"""Config of a pipeline: its stages as data. Same loader and errors as `grpo.config`; needs no mlx."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, field_validator

from distill.rejection.config import RejectionConfig
from distill.sft.config import SFTConfig
from distill.student.config import METHODS
from grpo.config import Config
from grpo.config.layers import build
from grpo.config.sections import ColdStart, ConfigError, Section

CONFIG = "config.yaml"
Kind = Literal[
    "model",
    "rl",
    "sft",
    "rejection",
    "select",
    "rows",
    "student",
    "miniature",
    "miniature_student",
    "miniature_rows",
    "evaluate",
]
CORPORA = (
    "rejection",
    "select",
    "rows",
    "miniature_rows",
)  # kinds that give a corpus; all others but evaluate give a model
STARTING = ("model", "rl", "sft", "rejection", "student", "miniature_student")  # kinds that start from a model
OWN_NAMES = ("replaced", "config.yaml", "stages.md", "stages.json")


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


class GivenModel(Section):
    """A model that is there already: the base of a recipe, with a row of its own in the table."""

    model: str = Field(description="hub id or local MLX directory")


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


class Stage(Section):
    """One stage of a pipeline."""

    kind: Kind = Field(description="what is done: the command whose keys `config` holds, or a part of the miniature")
    start: str | None = Field(None, description="the earlier stage it starts from; kind model: a directory or hub id")
    take: dict[str, str] = Field(
        default_factory=dict, description="config key -> the earlier stage whose corpus file is its value"
    )
    teacher: str | None = Field(None, description="an earlier stage that is the teacher (kind student)")
    equal_tokens: str | None = Field(
        None, description="rl: take as many steps as sample about the tokens this earlier stage has sampled"
    )
    note: str = Field("", description="a line for the table: what the stage stands for, and what it is not")
    config: dict[str, Any] = Field(default_factory=dict, description="keys of the kind's command")


class PipelineConfig(Section):
    """One run of `python -m distill.pipeline`."""

    title: str = Field("The R1 recipe, stage by stage", description="heading of stages.md")
    seed: int = Field(0, ge=0, description="of every stage that does not give its own")
    output: str | None = Field(None, description="directory; none = runs/ and the config's name")
    held_out: HeldOut = Field(default_factory=HeldOut, description="what every stage is measured on")
    defaults: dict[Kind, dict[str, Any]] = Field(
        default_factory=dict, description="kind -> keys for all stages of that kind"
    )
    stages: dict[str, Stage] = Field(min_length=1, description="name -> stage, in the order they are run")

    @field_validator("stages")
    @classmethod
    def _names(cls, stages: dict[str, Stage]) -> dict[str, Stage]:
        for name in stages:
            if not name.replace("_", "").isalnum() or name in OWN_NAMES:
                raise ValueError(f"a stage's name must be letters, digits and _, and not replaced, got {name!r}")
        return stages


def config_kind(stage: Stage, settings: Mapping[str, Any]) -> type[Section]:
    """The config a stage's keys are of."""
    if stage.kind == "student":
        method = settings.get("method", "sequence")
        if method not in METHODS:
            raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method}")
        return METHODS[method]
    kinds: dict[str, type[Section]] = {
        "model": GivenModel,
        "rl": Config,
        "sft": SFTConfig,
        "rejection": RejectionConfig,
        "select": Selecting,
        "rows": WrittenRows,
        "miniature": MiniatureConfig,
        "miniature_student": MiniatureStudent,
        "miniature_rows": MiniatureRows,
        "evaluate": Evaluation,
    }
    return kinds[stage.kind]


def settings_of(pipeline: PipelineConfig, name: str, references: Mapping[str, Any]) -> Any:
    """The validated config of a stage: seed <- defaults of its kind <- its own keys <- what other stages give.

    `references` are the keys that other stages give, with the files' places or their names. ConfigError, one line.
    """
    stage = pipeline.stages[name]
    given: dict[str, Any] = {**pipeline.defaults.get(stage.kind, {}), **stage.config}
    try:
        kind = config_kind(stage, given)
    except ConfigError as error:
        raise ConfigError(f"stage {name}: {error}") from None
    taken = sorted(set(stage.config) & set(references))
    if taken:
        raise ConfigError(f"stage {name}: {taken[0]} comes from another stage: leave it out of its config")
    if "seed" in kind.model_fields:
        given.setdefault("seed", pipeline.seed)
    return build(kind, {**given, **references}, source=f"stage {name}")


def gives_adapter(pipeline: PipelineConfig, name: str) -> bool:
    """Return whether a stage's model is its start with an adapter (LoRA), not weights of its own."""
    stage = pipeline.stages[name]
    if stage.kind not in ("rl", "sft", "student"):
        return False
    given = {**pipeline.defaults.get(stage.kind, {}), **stage.config}
    return given.get("fine_tune", "lora") == "lora"


def references_by_name(pipeline: PipelineConfig, name: str) -> dict[str, Any]:
    """Return a stage's inputs from other stages as `stage:NAME`, equal wherever the files lie."""
    stage = pipeline.stages[name]
    found: dict[str, Any] = {key: f"stage:{source}" for key, source in stage.take.items()}
    for who, model_key, adapter_key in ((stage.start, *_keys(stage)), (stage.teacher, "teacher", "teacher_adapter")):
        if who is not None:
            found[model_key] = who if stage.kind == "model" else f"stage:{who}"
            if who in pipeline.stages and gives_adapter(pipeline, who):
                found[adapter_key] = f"stage:{who}"
    return found


def _keys(stage: Stage) -> tuple[str, str]:
    return ("like", "adapter") if stage.kind == "miniature_student" else ("model", "adapter")


def check(pipeline: PipelineConfig) -> None:
    """Everything that can be said before anything runs: references and every stage's keys; ConfigError, one line."""
    earlier: list[str] = []
    for name, stage in pipeline.stages.items():
        for source in stage.take.values():
            _require(name, "take", source, earlier, pipeline, CORPORA)
        models = tuple(kind for kind in get_args(Kind) if kind not in (*CORPORA, "evaluate"))
        if stage.teacher is not None:
            _require(name, "teacher", stage.teacher, earlier, pipeline, models)
        if stage.start is not None and stage.kind != "model":
            _require(name, "start", stage.start, earlier, pipeline, models)
        if (stage.start is None) == (stage.kind in STARTING):
            rule = "needs a start" if stage.start is None else "has no start"
            raise ConfigError(f"stage {name}: kind {stage.kind} {rule}")
        if stage.equal_tokens is not None:
            if stage.kind != "rl":
                raise ConfigError(f"stage {name}: equal_tokens is for kind rl, not {stage.kind}")
            _require(name, "equal_tokens", stage.equal_tokens, earlier, pipeline, ("rejection", "rl"))
        settings = settings_of(pipeline, name, references_by_name(pipeline, name))
        if stage.kind == "evaluate" and settings.comparison is not None:
            for role in ("start", "distilled", "trained"):
                _require(name, role, getattr(settings.comparison, role), earlier, pipeline, models)
            _require(name, "corpus", settings.comparison.corpus, earlier, pipeline, ("rejection",))
        earlier.append(name)


def _require(
    name: str, key: str, source: str, earlier: list[str], pipeline: PipelineConfig, kinds: tuple[str, ...]
) -> None:
    if source not in earlier:
        raise ConfigError(
            f"stage {name}: {key} must be an earlier stage ({', '.join(earlier) or 'none'}), got {source}"
        )
    if pipeline.stages[source].kind not in kinds:
        raise ConfigError(
            f"stage {name}: {key} must be a stage of kind {' or '.join(kinds)}, "
            f"{source} is {pipeline.stages[source].kind}"
        )
