"""`python -m distill.describe FILE`: what a corpus holds, as a table and a picture; `--split DIR` cuts it 8:1:1.

Reads every layout that `distill.corpus.readers` knows, a hub data set by its id too. With --split the rows go as
train.jsonl, valid.jsonl and test.jsonl into DIR, all rows of a prompt into one of them: names and columns that
`mlx_lm.lora --data DIR` reads as well.
"""

import argparse
import os
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpo.config.sections import ConfigError
from grpo.runs.command import refuse
from rewards.printable import printable, say

SEVERAL = 3  # examples of dropped rows that are shown
MOST_COMPARED = 20_000  # rows that are looked through for near duplicates
LONGEST_LABEL = 40  # characters of a name in the picture


@dataclass(frozen=True)
class Description:
    """Statistics of a corpus; lengths are in `unit`s of the assistant's text."""

    figures: dict[str, Any]
    counts: dict[str, dict[str, int]]  # domain, language, difficulty, ... -> value -> rows
    lengths: list[int]
    pass_rates: list[float]
    unit: str


def describe(rows: Sequence[Any], length: Callable[[str], int], unit: str) -> Description:
    """The figures of corpus rows; ValueError where there are none."""
    from distill.corpus.duplicates import near_duplicates
    from envs.base import prompt_key

    if not rows:
        raise ValueError("no usable row")
    lengths = [length(row.said) for row in rows]
    texts = Counter(" ".join(row.text.split()) for row in rows)
    compared = rows[:MOST_COMPARED]
    near = sum(found is not None for found in near_duplicates([row.text for row in compared], 0.8))
    rates = [row.provenance.pass_rate for row in rows if row.provenance and row.provenance.pass_rate is not None]
    order = sorted(lengths)
    figures = {
        "rows": len(rows),
        "distinct prompts": len({prompt_key(row.asked) for row in rows}),
        "with reasoning": sum(row.reasoning is not None for row in rows),
        "turns of the assistant, mean": round(statistics.fmean(_turns(row) for row in rows), 2),
        f"{unit}, mean": round(statistics.fmean(lengths), 1),
        f"{unit}, median / 95 % / longest": f"{order[len(order) // 2]} / {_percentile(order, 0.95)} / {order[-1]}",
        f"{unit} of the reasoning, mean": round(statistics.fmean(length(row.reasoning or "") for row in rows), 1),
        "repeated rows": len(rows) - len(texts),
        "near duplicates (of five-word runs 80 % shared)": near,
    }
    if len(compared) < len(rows):
        figures["rows compared for near duplicates"] = len(compared)
    if rates:
        figures["pass rate of their prompts, mean"] = round(statistics.fmean(rates), 3)
    return Description(figures, _counts(rows), lengths, rates, unit)


def _turns(row: Any) -> int:
    return 1 if row.messages is None else sum(message.role == "assistant" for message in row.messages)


def _percentile(order: Sequence[int], share: float) -> int:
    return order[min(len(order) - 1, int(share * len(order)))]


def _counts(rows: Sequence[Any]) -> dict[str, dict[str, int]]:
    values = {
        "domain": [row.domain for row in rows],
        "language": [row.language or f"{language_of(row.said)} (guessed)" for row in rows],
        "difficulty": ["none given" if row.difficulty is None else str(row.difficulty) for row in rows],
        "source": [row.source or "none given" for row in rows],
        "licence": [row.licence or "none given" for row in rows],
    }
    return {name: dict(Counter(found).most_common()) for name, found in values.items()}


def language_of(text: str) -> str:
    """The likeliest language by script, then by function words; `unknown` where neither tells."""
    from rewards.form.language import FUNCTION_WORDS
    from rewards.form.scripts import LATIN_LANGUAGES, SCRIPT_OF, latin_words, other_words, prose

    text = prose(text[:4000])
    others = other_words(text)
    if others.get("kana"):
        return "ja"
    latin = latin_words(text, frozenset("aeioy"))
    script, words = max([("latin", latin), *others.items()], key=lambda pair: len(pair[1]))
    spoken = [code for code, its in SCRIPT_OF.items() if its == script]
    if script == "latin":
        spoken = sorted(LATIN_LANGUAGES)
    known = {code: sum(map(FUNCTION_WORDS[code].__contains__, words)) for code in spoken if code in FUNCTION_WORDS}
    if script == "han":
        return "zh"
    if not words or (script == "latin" and not any(known.values())):
        return "unknown"
    return max(known, key=lambda code: known[code]) if any(known.values()) else (spoken[0] if spoken else "unknown")


def table(description: Description, dropped: Sequence[str]) -> str:
    """The figures as Markdown."""
    lines = ["| what | |", "|---|---|", *(f"| {name} | {value} |" for name, value in description.figures.items())]
    for name, counts in description.counts.items():
        shown = ", ".join(f"{value} {count}" for value, count in list(counts.items())[:8])
        lines.append(f"| {name} | {shown}{' ...' if len(counts) > 8 else ''} |")
    lines.append(f"| dropped rows | {len(dropped)} |")
    lines += [f"  dropped {line}" for line in dropped[:SEVERAL]]
    return "\n".join(lines)


def draw(description: Description, path: Path) -> None:
    """Lengths, domains, difficulties and pass rates as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ((lengths, domains), (levels, rates)) = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    spread = max(description.lengths) - min(description.lengths)
    lengths.hist(description.lengths, bins=max(1, min(40, spread)))
    lengths.set(title="length of the assistant's text", xlabel=description.unit, ylabel="rows")
    for axis, name in ((domains, "domain"), (levels, "difficulty")):
        counts = dict(sorted(description.counts[name].items()))
        axis.bar(_labels(counts), list(counts.values()))
        axis.set(title=name, ylabel="rows")
    if description.pass_rates:
        rates.hist(description.pass_rates, bins=20, range=(0, 1))
        rates.set(title="pass rate of the prompt", xlabel="share of samples", ylabel="rows")
    else:
        counts = dict(list(description.counts["language"].items())[:8])
        rates.bar(_labels(counts), list(counts.values()))
        rates.set(title="language", ylabel="rows")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _labels(counts: Mapping[str, int]) -> list[str]:
    """Return names as a picture can show them: short, one each, without control characters and formulas."""
    shown = [printable(name).replace("$", r"\$")[:LONGEST_LABEL] for name in counts]
    return [name if shown.index(name) == place else f"{name} ({place})" for place, name in enumerate(shown)]


def measure(tokenizer: str | None) -> tuple[Callable[[str], int], str]:
    """Return a length function and its unit: words, or tokens of a model; ConfigError where there is no such model."""
    if tokenizer is None:
        from distill.corpus.duplicates import words_of

        return lambda text: len(words_of(text)), "words"
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # that torch is missing is no news here
    from transformers import AutoTokenizer

    from grpo.model.files import NO_CODE, check_files

    try:
        if Path(tokenizer).is_dir():
            check_files(Path(tokenizer))
        loaded = AutoTokenizer.from_pretrained(tokenizer, **NO_CODE)
    except Exception as error:  # whatever transformers raises on files of others
        raise ConfigError(f"tokenizer {tokenizer} can't be loaded: {' '.join(str(error).split())[:200]}") from None
    return lambda text: len(loaded.encode(text, add_special_tokens=False)), "tokens"


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(":")]
    except ValueError:
        shares = []
    if len(shares) != 3 or min(shares) < 0 or not sum(shares):
        raise argparse.ArgumentTypeError(f"must look like 8:1:1, got {text!r}")
    return shares


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m distill.describe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="JSONL, JSON, parquet or CSV file, or hub data set")
    parser.add_argument("--subset", help="configuration of a hub data set")
    parser.add_argument("--output", type=Path, help="where the picture goes (default: beside the file)")
    parser.add_argument("--tokenizer", help="model whose tokens lengths are counted in (default: words)")
    parser.add_argument("--split", type=Path, metavar="DIR", help="write train.jsonl, valid.jsonl and test.jsonl there")
    parser.add_argument("--shares", type=_shares, default=[8.0, 1.0, 1.0], help="of the prompts (default 8:1:1)")
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the input is wrong."""
    options = _parser().parse_args(arguments)
    from distill.corpus.readers import read_corpus
    from envs import DataError

    try:
        length, unit = measure(options.tokenizer)
        reading = read_corpus(options.data, config=options.subset)
        if not reading.rows:
            first = f"; first problem: {reading.dropped[0]}" if reading.dropped else ""
            raise ConfigError(f"{options.data}: no usable row{first}")
        description = describe(reading.rows, length, unit)
        say(table(description, reading.dropped))
        picture = options.output or beside(options.data)
        draw(description, picture)
        say(f"picture: {picture}")
        if options.split is not None:
            _write_split(options, reading.rows)
    except (ConfigError, DataError, OSError) as error:
        return refuse(error)
    return 0


def beside(data: str) -> Path:
    """Return where the picture of a corpus goes: beside its file, here for a hub data set."""
    place = Path(data)
    return place.with_name(f"{place.name}.png") if place.exists() else Path(f"{place.name}.png")


def _write_split(options: argparse.Namespace, rows: Sequence[Any]) -> None:
    from distill.corpus.row import split_by_prompt, write_corpus

    options.split.mkdir(parents=True, exist_ok=True)
    for name, part in split_by_prompt(rows, options.shares, options.seed).items():
        write_corpus(options.split / f"{name}.jsonl", part)
        say(f"{len(part)} rows in {options.split / name}.jsonl")


if __name__ == "__main__":
    sys.exit(main())
