"""Runs that minimise a loss on a corpus: what each finding looks like there, and that a healthy run shows none."""

import json

import pytest

from grpo.doctor.findings import diagnose, verdict

STEPS = 30


def wrote(folder, **curves):
    """A run of `distill.sft` with these metrics: a function of the step each; None where the step has none."""
    healthy = {
        "loss": lambda step: 1.5 * 0.9**step + 0.3 + 0.02 * (step % 3),
        "grad_norm": lambda step: 1.0 + 0.1 * (step % 2),
        "learning_rate": lambda step: 1e-4,
        "eval/loss": lambda step: 1.5 * 0.9**step + 0.35 if step % 5 == 0 else None,
    }
    made = healthy | {name.replace("__", "/"): curve for name, curve in curves.items()}
    rows = [{"step": step} | {name: curve(step) for name, curve in made.items()} for step in range(1, STEPS + 1)]
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text("learning_rate: 1.0e-4\n")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


FAULTS = {
    "rises": ("learning rate too high", {"loss": lambda step: 1.0 + 0.1 * step}),
    "jumps": (
        "learning rate too high",
        {"loss": lambda step: 2.0 - 0.1 * step if step < 16 else 1.9 + 0.01 * (step % 2)},
    ),
    "breaks_at_once": ("learning rate too high", {"loss": lambda step: 0.05 if step == 1 else 40 - step + step % 3}),
    "stays": (
        "learning rate too low",
        {"loss": lambda step: 1.5 + 0.05 * (step % 2), "learning_rate": lambda step: 1e-7},
    ),
    "no_gradient": ("dead adapters", {"loss": lambda step: 1.5 + 0.05 * (step % 2), "grad_norm": lambda step: 0.0}),
    "by_heart": ("memorised prompts", {"eval__loss": lambda step: 1.0 + 0.02 * step if step % 5 == 0 else None}),
    "one_spike": ("gradient spikes", {"grad_norm": lambda step: 80.0 if step == 12 else 1.0}),
}
HEALTHY = {
    "usual": {},
    "noisy": {"loss": lambda step: 1.5 * 0.9**step + 0.3 + 0.4 * (step % 3 == 0)},
    "lucky_first_batch": {"loss": lambda step: 0.3 if step == 1 else 0.6 + 0.3 * (step % 2)},
    "learned_already": {"loss": lambda step: 0.02 + 0.002 * (step % 3), "eval__loss": lambda step: None},
    "a_little_over": {"eval__loss": lambda step: 0.5 + 0.001 * step if step % 5 == 0 else None},
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name, tmp_path):
    wanted, curves = FAULTS[name]
    assert [one.name for one in diagnose(wrote(tmp_path / "run", **curves))] == [wanted]


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_has_no_finding(name, tmp_path):
    assert diagnose(wrote(tmp_path / "run", **HEALTHY[name])) == []


def test_the_verdict_says_that_the_rate_is_too_high(tmp_path):
    found = verdict(wrote(tmp_path / "run", **FAULTS["jumps"][1], eval__loss=lambda step: None))
    assert found.word == "unstable" and "learning rate too high" in found.evidence


@pytest.mark.parametrize(
    ("last", "word"), [(0.018, "learned"), (0.0268, "flat"), (0.0272, "flat"), (0.03, "worse")]
)  # 2% of 0.027: 0.0005
def test_the_verdict_compares_the_first_held_out_loss_with_the_last(last, word, tmp_path):
    evaluated = {5: 0.027, 15: 0.025, 30: last}
    assert verdict(wrote(tmp_path / "run", eval__loss=evaluated.get)).word == word


def test_a_run_that_broke_before_its_first_evaluation_has_not_learned(tmp_path):
    run = wrote(tmp_path / "run", loss=FAULTS["breaks_at_once"][1]["loss"], eval__loss={5: 45.0, 30: 20.0}.get)
    assert verdict(run).word == "unstable"
