"""What is refused before anything runs, and that every checked-in pipeline is whole."""

from pathlib import Path

import pytest

from distill.pipeline import __main__ as pipeline
from distill.pipeline.config import PipelineConfig, active, check, gives_adapter, references_by_name
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
        (
            {"b": BASE, "z": {"kind": "rl", "start": "b"}, "p": {"kind": "prune", "start": "z"}},
            "stage p: z is an adapter on its start: prune a model, or z after distill.export",
        ),
        ({"b": BASE, "p": {"kind": "prune", "start": "b"}}, "say which blocks stay (blocks), or how many (keep with"),
        (
            {"b": BASE, "p": {"kind": "prune", "start": "b", "config": {"keep": 2, "blocks": [0, 1]}}},
            "say which blocks stay (blocks), or how many (keep with data)",
        ),
        ({"b": BASE, "p": {"kind": "prune", "start": "b", "config": {"keep": 2}}}, "keep needs data"),
        (
            {"b": BASE, "p": {"kind": "prune", "start": "b", "config": {"blocks": [0], "max_rows": 3}}},
            "max_rows is for keep, and blocks are named",
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
def test_every_checked_in_pipeline_is_whole(path):
    assert "evaluate (evaluate)" in pipeline.plan(load(PipelineConfig, path))


def test_there_are_pipelines_to_check():
    assert {"quickstart", "r1_pipeline_smollm2", "r1_pipeline_qwen2.5_1.5b", "s1_budget"} <= {
        path.stem for path in PIPELINES
    }


def test_an_unknown_stage_is_refused(capsys):
    assert pipeline.main(["--stage", "nought"]) == 2
    assert "--stage must be one of base, zero" in capsys.readouterr().err


GOALS = {"accuracy": "rise"}
ROWS = {"kind": "rows", "config": {"data": "digit_sums", "completion": "{answer}"}}


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (
            {"b": BASE, "z": {"kind": "rl", "start": "b", "goals": {"beauty": "rise"}}},
            "goals names beauty, which is not measured; held_out has accuracy, format, language",
        ),
        ({"r": {**ROWS, "goals": GOALS}}, "stage r: goals need a model that has another to be measured against"),
        ({"b": {**BASE, "goals": GOALS}}, "stage b: goals need a model"),
        ({"b": BASE, "z": {"kind": "rl", "start": "b", "against": "y"}}, "against must be an earlier stage (b), got y"),
        (
            {"b": {**BASE, "control": True}, "z": {"kind": "rl", "start": "b"}},
            "stage z: start b is a control, which is not always run",
        ),
        (
            {"b": BASE, "z": {"kind": "rl", "start": "b", "equal_tokens": ["y"]}},
            "equal_tokens must be an earlier stage (b), got y",
        ),
    ],
)
def test_goals_and_controls_that_cannot_be_are_refused(stages, said):
    with pytest.raises(ConfigError) as error:
        check(made(**stages))
    assert said in str(error.value)


def test_controls_are_run_only_where_they_are_asked_for():
    stages = {"b": BASE, "z": {"kind": "rl", "start": "b"}, "c": {"kind": "rl", "start": "b", "control": True}}
    assert list(active(made(**stages))) == ["b", "z"]
    assert list(active(build(PipelineConfig, {"stages": stages, "controls": True}, source="t"))) == ["b", "z", "c"]


def test_a_reward_is_measured_in_one_place():
    twice = {"stages": {"b": BASE}, "also_held_out": [{"rewards": ["accuracy"]}]}
    with pytest.raises(ConfigError, match="every held-out reward must have one place"):
        check(build(PipelineConfig, twice, source="t"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("stages.base={kind: model, start: /no/such/model}", "model /no/such/model: no such directory"),
        ("stages.cold_start.config.validation_data=none.jsonl", "validation_data none.jsonl: no such file"),
        ("held_out.rewards=[acuracy]", "acuracy"),
        ("stages.zero.config.reward_weights={nosuch: 1.0}", "nosuch"),
    ],
)
def test_a_dry_run_finds_what_a_stage_lacks(change, said, tmp_path, capsys):
    path = tmp_path / "p.yaml"
    path.write_text(
        "stages:\n  base: {kind: miniature}\n  zero: {kind: rl, start: base, config: {template: plain}}\n"
        "  rows: {kind: miniature_rows, config: {rows: clean}}\n"
        "  cold_start: {kind: sft, start: base, take: {data: rows}}\n  evaluate: {kind: evaluate}\n"
    )
    assert pipeline.main(["--config", str(path), "--dry-run", change]) == 2
    assert said in capsys.readouterr().out


def test_a_dry_run_shows_names_escaped(capsys):
    pipeline.main(["--dry-run", "stages.zero.config.data=\x1b]52;c;aGk=\x07.jsonl"])
    shown = "".join(capsys.readouterr())
    assert r"data \x1b]52;c;aGk=\x07.jsonl: no such file" in shown and "\x1b" not in shown and "\x07" not in shown


def test_a_dry_run_says_the_memory_of_every_stage_that_computes(capsys):
    assert pipeline.main(["--dry-run"]) == 0
    said = capsys.readouterr().out
    for name in ("zero (rl)", "cold_start (sft)", "rejection (rejection)", "distill (student)"):
        assert "at most about" in said.partition(f"{name}:")[2].partition("\n\n")[0], name
