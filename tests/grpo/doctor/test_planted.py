"""Real short runs of the embedded model with one fault each: the doctor names it first, and nothing on a healthy run.

A choice of `planted.py`, which makes all of them: `python tests/grpo/doctor/planted.py FOLDER`.
"""

import importlib.util
from pathlib import Path

import pytest

from grpo.doctor.findings import diagnose

SPEC = importlib.util.spec_from_file_location("planted", Path(__file__).with_name("planted.py"))
assert SPEC is not None and SPEC.loader is not None
planted = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(planted)

CHOSEN = (
    "rate_x100",
    "never",
    "cut",
    "leak",
    "pays_length",
    "stop_token",
    "by_prompt",
    "pays_tags",
    "stop_at_answer",
    "raising",
    "repeated_rows",
    "by_gold",
    "pays_characters",
    "pays_overlap",
    "stale",
    "corpus_rate",
    "skilled_dr_grpo",
)
WELL = ("seed_0", "brief", "corpus", "student", "environment")

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.mark.parametrize("name", CHOSEN)
def test_a_planted_fault_comes_first(name, models, tmp_path):
    wanted, settings = planted.FAULTS[name]
    ended = planted.made(tmp_path / "run", models, settings)
    assert ended.returncode == 0, ended.stderr[-800:]
    assert [one.name for one in diagnose(tmp_path / "run")][:1] == [wanted]


@pytest.mark.parametrize("name", WELL)
def test_a_healthy_run_has_no_finding(name, models, tmp_path):
    assert planted.made(tmp_path / "run", models, planted.HEALTHY[name]).returncode == 0
    assert diagnose(tmp_path / "run") == []
