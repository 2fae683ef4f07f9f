"""The Markdown table of a run: ours with its interval, groups, and what others published, marked as such."""

from collections.abc import Sequence
from typing import Any

MUCH_CUT = 0.1  # share of completions
HIDDEN = {"problems", "samples", "pass@1", "pass@1_low", "pass@1_high", "interval"}


def table(results: dict[str, Any]) -> str:
    """Markdown: ours with its interval, groups, what others published."""
    settings, found = results["settings"], results["figures"]
    data = results["data"]
    title = f"{results['benchmark']}: {settings['model']}" + (
        f" + {settings['adapter']}" if settings.get("adapter") else ""
    )
    notes = (f"{settings['shots']}-shot" if settings.get("shots") else "", _budget(settings), _which(data, found))
    title += "".join(f" ({note})" for note in notes if note)
    how = (
        f"{found['problems']} problems x {found['samples']} samples, temperature {settings['temperature']:g}, "
        f"top-p {settings['top_p']:g}, at most {settings['max_tokens']} tokens, template {settings['template']}, "
        f"seed {settings['seed']}"
    )
    rows = [f"## {title}", "", how, "", "| | |", "|---|---|", *_figure_rows(found)]
    if found["truncated"] > MUCH_CUT:
        rows.append(
            f"| **cut at max_tokens** | **{found['truncated']:.0%}: they count as wrong unless boxed or tagged** |"
        )
    if results["speed"]:
        rows.append(f"| tokens/s | {results['speed']['tokens_per_second']:.0f} |")
    for name, values in results["groups"].items():
        if len(values) > 1:
            rows += ["", *_group_rows(name, values)]
    if results["published"]:
        rows += ["", *_published_rows(results["published"], found)]
    return "\n".join(rows) + "\n"


def _budget(settings: dict[str, Any]) -> str:
    """Describe what a thinking budget does to the completions; empty without one."""
    parts = [
        f"{name.replace('_', ' ')} {settings[name]}"
        for name in ("min_thinking", "max_thinking", "waits")
        if settings.get(name)
    ]
    return f"budget forcing: {', '.join(parts)}" if parts else ""


def _which(data: dict[str, Any], found: dict[str, Any]) -> str:
    """Describe how the problems differ from the benchmark's own."""
    if not data["standard"]:
        return "custom data"
    return f"{found['problems']} of {data['problems']} problems" if found["problems"] < data["problems"] else ""


def _figure_rows(found: dict[str, Any]) -> list[str]:
    rows = []
    if found["pass@1"] is not None:
        interval = f"{found['pass@1_low']:.3f} to {found['pass@1_high']:.3f}, {found['interval']}"
        rows.append(f"| pass@1 | **{found['pass@1']:.3f}** ({interval}) |")
    for name, value in found.items():
        if name in HIDDEN or (name == "unscored" and not value) or not _shown(name, found["samples"]):
            continue
        digits = 1 if "tokens" in name else 3
        rows.append(f"| {name.replace('_', ' ')} | {value if isinstance(value, int) else f'{value:.{digits}f}'} |")
    return rows


def _shown(name: str, samples: int) -> bool:
    """Of pass@k the powers of two and all samples; results.json has every k."""
    k = name.partition("@")[2]
    return not k or int(k) & (int(k) - 1) == 0 or int(k) == samples


def _group_rows(name: str, values: dict[str, dict[str, Any]]) -> list[str]:
    columns = [c for c in ("language", "truncated") if c in next(iter(values.values()))]
    rows = [
        f"| {name} | problems | pass@1 | 95% interval | " + " | ".join(columns) + " |",
        "|---" * (4 + len(columns)) + "|",
    ]
    for value, found in values.items():
        if found["pass@1"] is None:
            continue
        interval = f"{found['pass@1_low']:.3f} to {found['pass@1_high']:.3f}"
        rest = " | ".join(f"{found[c]:.3f}" for c in columns)
        rows.append(f"| {value} | {found['problems']} | {found['pass@1']:.3f} | {interval} | {rest} |")
    return rows


def _published_rows(published: Sequence[dict[str, Any]], found: dict[str, Any]) -> list[str]:
    names = list(dict.fromkeys(name for one in published for name in one["figures"]))
    rows = ["| | " + " | ".join(names) + " | source |", "|---" * (2 + len(names)) + "|"]
    ours = [f"{found[name]:.3f}" if found.get(name) is not None else "" for name in names]
    rows.append("| **this run** | " + " | ".join(ours) + " | measured here |")
    for one in published:
        cells = [f"{one['figures'][name]:.3f}" if name in one["figures"] else "" for name in names]
        rows.append(f"| {one['model']} | " + " | ".join(cells) + f" | published: {one['source']} |")
    return rows
