"""The tables of docs/algorithms.md, made from the code: `python -m grpo.algorithms.page` prints them."""

from collections.abc import Sequence

from grpo.algorithms.estimators import ADVANTAGES
from grpo.config.presets import PRESETS
from grpo.losses import LOSSES

UNITS = {
    "sequence": "a sequence's mean, then the mean over sequences",
    "token": "all trained tokens of the step",
    "budget": "completions x max_completion_length",
}


def tables() -> dict[str, str]:
    """Return each table in Markdown, by the heading it stands under."""
    losses = [
        (f"`{name}`", loss.formula, UNITS[loss.unit], _papers(loss.paper), loss.keys, loss.use)
        for name, loss in LOSSES.items()
    ]
    advantages = [
        (f"`{name}`", one.formula, _papers(one.paper), one.keys or "none", one.use) for name, one in ADVANTAGES.items()
    ]
    presets = [
        (f"`{name}`", ", ".join(f"`{k}: {_shown(v)}`" for k, v in keys.items())) for name, keys in PRESETS.items()
    ]
    return {
        "Losses": _table(("loss_type", "a token's loss", "divided by", "paper", "keys", "when"), losses),
        "Advantages": _table(("advantage", "formula", "paper", "keys", "when"), advantages),
        "Presets": _table(("algorithm", "sets"), presets),
    }


def _papers(text: str) -> str:
    """Write bare arXiv numbers as links."""
    words = []
    for word in text.split(" "):
        number = word.strip(";,")
        is_number = number[:4].isdigit() and number[4:5] == "."
        words.append(word.replace(number, f"[{number}](https://arxiv.org/abs/{number})") if is_number else word)
    return " ".join(words)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    print("\n\n".join(f"## {heading}\n\n{table}" for heading, table in tables().items()))
