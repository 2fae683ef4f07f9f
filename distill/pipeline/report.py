"""stages.png and report.html: the page of a pipeline with its picture, in one file that fetches nothing."""

import base64
import html
import re
from collections.abc import Mapping
from pathlib import Path

from distill.pipeline.config import PipelineConfig, active, columns
from distill.pipeline.evaluation import Measured
from distill.pipeline.tables import short

STYLE = """body { margin: 2rem auto; max-width: 1160px; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #e1e0d9; white-space: nowrap }
img { max-width: 100% }"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def draw(pipeline: PipelineConfig, measured: Mapping[str, Measured], path: Path) -> None:
    """A panel for every held-out reward: each stage's mean with its 95% interval, controls hollow."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = columns(pipeline)
    stages = [name for name in active(pipeline) if name in measured]
    figure, panels = pyplot.subplots(1, len(names), sharey=True, squeeze=False, dpi=120,
                                     figsize=(1.6 + 2.3 * len(names), 0.8 + 0.3 * len(stages)))  # fmt: skip
    for column, axes in zip(names, panels[0], strict=True):
        for place, name in enumerate(stages):
            found = measured[name].figure(column)
            if found is not None:
                face = "white" if pipeline.stages[name].control else "C0"
                axes.plot([found.low, found.high], [place, place], color="C0", linewidth=1.5)
                axes.plot(found.mean, place, "o", color="C0", markerfacecolor=face, markersize=5)
        axes.set(title=short(column), yticks=range(len(stages)), yticklabels=stages, xlim=(-0.03, 1.03))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)


def render(markdown: str, picture: bytes) -> str:
    """The page as HTML with the picture after its heading; the texts are escaped."""
    image = (
        f'<img alt="each stage on held-out problems" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
    )
    title, _, rest = markdown.partition("\n")
    body = "\n".join(map(_block, re.split(r"\n{2,}", rest.strip())))
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    name = html.escape(title.removeprefix("# "))
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>{name}</title><style>{STYLE}</style></head>\n'
        f"<body><h1>{name}</h1>\n{image}\n{body}\n</body></html>\n"
    )


def _block(text: str) -> str:
    """A heading, a table, a list or a paragraph of stages.md."""
    lines = text.strip().splitlines()
    if lines[0].startswith("## "):
        return f"<h2>{html.escape(lines[0][3:])}</h2>"
    if lines[0].startswith("| "):
        rows = [[_inline(cell.strip()) for cell in line[2:-2].split(" | ")] for line in lines]
        head = "".join(f"<th>{cell}</th>" for cell in rows[0])
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows[2:])
        return f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}</table></div>'
    if lines[0].startswith("- "):
        return "<ul>" + "".join(f"<li>{_inline(line[2:])}</li>\n" for line in lines) + "</ul>"
    return f"<p>{_inline(' '.join(lines))}</p>"


def _inline(text: str) -> str:
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(text))
