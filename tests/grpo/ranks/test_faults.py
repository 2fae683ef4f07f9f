"""A rank that is killed, stopped or different ends the others, with a checkpoint that any number of ranks resumes."""

import random
import shutil
import signal
import time

import pytest

from tests.launching import CLOSE

LONG = ["prompts_per_step=4", "save_every=0", "max_completion_length=24", "learning_rate=1e-4"]
ENDS_WITHIN = 30.0


def killed(launch, count, rank, number=signal.SIGKILL, *, steps=400, after=3, pause=0.0, name="run"):
    """Start a run, kill one rank after some steps, and return the launched processes, all ended."""
    started = launch.train(count, f"steps={steps}", *LONG, name=name)
    launch.wait_for_step(name, after)
    time.sleep(pause)
    started.kill(rank, number)
    before = time.monotonic()
    started.wait(ENDS_WITHIN + 10)
    assert time.monotonic() - before < ENDS_WITHIN
    return started


def steps_saved(launch, name="run"):
    return sorted(int(path.name.removeprefix("step_")) for path in launch.folder_of(name).glob("checkpoints/step_*"))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_others_with_a_checkpoint(launch, rank):
    started = killed(launch, 2, rank)
    assert started.processes[rank].returncode == -signal.SIGKILL
    assert started.processes[1 - rank].returncode == 1
    said = started.paths[1 - rank].read_text()
    assert f"rank {rank} (" in said and "is lost" in said and "--resume" in said and "Traceback" not in said
    (saved,) = steps_saved(launch)
    assert [line["step"] for line in launch.metrics("run")] == list(range(1, saved + 1))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("resumed", [1, 2, 3])
def test_a_run_goes_on_with_any_number_of_processes_to_the_same_result(launch, seed, resumed):
    draw = random.Random(seed * 10 + resumed)
    killed(launch, 2, draw.randrange(2), pause=draw.random(), after=2)
    (saved,) = steps_saved(launch)
    steps = [f"steps={saved + 3}", *LONG]
    again = launch.train(resumed, *steps, resume=True)
    assert again.wait() == [0] * resumed, again.said()
    assert launch.train(1, *steps, name="whole").wait() == [0]
    assert launch.farthest("run", "whole") <= CLOSE
    assert [line["step"] for line in launch.metrics("run")] == list(range(1, saved + 4))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_four_processes_killed_at_a_random_moment_go_on_as_one_and_as_three(launch, seed):
    draw = random.Random(100 + seed)
    killed(launch, 4, draw.randrange(4), after=draw.randrange(1, 5), pause=2 * draw.random())
    (saved,) = steps_saved(launch)
    steps = [f"steps={saved + 3}", *LONG]
    assert launch.train(1, *steps, name="whole").wait() == [0]
    for resumed in (1, 3):
        name = f"resumed_{resumed}"
        shutil.copytree(launch.folder_of("run"), launch.folder_of(name))
        again = launch.train(resumed, *steps, name=name, resume=True)
        assert again.wait() == [0] * resumed, again.said()
        assert launch.farthest(name, "whole") <= CLOSE
        assert [line["step"] for line in launch.metrics(name)] == list(range(1, saved + 4))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_rank_stops_all_after_saving(launch, rank):
    started = killed(launch, 2, rank, signal.SIGINT)
    assert [process.returncode for process in started.processes] == [130, 130]
    assert "what was done is saved" in started.paths[0].read_text() and started.paths[1].read_text() == ""
    assert len(steps_saved(launch)) == 1


@pytest.mark.slow
def test_a_rank_that_is_frozen_is_lost(launch):
    started = launch.train(2, "steps=400", *LONG)
    launch.wait_for_step("run", 2)
    started.kill(1, signal.SIGSTOP)
    assert started.processes[0].wait(ENDS_WITHIN) == 1
    assert "nothing was heard of it for" in started.paths[0].read_text()
    assert len(steps_saved(launch)) == 1


def test_other_settings_are_refused(launch):
    arguments = [launch.runs.arguments("run", f"steps={steps}") for steps in (1, 2)]
    started = launch.start(2, "grpo.train", *arguments)
    assert started.wait() == [2, 2]
    said = started.paths[0].read_text()
    assert said.startswith("error: the ranks differ in steps: rank 0 has 1, rank 1 (") and "has 2;" in said
    assert started.paths[1].read_text() == "" and not launch.folder_of("run").exists()


@pytest.mark.slow
def test_a_rank_that_fails_ends_the_others(launch):
    launch.runs.module(
        "falling",
        """
        import os

        def advantage(inputs):
            if os.environ["MLX_RANK"] == "1" and CALLS.append(1) is None and len(CALLS) == 3:
                raise RuntimeError("out of order")
            return inputs.rewards

        CALLS = []
        """,
    )
    started = launch.train(2, "steps=9", *LONG, "advantage=falling:advantage")
    assert started.wait() == [1, 1]
    assert "rank 1 (" in started.paths[0].read_text() and "RuntimeError: out of order" in started.paths[0].read_text()
    assert steps_saved(launch) == [2]


def test_a_command_for_one_process_is_refused(launch):
    started = launch.start(2, "distill.pipeline", ["--output", str(launch.folder_of("pipeline"))])
    assert started.wait() == [2, 2]
    assert "this command runs in one process, 2 were launched" in started.paths[0].read_text()
