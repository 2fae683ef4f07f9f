"""What is refused before anything runs, and that every checked-in pipeline is whole."""

from pathlib import Path

import pytest

from distill.pipeline import __main__ as pipeline
from distill.pipeline.config import PipelineConfig, check, gives_adapter, references_by_name
from grpo.config.layers import build
from grpo.config.loading import load
from grpo.config.sections import ConfigError

ROOT = Path(__file__).parents[3]
PIPELINES = [
    path
    for path in sorted([*ROOT.glob("configs/*.yaml"), *ROOT.glob("distill/recipes/*.yaml")])
    if path.read_text().startswith("# command: distill.pipeline")
]


def made(**stages):
    return build(PipelineConfig, {"stages": stages}, source="test")


BASE = {"kind": "model", "start": "owner/name"}


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ({"zero": {"kind": "rl", "start": "bose"}}, "stage zero: start must be an earlier stage (none), got bose"),
        ({"zero": {"kind": "rl"}}, "stage zero: kind rl needs a start"),
        (
            {"b": BASE, "zero": {"kind": "rl", "start": "b", "config": {"stepps": 3}}},
            "unknown key stepps (did you mean",
        ),
        (
            {"b": BASE, "sft": {"kind": "sft", "start": "b", "take": {"data": "b"}}},
            "take must be a stage of kind rejection or select or rows or miniature_rows, b is model",
        ),
        (
            {"b": BASE, "sft": {"kind": "sft", "start": "b", "config": {"model": "x/y", "data": "d.jsonl"}}},
            "stage sft: model comes from another stage",
        ),
        (
            {"b": BASE, "s": {"kind": "sft", "start": "b", "equal_tokens": "b", "config": {"data": "d.jsonl"}}},
            "equal_tokens is for kind rl",
        ),
        (
            {"b": BASE, "s": {"kind": "student", "start": "b", "config": {"method": "osmosis"}}},
            "method must be one of sequence, logit, on_policy",
        ),
        (
            {
                "b": BASE,
                "z": {"kind": "rl", "start": "b"},
                "f": {"kind": "rl", "start": "z", "config": {"fine_tune": "full"}},
            },
            "adapter needs fine_tune: lora",
        ),
    ],
)
def test_what_cannot_run_is_refused_at_once(stages, said):
    with pytest.raises(ConfigError) as error:
        check(made(**stages))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["replaced", "../x", ""])
def test_a_stage_name_must_fit_a_folder(name):
    with pytest.raises(ConfigError, match="a stage's name must be"):
        made(**{name: BASE})


def test_an_adapter_goes_on_and_whole_weights_start_anew():
    lora = {"kind": "rl", "start": "base"}
    full = {"kind": "rl", "start": "base", "config": {"fine_tune": "full"}}
    pipeline_of = made(base=BASE, lora=lora, full=full, one={**lora, "start": "lora"}, two={**full, "start": "full"})
    assert gives_adapter(pipeline_of, "lora") and not gives_adapter(pipeline_of, "full")
    assert references_by_name(pipeline_of, "one") == {"model": "stage:lora", "adapter": "stage:lora"}
    assert references_by_name(pipeline_of, "two") == {"model": "stage:full"}


def test_the_seed_reaches_every_stage_that_gives_none():
    from distill.pipeline.config import settings_of

    zero = {"kind": "rl", "start": "base"}
    pipeline_of = build(
        PipelineConfig,
        {"seed": 5, "stages": {"base": BASE, "zero": zero, "other": {**zero, "config": {"seed": 6}}}},
        source="t",
    )
    assert [settings_of(pipeline_of, name, {}).seed for name in ("zero", "other")] == [5, 6]


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_every_checked_in_pipeline_is_whole(path, capsys):
    check(load(PipelineConfig, path))
    assert pipeline.main(["--config", str(path), "--dry-run"]) == 0
    assert "evaluate (evaluate)" in capsys.readouterr().out


def test_there_are_pipelines_to_check():
    assert {"quickstart", "r1_pipeline_smollm2", "r1_pipeline_qwen2.5_1.5b", "s1_budget"} <= {
        path.stem for path in PIPELINES
    }


def test_an_unknown_stage_is_refused(capsys):
    assert pipeline.main(["--stage", "nought"]) == 2
    assert "--stage must be one of base, zero" in capsys.readouterr().err
