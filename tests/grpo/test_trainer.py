"""Whole runs of a few steps: what they leave behind, and that after a stop they go on with the same bits."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest

from grpo.learner.learner import Learner
from grpo.rollout.engine import _Engine
from grpo.runs import checkpoint
from grpo.runs.interrupt import StopFlag
from grpo.scoring import coin_flips
from grpo.trainer import Trainer

ROOT = Path(__file__).parents[2]
NOT_COMPARED = ("time", "seconds", "per_second", "bytes")


def adapter(run):
    return (run.folder / "adapters.safetensors").read_bytes()


def compared(run):
    """Metrics of every step but those that measure the machine."""
    return [{k: v for k, v in line.items() if not any(part in k for part in NOT_COMPARED)} for line in run.metrics]


def assert_same_run(run, other):
    assert compared(run) == compared(other)
    assert adapter(run) == adapter(other)
    assert (run.summary["before"], run.summary["after"]) == (other.summary["before"], other.summary["after"])
    assert run.completions == other.completions


class Killed(BaseException):
    """Stands for SIGKILL in the test's own process: nothing may catch it. One test below sends the real signal."""


def at_step(monkeypatch, step, action, owner=Learner, name="learn"):
    """Do something after `owner.name` of that step, once."""
    plain, done = getattr(owner, name), []

    def wrapped(self, *arguments, **options):
        result = plain(self, *arguments, **options)
        if not done and (arguments[-1] if name == "learn" else arguments[0]) == step:
            done.append(True)
            action()
        return result

    monkeypatch.setattr(owner, name, wrapped)


def kill():
    raise Killed


def terminate():
    signal.raise_signal(signal.SIGTERM)


VARIANTS = {
    "full": [],
    "two updates, two passes": ["num_updates=2", "num_iterations=2"],
    "adapters": ["fine_tune=lora", "lora.rank=4"],
    "adapters of one block": ["fine_tune=lora", "lora.rank=4", "lora.layers=1", "lr_schedule=cosine", "warmup_steps=2"],
    "adapters with dropout": ["fine_tune=lora", "lora.rank=4", "lora.dropout=0.3"],
    "dynamic sampling": ["dynamic_sampling=true", "group_filter=picky:odd"],
    "curriculum and replay": [
        "pass_reward=checked:evens",
        "curriculum_mastered=0.6",
        "replay_size=2",
        "replay_below=1",
    ],
    "reference that moves": ["fine_tune=lora", "sync_ref_model=true", "ref_model_sync_steps=1", "beta=0.5"],
    "reference as a moving average": ["sync_ref_model=true", "ref_model_sync_steps=1", "ref_model_mixup_alpha=0.4"],
    "adaptive coefficients": ["kl_target=0.001", "kl_horizon=2", "use_adaptive_entropy=true", "entropy_target=5"],
    "corrections": ["importance_sampling_cap=2", "num_iterations=2", "top_entropy_quantile=0.5", "covariance=kl_cov"],
    "muon": ["optimizer=muon", "lr_schedule=cosine", "lr_cycles=2"],
    "muon on adapters of two rates": ["fine_tune=lora", "lora.rank=4", "optimizer=muon", "lora_plus_ratio=4"],
    "dora": ["fine_tune=dora", "lora.rank=4", "lora.rank_stabilised=true", "beta=0.5"],
    "the last block": ["full_layers=1"],
    "evaluations": ["eval_every=1", "eval_tasks=4", "eval_greedy=true"],
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("save_every", [1, 2])
def test_a_killed_run_goes_on_with_the_same_bits(runs, monkeypatch, variant, save_every):
    settings = ["steps=4", f"save_every={save_every}", *VARIANTS[variant]]
    runs.module("picky", "def odd(group, rewards):\n    return int(sum(rewards) * 100) % 2 == 1")
    whole = runs.run(*settings)
    at_step(monkeypatch, 2, kill)  # in the third step, after its update: with save_every 2 that step is not saved
    with pytest.raises(Killed):
        runs.run(*settings, name="killed")
    cut = runs.run(*settings, name="killed", resume=True)
    assert cut.code == 0 and f"resuming from {cut.folder / 'checkpoints' / 'step_000002'}" in cut.out
    assert_same_run(cut, whole)


def test_a_run_from_an_adapter_goes_on_with_the_same_reference(runs, monkeypatch, tmp_path):
    first = runs.run("steps=2", "fine_tune=lora", "lora.rank=4", name="first")
    settings = ["steps=4", "save_every=1", "fine_tune=lora", f"adapter={first.folder}", "beta=0.5"]
    whole = runs.run(*settings)
    assert whole.metrics[0]["kl"] == 0.0 and whole.metrics[1]["kl"] > 0
    at_step(monkeypatch, 2, kill)
    with pytest.raises(Killed):
        runs.run(*settings, name="killed")
    (first.folder / "adapters.safetensors").unlink()  # the run has its own copy
    assert_same_run(runs.run(*settings, name="killed", resume=True), whole)


def terminate_while_decoding(monkeypatch, stream):
    plain, steps = _Engine._look_at, []

    def looked(engine, last):
        if (engine.request.stream, engine.request.step) == (stream, 2):
            steps.append(True)
            if len(steps) == 3:
                terminate()
        return plain(engine, last)

    monkeypatch.setattr(_Engine, "_look_at", looked)


@pytest.mark.parametrize("during", ["learning", "sampling", "evaluating"])
def test_a_signal_saves_and_the_resumed_run_is_the_uninterrupted_one(runs, monkeypatch, during):
    settings = ["steps=4", "save_every=0", "eval_every=2", "eval_tasks=4"]
    whole = runs.run(*settings)
    if during == "learning":
        at_step(monkeypatch, 1, terminate)
    else:  # in the middle of sampling the third step, or the evaluation after the second
        terminate_while_decoding(monkeypatch, "train" if during == "sampling" else "eval")
    stopped = runs.run(*settings, name="stopped")
    assert stopped.code == 143 and "stopped by SIGTERM; what was done is saved" in stopped.out
    assert list((stopped.folder / "checkpoints").glob("step_*")) and not (stopped.folder / "summary.json").exists()
    assert_same_run(runs.run(*settings, name="stopped", resume=True), whole)


def test_a_signal_before_the_first_step_is_done_starts_over(runs, monkeypatch):
    settings = ["steps=2", "eval_every=1", "eval_tasks=4"]
    whole = runs.run(*settings)
    at_step(monkeypatch, 0, terminate, Trainer, "_evaluate")
    assert runs.run(*settings, name="stopped").code == 143
    assert_same_run(runs.run(*settings, name="stopped", resume=True), whole)


def command(runs, name, *settings, resume=False):
    arguments = [*runs.arguments(name, *settings), *(["--resume"] if resume else [])]
    return [sys.executable, "-m", "grpo.train", *arguments]


def environment(runs):
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{runs.modules}"}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_process_that_is_stopped_for_real(runs, number, code):
    settings = ["steps=4", "save_every=1"]
    whole = runs.run(*settings)
    slow = [
        *settings,
        "reward_weights.slow_once:evens=0",
    ]  # tried once, then waits in the third step until it is stopped
    runs.module(
        "slow_once",
        f"""
        import os, time
        calls = []
        def evens(completions, **_):
            calls.append(1)
            while len(calls) > 5 and not os.path.exists({str(runs.modules / "go")!r}):
                time.sleep(0.05)
            return [None] * len(completions)
    """,
    )
    process = subprocess.Popen(
        command(runs, "stopped", *slow),
        cwd=runs.modules,
        env=environment(runs),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        waited = time.monotonic() + 60
        while not (runs.folder("stopped") / "checkpoints" / "step_000002").exists():
            assert process.poll() is None and time.monotonic() < waited, process.stdout.read().decode()
            time.sleep(0.05)
        process.send_signal(number)
        (runs.modules / "go").touch()
        out = process.communicate(timeout=60)[0].decode()
        assert process.returncode == code, out
        assert "Traceback" not in out
    finally:
        process.kill()
    again = runs.run(*slow, name="stopped", resume=True)
    assert compared(again) == compared(whole) and adapter(again) == adapter(whole)


def test_a_run_whose_terminal_is_closed_is_saved(runs):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(runs, "closed", "steps=500", "save_every=500"),
        cwd=runs.modules,
        env=environment(runs),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # the terminal's own session, as in a window
    )
    os.close(theirs)
    said = b""
    while b"step 2/" not in said:
        said += os.read(ours, 4096)
    os.close(ours)
    try:
        assert process.wait(60) == 129
    finally:
        process.kill()
    assert list((runs.folder("closed") / "checkpoints").glob("step_*"))
    assert "stopped by SIGHUP" in (runs.folder("closed") / "log.txt").read_text()


def test_a_second_signal_ends_at_once(monkeypatch):
    ended = []
    with StopFlag() as stop:
        terminate()
        assert (stop.received, ended) == (signal.SIGTERM, [])
        monkeypatch.setattr(signal, "raise_signal", ended.append)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
    assert ended == [signal.SIGTERM]  # with the default action back in place


def test_a_damaged_checkpoint_costs_its_steps_only(runs):
    settings = ["steps=4", "save_every=1"]
    whole = runs.run(*settings)
    cut = runs.run("steps=3", "save_every=1", name="cut")
    state = cut.folder / "checkpoints" / "step_000003" / "optimizer.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    again = runs.run(*settings, name="cut", resume=True)
    assert "warning: checkpoint step_000003 is damaged" in again.out and "step_000002" in again.out
    assert compared(again) == compared(whole) and adapter(again) == adapter(whole)


def test_a_run_may_be_made_longer(runs):
    whole = runs.run("steps=4")
    runs.run("steps=2", name="short")
    longer = runs.run("steps=4", name="short", resume=True)
    assert compared(longer) == compared(whole) and adapter(longer) == adapter(whole)


def test_the_same_config_gives_the_same_bits_and_another_seed_others(runs):
    one, same, other = (
        runs.run("steps=2"),
        runs.run("steps=2", name="same"),
        runs.run("steps=2", "seed=1", name="other"),
    )
    assert_same_run(same, one)
    assert adapter(other) != adapter(one) and compared(other) != compared(one)


# What a run writes


def test_a_lone_run_says_what_it_did_in_every_file(runs):
    run = runs.run("steps=3", "save_every=1", "keep_checkpoints=2", "eval_every=2", "eval_tasks=4", "eval_greedy=true")
    assert run.code == 0 and run.err == ""
    names = {path.name for path in run.folder.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "completions", "checkpoints", "adapters.safetensors"} <= names
    assert {"adapter_config.json", "summary.json"} <= names and any("tfevents" in name for name in names)
    assert sorted(path.name for path in (run.folder / "checkpoints").iterdir()) == ["step_000002", "step_000003"]
    assert [line["step"] for line in run.metrics] == [1, 2, 3]
    assert ["eval/mean_length" in line for line in run.metrics] == [
        False,
        True,
        False,
    ]  # before and after: summary.json
    assert set(run.summary) >= {"before", "after", "seconds", "steps", "seed"}
    assert (run.summary["steps"], run.summary["seed"], run.summary["before"]["tasks"]) == (3, 0, 4)
    assert run.summary["before"].keys() == run.summary["after"].keys() >= {"tasks", "greedy", "checked:evens"}
    published, kept = (
        json.loads((path / "adapter_config.json").read_text())
        for path in (run.folder, run.folder / "checkpoints" / "step_000003")
    )
    assert published == kept
    assert checkpoint.newest(run.folder / "checkpoints")[0].name == "step_000003"


def test_trls_metric_names_are_used(runs):
    run = runs.run("steps=1")
    wanted = "reward reward_std rewards/checked:evens/mean kl entropy clip_ratio/low_mean clip_ratio/high_mean "
    wanted += (
        "completions/mean_length completions/clipped_ratio frac_reward_zero_std grad_norm learning_rate step_time "
    )
    wanted += "num_tokens sampling/sampling_logp_difference/mean loss"
    assert set(wanted.split()) <= run.metrics[0].keys()
    assert all(isinstance(value, int | float) for value in run.metrics[0].values())


def test_completions_of_the_last_step_are_saved_whatever_the_interval(runs):
    files = (runs.run("steps=4", "completions_every=2").folder / "completions").iterdir()
    assert sorted(path.name for path in files) == [f"step_00000{step}.jsonl" for step in (1, 3, 4)]


def test_metrics_are_what_the_completions_say(runs):
    run = runs.run("steps=2")
    total = 0
    for line, rows in zip(run.metrics, run.completions.values(), strict=True):
        rewards = np.array([row["reward"] for row in rows]).reshape(2, 4)  # [prompts, samples]
        lengths = np.array([row["tokens"] for row in rows])
        total += lengths.sum()
        assert line["reward"] == pytest.approx(rewards.mean())
        assert line["reward_std"] == pytest.approx(rewards.std(axis=1, ddof=1).mean(), rel=1e-5)
        assert line["frac_reward_zero_std"] == pytest.approx((rewards.std(axis=1) == 0).mean())
        assert line["completions/mean_length"] == pytest.approx(lengths.mean())
        assert line["completions/clipped_ratio"] == np.mean([row["stop_reason"] == "length" for row in rows])
        assert line["num_tokens"] == total
        spread = rewards.std(axis=1, ddof=1, keepdims=True)
        advantages = np.array([row["advantage"] for row in rows]).reshape(2, 4)
        np.testing.assert_allclose(
            advantages, (rewards - rewards.mean(axis=1, keepdims=True)) / (spread + 1e-4), atol=1e-5
        )


def test_a_reward_belongs_to_its_completion_whichever_group_ends_first(runs, monkeypatch):
    ended, plain = [], _Engine._group
    monkeypatch.setattr(_Engine, "_group", lambda engine, index: (ended.append(index), plain(engine, index))[1])
    runs.module("short", "def reward(completion_ids, **_):\n    return [1 / len(ids) for ids in completion_ids]\n")
    settings = ["steps=3", "prompts_per_step=4", "max_completion_length=40", "reward_weights={'short:reward': 1}"]
    run = runs.run(*settings)
    assert ended != [0, 1, 2, 3] * 3  # or there is nothing to see here
    for rows in run.completions.values():
        assert [row["reward"] for row in rows] == pytest.approx([1 / row["tokens"] for row in rows])
        assert len({row["prompt"] for row in rows}) == 4


def test_step_0_is_the_reference_and_the_sampler(runs):
    line = runs.run("steps=1", "beta=0.5").metrics[0]
    assert line["kl"] == 0.0 and line["sampling/sampling_logp_difference/mean"] < 1e-5 and line["grad_norm"] > 0


def test_without_evaluations_there_is_no_before(runs):
    summary = runs.run("steps=1").summary
    assert summary["before"] is None and summary["after"] is None


def test_every_epoch_goes_through_all_tasks_in_another_order(runs):
    rows = "".join(f'{{"prompt": "{n} + 1 + 1 =", "answer": "{n + 2}"}}\n' for n in range(6))
    data = runs.file("six.jsonl", rows)
    run = runs.run("steps=9", f"data={data}", "data_options.test_size=1", "max_completion_length=2")
    asked = [row["prompt"] for rows in run.completions.values() for row in rows][::4]  # 18 groups of four
    epochs = [asked[i : i + 5] for i in (0, 5, 10)]
    assert all(len(set(epoch)) == 5 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


# Rewards that fail, and the control


BAD_REWARDS = {
    "raises": ("raise ValueError('no')", "raised"),
    "hangs": ("time.sleep(1.5)", "timeout"),
    "too short": ("return [1.0]", "wrong_length"),
    "not a number": ("return [float('nan')] * len(completions)", "not_finite"),
    "not a list": ("return 1.0", "not_a_list"),
}


@pytest.mark.parametrize("fault", BAD_REWARDS)
def test_a_bad_reward_is_counted_and_the_run_goes_on_as_if_it_were_not_there(runs, fault):
    body, kind = BAD_REWARDS[fault]
    tried = "if 'made up' in completions[0]: return [0.0] * len(completions)"  # or it is refused before the run
    runs.module("bad", f"import time\ndef reward(completions, **_):\n    {tried}\n    {body}\n")
    whole = runs.run("steps=2")
    settings = ["steps=2", "reward_weights.bad:reward=5", "reward_timeout_seconds=0.4"]
    run = runs.run(*settings, name="bad")
    assert run.code == 0
    assert [line[f"rewards/failed/bad:reward/{kind}"] for line in run.metrics] == [8, 8]  # all completions of a step
    assert run.out.count("reward bad:reward: ") == 1  # said once a kind, not once a step
    assert adapter(run) == adapter(whole)
    assert "NaN" not in (run.folder / "metrics.jsonl").read_text()


def test_gates_bounds_and_each_reward_normalised_on_its_own_reach_the_advantages(runs):
    runs.module(
        "mine",
        "def length(completion_ids, **_):\n    return [float(len(ids)) for ids in completion_ids]\n"
        "def odd(completion_ids, **_):\n    return [float(len(ids) % 2) for ids in completion_ids]\n",
    )
    run = runs.run(
        "steps=2",
        "max_completion_length=9",
        "reward_weights={'mine:length': 0.1, 'mine:odd': 1}",
        "reward_clip.mine:length=[0, 6]",
        "reward_gates.mine:length=mine:odd",
        "multi_objective_aggregation=normalize_then_sum",
    )
    assert run.code == 0
    for line, rows in zip(run.metrics, run.completions.values(), strict=True):
        tokens = np.array([row["tokens"] for row in rows], dtype=np.float64).reshape(2, 4)  # [prompts, samples]
        odd = tokens % 2
        counted = np.minimum(tokens, 6) * odd
        assert [row["reward"] for row in rows] == pytest.approx((0.1 * counted + odd).ravel())
        assert line["rewards/mine:length/gated"] == pytest.approx((odd == 0).mean())
        assert line["rewards/mine:length/clipped"] == pytest.approx((tokens > 6).mean())
        summed = sum(
            weight * (r - r.mean(axis=1, keepdims=True)) / (r.std(axis=1, ddof=1, keepdims=True) + 1e-4)
            for weight, r in ((0.1, counted), (1.0, odd))
        )
        expected = summed / (summed.std(ddof=1) + 1e-4)
        np.testing.assert_allclose([row["advantage"] for row in rows], expected.ravel(), atol=1e-4)


def test_a_step_without_any_reward_changes_nothing(runs):
    runs.module("silent", "def reward(completions, **_):\n    return [None] * len(completions)\n")
    run = runs.run("steps=1", "reward_weights={'silent:reward': 1}", "beta=0")
    assert [line["rewards/missing"] for line in run.metrics] == [8]
    assert [line["updates/skipped"] for line in run.metrics] == [1]
    assert "NaN" not in (run.folder / "metrics.jsonl").read_text()


def test_the_control_does_not_use_the_rewards(runs):
    runs.module(
        "odds", "def reward(completion_ids, **_):\n    return [float(len(ids) % 2) for ids in completion_ids]\n"
    )
    one = runs.run("steps=3", "control=random_reward")
    other = runs.run("steps=3", "control=random_reward", "reward_weights={'odds:reward': 1}", name="other")
    assert adapter(one) == adapter(other)
    assert adapter(one) != adapter(runs.run("steps=3", name="real"))
    for step, line in enumerate(one.metrics):
        assert line["reward"] == pytest.approx(float(coin_flips(runs.config(), step).mean()))
    measured = [line["rewards/checked:evens/mean"] for line in one.metrics]
    assert len(measured) == 3 and measured != [line["reward"] for line in one.metrics]


# The disk


def full_disk(monkeypatch, step):
    plain = checkpoint.save

    def save(folder, at, **parts):
        if at >= step:
            with monkeypatch.context() as patch:
                patch.setattr(checkpoint.shutil, "disk_usage", lambda _: type("usage", (), {"free": 1 << 20}))
                return plain(folder, at, **parts)
        return plain(folder, at, **parts)

    monkeypatch.setattr(checkpoint, "save", save)


def writer_fails(monkeypatch, step):
    """As mlx's own writer reports a disk that fills up while it writes: RuntimeError, no errno."""
    import mlx.core as mx

    plain = mx.save_safetensors

    def save(path, *rest, **options):
        if f"{step:06d}" in path:
            raise RuntimeError("[write] Unable to write 4096 bytes to file")
        plain(path, *rest, **options)

    monkeypatch.setattr(mx, "save_safetensors", save)


@pytest.mark.parametrize("fault", [full_disk, writer_fails])
def test_a_full_disk_ends_the_run_in_one_line_and_loses_nothing(runs, monkeypatch, fault):
    whole = runs.run("steps=4", "save_every=1")
    with monkeypatch.context() as patch:
        fault(patch, 3)
        run = runs.run("steps=4", "save_every=1", name="full")
    assert run.code == 2
    assert run.err.count("\n") == 1 and "what was saved before is whole: make room and go on with: " in run.err
    assert checkpoint.newest(run.folder / "checkpoints")[0].name == "step_000002"
    assert_same_run(runs.run("steps=4", "save_every=1", name="full", resume=True), whole)
