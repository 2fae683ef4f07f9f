"""`python -m distill.select --data corpus.jsonl --count 1000 --output s1_corpus.jsonl`: a small set out of a large one.

Quality, difficulty, diversity, in this order, as s1 (arXiv 2501.19393, section 2.2) came to its 1,000 rows: rows with
faults go; of what is left the harder ones stand first; each domain gets an equal number of places (what one can't fill
goes to the others), and within a domain the rows are taken that lie farthest from those already taken. Where s1 asks
models about quality and difficulty, this reads what the corpus says: verdicts, pass rates, difficulty, and the length
of the reasoning where it says nothing.
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from distill.corpus.duplicates import words_of
from distill.corpus.row import CorpusRow, hash_order, write_corpus
from distill.corpus.rules import Judged, Rules, reasons
from grpo.config.sections import ConfigError
from grpo.runs.command import guarded, refuse
from rewards.printable import say

Distance = Literal["words", "coordinates", "model"]
BUCKETS = 1024  # dimensions that words are hashed into
POOL = 4  # candidates for each place of a domain: its hardest rows


@dataclass(frozen=True)
class Selection:
    """The selected rows, and the number left after each step."""

    rows: list[CorpusRow]
    steps: list[tuple[str, int]] = field(default_factory=list)
    domains: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)  # reason -> rows; a row may have several


@dataclass(frozen=True)
class Wish:
    """The number of rows to select and the conditions they must meet."""

    count: int
    min_difficulty: int = 1
    max_pass_rate: float = 1.0
    min_certainty: float = 0.0
    min_verdict: float = 0.0
    pool: int = POOL  # 1 = the hardest rows alone, large = diversity alone


def select(rows: Sequence[CorpusRow], wish: Wish, vectors: np.ndarray) -> Selection:
    """At most `wish.count` rows; vectors [rows, dimensions] say what lies near what.

    The same rows in any order give the same selection.
    """
    order = sorted(range(len(rows)), key=lambda at: (hash_order(rows[at].text, 0), rows[at].id or ""))
    steps = [("rows", len(rows))]
    found_faults = [faults(rows[at], wish) for at in order]
    good = [at for at, found in zip(order, found_faults, strict=True) if not found]
    dropped = Counter(reason for found in found_faults for reason in found)
    steps.append(("without faults", len(good)))
    hard = [at for at in good if _hard_enough(rows[at], wish)]
    steps.append(("hard enough", len(hard)))
    if len(hard) < len(good):
        dropped["not_hard_enough"] = len(good) - len(hard)
    by_domain: dict[str, list[int]] = {}
    for at in hard:
        by_domain.setdefault(rows[at].domain, []).append(at)
    places = quotas({domain: len(found) for domain, found in by_domain.items()}, wish.count)
    taken: list[int] = []
    for domain, found in sorted(by_domain.items()):
        hardest = sorted(found, key=lambda at: _hardness(rows[at]), reverse=True)[: wish.pool * places[domain]]
        taken += [hardest[at] for at in farthest_points(vectors[hardest], places[domain])]
    steps.append(("selected", len(taken)))
    return Selection([rows[at] for at in taken], steps, {domain: n for domain, n in places.items() if n}, dict(dropped))


def faults(row: CorpusRow, wish: Wish) -> list[str]:
    """Why a row is not good enough; [] if it is."""
    found = reasons(Judged(row.asked, row.said, "stop", {}), Rules(max_copied=0.6))
    if row.requires_reasoning and not row.reasoning:
        found.append("no_reasoning")
    if not row.answer:
        found.append("no_answer")
    made = row.provenance
    if made is not None and made.certainty is not None and made.certainty < wish.min_certainty:
        found.append("certainty")
    if made is not None and any(verdict.value < wish.min_verdict for verdict in made.verdicts):
        found.append("verdict")
    return found


def _hard_enough(row: CorpusRow, wish: Wish) -> bool:
    rate = row.provenance.pass_rate if row.provenance is not None else None
    if rate is not None and rate > wish.max_pass_rate:
        return False
    return row.difficulty is None or row.difficulty >= wish.min_difficulty


def _hardness(row: CorpusRow) -> tuple[float, int]:
    """Harder = solved less often (or a higher difficulty), then longer reasoning, which goes with it in s1."""
    rate = row.provenance.pass_rate if row.provenance is not None else None
    level = 1 - rate if rate is not None else ((row.difficulty or 3) - 1) / 4
    return level, len(words_of(row.reasoning or row.said))


def quotas(available: Mapping[str, int], count: int) -> dict[str, int]:
    """Places for each domain: as equal as their rows allow, `count` in all if there are that many rows."""
    places = dict.fromkeys(available, 0)
    left = min(count, sum(available.values()))
    while left:
        open_ones = sorted(name for name in available if places[name] < available[name])
        share = max(1, left // len(open_ones))
        for name in open_ones:
            more = min(share, available[name] - places[name], left)
            places[name] += more
            left -= more
    return places


def farthest_points(vectors: np.ndarray, count: int) -> list[int]:
    """Places of `count` rows of [rows, dimensions]: the first, then each time the one farthest from all taken.

    Gonzalez' greedy 2-approximation of the k-centre problem (1985), Euclidean; ties go to the earlier row.
    """
    if count <= 0 or not len(vectors):
        return []
    taken = [0]
    nearest = np.linalg.norm(vectors - vectors[0], axis=1)
    nearest[0] = -1.0
    while len(taken) < min(count, len(vectors)):
        at = int(np.argmax(nearest))
        taken.append(at)
        nearest = np.minimum(nearest, np.linalg.norm(vectors - vectors[at], axis=1))
        nearest[taken] = -1.0
    return taken


def word_vectors(texts: Sequence[str]) -> np.ndarray:
    """[rows, 1024] of unit length: words weighed by log(rows / rows with it) + 1, hashed with a sign."""
    import zlib

    counted = [Counter(words_of(text)) for text in texts]
    spread = Counter(word for counts in counted for word in counts)
    vectors = np.zeros((len(texts), BUCKETS), dtype=np.float32)
    for at, counts in enumerate(counted):
        for word, count in counts.items():
            code = zlib.crc32(word.encode())
            weight = (1 + math.log(count)) * (math.log(len(texts) / spread[word]) + 1)
            vectors[at, code % BUCKETS] += weight if code & 1 << 31 else -weight
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def coordinate_vectors(rows: Sequence[CorpusRow]) -> np.ndarray:
    """[rows, 3] of the rows' coordinates; ConfigError if one has none."""
    without = sum(row.coordinates is None for row in rows)
    if without:
        raise ConfigError(f"distance coordinates: {without} of {len(rows)} rows have none; use words")
    return np.array([[c.x, c.y, c.z] for row in rows if (c := row.coordinates) is not None], dtype=np.float32)


def model_vectors(texts: Sequence[str], model: str, max_tokens: int = 512) -> np.ndarray:
    """[rows, hidden] of unit length: the mean of an MLX model's last hidden states over a text's first tokens."""
    import mlx.core as mx

    from grpo.model.frozen import load_teacher

    policy = load_teacher(model)
    vectors = []
    for text in texts:
        tokens = policy.tokenizer.encode(text)[:max_tokens]
        mean = policy.trunk(mx.array([tokens]))[0].astype(mx.float32).mean(axis=0)  # [hidden]
        vectors.append(np.array(mean))
    found = np.stack(vectors)
    found -= found.mean(axis=0)  # what all texts share says nothing of what sets them apart
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


def run_select(data: str, output: Path, wish: Wish, *, distance: Distance = "words", model: str | None = None) -> Any:
    """Select from a corpus and write it; returns the Selection. ConfigError or envs.DataError, one line."""
    from distill.corpus.readers import read_corpus

    reading = read_corpus(data)
    if not reading.rows:
        raise ConfigError(f"{data}: no usable row" + (f"; {reading.dropped[0]}" if reading.dropped else ""))
    asked = [row.asked for row in reading.rows]
    if distance == "coordinates":
        vectors = coordinate_vectors(reading.rows)
    elif distance == "model":
        if model is None:
            raise ConfigError("distance model needs --model")
        vectors = model_vectors(asked, model)
    else:
        vectors = word_vectors(asked)
    require_possible(reading.rows, wish)
    selection = select(reading.rows, wish, vectors)
    if not selection.rows:
        reasons_given = ", ".join(f"{reason} {count}" for reason, count in sorted(selection.dropped.items()))
        raise ConfigError(f"{data}: none of {len(reading.rows)} rows stays: {reasons_given}")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_corpus(output, selection.rows)
    return selection


def require_possible(rows: Sequence[CorpusRow], wish: Wish) -> None:
    """ConfigError, one line, for a filter on what no row says."""
    made = [row.provenance for row in rows if row.provenance is not None]
    for flag, asked, said in (
        ("--min-certainty", wish.min_certainty > 0, any(one.certainty is not None for one in made)),
        ("--min-verdict", wish.min_verdict > 0, any(one.verdicts for one in made)),
        ("--max-pass-rate", wish.max_pass_rate < 1, any(one.pass_rate is not None for one in made)),
        ("--min-difficulty", wish.min_difficulty > 1, any(row.difficulty is not None for row in rows)),
    ):
        if asked and not said:
            raise ConfigError(f"{flag}: no row says that of itself, so it would select nothing or everything")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m distill.select", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="corpus: a file in any layout distill reads, or a hub data set")
    parser.add_argument("--output", required=True, type=Path, help="JSONL file to write")
    parser.add_argument("--count", type=int, default=1000, help="rows to select (default 1000)")
    distances = ("words", "coordinates", "model")
    parser.add_argument("--distance", choices=distances, default="words", help="what prompts lie apart by: weighted "
                        "words, concept coordinates, a model's hidden states")  # fmt: skip
    parser.add_argument("--model", help="MLX model, for --distance model")
    parser.add_argument("--min-difficulty", type=int, default=1, help="1 to 5; rows without one stay (default 1)")
    parser.add_argument("--max-pass-rate", type=float, default=1.0, help="prompts solved more often go (default 1)")
    parser.add_argument("--min-certainty", type=float, default=0.0, help="rows less certain go (default 0)")
    parser.add_argument("--min-verdict", type=float, default=0.0, help="rows judged lower go (default 0)")
    about_pool = f"candidates for each place, the hardest ones (default {POOL}); 1 = hardness alone"
    parser.add_argument("--pool", type=int, default=POOL, help=about_pool)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the input is wrong."""
    options = _parser().parse_args(arguments)
    if options.count < 1 or options.pool < 1:
        return refuse(ConfigError(f"--count and --pool must be at least 1, got {options.count} and {options.pool}"))
    wish = Wish(options.count, options.min_difficulty, options.max_pass_rate, options.min_certainty,
                options.min_verdict, options.pool)  # fmt: skip

    def work() -> None:
        found = run_select(options.data, options.output, wish, distance=options.distance, model=options.model)
        say("| step | rows |\n|---|---|\n" + "\n".join(f"| {name} | {count} |" for name, count in found.steps))
        if found.dropped:
            say("left out: " + ", ".join(f"{reason} {count}" for reason, count in sorted(found.dropped.items())))
        say("by domain: " + ", ".join(f"{domain} {count}" for domain, count in sorted(found.domains.items())))
        say(f"{len(found.rows)} rows in {options.output}")

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
