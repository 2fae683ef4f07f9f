"""The table of docs/memory.md, from the estimate alone: `python -m grpo.memory.page` prints it."""

from grpo.config import Config
from grpo.memory.estimate import GIGABYTE, estimate
from grpo.memory.plan import decided
from grpo.model.facts import facts_of_name

MODELS = (
    "Qwen3-0.6B", "Qwen2.5-1.5B", "Qwen3-1.7B", "Llama-3.2-3B", "Qwen3-4B", "Qwen2.5-7B", "Llama-3.1-8B", "Qwen3-8B",
)  # fmt: skip
BITS = (4, 8, 16)
LENGTHS = (512, 2048, 8192)  # tokens of a completion
PROMPT = 512
SETTINGS = {"num_generations": 8, "prompts_per_step": 2, "max_rows": 8}  # others as they are by default


def table() -> str:
    """Return Markdown: GB of a run on a GPU, one row a model and width, one column a completion length."""
    lines = [
        "| model | bits | " + " | ".join(f"{length:,} tokens" for length in LENGTHS) + " |",
        "|---|---:|" + "---:|" * len(LENGTHS),
    ]
    for model in MODELS:
        for bits in BITS:
            cells = [cell(model, bits, length) for length in LENGTHS]
            lines.append(f"| {model} | {bits} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(model: str, bits: int, length: int) -> str:
    """Return the estimated GB of one run; a star where gradient_checkpointing is turned on."""
    name = model if bits == 16 else f"{model}-{bits}bit"
    facts = facts_of_name(name)
    assert facts is not None, name
    config = Config(model=name, max_completion_length=length, **SETTINGS)
    chosen = decided(config, facts, on_cpu=False, prompt_tokens=PROMPT)
    size = estimate(chosen, facts, on_cpu=False, prompt_tokens=PROMPT).total_bytes
    return f"{size / GIGABYTE:.1f}{' *' if chosen.gradient_checkpointing is True else ''}"


if __name__ == "__main__":
    print(table())
