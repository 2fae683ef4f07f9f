"""Rejection sampling: what is kept is right, what is dropped is dropped for a true reason, nothing is lost or twice."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from distill import rejection
from distill.rejection import __main__ as command
from distill.rejection.config import RejectionConfig
from distill.rejection.records import FILE, SAMPLES, Record, append, cut_torn, finished
from envs import DataError, Task
from grpo.config.loading import load
from grpo.config.sections import ConfigError
from grpo.runs.interrupt import Interrupted
from tests.distill.scripted import Scripted, settings

SCRIPT = Path(__file__).parents[1] / "scripted.py"


@pytest.fixture
def sampler(monkeypatch):
    """The scripted sampler in place of a model; what it was asked for is in `asked`."""
    made = []

    def make(config, *_):
        made.append(Scripted(config))
        return made[-1]

    monkeypatch.setattr("distill.rejection.run._sampler", make)
    return made


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def right(row):
    """An independent grader: the sum of the digits in the prompt against the number in the only answer tag."""
    found = re.fullmatch(r"<think> [^<>]+ </think> <answer> ([0-9]+) </answer>", row["completion"])
    return found is not None and int(found[1]) == sum(map(int, re.findall(r"[0-9]+", row["prompt"])))


def english(row):
    return row["completion"].isascii()


def test_all_that_is_kept_is_right_and_no_row_is_dropped_for_an_untrue_reason(tmp_path, sampler):
    config = settings("max_prompts=160", "choose=all")
    summary = rejection.run_rejection(config, tmp_path)
    kept, dropped = rows(tmp_path / "corpus.jsonl"), rows(tmp_path / "rejected.jsonl")
    assert len(kept) > 120 and all(right(row) and english(row) for row in kept)
    assert len(kept) + len(dropped) == summary["sampled"] == 640
    for row in dropped:
        told = {
            "accuracy": not right(row),
            "format": not right(row) or "</think> <answer>" not in row["completion"],
            "language": not english(row),
            "truncated": row["stop_reason"] == "length",
            "same_text": right(row),
        }
        assert row["reasons"] and all(told[reason] for reason in row["reasons"]), row


def test_the_funnel_adds_up(tmp_path, sampler):
    summary = rejection.run_rejection(settings(), tmp_path)
    lines = [line.split("|")[1:5] for line in (tmp_path / "funnel.md").read_text().splitlines() if line[:2] == "| "]
    steps = [(name.strip(), int(dropped.strip() or 0), int(left)) for name, dropped, left, _ in lines[1:]]
    assert steps[0] == ("sampled", 0, 160)  # 40 prompts x 4
    for (_, _, before), (_, dropped, after) in pairwise(steps):
        assert before - dropped == after
    assert steps[-1][2] == summary["rows"] == len(rows(tmp_path / "corpus.jsonl"))


def test_a_row_knows_where_it_comes_from(tmp_path, sampler):
    rejection.run_rejection(settings("licence=MIT", "domain=math"), tmp_path)
    row = rows(tmp_path / "corpus.jsonl")[0]
    assert row["answer"] == row["reference"] and row["reasoning"].endswith(".")
    assert (row["schema_version"], row["domain"], row["licence"], row["language"]) == (1, "math", "MIT", "en")
    made = row["provenance"]
    assert made["rewards"] == {"accuracy": 1.0, "format": 1.0, "language": 1.0}
    assert (made["model"], made["seed"], made["temperature"]) == ("miniature", 0, 1.0)
    assert 0 < made["pass_rate"] <= 1 and row["difficulty"] == {0.25: 4, 0.5: 3, 0.75: 2, 1.0: 1}[made["pass_rate"]]


def test_shards_together_give_the_corpus_of_one_process(tmp_path, sampler):
    rejection.run_rejection(settings(), tmp_path / "one")
    assert rejection.run_rejection(settings("shard=2/2"), tmp_path / "two") is None
    assert not (tmp_path / "two" / "corpus.jsonl").exists()
    rejection.run_rejection(settings("shard=1/2"), tmp_path / "two")
    asked = [number for each in sampler[1:] for number in each.asked]
    assert sorted(asked) == list(range(40)) and len(sampler[1].asked) == 16  # chunks 1 and 3 of 5, 8 prompts each
    for name in ("corpus.jsonl", "rejected.jsonl", "funnel.md"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()


def test_a_rule_is_changed_without_sampling_again_and_the_model_is_not(tmp_path, sampler):
    rejection.run_rejection(settings(), tmp_path)
    before = len(rows(tmp_path / "corpus.jsonl"))
    summary = rejection.run_rejection(settings("require.accuracy=1"), tmp_path)  # of the format nothing is asked
    assert len(sampler) == 1 and summary["rows"] > before
    with pytest.raises(ConfigError, match=r"temperature was 1.0, now 0.5"):
        rejection.run_rejection(settings("temperature=0.5"), tmp_path)


def test_an_interrupted_run_keeps_its_chunks_and_goes_on(tmp_path, sampler, monkeypatch):
    rejection.run_rejection(settings(), tmp_path / "whole")

    def interrupted(self, tasks, on_tokens):
        if 16 in tasks:  # the third chunk
            raise Interrupted(signal.SIGTERM)
        yield from original(self, tasks, on_tokens)

    original = Scripted.sample
    with monkeypatch.context() as patch:
        patch.setattr(Scripted, "sample", interrupted)
        with pytest.raises(Interrupted):
            rejection.run_rejection(settings(), tmp_path / "cut")
    assert set(finished(tmp_path / "cut")) == set(range(16))
    rejection.run_rejection(settings(), tmp_path / "cut")
    assert sorted(sampler[-1].asked) == list(range(16, 40))
    assert (tmp_path / "whole/corpus.jsonl").read_text() == (tmp_path / "cut/corpus.jsonl").read_text()


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_corpus(tmp_path):
    def run(folder, seconds, **options):
        return subprocess.Popen([sys.executable, str(SCRIPT), str(folder), str(seconds)], **options)

    assert run(tmp_path / "whole", 0, stdout=subprocess.DEVNULL).wait() == 0
    rng = random.Random(7)
    progress = []
    for chunks in (0, 1, 3):
        process = run(tmp_path / "cut", 0.05, stdout=subprocess.DEVNULL)  # 0.4 s a chunk
        while len(finished(tmp_path / "cut")) < 8 * chunks and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.wait()
        progress.append(len(finished(tmp_path / "cut")))
    assert run(tmp_path / "cut", 0, stdout=subprocess.DEVNULL).wait() == 0
    assert progress == sorted(progress) and any(0 < done < 40 for done in progress)
    numbers = [row["number"] for path in (tmp_path / "cut").glob(f"{SAMPLES}/*/{FILE}") for row in rows(path)]
    assert sorted(numbers) == list(range(40))
    assert (tmp_path / "whole/corpus.jsonl").read_text() == (tmp_path / "cut/corpus.jsonl").read_text()


@pytest.mark.parametrize("cut", [1, 30, 10_000])
def test_a_torn_chunk_is_cut_off_and_whole_ones_stay(tmp_path, cut):
    path = tmp_path / FILE
    append(path, [Record(n, Task(str(n), "x" * 50, {}), False, ()) for n in range(6)])
    lines = path.read_text().splitlines(keepends=True)
    whole = "".join(lines[:4])
    path.write_text((whole + lines[4] + lines[5])[: len(whole) + cut] if cut < 10_000 else whole + lines[4])
    cut_torn(path, [(0, 1), (2, 3), (4, 5)])
    assert path.read_text() == whole


def test_a_changed_bit_in_a_sample_is_seen_and_only_its_chunk_is_sampled_again(tmp_path, sampler, capsys):
    rejection.run_rejection(settings(), tmp_path)
    corpus, path = (tmp_path / "corpus.jsonl").read_bytes(), next(tmp_path.glob(f"{SAMPLES}/*/{FILE}"))
    whole = path.read_bytes()
    place = whole.index(b'"accuracy": 0.0', whole.index(b'"number": 12,')) + len('"accuracy": ')
    path.write_bytes(whole[:place] + b"1" + whole[place + 1 :])  # valid JSON that would pay a wrong answer
    rejection.run_rejection(settings(), tmp_path)
    assert sorted(sampler[-1].asked) == list(range(8, 16))
    begin = whole.index(b'{"number": 12,')
    assert f"{path}, byte {begin}: the line has changed" in capsys.readouterr().out
    assert len(path.read_bytes()) > len(whole)  # the other chunks' lines stay
    assert (tmp_path / "corpus.jsonl").read_bytes() == corpus


def test_the_benchmark_and_the_copies_go_and_the_mixture_has_its_share(tmp_path, sampler):
    bench = tmp_path / "bench.jsonl"
    rejection.run_rejection(settings(), tmp_path / "plain")
    known = rows(tmp_path / "plain/corpus.jsonl")
    bench.write_text(json.dumps({"problem": known[0]["completion"]}) + "\n")
    chat = [json.dumps({"prompt": f"Tell me about {n}", "completion": f"{n} is a number."}) for n in range(99)]
    (tmp_path / "chat.jsonl").write_text("\n".join(chat))
    mixing = [f"mix={tmp_path}/chat.jsonl", "mix_share=0.25", f"decontaminate=[{bench}]"]
    summary = rejection.run_rejection(settings(*mixing), tmp_path / "mixed")
    made = rows(tmp_path / "mixed/corpus.jsonl")
    ours = [row for row in made if "provenance" in row]
    assert known[0]["completion"] not in [row["completion"] for row in ours]
    assert summary["mixed_in"] == len(made) - len(ours) == round(len(ours) / 3)  # a quarter of the whole
    assert not any(row["requires_reasoning"] for row in made if row not in ours)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["shard=3/2"], "shard must look like 2/4"),
        (["require.code=1"], "require names code, which is not among rewards"),
        (["choose=best_judged"], "choose: best_judged needs judge"),
        (["samples=65"], "max_rows must be at least samples"),
        (["rewards=[acuracy]", "require={}"], "unknown reward 'acuracy'"),
        (["data=digitsums"], "no environment is called 'digitsums'"),
        (["decontaminate=[nowhere.jsonl]"], "nowhere.jsonl: no such file"),
        (["adapter=nowhere"], "adapter nowhere: neither adapters.safetensors nor"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path, capsys, sampler, overrides, said):
    arguments = ["--output", str(tmp_path / "o"), "template=plain", "max_prompts=2", "samples=2", *overrides]
    assert command.main(arguments) == 2
    err = capsys.readouterr().err
    assert said in err and err.startswith("error: ") and err.count("\n") == 1


def test_what_building_needs_is_looked_at_before_anything_is_sampled(tmp_path, sampler):
    for override in ("decontaminate=[nowhere.jsonl]", "mix=nowhere.jsonl", "judge={rubrik: x}"):
        with pytest.raises((ConfigError, DataError)):
            rejection.run_rejection(settings(override), tmp_path)
    assert not sampler


def test_other_prompts_under_the_same_name_are_refused(tmp_path, sampler):
    data = tmp_path / "d.jsonl"
    data.write_text("".join(json.dumps({"question": f"{n} + 1 + 2 =", "answer": n + 3}) + "\n" for n in range(20)))
    same = [f"data={data}", "max_prompts=4"]
    rejection.run_rejection(settings(*same), tmp_path / "o")
    rejection.run_rejection(settings(*same), tmp_path / "o")
    data.write_text(data.read_text().replace("+ 1", "+ 0"))
    with pytest.raises(ConfigError, match="the prompts of data changed"):
        rejection.run_rejection(settings(*same), tmp_path / "o")


def test_samples_without_their_settings_are_not_gone_on_with(tmp_path, sampler):
    rejection.run_rejection(settings("max_prompts=4"), tmp_path)
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(ConfigError, match=r"holds samples but no config\.yaml"):
        rejection.run_rejection(settings("max_prompts=4", "temperature=0.5"), tmp_path)


def test_a_damaged_record_of_the_settings_is_one_line(tmp_path, sampler):
    rejection.run_rejection(settings("max_prompts=4"), tmp_path)
    (tmp_path / "identity.json").write_text('{"adapter_sha256": ')
    with pytest.raises(ConfigError, match=r"identity\.json can't be read"):
        rejection.run_rejection(settings("max_prompts=4"), tmp_path)


def test_another_model_or_reward_under_the_same_name_is_refused(tmp_path, sampler, monkeypatch):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"1234")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sampled_rewards.py").write_text("def one(completions, **_):\n    return [1.0] * len(completions)\n")
    same = [f"model={model}", "max_prompts=4", "rewards=[accuracy, format, language, sampled_rewards:one]"]
    rejection.run_rejection(settings(*same), tmp_path / "o")
    rejection.run_rejection(settings(*same), tmp_path / "o")
    (model / "model.safetensors").write_bytes(b"1235")
    with pytest.raises(ConfigError, match=f"model {model} changed since"):
        rejection.run_rejection(settings(*same), tmp_path / "o")
    (model / "model.safetensors").write_bytes(b"1234")
    with (tmp_path / "sampled_rewards.py").open("a") as file:
        file.write("ONE = 1\n")
    with pytest.raises(ConfigError, match="reward sampled_rewards:one changed since"):
        rejection.run_rejection(settings(*same), tmp_path / "o")


def test_a_directory_that_holds_another_kind_of_run_is_left_alone(tmp_path, sampler):
    (tmp_path / "config.yaml").write_text("learning_rate: 1\n")
    with pytest.raises(ConfigError, match="unknown key learning_rate"):
        rejection.run_rejection(settings(), tmp_path)
    assert (tmp_path / "config.yaml").read_text() == "learning_rate: 1\n" and not sampler


def test_prompts_that_are_there_twice_are_sampled_once(tmp_path, sampler):
    data = tmp_path / "d.jsonl"
    row = json.dumps({"question": "1 + 1 + 2 =", "answer": 4})
    data.write_text("\n".join([row, row.replace("1 + 1", "1  + 1"), row.replace("1 + 1", "5 + 1")]))
    rejection.run_rejection(settings(f"data={data}", "data_options={test_size: 0}"), tmp_path / "o")
    assert len(sampler[0].asked) == 2


RECIPES = sorted((Path(__file__).parents[3] / "configs").glob("rejection_*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_and_says_what_it_is(path):
    assert load(RejectionConfig, path) and path.read_text().startswith("# command: distill.rejection\n")


def test_the_log_has_what_was_said_and_tracebacks_of_rewards(tmp_path, monkeypatch, sampler):
    (tmp_path / "failing.py").write_text("def reward(completions, **_):\n    raise OSError('no judge 4711')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    rejection.run_rejection(
        settings("rewards=[accuracy,'failing:reward']", "require={accuracy: 0}", "may_lack=['failing:reward']"),
        tmp_path / "o", preface=["told before"],
    )  # fmt: skip
    log = (tmp_path / "o" / "log.txt").read_text()
    assert "told before" in log and "mlx" in log and "| rule | dropped |" in log
    assert "raise OSError('no judge 4711')" in log and "reward failing:reward" in log
