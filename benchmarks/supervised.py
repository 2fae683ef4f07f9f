"""A supervised recipe from end to end: held-out loss, what the model says before and after, the exported model.

    python -m benchmarks.supervised --config configs/medical_cot_smollm2.yaml --output runs/medical
        [--held-out 12] [--page RESULTS.md] model=DIR_OR_HUB_ID data=ROWS.jsonl [key=value ...]

The last rows of the file are held out of the training: their questions are answered by the model before it and after,
and scored by rewards that need no gold answer. Every part is done once: give the command again and it goes on.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import arms
from distill.sft.config import SFTConfig
from grpo.config.layers import Layer, stack
from grpo.config.parsing import read_yaml
from grpo.config.sections import ConfigError
from rewards.printable import printable

SHOWN = 300  # characters of an answer
REWARDS = ("format", "language")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, answer, export, then write record, table and picture."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.supervised",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML file of distill.sft")
    parser.add_argument("--held-out", type=int, default=12, help="rows at the end of the data (default 12)")
    parser.add_argument("--prompt-column", default="Question", help="of the data (default Question)")
    parser.add_argument("--max-tokens", type=int, default=700, help="of an answer (default 700)")
    parser.add_argument("--output", type=Path, required=True, help="parts, record.json, table.md and curve.png")
    parser.add_argument("--page", type=Path, help="page whose section `supervised` of the config's name is rewritten")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="config keys; model and data name yours")
    options = parser.parse_intermixed_args(arguments)
    from distill.export.__main__ import main as export
    from distill.sft.__main__ import main as sft
    from grpo.evaluate.__main__ import main as evaluate

    output: Path = options.output
    try:
        config = stack(SFTConfig, [Layer(str(options.config), read_yaml(options.config))], options.overrides).config
        train, held_out = _parts(Path(config.data), options.held_out, output)
    except (ConfigError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    code = arms.run_once(output / "sft", sft, ["--config", str(options.config), *options.overrides, f"data={train}"])
    asked = [part for name in REWARDS for part in ("--reward", name)]
    asked += ["--data", str(held_out), "--samples", "1", "--max-tokens", str(options.max_tokens)]
    asked += [f"data_options={{prompt_column: {options.prompt_column}, answer_required: false}}"]
    asked += ["reward_options={format: {template: think}}"]
    same = [f"template={config.template}", f"system_prompt={json.dumps(config.system_prompt)}"]
    before = ["--model", str(config.model), *same]
    for name, subject in (("before", before), ("after", [str(output / "sft")])):
        code = code or evaluate([*subject, *asked, "--output", str(output / name)])
    if code == 0 and not (output / "model").exists():
        code = export(
            ["--model", str(config.model), "--adapter", str(output / "sft"), "--output", str(output / "model")]
        )
    if code == 0:
        _write(options, record_of(output, options))
    return code


def _parts(data: Path, held_out: int, output: Path) -> tuple[Path, Path]:
    """Write the rows to train on and those at the end of the data that are held out."""
    rows = data.read_text(encoding="utf-8").splitlines(keepends=True)
    if not 0 < held_out < len(rows):
        raise ValueError(f"--held-out must be between 1 and {len(rows) - 1} for the rows of {data}, got {held_out}")
    output.mkdir(parents=True, exist_ok=True)
    parts = output / "train.jsonl", output / "held_out.jsonl"
    for path, part in zip(parts, (rows[:-held_out], rows[-held_out:]), strict=True):
        path.write_text("".join(part), encoding="utf-8")
    return parts


def record_of(output: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Losses of the run, figures of both models, and the first held-out question with both answers."""
    from benchmarks.recipe import commit, without_place
    from benchmarks.speed.machine import describe

    metrics, summary = arms.read(output / "sft")
    answers = {}
    for name in ("before", "after"):
        found = json.loads((output / name / "results.json").read_text())
        with (output / name / "completions.jsonl").open() as lines:
            first = json.loads(next(lines))["completion"]
        answers[name] = {
            "figures": found["figures"],
            "tokens": found["mean_length"],
            "cut": found["truncated"],
            "first": first,
        }
    return {
        "config": options.config.name,
        "overrides": [without_place(given) for given in options.overrides],
        "held_out": options.held_out,
        "max_tokens": options.max_tokens,
        "losses": [[line["step"], line["loss"]] for line in metrics],
        "validation": [[0, summary["before"]["validation_loss"]]]
        + [[line["step"], line["eval/loss"]] for line in metrics if "eval/loss" in line],
        "seconds": summary["seconds"],
        "peak_bytes": summary["peak_bytes"],
        "question": json.loads((output / "held_out.jsonl").read_text().splitlines()[0])[options.prompt_column],
        "answers": answers,
        "commit": commit(),
        "machine": describe(),
    }


def _write(options: argparse.Namespace, record: Mapping[str, Any]) -> None:
    """Write record.json, table.md, curve.png, and the section of a page."""
    from benchmarks.speed.process import write_section

    text = table(record)
    (options.output / "record.json").write_text(json.dumps(record, indent=1, ensure_ascii=False))
    (options.output / "table.md").write_text(text)
    draw(record, options.output / "curve.png")
    if options.page is not None:
        name = f"supervised {options.config.stem}"
        write_section(options.page, name, text)
    print(text)


def table(record: Mapping[str, Any]) -> str:
    """Markdown, from the record alone."""
    validation, machine = record["validation"], record["machine"]
    given = " ".join(record["overrides"])
    lines = [
        f"`python -m benchmarks.supervised --config {record['config']} --output DIR {given}`; commit "
        f"{record['commit']}; {machine['processor']}, {machine['cores']} cores, {machine['date']}. "
        f"{record['losses'][-1][0]} steps in {record['seconds'] / 60:.0f} minutes, "
        f"{record['peak_bytes'] / 1e9:.1f} GB at most; validation loss {validation[0][1]:.2f} before, "
        f"{validation[-1][1]:.2f} after. Then {record['held_out']} held-out questions, "
        f"one answer each of at most {record['max_tokens']} tokens:",
        "",
        f"| | {' | '.join(REWARDS)} | tokens | cut |",
        "|---" * (len(REWARDS) + 3) + "|",
    ]
    for name, found in record["answers"].items():
        cells = [_cell(found["figures"].get(reward)) for reward in REWARDS]
        lines.append(f"| {name} | {' | '.join(cells)} | {found['tokens']:.0f} | {found['cut']:.0%} |")
    lines += ["", f"Question: {_short(record['question'])}"]
    lines += ["", *(f"- {name}: {_short(found['first'])}" for name, found in record["answers"].items())]
    return "\n".join(lines) + "\n"


def _cell(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "none"
    inside = "" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]"
    return f"{found['mean']:.3f}{inside}"


def _short(text: str) -> str:
    """Return the text's beginning on one line, as code, so that nothing of it acts in Markdown."""
    flat = " ".join(printable(text).replace("`", "'").split())
    return f"`{flat if len(flat) <= SHOWN else flat[:SHOWN] + ' ...'}`"


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Draw the loss of every step and of the validations."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 2.6), dpi=150)
    axes.plot(*zip(*record["losses"], strict=True), color="0.7", label="training")
    axes.plot(*zip(*record["validation"], strict=True), "o-", color="C0", markersize=3, label="validation")
    axes.set(xlabel="step", ylabel="loss, nats a token", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
