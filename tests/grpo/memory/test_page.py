"""docs/memory.md is what the estimate says now."""

from pathlib import Path

from grpo.memory import page

PAGE = Path(__file__).parents[3] / "docs" / "memory.md"


def test_the_table_is_that_of_the_estimate():
    assert page.table() in PAGE.read_text("utf-8"), "python -m grpo.memory.page prints the table as it is"


def test_more_bits_and_more_tokens_need_more():
    few, many = (float(page.cell("Qwen3-4B", bits, 512).split()[0]) for bits in (4, 16))
    assert few < many
    assert few < float(page.cell("Qwen3-4B", 4, 8192).split()[0])
