"""Make the pages that are read from the code: `python docs/generate.py` writes them, a test keeps them in step."""

import importlib
import inspect
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

DOCS = Path(__file__).resolve().parent
MADE = "<!-- made by docs/generate.py: change the code and run it again -->\n\n"


def pages() -> dict[str, str]:
    """Return each page's text by its path below docs/."""
    return {
        "troubleshooting.md": troubleshooting(),
        "reference/run_directory.md": run_directory(),
        "reference/settings.md": settings(),
        "reference/rewards.md": reward_options(),
        "reference/corpus.md": corpus(),
    }


def troubleshooting() -> str:
    """Every finding of the doctor: its sign, its remedy, what it explains."""
    from grpo.doctor.findings import KINDS

    parts = [
        "# Troubleshooting\n\n",
        MADE,
        "`python -m grpo.doctor RUN` looks at a run, finished or not (SFT and students too), and prints what it\n"
        "finds: the most probable cause first, with what was seen, how sure that is, and what to try. These\n"
        "are its findings. A run warns of\n"
        "the same while it goes, as far as its metrics show them.\n",
    ]
    for name, kind in KINDS.items():
        also = f"\nOften seen with it, and explained by it: {_links(kind.explains)}.\n" if kind.explains else ""
        parts.append(f"\n## {name}\n\n{_wrap(kind.sign)}\n\n**What to do.** {_wrap(kind.remedy)}\n{also}")
    return "".join(parts)


def _links(names: Iterable[str]) -> str:
    return ", ".join(f"[{name}](#{name.lower().replace('/', '').replace(' ', '-')})" for name in names)


def _wrap(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False))


def run_directory() -> str:
    """Files, metrics and rows of a run."""
    from grpo.runs.layout import FILES, METRICS, ROW

    return "".join(
        [
            "# Run directory\n\n",
            MADE,
            "What `python -m grpo.train --output DIR` writes; the summary and the report come at the end.\n",
            "\n## Files\n\n",
            table(("file", "holds"), FILES.items()),
            "\n## Metrics of a step\n\nNames are TRL's where TRL has one.\n\n",
            table(("metric", "is"), METRICS.items()),
            "\n## A completion row\n\n",
            table(("key", "holds"), ROW.items()),
        ]
    )


def settings() -> str:
    """Every key of a run's config."""
    from grpo.config import Config
    from grpo.config.reference import keys

    rows = [(key.name, f"`{key.default}`", f"{key.meaning}{_among(key.choices)}") for key in keys(Config)]
    lead = "Keys of `python -m grpo.train`, in a YAML file or as `key=value` on the command line.\n\n"
    return "".join(["# Settings of a run\n\n", MADE, lead, table(("key", "default", "is"), rows)])


def _among(choices: Sequence[str]) -> str:
    return f" ({', '.join(choices)})" if choices else ""


def reward_options() -> str:
    """Every registered reward with its options and their defaults."""
    from rewards.base import FACTORIES

    parts = [
        "# Reward options\n\n",
        MADE,
        "`reward_options: {NAME: {option: value}}` in a config; `rewards.get(NAME, option=value)` in Python. How to\n"
        "write your own is in [your own reward](../rewards.md).\n",
    ]
    for name, factory in sorted(FACTORIES.items()):
        if isinstance(factory, str):
            module, _, attribute = factory.partition(":")
            factory = getattr(importlib.import_module(module), attribute)
        parameters = inspect.signature(factory).parameters.values()
        first = (inspect.getdoc(factory) or "").split("\n\n")[0].replace("\n", " ")
        rows = [(one.name, _default(one.default), _kind(one.annotation)) for one in parameters]
        options = table(("option", "default", "type"), rows) if rows else "No options.\n"
        parts.append(f"\n## {name}\n\n{_wrap(first)}\n\n{options}")
    return "".join(parts)


def _default(value: Any) -> str:
    return "required" if value is inspect.Parameter.empty else f"`{value!r}`"


def _kind(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return f"`{text.replace('collections.abc.', '').replace('typing.', '')}`"


def corpus() -> str:
    """The rows of the corpora between the stages."""
    from distill.corpus import row

    intro = inspect.getdoc(row) or ""
    parts = ["# Corpus format\n\n", MADE, f"{intro.strip()}\n\nAn unknown key is an error.\n"]
    for model in (row.CorpusRow, row.Message, row.Provenance, row.Verdict, row.Coordinates):
        about = (model.__doc__ or "").split("\n\n")[0].strip() if "__doc__" in vars(model) else ""
        fields = [
            (name, _type(field.annotation), _field_default(field), field.description or "")
            for name, field in model.model_fields.items()
        ]
        lead = f"{about}\n\n" if about else ""
        parts.append(f"\n## {model.__name__}\n\n{lead}{table(('key', 'type', 'default', 'is'), fields)}")
    return "".join(parts)


def _type(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    arguments = [part for part in get_args(kind) if part is not type(None)]
    if get_origin(kind) is list:
        return f"list of {_type(arguments[0])}"
    if get_origin(kind) is dict:
        return "object"
    if (arguments and str(get_origin(kind)).endswith("Literal'>")) or str(get_origin(kind)) == "typing.Literal":
        return ", ".join(f"`{value}`" for value in arguments)
    if arguments and (get_origin(kind) is Union or str(get_origin(kind)) == "<class 'types.UnionType'>"):
        return " or ".join(map(_type, arguments))
    return getattr(kind, "__name__", str(kind))


def _field_default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "" if value is None or value is PydanticUndefined else f"`{value}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; the first column is code."""
    lines = [head, ["---"] * len(head), *([f"`{first}`", *rest] for first, *rest in rows)]
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|').replace('<', '&lt;') for cell in line)} |\n" for line in lines
    )


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(text, encoding="utf-8")
        print(name)
