"""SFT and students by several processes: the weights, losses and metrics of one."""

import json
import signal
import time
from types import SimpleNamespace

import pytest

from tests.distill.small_models import corpus, model_directory
from tests.launching import CLOSE, Launcher

SMALL = ["examples_per_step=5", "token_budget=40", "learning_rate=0.01", "eval_every=3", "save_every=0"]


@pytest.fixture
def launch(tmp_path):
    runs = SimpleNamespace(modules=tmp_path, folder=lambda name: tmp_path / name)
    launcher = Launcher(runs, tmp_path)
    launcher.model, launcher.data = model_directory(tmp_path / "model"), corpus(tmp_path / "corpus.jsonl")
    yield launcher
    launcher.end()


def start(launch, count, *overrides, name, module="distill.sft", resume=False):
    given = [f"model={launch.model}", f"data={launch.data}", *SMALL, *overrides]
    arguments = ["--output", str(launch.folder_of(name)), *given, *(["--resume"] if resume else [])]
    return launch.start(count, module, arguments)


def both(launch, count, *overrides, module="distill.sft"):
    for name, processes in (("one", 1), ("several", count)):
        started = start(launch, processes, *overrides, name=name, module=module)
        assert started.wait() == [0] * processes, started.said()
    assert launch.farthest("one", "several") <= CLOSE
    first, second = launch.metrics("one"), launch.metrics("several")
    for key in ("step", "loss", "grad_norm", "num_tokens"):
        assert [line[key] for line in first] == pytest.approx([line[key] for line in second], rel=1e-4)
    summaries = [json.loads((launch.folder_of(name) / "summary.json").read_text()) for name in ("one", "several")]
    assert summaries[0]["best"]["validation_loss"] == pytest.approx(summaries[1]["best"]["validation_loss"], rel=1e-5)


def test_two_processes_fine_tune_as_one(launch):
    both(launch, 2, "total_steps=6")
    assert launch.metrics("several")[-1]["ranks/bytes"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "overrides"),
    [
        (3, ["fine_tune=full", "learning_rate=0.001"]),
        pytest.param(4, ["examples_per_step=3"], marks=pytest.mark.long),
        pytest.param(2, ["packing=false", "patience=1", "eval_every=1"], marks=pytest.mark.long),
    ],
)
def test_a_variant_is_the_same_over_processes(launch, count, overrides):
    both(launch, count, "total_steps=4", *overrides)


@pytest.mark.slow
@pytest.mark.parametrize("top_k", ["none", "8"])
def test_a_logit_student_is_the_same_over_processes(launch, tmp_path, top_k):
    teacher = model_directory(tmp_path / "teacher", seed=7)
    options = ["method=logit", f"teacher={teacher}", f"top_k={top_k}", "total_steps=4"]
    both(launch, 2, *options, module="distill.student")


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_any_number_goes_on(launch):
    started = start(launch, 3, "total_steps=2000", name="run")
    launch.wait_for_step("run", 3)
    started.kill(1)
    before = time.monotonic()
    assert started.wait(40)[0] == 1 and time.monotonic() - before < 30
    assert "is lost" in started.paths[0].read_text() and started.processes[1].returncode == -signal.SIGKILL
    (saved,) = [int(path.name.removeprefix("step_")) for path in launch.folder_of("run").glob("checkpoints/step_*")]
    again = start(launch, 2, "total_steps=2000", name="run", resume=True)
    launch.wait_for_step("run", saved + 3)
    again.kill(0, signal.SIGINT)
    assert again.wait(40) == [130, 130]
    steps = [line["step"] for line in launch.metrics("run")]
    assert steps == list(range(1, len(steps) + 1))
    # one process that makes the same steps
    whole = start(launch, 1, "total_steps=2000", name="whole")
    launch.wait_for_step("whole", len(steps))
    whole.kill(0, signal.SIGINT)
    assert whole.wait(40) == [130]
    same = [line["loss"] for line in launch.metrics("whole")[: len(steps)]]
    assert [line["loss"] for line in launch.metrics("run")] == pytest.approx(same, rel=1e-4)
