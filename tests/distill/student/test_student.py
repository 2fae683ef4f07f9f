"""Students of every method, on tiny models."""

import json
import os
import platform
import shutil
import subprocess
import sys
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest

from distill.sft.step import Supervised, counted
from distill.student.__main__ import main
from distill.student.logit import LogitObjective, Matching, cache_folder
from distill.student.on_policy import OnPolicyTrainer
from distill.student.teacher import require_same_vocabulary
from grpo.config.sections import ConfigError
from grpo.learner.learner import Learner
from grpo.model.forward import completion_logprobs, rows_of
from tests.distill.small_models import TINY, corpus, examples, model_directory

BATCH = examples([9, 4, 13])


@pytest.fixture
def make(tmp_path, capsys):
    student, teacher = model_directory(tmp_path / "student"), model_directory(tmp_path / "teacher", seed=7)
    data = corpus(tmp_path / "corpus.jsonl")

    def run(name, *overrides):
        folder = tmp_path / name
        code = main(["--output", str(folder), f"model={student}", *overrides])
        return folder, code, capsys.readouterr()

    return SimpleNamespace(run=run, student=student, teacher=teacher, data=data, root=tmp_path)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


SUPERVISED = ["examples_per_step=4", "learning_rate=0.02", "total_steps=10", "eval_every=10"]


def test_a_sequence_student_is_sft(make):
    folder, code, _ = make.run("s", "method=sequence", f"data={make.data}", *SUPERVISED)
    summary = json.loads((folder / "summary.json").read_text())
    assert code == 0 and summary["after"]["validation_loss"] < summary["before"]["validation_loss"]


def test_a_pipe_in_the_place_of_its_config_is_one_line(make):
    (make.root / "s").mkdir()
    os.mkfifo(make.root / "s" / "config.yaml")
    _, code, shown = make.run("s", "--resume")
    assert code == 2 and shown.err.count("\n") == 1
    assert "config.yaml is no regular file: take it away" in shown.err


@pytest.mark.parametrize("kind", ["forward", "reverse", "js"])
@pytest.mark.parametrize("top_k", [None, 8])
def test_a_logit_student_comes_nearer_to_its_teacher(make, kind, top_k):
    folder, code, shown = make.run(
        "s",
        "method=logit",
        f"teacher={make.teacher}",
        f"data={make.data}",
        f"divergence={kind}",
        *([f"top_k={top_k}"] if top_k else []),
        *SUPERVISED,
    )
    summary = json.loads((folder / "summary.json").read_text())
    assert code == 0, shown.err
    assert summary["after"]["validation_loss"] < 0.95 * summary["before"]["validation_loss"]
    assert len(list(folder.glob("teacher/*/*.safetensors"))) == (24 if top_k else 0)


def learner(policy, matching, cache, teacher):
    objective = LogitObjective(lambda: teacher, matching, cache, logits_chunk=5)
    return Supervised(policy, token_budget=99, logits_chunk=5, objective=objective)


def test_kept_top_tokens_give_the_numbers_of_the_live_teacher(tmp_path):
    student, teacher = TINY.policy("llama"), TINY.policy("llama", seed=7)
    live = learner(student, Matching("forward", 2.0, None), tmp_path, teacher)
    kept = learner(student, Matching("forward", 2.0, TINY.vocab), tmp_path, teacher)
    n = counted(BATCH)
    expected, found = live.loss_and_gradient(BATCH, n), kept.loss_and_gradient(BATCH, n)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    again = learner(student, Matching("forward", 2.0, TINY.vocab), tmp_path, None)  # no teacher left to ask
    assert again.loss_and_gradient(BATCH, n).loss == found.loss
    for name, leaf in expected.gradient.items():
        assert np.abs(np.array(found.gradient[name] - leaf)).max() < 1e-4


def test_a_teacher_is_at_distance_0_from_itself(tmp_path):
    teacher = TINY.policy("llama")
    scored = learner(TINY.policy("llama"), Matching("reverse", 1.0, 5), tmp_path, teacher).loss_and_gradient(BATCH, 1)
    assert scored.loss == pytest.approx(0, abs=1e-5)
    assert max(mx.abs(leaf).max().item() for leaf in scored.gradient.values()) < 1e-4


def test_each_token_is_credited_the_log_ratio_of_teacher_to_sampler():
    teacher, group = TINY.policy("llama", seed=7), TINY.group([9, 10, 11], [[12, 13, 2], [14, 15, 16, 17]])
    trainer = SimpleNamespace(
        teacher=teacher, stop=SimpleNamespace(check=lambda: None), config=TINY.config(temperature=0.7)
    )
    for name in ("_log_ratios", "_teacher_logprobs"):
        setattr(trainer, name, getattr(OnPolicyTrainer, name).__get__(trainer))
    [credits], figures = OnPolicyTrainer.credit(trainer, [group], [], np.zeros((1, 2)))
    rows = rows_of([[9, 10, 11]], [[12, 13, 2], [14, 15, 16, 17]])
    expected = np.array(completion_logprobs(teacher, rows, temperature=0.7, chunk_tokens=99))
    # the sampler of `TINY.group` gave every token logprob -1
    assert credits[0] == pytest.approx(expected[0, :3] + 1) and credits[1] == pytest.approx(expected[1] + 1)
    assert figures["teacher/reverse_kl"] == pytest.approx(-np.mean([*credits[0], *credits[1]]))


def test_credit_by_token_reaches_the_gradient_by_token():
    # one completion of three tokens: credit on the second alone moves what credit (0, 1, 0) says, not its mean
    group, policy = TINY.group([9, 10], [[12, 13, 14], [15, 16, 17]]), TINY.policy("llama")

    def gradient(credits):
        learned = Learner(policy, TINY.config(loss_type="dapo", beta=0.0, prompts_per_step=1, num_generations=2))
        seen = {}
        learned.optimizer.apply = lambda gradient, loss, step: (seen.update(gradient), (1.0, True))[1]
        learned.learn([group], [credits], 0)
        return np.array(seen["model.norm.weight"])

    zero = (0.0, 0.0, 0.0)
    parts = [gradient([tuple(float(t == i) for t in range(3)), zero]) for i in range(3)]
    assert sum(parts) == pytest.approx(gradient([1.0, 0.0]), abs=1e-6)
    assert np.abs(parts[0] - parts[1]).max() > 1e-4


def test_an_on_policy_student_comes_nearer_to_its_teacher(make, tmp_path):
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text("\n".join(json.dumps({"prompt": f"w{30 + i} w{40 + i}", "answer": "1"}) for i in range(8)))
    folder, code, shown = make.run(
        "s",
        "method=on_policy",
        f"teacher={make.teacher}",
        f"data={tasks}",
        "data_options.test_size=0",
        "template=plain",
        "reward_weights={accuracy: 1.0}",
        "steps=30",
        "fine_tune=full",
        "prompts_per_step=4",
        "num_generations=8",
        "max_completion_length=6",
        "learning_rate=0.005",
        "save_every=0",
        "completions_every=0",
    )
    assert code == 0, shown.err
    distances = [line["teacher/reverse_kl"] for line in metrics(folder)]
    assert np.mean(distances[-3:]) < 0.8 * np.mean(distances[:3])


def test_another_vocabulary_is_refused_in_one_line():
    def tokenizer(**vocabulary):
        return SimpleNamespace(get_vocab=lambda: vocabulary)

    require_same_vocabulary(tokenizer(a=0, b=1), tokenizer(b=1, a=0))
    with pytest.raises(ConfigError, match=r"2 and 2 tokens, 1 of the student's differ, e\.g\. .b. is 1 and None"):
        require_same_vocabulary(tokenizer(a=0, b=1), tokenizer(a=0, c=1))


def test_a_missing_method_and_a_missing_teacher_are_refused(make):
    assert "method must be one of sequence, logit, on_policy" in make.run("a")[2].err
    _, code, shown = make.run("b", "method=on_policy", "teacher=/nowhere")
    assert code == 2 and "no such directory" in shown.err and shown.err.count("\n") == 1


@pytest.mark.parametrize("method", ["logit", "on_policy"])
def test_a_teacher_of_other_weights_is_refused_by_name_at_a_resume(make, method):
    tasks = make.root / "tasks.jsonl"
    tasks.write_text("\n".join(json.dumps({"prompt": f"w{30 + i}", "answer": "1"}) for i in range(8)))
    settings = {
        "logit": [f"data={make.data}", "top_k=8", "examples_per_step=4"],
        "on_policy": [f"data={tasks}", "template=plain", "reward_weights={accuracy: 1.0}", "max_completion_length=4"],
    }
    length = {"logit": "total_steps", "on_policy": "steps"}[method]
    given = [f"method={method}", f"teacher={make.teacher}", *settings[method], "eval_every=0", "save_every=1"]
    given.append(f"{length}=2")
    folder, code, shown = make.run("t", *given)
    assert code == 0, shown.err
    shutil.rmtree(folder / "checkpoints" / "step_000002")  # as if it had been killed in the second step
    (folder / "summary.json").unlink()
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("teacher/*/*.safetensors")}
    model_directory(make.teacher, seed=8)
    _, code, shown = make.run("t", *given, "--resume")
    assert code == 2 and f"changed since it was written: teacher {make.teacher}. " in shown.err
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("teacher/*/*.safetensors")} == kept
    _, code, shown = make.run("t", *given, "--resume", "--accept-changes")
    assert code == 0, shown.err
    now = {path.name: path.stat().st_mtime_ns for path in folder.glob("teacher/*/*.safetensors")}
    assert all(now.get(name) != when for name, when in kept.items())  # the other weights' tokens are gone


def test_tokens_of_other_weights_are_not_read(tmp_path):
    top = Matching("forward", 1.0, 5)
    first = cache_folder(tmp_path, "teacher", None, top, "weights 1")
    (first / "a.safetensors").write_bytes(b"1")
    assert cache_folder(tmp_path, "teacher", None, top, None) == first  # a full cache needs no teacher
    assert cache_folder(tmp_path, "teacher", None, top, "weights 1") == first
    assert (first / "a.safetensors").exists()
    cache_folder(tmp_path, "teacher", None, top, "weights 2")
    assert not (first / "a.safetensors").exists()


def test_what_killed_processes_left_in_a_cache_goes_and_what_others_write_stays(tmp_path):
    top = Matching("forward", 1.0, 5)
    folder = cache_folder(tmp_path, "teacher", None, top, "weights 1")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = [(platform.node(), ended.pid), (platform.node(), os.getpid()), ("elsewhere", ended.pid)]
    left = [folder / f".partial_{node}_{process}_a.safetensors" for node, process in names]
    for path in left:
        path.write_bytes(b"1")
    for weights in ("weights 1", None):
        cache_folder(tmp_path, "teacher", None, top, weights)
        assert [path.exists() for path in left] == [False, True, True]
        left[0].write_bytes(b"1")


@pytest.mark.parametrize("kind", ["nothing", "pipe"])
def test_tokens_of_unknown_weights_are_not_read(tmp_path, kind):
    top = Matching("forward", 1.0, 5)
    first = cache_folder(tmp_path, "teacher", None, top, "weights 1")
    (first / "a.safetensors").write_bytes(b"1")
    (first / "teacher.txt").unlink()
    if kind == "pipe":  # reading one would wait for ever
        os.mkfifo(first / "teacher.txt")
    cache_folder(tmp_path, "teacher", None, top, "weights 1")
    assert not (first / "a.safetensors").exists()


DAMAGED = {
    "torn": lambda content: content[:-20],
    "empty": lambda content: b"",
    "a bit flipped": lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
    "of NULs": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", [*DAMAGED, "a pipe"])
def test_a_damaged_file_of_the_teachers_tokens_is_made_again(tmp_path, damage):
    teacher = TINY.policy("llama")
    top = Matching("forward", 1.0, 5)
    objective = LogitObjective(lambda: teacher, top, tmp_path, logits_chunk=7)
    before = [array.tolist() for array in objective._kept(BATCH[0])]
    (path,) = tmp_path.glob("*.safetensors")
    content = path.read_bytes()
    if damage == "a pipe":
        path.unlink()
        os.mkfifo(path)
    else:
        path.write_bytes(DAMAGED[damage](content))
    assert [array.tolist() for array in objective._kept(BATCH[0])] == before
    assert path.read_bytes() == content
