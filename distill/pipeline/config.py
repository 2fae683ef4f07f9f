"""Config of a pipeline: its stages as data. Same loader and errors as `grpo.config`; needs no mlx."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, field_validator

from distill.pipeline.sections import (
    Comparison,
    Evaluation,
    GivenModel,
    HeldOut,
    MiniatureConfig,
    MiniatureRows,
    MiniatureStudent,
    Pruning,
    Selecting,
    WrittenRows,
)
from distill.rejection.config import RejectionConfig
from distill.sft.config import SFTConfig
from distill.student.config import METHODS
from grpo.config import Config
from grpo.config.layers import build
from grpo.config.sections import ConfigError, Section

CONFIG = "config.yaml"
Kind = Literal[
    "model",
    "prune",
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
)  # kinds that give a corpus
STARTING = ("model", "prune", "rl", "sft", "rejection", "student", "miniature_student")  # kinds that start from a model
MODELS = tuple(kind for kind in get_args(Kind) if kind not in (*CORPORA, "evaluate"))  # kinds that give a model
OWN_NAMES = ("replaced", "config.yaml", "stages.md", "stages.json", "stages.png", "report.html")
Goal = Literal["rise", "hold", "fall"]


class Stage(Section):
    """One stage of a pipeline."""

    kind: Kind = Field(description="what is done: the command whose keys `config` holds, or a part of the miniature")
    start: str | None = Field(None, description="the earlier stage it starts from; kind model: a directory or hub id")
    take: dict[str, str] = Field(
        default_factory=dict, description="config key -> the earlier stage whose corpus file is its value"
    )
    teacher: str | None = Field(None, description="an earlier stage that is the teacher (kind student)")
    equal_tokens: str | list[str] | None = Field(
        None,
        description="rl: take as many steps as sample about the tokens that this earlier stage, or these, have sampled",
    )
    goals: dict[str, Goal] = Field(
        default_factory=dict,
        description="held-out reward -> what the stage is for: rise or fall (the 95% interval of the paired difference "
        "is on that side of 0), hold (it is not wholly below 0)",
    )
    against: str | None = Field(
        None, description="the earlier stage that the goals and differences are measured against; none = start"
    )
    control: bool = Field(False, description="run only with controls=true: what the recipe is compared with")
    note: str = Field("", description="a line for the table: what the stage stands for, and what it is not")
    config: dict[str, Any] = Field(default_factory=dict, description="keys of the kind's command")


class PipelineConfig(Section):
    """One run of `python -m distill.pipeline`."""

    title: str = Field("The R1 recipe, stage by stage", description="heading of stages.md")
    seed: int = Field(0, ge=0, description="of every stage that does not give its own")
    output: str | None = Field(None, description="directory; none = runs/ and the config's name")
    held_out: HeldOut = Field(default_factory=HeldOut, description="what every stage is measured on")
    also_held_out: list[HeldOut] = Field(
        default_factory=list,
        description="further held-out problems for columns of their own, with rewards of other names",
    )
    controls: bool = Field(False, description="also run the stages that are marked as controls")
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
        "prune": Pruning,
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


def active(pipeline: PipelineConfig) -> dict[str, Stage]:
    """The stages that are run: controls only where they are asked for."""
    return {name: stage for name, stage in pipeline.stages.items() if pipeline.controls or not stage.control}


def columns(pipeline: PipelineConfig) -> list[str]:
    """Every reward that stages are measured by, in the table's order."""
    return [name for held_out in (pipeline.held_out, *pipeline.also_held_out) for name in held_out.rewards]


def sampled_by(stage: Stage) -> list[str]:
    """The stages whose sampled tokens an RL stage is to match."""
    return [stage.equal_tokens] if isinstance(stage.equal_tokens, str) else list(stage.equal_tokens or [])


def check(pipeline: PipelineConfig) -> None:
    """Everything that can be said before anything runs: references and every stage's keys; ConfigError, one line."""
    names = columns(pipeline)
    if len(set(names)) < len(names):
        raise ConfigError(f"every held-out reward must have one place, got {', '.join(names)}")
    earlier: list[str] = []
    for name, stage in pipeline.stages.items():
        for source in stage.take.values():
            _require(name, "take", source, earlier, pipeline, CORPORA)
        if stage.teacher is not None:
            _require(name, "teacher", stage.teacher, earlier, pipeline, MODELS)
        if stage.start is not None and stage.kind != "model":
            _require(name, "start", stage.start, earlier, pipeline, MODELS)
        if (stage.start is None) == (stage.kind in STARTING):
            rule = "needs a start" if stage.start is None else "has no start"
            raise ConfigError(f"stage {name}: kind {stage.kind} {rule}")
        if stage.equal_tokens is not None and stage.kind != "rl":
            raise ConfigError(f"stage {name}: equal_tokens is for kind rl, not {stage.kind}")
        for source in sampled_by(stage):
            _require(name, "equal_tokens", source, earlier, pipeline, ("rejection", "rl"))
        if stage.kind == "prune" and gives_adapter(pipeline, str(stage.start)):
            raise ConfigError(
                f"stage {name}: {stage.start} is an adapter on its start: prune a model, or {stage.start} after "
                "distill.export"
            )
        _check_goals(name, stage, earlier, pipeline)
        settings = settings_of(pipeline, name, references_by_name(pipeline, name))
        if stage.kind == "evaluate" and settings.comparison is not None:
            _check_comparison(name, settings.comparison, earlier, pipeline)
        earlier.append(name)


def _check_goals(name: str, stage: Stage, earlier: list[str], pipeline: PipelineConfig) -> None:
    if stage.against is not None:
        _require(name, "against", stage.against, earlier, pipeline, MODELS)
    if not stage.goals:
        return
    if stage.kind not in MODELS or (stage.against is None and (stage.start is None or stage.kind == "model")):
        raise ConfigError(f"stage {name}: goals need a model that has another to be measured against")
    unknown = [column for column in stage.goals if column not in columns(pipeline)]
    if unknown:
        raise ConfigError(
            f"stage {name}: goals names {unknown[0]}, which is not measured; held_out has "
            f"{', '.join(columns(pipeline))}"
        )


def _check_comparison(name: str, comparison: Comparison, earlier: list[str], pipeline: PipelineConfig) -> None:
    for role in ("start", "distilled", "trained"):
        _require(name, role, getattr(comparison, role), earlier, pipeline, MODELS)
    _require(name, "corpus", comparison.corpus, earlier, pipeline, ("rejection",))
    for control in comparison.controls:
        if control not in earlier or not pipeline.stages[control].control:
            raise ConfigError(f"stage {name}: controls must be earlier stages with control: true, got {control}")
        _require(name, "controls", control, earlier, pipeline, MODELS)


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
    if pipeline.stages[source].control and not pipeline.stages[name].control and key != "controls":
        raise ConfigError(f"stage {name}: {key} {source} is a control, which is not always run")
