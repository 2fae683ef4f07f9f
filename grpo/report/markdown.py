"""Read the Markdown of a pipeline's stages.md: headings, tables, lists and paragraphs, as data for a template."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Text = list[tuple[bool, str]]  # pieces of a line: whether it is bold, and the piece
BOLD = re.compile(r"\*\*(.+?)\*\*")


@dataclass(frozen=True)
class Block:
    """One block; of a table `rows` holds the head first, of other kinds a row a line with one cell."""

    kind: Literal["heading", "table", "list", "paragraph"]
    rows: list[list[Text]]


def blocks(markdown: str) -> list[Block]:
    """Return the blocks of a text after its title."""
    parts = re.split(r"\n{2,}", markdown.strip())
    return [_block(part.splitlines()) for part in parts if part and not part.startswith("# ")]


def _block(lines: Sequence[str]) -> Block:
    if lines[0].startswith("## "):
        return Block("heading", [[_pieces(lines[0][3:])]])
    if lines[0].startswith("| "):
        rows = [[_pieces(cell.strip()) for cell in line.strip().strip("|").split(" | ")] for line in lines]
        return Block("table", [rows[0], *rows[2:]])
    if lines[0].startswith("- "):
        return Block("list", [[_pieces(line.removeprefix("- "))] for line in lines])
    return Block("paragraph", [[_pieces(" ".join(lines))]])


def _pieces(text: str) -> Text:
    return [(place % 2 == 1, piece) for place, piece in enumerate(BOLD.split(text)) if piece]
