"""Whole runs on a tiny model: what they leave, how they go on, what they refuse."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from grpo.types import Group, Rollout


@pytest.fixture
def whole(bench):
    """A finished run."""
    code, out, _ = bench.run()
    assert code == 0
    return out


def test_a_run_leaves_items_results_and_a_table(bench, whole):
    items, results = bench.items(), bench.results()
    assert [(item["problem"], item["sample"]) for item in items] == [(p, s) for p in range(7) for s in range(3)]
    assert {item["labels"]["level"] for item in items} == {"0", "1"}
    assert items[0]["prompt"] == "<user>What is 0 + 0?</user><model>" and items[0]["reference"] == "0"
    assert results["settings"]["seed"] == 0 and len(results["model_sha256"]) == 64
    assert results["versions"]["mlx"] and results["machine"]["blas"]
    right = [item["scores"]["accuracy"] for item in items]
    assert results["figures"]["pass@1"] == pytest.approx(sum(right) / 21)
    assert results["figures"]["truncated"] == pytest.approx(sum(i["stop_reason"] == "length" for i in items) / 21)
    assert results["speed"]["tokens"] == sum(item["tokens"] for item in items)
    assert "| pass@1 |" in whole and (bench.root / "run" / "table.md").read_text() in whole


def test_the_same_seed_gives_the_same_items_and_another_seed_others(bench, whole):
    bench.run(name="again")
    bench.run("--seed", "1", name="other")
    assert bench.items("again") == bench.items()
    assert [i["completion"] for i in bench.items("other")] != [i["completion"] for i in bench.items()]


def test_a_finished_run_is_not_decoded_again(bench, whole):
    before = (bench.root / "run" / "items.jsonl").read_bytes()
    code, out, _ = bench.run()
    assert code == 0 and "to decode" not in out and "pass@1" in out
    assert (bench.root / "run" / "items.jsonl").read_bytes() == before


def test_a_torn_file_is_completed_with_the_same_items(bench, whole):
    items = bench.items()
    file = bench.root / "run" / "items.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:8]) + lines[8][:40])  # two problems, two of a third's samples, half a line
    code, out, _ = bench.run()
    assert code == 0 and "5 problems x 3 samples to decode" in out
    found = {}
    for line in file.read_text().splitlines():
        try:
            item = json.loads(line)
        except ValueError:
            continue
        found.setdefault((item["problem"], item["sample"]), item)
    assert [found[key] for key in sorted(found)] == items


def test_an_item_that_has_changed_is_decoded_again(bench, whole):
    file = bench.root / "run" / "items.jsonl"
    figures, text = bench.results()["figures"], file.read_text()
    file.write_text(text.replace('"accuracy": 0.0', '"accuracy": 1.0', 1))  # valid JSON all the same
    assert file.read_text() != text
    code, out, _ = bench.run()
    assert code == 0 and "1 problems x 3 samples to decode" in out
    assert bench.results()["figures"] == figures


def test_a_larger_limit_goes_on(bench, whole):
    bench.run("--limit", "2", name="part")
    assert bench.results("part")["figures"]["problems"] == 2
    bench.run(name="part")
    assert bench.items("part") == bench.items()
    assert bench.results("part")["figures"] == bench.results()["figures"]


def test_shards_make_the_same_items(bench, whole):
    code, out, _ = bench.run("--shard", "1/2", name="shards")
    assert code == 0 and "left to the other shards" in out and not (bench.root / "shards" / "results.json").exists()
    bench.run("--shard", "2/2", name="shards")
    assert bench.items("shards") == bench.items()
    assert bench.results("shards")["figures"] == bench.results()["figures"]


def test_two_shards_at_once_and_a_kill(bench, whole):
    """Both append to one file; one is killed in the middle and started again."""
    run = [sys.executable, "-m", "benchmarks.word_problems", *bench.arguments(name="live")]
    first = subprocess.Popen([*run, "--shard", "0/2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    second = subprocess.Popen([*run, "--shard", "1/2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    file = bench.root / "live" / "items.jsonl"
    while first.poll() is None and time.monotonic() < deadline and not (file.exists() and file.stat().st_size):
        time.sleep(0.005)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert second.wait() == 0
    assert subprocess.run([*run, "--shard", "0/2"], capture_output=True).returncode == 0
    assert bench.items("live") == bench.items()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--seed", "5"], "seed 0, now 5"),
        (["--temperature", "1.0"], "temperature 0.6, now 1.0"),
        (["--template", "plain"], "template 'chat', now 'plain'"),
    ],
)
def test_other_settings_in_the_same_directory_are_refused(bench, whole, more, said):
    code, _, err = bench.run(*more)
    assert code == 2 and said in err and err.count("\n") == 1


def test_changed_data_in_the_same_directory_is_refused(bench, whole):
    bench.data.write_text(bench.data.read_text().replace("What is 0", "What was 0"))
    code, _, err = bench.run()
    assert code == 2 and "data.sha256" in err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--data", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--model", "./nowhere"], "no such directory"),
        (["--adapter", "./nowhere"], "adapter ./nowhere: no adapter_config.json"),
        (["--top-p", "0"], "top_p"),
        (["--samples", "0"], "samples"),
        (["--shard", "3/2"], "shard: must read i/n"),
        (["--max-thinking", "4"], "end with <think>"),
        (["--max-thinking", "16", "--think"], "leaves no room"),
        (["--min-thinking", "9", "--max-thinking", "5", "--think"], "below min_thinking"),
    ],
)
def test_what_can_not_be_is_one_line(bench, more, said):
    code, _, err = bench.run(*more)
    assert code == 2 and said in err and err.startswith("error: ") and err.count("\n") == 1
    assert not (bench.root / "run" / "config.json").exists()  # nothing stands in the way of the corrected command


def test_a_file_without_the_columns_names_those_it_has(bench):
    bench.data.write_text('{"text": "x"}\n')
    code, _, err = bench.run()
    assert code == 2 and "no prompt column" in err and "found text" in err


def test_unusable_rows_are_left_out_and_said(bench):
    with bench.data.open("a") as handle:
        handle.write('{"question": "?"}\n')
    code, out, _ = bench.run("--limit", "2")
    assert code == 0 and "left out: " in out and "questions.jsonl:8" in out


def test_greedy_takes_one_sample_by_itself(bench):
    from benchmarks import word_problems
    from benchmarks.harness.settings import parser, settings_of

    options = parser(word_problems.BENCHMARK, "").parse_args(
        ["--model", "m", "--temperature", "0", "--output", str(bench.root)]
    )
    assert settings_of(word_problems.BENCHMARK, options).samples == 1


@pytest.mark.parametrize("template", ["chat", "r1", "r1_zero", "plain"])
def test_the_answer_begins_with_think_where_asked(bench, template):
    bench.run("--template", template, "--think", "--limit", "1", name=template)
    prompt = bench.items(template)[0]["prompt"]
    assert prompt.endswith("<think>\n") and prompt.count("<think>\n") == 1
    bench.run("--template", template, "--no-think", "--limit", "1", name=f"{template}-without")
    assert not bench.items(f"{template}-without")[0]["prompt"].endswith("<think>\n")


def test_an_interrupt_keeps_what_is_decoded(bench, whole, monkeypatch):
    from grpo.runs.interrupt import StopFlag

    steps = []

    def check(self):
        steps.append(1)
        if len(steps) == 20:
            self.received = signal.SIGINT
        return original(self)

    original = StopFlag.check
    monkeypatch.setattr(StopFlag, "check", check)
    code, _, err = bench.run(name="stopped")
    assert code == 130 and "the same command continues" in err
    assert 0 < len(bench.items("stopped")) < 21
    monkeypatch.setattr(StopFlag, "check", original)
    bench.run(name="stopped")
    assert bench.items("stopped") == bench.items()


def test_tools_answer_and_the_last_message_is_judged(bench, monkeypatch):
    call = {
        "id": "call00000",
        "type": "function",
        "function": {"name": "calculator", "arguments": {"expression": "6*7"}},
    }
    monkeypatch.setattr(
        "grpo.rollout.writing.said", lambda text, *_: {"role": "assistant", "content": text, "tool_calls": [call]}
    )
    code, _, _ = bench.run("--tools", "calculator", "--max-turns", "2", "--limit", "2", name="tools")
    assert code == 0
    for item in bench.items("tools"):
        roles = [message["role"] for message in item["messages"]]
        assert roles[:3] == ["assistant", "tool", "assistant"] and item["messages"][1]["content"] == "42"
        assert "calculator" in item["prompt"]
    again = bench.items("tools")
    bench.run("--tools", "calculator", "--max-turns", "2", "--limit", "2", name="tools")
    assert bench.items("tools") == again


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--tools", "abacus"], "there is no tool 'abacus'"),
        (["--tools", "python", "--max-thinking", "5"], "tools can't be"),
    ],
)
def test_tools_that_cannot_be_are_refused(bench, arguments, reason):
    code, _, said = bench.run(*arguments, name="refused")
    assert code == 2 and reason in said


def test_a_dry_run_says_what_would_be_run_and_leaves_nothing(bench):
    code, out, _ = bench.run("--dry-run")
    assert code == 0 and f"ready to run word_problems in {bench.root / 'run'}: 7 problems" in out
    assert not (bench.root / "run").exists()
    code, _, err = bench.run("--dry-run", "--model", "/nowhere/model")
    assert code == 2 and "no such directory" in err and err.count("\n") == 1


@pytest.mark.parametrize("flags", [["--dry-run"], ["--limit", "1"]])
def test_what_a_note_quotes_is_shown_escaped(bench, flags):
    data = bench.root / "q\x1b]52;c;aGk=\x07.jsonl"
    data.write_text(bench.data.read_text() + '{"question": ""}\n')  # left out, which the note says
    code, out, err = bench.run(*flags, "--data", str(data), name="noted")
    assert code == 0 and "note: left out: " in out and r"q\x1b]52;c;aGk=\x07.jsonl" in out
    assert "\x1b]" not in out + err and "\x07" not in out + err


def test_a_dry_run_names_a_setting_that_the_directory_does_not_allow(bench, whole):
    code, _, err = bench.run("--dry-run", "--seed", "5")
    assert code == 2 and "holds a run with seed 0, now 5" in err
    assert bench.run("--dry-run", "--limit", "3")[0] == 0


def test_a_wrong_file_under_a_benchmarks_name_shows_no_published_figures(bench):
    from benchmarks import math500
    from benchmarks.harness.engine import main

    file = bench.root / "math500.jsonl"
    file.write_text("".join(json.dumps({"problem": f"{n} + {n}?", "answer": str(2 * n)}) + "\n" for n in range(4)))
    told = ["--model", str(bench.model), "--data", str(file), "--samples", "1", "--max-tokens", "8"]
    assert main(math500.BENCHMARK, "", [*told, "--output", str(bench.root / "wrong")]) == 0
    shown = bench.capsys.readouterr().out
    assert "(custom data)" in shown and "published:" not in shown
    assert bench.results("wrong")["published"] == [] and not bench.results("wrong")["data"]["standard"]


def test_a_completion_that_was_cut_scores_by_its_mark_alone(bench, monkeypatch):
    from benchmarks.harness import decoding

    texts = {"cut": "so it is 4", "cut and boxed": "so it is \\boxed{4}", "whole": "so it is 4"}

    def said(policy, prompts, request, on_tokens):
        for place, prompt in enumerate(prompts):
            rollouts = tuple(
                Rollout((5, 6), (0.0, 0.0), (0.0, 0.0), text, "stop" if name == "whole" else "length")
                for name, text in texts.items()
            )
            yield place, Group(prompt, rollouts)

    monkeypatch.setattr(decoding, "generate", said)
    bench.data.write_text(json.dumps({"question": "2 + 2?", "answer": "4"}) + "\n")
    code, out, err = bench.run()
    assert code == 0, err
    assert [item["scores"]["accuracy"] for item in bench.items()] == [0.0, 1.0, 1.0]
    assert bench.items()[0]["answer"] is None and "cut at max_tokens" in out
