"""Does a model learn to call a tool? Products it can't work out in its head, with a calculator, without, by coin flips.

    python -m benchmarks.calculator --output runs/calculator [--seeds 1 2 3] [--page RESULTS.md] [key=value ...]

A network of 0.1 million weights with a chat template of its own is cold-started by `distill.sft`: where the template
shows a calculator it calls it rightly in a part of the rows, gets the call wrong or guesses in the others; where none
is shown it is taught the right product, which it can't learn. Every arm is a run of `grpo.train` from that one model,
and one that is finished is not run again. With and without the tool differ in `data` alone.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.harness import arms
from envs import Env, Task
from envs.tools.calculator import calculator
from envs.tools.conversation import ToolEnv
from envs.tools.functions import schema_of

WITH, WITHOUT, CONTROL = "with the calculator", "without", "random rewards, with the calculator"
LOW, HIGH = 10, 99  # factors
TASKS, HELD_OUT = 3000, 100
SMALLER = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 192}
ROWS = 20_000  # of the cold start
RIGHT, WRONG = 0.4, 0.3  # of its rows with a tool: a right call, a call of other numbers; the rest guess
CALL = '{"name": "calculator", "arguments": {"expression": "'
WORDS = ["<pad>", "<end>", "<unk>", "<user>", "<assistant>", "<tool>", "<tools>", "calculator", "</tools>"]
WORDS += ["<tool_call>", CALL, '"}}', "</tool_call>", *"0123456789*"]
TEMPLATE = (
    "{%- if tools %}<tools>{% for tool in tools %}{{ tool.function.name }}{% endfor %}</tools>{% endif %}"
    "{%- for message in messages %}{%- if message.role == 'assistant' %}<assistant>{{ message.content }}"
    "{%- for called in message.tool_calls or [] %}{%- set tool_call = called.function %}<tool_call>"
    '{"name": "{{ tool_call.name }}", "arguments": {{ tool_call.arguments | tojson }}}'
    "</tool_call>{% endfor %}<end>{%- else %}<{{ message.role }}>{{ message.content }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}<assistant>{% endif %}"
)
COLD_START = ["fine_tune=full", "total_steps=900", "examples_per_step=64", "token_budget=8192", "learning_rate=2e-3",
              "warmup_steps=30", "eval_every=0", "validation_share=0", "save_every=0", "seed=1"]  # fmt: skip
KEYS = ["fine_tune=full", "reward_weights={accuracy: 1.0}", "reward_options={accuracy: {extract: last_number}}",
        "steps=40", "prompts_per_step=8", "num_generations=16", "num_updates=2", "max_rows=256", "token_budget=16384",
        "max_completion_length=24", "max_turns=3", "max_reply_length=32", "learning_rate=1e-4", "beta=0.01",
        "eval_every=20", f"eval_tasks={HELD_OUT}", "completions_every=20", "save_every=0"]  # fmt: skip


def products(split: str, count: int, seed: int) -> list[Task]:
    """Return tasks; a pair of factors is held out or not whatever the seed."""
    rng, tasks = random.Random(f"products {split} {seed}"), dict[str, Task]()
    while len(tasks) < count:
        left, right = rng.randint(LOW, HIGH), rng.randint(LOW, HIGH)
        if ((left * 1009 + right) % 10 == 0) == (split == "test"):
            name = f"{left}*{right}"
            tasks[name] = Task(name, name, {"answer": str(left * right)})
    return list(tasks.values())


def without_tool(seed: int = 0) -> Env:
    """Return the products alone."""
    splits = {"train": products("train", TASKS, seed), "test": products("test", HELD_OUT, 0)}
    return Env("products", splits, reward_names=("accuracy",))


def with_tool(seed: int = 0) -> Env:
    """Return the products with a calculator."""
    return ToolEnv(without_tool(seed), [calculator])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every arm that is not finished, then write record, table and picture."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.calculator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one run of each arm")
    parser.add_argument("--output", type=Path, required=True, help="base, runs, record.json, table.md, curves.png")
    parser.add_argument("--page", type=Path, help="page whose section <!-- calculator --> is rewritten")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="config keys for every arm")
    options = parser.parse_intermixed_args(arguments)
    from grpo.train import main as train

    base = _base(options.output)
    runs: dict[str, list[dict[str, Any]]] = {}
    for arm, tool, own in (
        (WITH, "with_tool", []),
        (WITHOUT, "without_tool", []),
        (CONTROL, "with_tool", ["control=random_reward"]),
    ):
        for seed in options.seeds:
            folder = options.output / f"{arm.split(',')[0].replace(' ', '_')}-{seed}"
            keys = [
                f"model={base}",
                f"data=benchmarks.calculator:{tool}",
                f"seed={seed}",
                *KEYS,
                *own,
                *options.overrides,
            ]
            if arms.run_once(folder, train, keys) != 0:
                return 1
            runs.setdefault(arm, []).append(_read(folder))
    _write(options, runs)
    return 0


def cold_start(rng: random.Random) -> list[dict[str, Any]]:
    """Return the rows of the cold start, as `distill.sft` reads them."""
    schema, tasks, rows = schema_of(calculator, "calculator"), products("train", TASKS, 0), []
    for number in range(ROWS):
        task = tasks[rng.randrange(len(tasks))]
        said: list[dict[str, Any]] = [{"role": "user", "content": task.prompt}]
        drawn = rng.random()
        if number % 2:
            answer = str(task.columns["answer"])
        elif drawn > RIGHT + WRONG:
            answer = str(rng.randint(LOW * LOW, HIGH * HIGH))
        else:
            asked = str(task.prompt) if drawn < RIGHT else f"{rng.randint(LOW, HIGH)}*{rng.randint(LOW, HIGH)}"
            call = {"type": "function", "function": {"name": "calculator", "arguments": {"expression": asked}}}
            answer = calculator(asked)
            said += [{"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": answer}]
        said.append({"role": "assistant", "content": answer})
        rows.append({"messages": said, **({} if number % 2 else {"tools": [schema]})})
    return rows


def _base(output: Path) -> Path:
    """Make the model that all arms start from, unless it is there."""
    from distill.export.__main__ import main as export
    from distill.sft.__main__ import main as sft

    folder, corpus = output / "base", output / "cold_start.jsonl"
    if (folder / "config.json").exists():
        return folder
    _random_model(output / "random")
    corpus.write_text("".join(json.dumps(row) + "\n" for row in cold_start(random.Random("cold start"))))
    keys = [f"model={output / 'random'}", f"data={corpus}", *COLD_START]
    if arms.run_once(output / "cold_start", sft, keys) != 0:
        sys.exit("the cold start failed")
    export(["--model", str(output / "random"), "--adapter", str(output / "cold_start"), "--output", str(folder)])
    return folder


def _random_model(folder: Path) -> None:
    """Write a network of random weights with the vocabulary and the template of this page."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.models import llama
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    from grpo.model.miniature import SHAPE

    folder.mkdir(parents=True, exist_ok=True)
    words = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocab=words, unk_token="<unk>"))
    longest = sorted((word for word in WORDS if len(word) > 1), key=len, reverse=True)
    pattern = "|".join(map(_escaped, longest)) + "|."
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<end>",
        "pad_token": "<pad>",
    }
    settings |= {"unk_token": "<unk>", "clean_up_tokenization_spaces": False, "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
    shape = {**SHAPE, **SMALLER, "vocab_size": len(words)}
    config = {**shape, "eos_token_id": words["<end>"], "pad_token_id": words["<pad>"]}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    mx.random.seed(1)
    model = llama.Model(llama.ModelArgs.from_dict(shape))
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})


def _escaped(word: str) -> str:
    return "".join(f"\\{letter}" if not letter.isalnum() and letter not in " _<>" else letter for letter in word)


def _read(folder: Path) -> dict[str, Any]:
    """Return what a finished run learned."""
    metrics, summary = arms.read(folder)
    return {
        "points": arms.held_out(metrics, summary),
        "calls": [line["tools/call_frequency"] for line in metrics if "tools/call_frequency" in line],
        "seconds": summary["seconds"],
    }


def table(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: one row an arm, held-out accuracy before and after, by seed."""
    rows = ["| arm | before | after, by seed | after, mean | calls a completion, first and last step |"]
    rows.append("|---|---:|---:|---:|---:|")
    for arm, found in runs.items():
        first, last = ([run["points"][place][1] for run in found] for place in (0, -1))
        calls = [f"{mean(run['calls'][place] for run in found):.2f}" for place in (0, -1)] if found[0]["calls"] else []
        rows.append(
            f"| {arm} | {mean(first):.3f} | {', '.join(f'{value:.3f}' for value in last)} | {mean(last):.3f} | "
            f"{' → '.join(calls)} |"
        )
    return "\n".join(rows) + "\n"


def _write(options: argparse.Namespace, runs: dict[str, list[dict[str, Any]]]) -> None:
    from benchmarks.speed.process import write_section

    text = table(runs)
    (options.output / "record.json").write_text(json.dumps({"overrides": options.overrides, "runs": runs}, indent=1))
    (options.output / "table.md").write_text(text)
    draw(runs, options.output / "curves.png")
    if options.page is not None:
        command = (
            f"`python -m benchmarks.calculator --seeds {' '.join(map(str, options.seeds))} --output runs/calculator`"
        )
        curves = "\n".join(
            f"- {arm}: " + ", ".join(f"{mean(values):.2f}" for values in zip(*_heights(found), strict=True))
            for arm, found in runs.items()
        )
        steps = ", ".join(str(step) for step, _ in next(iter(runs.values()))[0]["points"])
        section = (
            f"### Learning to call a calculator\n\n{_first_lines()} {command}\n\n{text}\n"
            f"Held-out accuracy after steps {steps}, mean of the seeds:\n\n{curves}"
        )
        write_section(options.page, "calculator", section)
    print(text)


def _first_lines() -> str:
    return (
        f"Products of two numbers of two digits, {HELD_OUT} held-out tasks; one cold-started network of 0.1M weights "
        "for all arms; with and without the tool differ in `data` alone."
    )


def _heights(found: list[dict[str, Any]]) -> list[list[float]]:
    return [[value for _, value in run["points"]] for run in found]


def draw(runs: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Held-out accuracy over steps, a line a seed; the control in grey."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.6), dpi=150)
    for place, (arm, found) in enumerate(runs.items()):
        colour = "0.6" if arm == CONTROL else f"C{place}"
        for number, run in enumerate(found):
            axes.plot(
                *zip(*run["points"], strict=True), "o-", color=colour, label=None if number else arm, markersize=3
            )
    axes.set(xlabel="step", ylabel="accuracy, held out", ylim=(0, 1))
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
