"""stages.png: every stage on the held-out problems as a picture. report.html is of `grpo.report`."""

from collections.abc import Mapping
from pathlib import Path

from distill.pipeline.config import PipelineConfig, active, columns
from distill.pipeline.evaluation import Measured
from distill.pipeline.tables import short


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
