"""Runs with users' rewards: what reaches them, what comes back, and what a bad one costs the run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALONE = ["reward_weights.accuracy=null", "reward_weights.format=null", "reward_weights.language=null"]


def test_a_hang_a_crash_and_an_exit_cost_their_batches_and_not_the_run(runs):
    runs.module(
        "breaks",
        """
        import ctypes, os, time
        def hangs(completions, **_):
            time.sleep(600)
        def crashes(completions, **_):
            ctypes.string_at(0)
        def exits(completions, **_):
            os._exit(0)
        def holds(completions, **_):
            return 10 ** (10 ** 10)
    """,
    )
    names = ["breaks:hangs", "breaks:crashes", "breaks:exits", "breaks:holds"]
    run = runs.run("steps=2", "reward_timeout_seconds=0.5", *(f"reward_weights.{name}=0.1" for name in names))
    assert run.code == 0, run.err
    for line in run.metrics:
        for name, kind in zip(names, ("timeout", "died", "died", "timeout"), strict=True):
            assert line[f"rewards/failed/{name}/{kind}"] > 0
        assert line["rewards/missing"] == 0  # the built-in rewards still make a total


def test_what_a_reward_logs_is_in_the_metrics_and_the_completions(runs):
    runs.module(
        "logs",
        """
        def mine(completions, trainer_state, log_extra, log_metric, **_):
            assert trainer_state.max_steps == 2
            log_extra("letters", [len(text) for text in completions])
            log_metric("progress", trainer_state.global_step / trainer_state.max_steps)
            log_metric("loss", 7.0)
            return [0.0] * len(completions)
    """,
    )
    run = runs.run("steps=2", "reward_weights.logs:mine=0.1", "eval_every=0")
    assert run.code == 0, run.err
    assert [line["progress"] for line in run.metrics] == [0.0, 0.5]
    assert all(line["logged/loss"] == 7.0 != line["loss"] for line in run.metrics)
    rows = [row for file in run.completions.values() for row in file]
    assert all(row["logged"] == {"letters": len(row["completion"])} for row in rows)


@pytest.mark.parametrize(("batch", "calls"), [("group", 4), ("step", 2)])
def test_a_reward_is_called_for_each_group_or_once_a_step(runs, batch, calls):
    runs.module(
        "counts",
        """
        rows = []
        def mine(completions, log_metric, answer, **_):
            rows.append(len(completions))
            log_metric("calls", len(rows))
            log_metric("prompts", len(set(answer)))
            return [float(len(text)) for text in completions]
    """,
    )
    settings = ["steps=2", "prompts_per_step=2", "num_updates=1", "eval_every=0", "reward_weights.counts:mine=0.1"]
    run = runs.run(*settings, f"reward_batch={batch}", "reward_process=trainer")
    other = runs.run(*settings, "reward_batch=group", name="other")
    assert run.code == other.code == 0, run.err
    # the mean of what was logged in the second step, the trial before the run being call 1: of 4 and 5, or 3
    assert run.metrics[-1]["calls"] == {4: 4.5, 2: 3.0}[calls]
    for one, by_group in zip(run.metrics, other.metrics, strict=True):
        assert one["rewards/counts:mine/mean"] == by_group["rewards/counts:mine/mean"]
        assert one["reward_std"] == by_group["reward_std"]


@pytest.mark.parametrize("process", ["own", "trainer"])
def test_sigterm_during_a_slow_reward_ends_within_five_seconds(runs, process):
    runs.module(
        "slow",
        f"""
        import pathlib, time
        def mine(completions, trainer_state, **_):
            if trainer_state.global_step == 1:
                pathlib.Path({str(runs.modules / "begun")!r}).touch()
                time.sleep(120)
            return [0.0] * len(completions)
    """,
    )
    command = [sys.executable, "-m", "grpo.train", *runs.arguments("slow", "steps=3", "eval_every=0")]
    running = subprocess.Popen(
        [*command, "reward_weights.slow:mine=0.1", f"reward_process={process}", "reward_timeout_seconds=100"],
        cwd=runs.modules,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{runs.modules}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        waited = time.monotonic() + 60
        while not (runs.modules / "begun").exists():
            assert running.poll() is None and time.monotonic() < waited, running.stdout.read()
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        started = time.monotonic()
        out = running.communicate(timeout=60)[0]
        assert time.monotonic() - started < 5
        assert running.returncode == 143, out
        assert "Traceback" not in out
    finally:
        running.kill()
    assert (runs.folder("slow") / "checkpoints" / "step_000001").exists()


def test_a_reward_that_cannot_be_had_is_one_line(runs):
    runs.module("ends", "import os\nos._exit(9)\n")
    run = runs.run("reward_weights.ends:mine=1")
    assert run.code == 2 and run.err.count("\n") == 1
    assert "reward 'ends:mine': importing it: it ended its process, exit code 9" in run.err
