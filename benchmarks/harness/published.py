"""Figures others published, as shares, each with its source. They are shown beside ours and never computed from it."""

from benchmarks.harness.spec import Published

R1 = "arXiv 2501.12948 v1: T 0.6, top-p 0.95, 32,768 tokens"
OPEN_R1 = "open-r1's rerun: T 0.6, top-p 0.95"
DISTILLED = ("1.5B", "7B", "14B", "32B", "Llama-8B", "Llama-70B")
QWEN = "DeepSeek-R1-Distill-"


def _distilled(**columns: tuple[float, ...]) -> tuple[Published, ...]:
    """The six distilled models of the R1 paper, table 5; one column a figure, in percent."""
    names = [QWEN + (size if size.startswith("Llama") else f"Qwen-{size}") for size in DISTILLED]
    return tuple(
        Published(name, {figure.replace("_at_", "@"): values[row] / 100 for figure, values in columns.items()}, R1)
        for row, name in enumerate(names)
    )


def _rerun(*percent: float) -> tuple[Published, ...]:
    names = [f"{QWEN}Qwen-{size}" for size in DISTILLED[:4]]
    return tuple(Published(name, {"pass@1": value / 100}, OPEN_R1) for name, value in zip(names, percent, strict=True))


AIME24 = (
    Published("DeepSeek-R1", {"pass@1": 0.798}, R1),
    Published("DeepSeek-R1-Zero", {"pass@1": 0.710, "cons@64": 0.867}, R1),
    Published("DeepSeek-R1-Zero, before RL", {"pass@1": 0.156}, R1),
    *_distilled(pass_at_1=(28.9, 55.5, 69.7, 72.6, 50.4, 70.0), cons_at_64=(52.7, 83.3, 80.0, 83.3, 80.0, 86.7)),
    Published("Qwen2.5-32B, RL alone", {"pass@1": 0.470, "cons@64": 0.600}, R1),
    *_rerun(30.7, 50.8, 65.9, 69.7),
)
MATH500 = (
    Published("DeepSeek-R1", {"pass@1": 0.973}, R1),
    Published("DeepSeek-R1-Zero", {"pass@1": 0.959}, R1),
    *_distilled(pass_at_1=(83.9, 92.8, 93.9, 94.3, 89.1, 94.5)),
    Published("Qwen2.5-32B, RL alone", {"pass@1": 0.916}, R1),
    *_rerun(83.1, 94.5, 94.1, 95.6),
    Published("Qwen2.5-0.5B", {"pass@1": 0.158}, "SimpleRL-Zoo, arXiv 2503.18892"),
    Published("Qwen2.5-0.5B, after RL", {"pass@1": 0.344}, "SimpleRL-Zoo, arXiv 2503.18892"),
)
GPQA = (
    Published("DeepSeek-R1", {"pass@1": 0.715}, R1),
    *_distilled(pass_at_1=(33.8, 49.1, 59.1, 62.1, 49.0, 65.2)),
    Published("Qwen2.5-32B, RL alone", {"pass@1": 0.550}, R1),
)
LIVECODEBENCH = (
    Published("DeepSeek-R1", {"pass@1": 0.659}, R1),
    *_distilled(pass_at_1=(16.9, 37.6, 53.1, 57.2, 39.6, 57.5)),
    Published("Qwen2.5-32B, RL alone", {"pass@1": 0.402}, R1),
)
GSM8K = (
    Published("Qwen2.5-0.5B-Instruct", {"pass@1": 0.496}, "verl, its GSM8K baseline"),
    Published("Qwen2.5-0.5B-Instruct, GRPO with LoRA of rank 32", {"pass@1": 0.543}, "verl, its GSM8K baseline"),
    Published("Qwen2.5-0.5B-Instruct, PPO", {"pass@1": 0.567}, "verl, its GSM8K baseline"),
    Published("Qwen2.5-0.5B", {"pass@1": 0.367}, "SimpleRL-Zoo, arXiv 2503.18892"),
    Published("Qwen2.5-0.5B, after RL", {"pass@1": 0.495}, "SimpleRL-Zoo, arXiv 2503.18892"),
)
