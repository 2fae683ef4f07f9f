"""The command: what it refuses, and in how many words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from grpo.config import load_config
from grpo.runs import checkpoint
from grpo.train import main

ROOT = Path(__file__).parents[2]


def refused(run, *words):
    """Exit 2, one line on stderr that holds these words, no traceback."""
    assert run.code == 2, run.err
    assert run.err.startswith("error: ") and run.err.count("\n") == 1 and len(run.err) < 1000
    for word in words:
        assert word in run.err
    assert "Traceback" not in run.err + run.out
    return True


BAD_OVERRIDES = {
    "learning_rat=1": "unknown key learning_rat (did you mean learning_rate?)",
    "steps=-3": "steps",
    "steps=many": "steps",
    "num_generations=1": "num_generations",
    "loss_type=grop": "loss_type",
    "top_p=0.9": "top_p must be 1 in training",
    "prompts_per_step=3 num_updates=2": "prompts_per_step must be a multiple of num_updates",
    "max_rows=2": "max_rows must be at least num_generations",
    "loss_type=cispo": "epsilon_high",
    "steps": "must look like key=value",
    "reward_weights.accuracyy=1": "unknown reward 'accuracyy'",
    "reward_weights.nowhere:f=1": "module nowhere not imported",
    "data=no_such_env": "no environment is called 'no_such_env'",
    "data=none.jsonl": "none.jsonl",
    "data_options.nonesuch=1": "has no option 'nonesuch'",
    "model=./none": "model ./none: no such directory",
    "template=chat": "needs a model with a chat template",
    "max_prompt_length=2": "longer than max_prompt_length 2",
    "fine_tune=lora lora.targets=[nonesuch]": "has no linear layer",
    "fine_tune=lora adapter=./none": "adapter ./none",
}


@pytest.mark.parametrize("overrides", BAD_OVERRIDES)
def test_a_wrong_setting_is_one_line(runs, overrides):
    assert refused(runs.run(*overrides.split()), BAD_OVERRIDES[overrides])


BAD_DATA = {
    "nothing": "",
    "no prompt": '{"foo": 1}\n{"bar": 2}\n',
    "broken JSON": '{"question": "1+1?", "answer": "2"\n',
}


@pytest.mark.parametrize("fault", BAD_DATA)
def test_data_without_a_task_is_one_line(runs, fault):
    path = runs.file("bad.jsonl", BAD_DATA[fault])
    assert refused(runs.run(f"data={path}"), str(path))


BAD_CONFIGS = {"bad YAML": "steps: [1\n", "unknown key": "stepz: 3\n", "wrong type": "steps: many\n", "a list": "- 1\n"}


@pytest.mark.parametrize("fault", BAD_CONFIGS)
def test_a_bad_config_file_is_one_line(runs, fault):
    path = runs.file("bad.yaml", BAD_CONFIGS[fault])
    assert refused(runs.main("--config", str(path), "--output", str(runs.folder("bad"))), str(path))
    assert not runs.folder("bad").exists()


def test_a_missing_config_file_is_one_line(runs):
    assert refused(runs.main("--config", "none.yaml", "--output", str(runs.folder("bad"))), "none.yaml")


@pytest.mark.parametrize("content", [None, "{}", '{"model_type": "llama"}'])
def test_a_model_directory_without_weights_is_one_line(runs, content):
    folder = runs.modules / "model"
    folder.mkdir()
    if content is not None:
        (folder / "config.json").write_text(content)
    assert refused(runs.run(f"model={folder}"), str(folder), "can't be loaded")


def test_what_was_refused_can_be_put_right_in_the_same_directory(runs):
    for wrong in ("model=./none", "data=none.jsonl", "max_prompt_length=2", "template=chat"):
        assert refused(runs.run(wrong))
    assert runs.run("steps=1").code == 0


# The run directory


def test_a_run_is_not_written_over(runs):
    run = runs.run("steps=1")
    before = (run.folder / "metrics.jsonl").read_bytes()
    assert refused(runs.run("steps=1"), "holds a run already", "--resume")
    assert (run.folder / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("change", ["seed=1", "beta=0.5", "num_generations=8", "reward_weights.format=1"])
def test_a_run_is_not_resumed_with_other_settings(runs, change):
    run = runs.run("steps=1")
    before = (run.folder / "metrics.jsonl").read_bytes()
    assert refused(runs.run("steps=1", change, resume=True), "can't resume", change.partition("=")[0].partition(".")[0])
    assert (run.folder / "metrics.jsonl").read_bytes() == before


def test_a_run_directory_in_use_is_left_alone(runs):
    with checkpoint.lock(runs.folder("run")):
        assert refused(runs.run("steps=1"), "is in use by another run")


def test_resuming_where_there_is_nothing_starts(runs):
    assert runs.run("steps=1", resume=True).code == 0


@pytest.mark.parametrize("text", ['{"steps": Infinity}', "[" * 100_000, "[1]", '{"steps": "', "\0\0"])
def test_a_damaged_summary_is_written_again(runs, text):
    summary = runs.run("steps=1", "save_every=1").folder / "summary.json"
    summary.write_text(text)
    assert runs.run("steps=1", "save_every=1", resume=True).code == 0
    assert json.loads(summary.read_text())["steps"] == 1


def test_resuming_a_finished_run_changes_nothing(runs):
    run = runs.run("steps=2", "eval_every=1", "eval_tasks=2")
    again = runs.run("steps=2", "eval_every=1", "eval_tasks=2", resume=True)
    assert again.code == 0
    assert (again.summary["before"], again.summary["after"]) == (run.summary["before"], run.summary["after"])
    assert again.metrics == run.metrics
    assert f"{run.folder} is finished: 2 of 2 steps" in again.out and f"grpo.evaluate {run.folder}" in again.out
    assert refused(runs.run("steps=2", "eval_every=1", "eval_tasks=2", "seed=5", resume=True), "seed was 0, now 5")


def test_resuming_needs_nothing_but_the_directory(runs):
    run = runs.run("steps=1")
    assert runs.main("--output", str(run.folder), "--resume").code == 0


def test_more_steps_are_resumed_from_the_recorded_settings(runs):
    whole = runs.run("steps=2", "beta=0.5", name="whole")
    run = runs.run("steps=1", "beta=0.5")
    more = runs.main("--output", str(run.folder), "--resume", "steps=2")  # neither the file nor beta is said again
    assert more.code == 0 and "steps was 1, is 2 from here on" in more.out
    assert [line["step"] for line in more.metrics] == [1, 2]
    assert (more.folder / "adapters.safetensors").read_bytes() == (whole.folder / "adapters.safetensors").read_bytes()


def test_a_resumed_run_refuses_only_what_was_typed(runs):
    run = runs.run("steps=1", "beta=0.5", "prompts_per_step=1")
    refusal = runs.main("--output", str(run.folder), "--resume", "steps=2", "epsilon=0.1")
    assert refused(refusal, "epsilon was 0.2, now 0.1 (the command line)", "What may change: ", "steps")
    assert "beta" not in refusal.err and "more:" not in refusal.err


def test_the_quickstart_is_for_the_miniature_alone(runs, miniature_model):
    run = runs.main(
        *("--output", str(runs.folder("own")), f"model={miniature_model}", "template=plain", "steps=1"),
        *("num_generations=4", "max_completion_length=4"),
    )
    assert run.code == 0, run.err
    recorded = load_config(run.folder / "config.yaml")
    assert (recorded.fine_tune, recorded.num_updates, recorded.learning_rate) == ("lora", 1, 1e-5)
    assert f"the command line: model={str(miniature_model)[:40]}" in run.out and "the quickstart" not in run.out


DAMAGED = {
    "torn": lambda text: text[: len(text) - 40],
    "of NULs": lambda text: b"\0" * len(text),
    "no UTF-8": lambda text: b"\xff\xfe" + text[2:],
    "nested without end": lambda text: b"[" * 100_000 + b"\n",
    "gone": lambda text: b"",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_metrics_that_are_damaged_do_not_stop_a_resume(runs, damage):
    whole = runs.run("steps=3", "save_every=1", name="whole")
    run = runs.run("steps=2", "save_every=1")
    path = run.folder / "metrics.jsonl"
    path.write_bytes(DAMAGED[damage](path.read_bytes()))
    again = runs.run("steps=3", "save_every=1", resume=True)
    assert again.code == 0, again.err
    assert json.loads(path.read_bytes().split(b"\n")[-2])["step"] == 3
    assert (again.folder / "adapters.safetensors").read_bytes() == (whole.folder / "adapters.safetensors").read_bytes()
    assert ("can't be read and are passed over" in again.out) == (damage != "gone")


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "log.txt", "completions/step_000002.jsonl"])
def test_a_pipe_in_the_place_of_a_file_is_one_line(runs, name):
    path = runs.run("steps=1", "save_every=1").folder / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    assert refused(runs.run("steps=2", "save_every=1", resume=True), f"{name} is no regular file: take it away")


def test_all_checkpoints_damaged_is_said_every_time(runs):
    run = runs.run("steps=2", "save_every=1")
    for path in (run.folder / "checkpoints").glob("*/manifest.json"):
        path.unlink()
    for _ in range(2):
        assert refused(runs.run("steps=2", "save_every=1", resume=True), "no checkpoint in")
    assert len((run.folder / "metrics.jsonl").read_text().splitlines()) == 2  # nothing already written is lost


def test_a_failure_of_the_maths_is_exit_1_with_its_cause(runs, monkeypatch):
    from grpo.learner.learner import Learner
    from grpo.runs.interrupt import TrainingFailed

    def fail(*_):
        raise TrainingFailed("3 updates in a row were not finite")

    monkeypatch.setattr(Learner, "learn", fail)
    run = runs.run("steps=1")
    assert (run.code, run.err) == (1, "stopped: 3 updates in a row were not finite\n")


# Rewards that fail


def test_a_run_without_any_reward_ends_with_the_first_traceback(runs):
    runs.module("dead", "def reward(completions, **_):\n    raise RuntimeError('API down 4711')\n")
    run = runs.run("steps=5", "reward_weights={'dead:reward': 1.0}")
    assert run.code == 1
    assert "stopped: no completion of the last two steps has a reward (dead:reward)" in run.err
    assert "Traceback" in run.err and "API down 4711" in run.err
    assert "reward missing" in run.out and "reward 0.000" not in run.out
    assert len(run.metrics) == 1 and "reward" not in run.metrics[0] and run.metrics[0]["rewards/missing"] == 8
    log = (run.folder / "log.txt").read_text()
    assert log.count("in reward\n    raise RuntimeError") >= 4 and "stopped" not in log
    assert "step 2, task " in log and "no completion of the last two steps" in log


def test_a_reward_that_gives_none_for_everything_ends_the_run(runs):
    runs.module("silent", "def reward(completions, **_):\n    return [None] * len(completions)\n")
    run = runs.run("steps=5", "reward_weights={'silent:reward': 1.0}")
    assert run.code == 1 and "They gave no value." in run.err


HOPELESS = {
    "a signature": ("def reward(prompts, nonesuch): return [1.0] * len(prompts)", "nonesuch"),
    "a type": ("def reward(completions, **_): return [c + 1 for c in completions]", "TypeError"),
    "an import": ("def reward(completions, **_):\n    import nonesuch\n", "No module named 'nonesuch'"),
    "a name": ("def reward(completions, **_): return [len(x) for c in completions]", "NameError"),
    "one number for all": ("def reward(completions, **_): return 1.0", "returned float, not a list"),
    "too few numbers": ("def reward(completions, **_): return [1.0]", "returned 1 values for 2 completions"),
    "texts": ("def reward(completions, **_): return ['good' for c in completions]", "not a number"),
}


@pytest.mark.parametrize("fault", HOPELESS)
def test_a_reward_that_cannot_work_is_one_line_before_the_run(runs, fault):
    code, words = HOPELESS[fault]
    runs.module("mine", code)
    run = runs.run("steps=2", "reward_weights.mine:reward=1")
    assert refused(run, "reward mine:reward: ", words)
    assert not (run.folder / "config.yaml").exists() and not (run.folder / "metrics.jsonl").exists()


def test_a_reward_that_fails_on_the_made_up_completion_alone_is_a_warning(runs):
    runs.module("shy", "def reward(completions, **_):\n    return [1.0 / ('made up' not in c) for c in completions]\n")
    run = runs.run("steps=1", "reward_weights.shy:reward=1")
    assert run.code == 0 and "warning: reward shy:reward: raised ZeroDivisionError" in run.out
    assert run.metrics[0]["rewards/shy:reward/mean"] == 1.0


def test_the_log_has_everything_said_and_the_versions(runs):
    run = runs.run("steps=2")
    log = (run.folder / "log.txt").read_text()
    said = [line.strip() for line in run.out.splitlines() if line.strip()]
    assert len(said) > 5 and all(line in log for line in said)
    assert "mlx 0." in log and "Python 3." in log


def test_control_characters_of_others_are_shown_escaped(runs):
    runs.module("loud", "def reward(completions, **_):\n    raise KeyError('\\x1b]52;c;ZXZpbA==\\x07\\x9b2J')\n")
    run = runs.run("steps=1", "reward_weights.loud:reward=1")
    everything = run.out + run.err + (run.folder / "log.txt").read_text()
    assert "\\x1b]52" in everything and not set("\x1b\x07\x9b") & set(everything)


# From nothing


def test_the_embedded_model_is_made_and_trained_without_any_argument_of_its_own(runs):
    """The quickstart in small: cold start, two steps, evaluations with every reward before and after."""
    run = runs.main(
        *("--output", str(runs.folder("quick")), "cold_start.steps=3", "cold_start.batch=4", "steps=2", "eval_tasks=3"),
        *("prompts_per_step=2", "num_updates=1", "num_generations=4", "max_completion_length=8", "eval_every=1"),
    )
    assert run.code == 0, run.err
    summary = json.loads((run.folder / "summary.json").read_text())
    for side in ("before", "after"):
        assert {"accuracy", "format"} <= summary[side].keys()  # language has no value where no word was said
        assert {"accuracy", "format"} <= summary[side]["greedy"].keys()
    assert (run.folder / "miniature" / "config.json").exists()
    assert "held-out tasks (3)" in run.out  # the table


def test_a_reward_that_never_applies_is_left_out_of_the_table(runs):
    runs.module("silent", "def reward(completions, **_):\n    return [None] * len(completions)\n")
    settings = ["steps=1", "eval_every=1", "eval_tasks=2", "eval_greedy=true", "reward_weights.silent:reward=1"]
    run = runs.run(*settings)
    assert run.code == 0 and "checked:evens, greedy" in run.out and "silent:reward" not in run.summary["after"]


def test_a_reward_without_a_value_on_one_side_is_left_out_of_the_table(runs):
    """As the language reward of a few greedy answers without any words: sampled it has a mean, greedy it has none."""
    runs.module(
        "first",
        """
        calls = []
        def reward(completions, **_):
            # tried once; before: two tasks sampled, two greedy; two groups of the step; after: the same again
            calls.append(1)
            return [1.0 if len(calls) in (2, 3, 8, 9) else None] * len(completions)
        """,
    )
    settings = ["steps=1", "eval_every=1", "eval_tasks=2", "eval_greedy=true", "reward_weights.first:reward=1"]
    run = runs.run(*settings)
    assert run.code == 0 and run.summary["after"]["first:reward"] == 1.0
    assert "first:reward" not in run.summary["after"]["greedy"]


def test_a_stop_during_the_cold_start_leaves_no_half_made_model(runs, monkeypatch):
    import signal

    from grpo.model import miniature

    settings = [
        "--output",
        str(runs.folder("quick")),
        "cold_start.steps=4",
        "cold_start.batch=4",
        "steps=1",
        "eval_every=0",
    ]
    settings += ["prompts_per_step=2", "num_updates=1", "num_generations=4", "max_completion_length=4"]
    with monkeypatch.context() as patch:
        plain = miniature._batch
        patch.setattr(miniature, "_batch", lambda *a: (signal.raise_signal(signal.SIGINT), plain(*a))[1])
        stopped = runs.main(*settings)
    assert stopped.code == 130
    assert "no step is saved. Begin again with: python -m grpo.train --output" in stopped.out
    assert "what was done is saved" not in stopped.out and "--resume cold_start.steps=4" in stopped.out
    assert not (runs.folder("quick") / "miniature").exists()
    assert runs.main(*settings, "--resume").code == 0


def test_help_needs_no_mlx():
    code = "import sys, grpo.train\ntry: grpo.train.main(['--help'])\nexcept SystemExit: print('mlx' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.rstrip().endswith("False") and "num_generations = 16" in shown


def test_an_option_that_does_not_exist_is_argparses_error(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--nonesuch"])
    assert caught.value.code == 2 and "--nonesuch" in capsys.readouterr().err


# The best by a held-out figure


def test_the_best_adapter_is_kept_beside_the_newest(runs):
    import mlx.core as mx

    run = runs.run("steps=6", "eval_every=1", "learning_rate=0.05", "eval_tasks=4", "eval_samples=4")
    best = run.summary["best"]
    held_out = {0: run.summary["before"]["reward"], 6: run.summary["after"]["reward"]}
    held_out |= {line["step"]: line["eval/reward"] for line in run.metrics if "eval/reward" in line}
    assert best["metric"] == "reward" and best["value"] == pytest.approx(max(held_out.values()))
    assert best["step"] == max(held_out, key=lambda step: (held_out[step], -step))
    assert f"best held-out reward: {best['value']:.3f} after step {best['step']}" in run.out
    kept, last = run.folder / "best" / "adapters.safetensors", run.folder / "adapters.safetensors"
    if best["step"] == 0:
        assert not kept.exists()
    else:
        same = all(mx.array_equal(a, mx.load(str(last))[n]).item() for n, a in mx.load(str(kept)).items())
        assert same == (best["step"] == 6)
        assert (run.folder / "best" / "adapter_config.json").exists()


def test_another_figure_may_decide_and_one_that_there_is_not_is_one_line(runs):
    run = runs.run("steps=2", "eval_every=1", "metric_for_best_model=mean_length", name="length")
    assert run.summary["best"]["metric"] == "mean_length"
    run = runs.run("steps=2", "eval_every=1", "metric_for_best_model=nonesuch", name="none")
    assert refused(run, "metric_for_best_model nonesuch is no held-out figure of this run; there are ")
    run = runs.run("steps=2", "eval_every=1", "metric_for_best_model=null", name="off")
    assert run.summary["best"] is None and not (run.folder / "best").exists()


def test_benchmarks_are_measured_while_a_run_trains(runs):
    data = runs.file("few.jsonl", "".join(f'{{"question": "{n} + 1 =", "answer": "{n + 1}"}}\n' for n in range(3)))
    entry = f"eval_benchmarks=[{{name: gsm8k, data: {data}, limit: 2, max_tokens: 4}}]"
    run = runs.run("steps=2", "eval_every=1", "eval_tasks=2", entry)
    assert run.code == 0, run.err
    assert "gsm8k: pass@1" in run.out and "note: gsm8k: custom data" in run.out
    assert 0 <= run.summary["before"]["gsm8k/pass@1"] <= 1 and "eval/gsm8k/pass@1" in run.metrics[0]
    assert sorted(path.parent.name for path in run.folder.glob("benchmarks/*/gsm8k")) == [
        "step_000000", "step_000001", "step_000002",
    ]  # fmt: skip
    assert refused(runs.run("steps=2", "eval_every=1", "eval_benchmarks=[gsm9k]", name="no"), "there is no 'gsm9k'")


def test_a_start_that_is_refused_leaves_no_directory(runs):
    run = runs.run("model=./nowhere")
    assert refused(run, "no such directory") and not run.folder.exists()
