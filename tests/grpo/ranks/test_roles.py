"""Ranks that sample and ranks that learn: the run of one process, with what is sampled ahead as old as it may be."""

import signal
import time

import mlx.core as mx
import pytest

from tests.launching import CLOSE

STEPS = ["steps=5", "prompts_per_step=4", "importance_sampling_cap=2"]
AHEAD = "max_staleness=1"
OLDER = """
from grpo.rollout.source import engine

LEAVES = []

def source(inputs):
    # one process that samples every step by the weights of the step before
    now = inputs.policy.trainable()
    LEAVES.append(now)
    inputs.policy.load_trainable(LEAVES[-2:][0])
    yield from engine(inputs)
    inputs.policy.load_trainable(now)
"""


def alone(launch, *overrides, name="one"):
    started = launch.train(1, *STEPS, *overrides, name=name)
    assert started.wait() == [0], started.said()


def roles(launch, samplers, learners, *overrides, name="roles"):
    started = launch.roles(samplers, learners, *STEPS, *overrides, name=name)
    assert started.wait() == [0] * (samplers + learners), started.said()
    return started


def versions(launch, name):
    return [{row["version"] for row in launch.rows(name, step)} for step in range(1, len(launch.metrics(name)) + 1)]


def test_with_staleness_0_a_sampler_and_a_learner_are_one_process(launch):
    alone(launch)
    started = roles(launch, 1, 1)
    launch.require_same_runs("one", "roles")
    assert versions(launch, "roles") == [{0}, {1}, {2}, {3}, {4}]
    assert "2 processes, 1 of them sample" in started.paths[0].read_text() and started.paths[1].read_text() == ""


def test_one_step_ahead_is_one_process_that_samples_by_the_weights_of_the_step_before(launch):
    launch.runs.module("older", OLDER)
    alone(launch, name="newest")
    alone(launch, "rollout_source=older:source")
    roles(launch, 1, 1, AHEAD)
    launch.require_same_runs("one", "roles")
    assert launch.farthest("newest", "roles") > 10 * CLOSE  # older weights are another run
    assert versions(launch, "roles") == [{0}, {0}, {1}, {2}, {3}]
    metrics = launch.metrics("roles")
    assert [line["sampling/staleness/max"] for line in metrics] == [0, 1, 1, 1, 1]
    assert all(line["time/sampling"] > 0 and line["ranks/bytes"] > 0 for line in metrics)


VARIANTS = {
    "two learners": (1, 2, []),
    "two samplers": (2, 1, []),
    "two of each": (2, 2, ["prompts_per_step=3"]),
    "more samplers than prompts": (3, 1, ["prompts_per_step=2"]),
    "lora, held-out tasks": (1, 2, ["fine_tune=lora", "lora.rank=4", "eval_every=2", "eval_tasks=5"]),
    "several updates": (1, 2, ["num_updates=2", "num_iterations=2", "beta=0.1"]),
    "a reward that wants the step": (2, 1, ["reward_batch=step"]),
    "batch advantages": (2, 2, ["scale_rewards=batch"]),
}


QUICK = ("two of each", "several updates")  # the others run with GRPO_LONG_TESTS=1


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.long]) for name in VARIANTS]
)
def test_any_number_of_samplers_and_learners_gives_the_same(launch, variant):
    samplers, learners, overrides = VARIANTS[variant]
    launch.runs.module("older", OLDER)
    alone(launch, *overrides, "rollout_source=older:source")
    roles(launch, samplers, learners, AHEAD, *overrides)
    launch.require_same_runs("one", "roles")


@pytest.mark.slow
def test_dynamic_sampling_draws_again_when_the_step_begins(launch):
    settings = ["dynamic_sampling=true", 'reward_weights={"accuracy": 1.0, "checked:evens": null}']
    alone(launch, *settings)
    roles(launch, 2, 1, *settings)
    launch.require_same_runs("one", "roles")
    roles(launch, 1, 1, AHEAD, *settings, name="ahead")
    assert all(len(found) <= 2 for found in versions(launch, "ahead"))  # of a first draw and of later ones


@pytest.mark.slow
@pytest.mark.long
def test_sampling_may_run_several_steps_ahead_and_no_prompt_is_lost(launch):
    alone(launch)
    roles(launch, 1, 1, "max_staleness=3")
    metrics = launch.metrics("roles")
    assert all(line["sampling/staleness/max"] <= 3 for line in metrics)
    tasks = {
        name: [[row["task"] for row in launch.rows(name, step)] for step in range(1, 6)] for name in ("one", "roles")
    }
    assert tasks["roles"] == tasks["one"]


@pytest.mark.slow
@pytest.mark.long
def test_it_learns(launch):
    started = launch.roles(1, 1, "steps=40", "prompts_per_step=4", "num_generations=8", AHEAD)
    assert started.wait() == [0, 0], started.said()
    rewards = [line["reward"] for line in launch.metrics("run")]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.1


LONG = ["steps=400", "prompts_per_step=4", "max_completion_length=24", "learning_rate=1e-4"]


def stopped(launch, rank, number, *overrides, learners=1):
    """Send a signal to a rank, of which the last is the sampler, after some steps; all end within 30 s."""
    started = launch.roles(1, learners, *LONG, *overrides)
    launch.wait_for_step("run", 3)
    started.kill(rank, number)
    before = time.monotonic()
    started.wait(40)
    assert time.monotonic() - before < 30
    return started


def saved_steps(launch):
    return sorted(int(path.name.removeprefix("step_")) for path in launch.folder_of("run").glob("checkpoints/step_*"))


@pytest.mark.slow
def test_a_lost_sampler_ends_the_learner_which_saves_and_one_process_goes_on(launch):
    started = stopped(launch, 1, signal.SIGKILL, "save_every=0")
    assert started.processes[0].returncode == 1
    said = started.paths[0].read_text()
    assert "rank 1 (" in said and "is lost" in said and "--resume" in said and "Traceback" not in said
    (saved,) = saved_steps(launch)
    steps = [*LONG, f"steps={saved + 3}", "save_every=0"]
    assert launch.train(1, *steps, resume=True).wait() == [0]
    assert launch.train(1, *steps, name="whole").wait() == [0]
    assert launch.farthest("run", "whole") <= CLOSE


@pytest.mark.slow
def test_a_lost_learner_ends_the_sampler_and_the_newest_checkpoint_is_resumed(launch):
    started = stopped(launch, 0, signal.SIGKILL, "save_every=2", AHEAD)
    assert started.processes[1].returncode == 1
    said = started.paths[1].read_text()
    assert "rank 0 (" in said and "is lost" in said and "Traceback" not in said
    newest = saved_steps(launch)[-1]
    again = launch.roles(1, 1, *LONG, "save_every=2", AHEAD, f"steps={newest + 3}", resume=True)
    assert again.wait() == [0, 0], again.said()
    assert [line["step"] for line in launch.metrics("run")] == list(range(1, newest + 4))
    again = launch.train(1, *LONG, "save_every=2", "max_staleness=0", f"steps={newest + 5}", resume=True)
    assert again.wait() == [0], again.said()  # and in one process


@pytest.mark.slow
@pytest.mark.long
def test_of_two_learners_the_other_saves(launch):
    started = stopped(launch, 0, signal.SIGKILL, "save_every=0", AHEAD, learners=2)
    assert [process.returncode for process in started.processes] == [-signal.SIGKILL, 1, 1]
    (saved,) = saved_steps(launch)
    assert [line["step"] for line in launch.metrics("run")] == list(range(1, saved + 1))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_either_stops_both_after_saving(launch, rank):
    started = stopped(launch, rank, signal.SIGINT, "save_every=0", AHEAD)
    assert [process.returncode for process in started.processes] == [130, 130]
    assert "what was done is saved" in started.paths[0].read_text() and len(saved_steps(launch)) == 1


@pytest.mark.slow
def test_a_sampler_that_fails_ends_the_learner(launch):
    launch.runs.module(
        "falling",
        """
        CALLS = []

        def source(inputs):
            from grpo.rollout.source import engine

            CALLS.append(1)
            if len(CALLS) == 3:
                raise RuntimeError("out of order")
            return engine(inputs)
        """,
    )
    started = launch.roles(1, 1, "steps=9", "rollout_source=falling:source")
    assert started.wait() == [1, 1]
    assert "rank 1 (" in started.paths[0].read_text() and "RuntimeError: out of order" in started.paths[0].read_text()
    assert saved_steps(launch)[-1] == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--samplers", "1"], "--samplers 1 --learners 1 are 2 processes, got 1: mlx.launch -n 2 --"),
        (["--samplers", "-1"], "--samplers must be at least 0 and --learners at least 1, got -1 and 1"),
        (["--learners", "2"], "--learners 2 needs --samplers"),
        (["max_staleness=1"], "max_staleness must be 0 without rollout.url or --samplers, got 1"),
    ],
)
def test_roles_that_can_not_be_are_one_line(runs, arguments, reason):
    run = runs.run(*arguments)
    assert run.code == 2 and reason in run.err and run.err.count("\n") == 1


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["rollout.url=http://127.0.0.1:9"], "--samplers 1 and rollout.url both say who samples"),
        (["tensor_parallel=true"], "--samplers 1 needs tensor_parallel false"),
    ],
)
def test_settings_that_samplers_can_not_follow_are_one_line(runs, monkeypatch, overrides, reason):
    monkeypatch.setattr("grpo.ranks.settings.world", lambda: 2)
    run = runs.run("--samplers", "1", "fine_tune=lora", *overrides)
    assert run.code == 2 and reason in run.err and run.err.count("\n") == 1


def test_importance_weights_are_on_where_older_adapters_sample():
    from grpo.config import Config

    assert Config(max_staleness=1).importance_sampling_cap == 2.0
    assert Config(max_staleness=1, importance_sampling_cap=None).importance_sampling_cap is None


def test_the_adapter_is_what_crosses(launch):
    started = launch.roles(1, 1, "steps=2", "fine_tune=lora", "lora.rank=4", AHEAD)
    assert started.wait() == [0, 0], started.said()
    leaves = mx.load(str(launch.folder_of("run") / "adapters.safetensors"))
    adapter = sum(leaf.nbytes for leaf in leaves.values())
    # once a step, and besides it headers and the learner's part of what is gathered, which is padded to the samples
    assert all(adapter < line["ranks/bytes"] < adapter + 100_000 for line in launch.metrics("run"))
