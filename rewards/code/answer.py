"""Where the Python of a text is: the program in an answer, the code a prompt asks to be completed."""

import ast
from collections.abc import Sequence

from rewards.sections import first_turn, split


def program_in(completion: str, *, opened: bool = False) -> str | None:
    """The program of an answer: the last Python block after the reasoning; None without one.

    `opened`: the prompt ended with `<think>`.
    """
    final = split(first_turn(completion), opened=opened).final
    return None if final is None else last_block(final)


def last_block(text: str) -> str | None:
    """The last closed fenced block marked as Python, else the last unmarked one; None without either."""
    marked, unmarked = None, None
    fence, language, start = "", "", 0
    lines = text.splitlines(keepends=True)
    for at, line in enumerate(lines):
        stripped = line.strip()
        if not stripped.startswith(("```", "~~~")):
            continue
        run = len(stripped) - len(stripped.lstrip(stripped[0]))
        if not fence:
            fence, language, start = stripped[:run], stripped[run:].strip().lower(), at + 1
        elif stripped.startswith(fence) and stripped == stripped[0] * run:
            block = _dedented(lines[start:at], lines[start - 1])
            if language.split(" ")[0] in ("python", "py", "python3"):
                marked = block
            elif not language:
                unmarked = block
            fence = ""
    return marked if marked is not None else unmarked


def _dedented(lines: Sequence[str], opening: str) -> str:
    """The lines of a block without the indentation of its fence (blocks in lists are indented)."""
    indent = len(opening) - len(opening.lstrip(" "))
    return "".join(line[indent:] if line[:indent].isspace() else line for line in lines)


def code_in_prompt(prompt: str, entry_point: str | None) -> str:
    """The Python of a prompt that defines `entry_point`: a fenced block, all of it, or from its first import on."""
    if entry_point is None or f"def {entry_point}" not in prompt:
        return ""
    lines = prompt.splitlines(keepends=True)
    starts = [at for at, line in enumerate(lines) if line.startswith(("from ", "import ", "def ", "class ", "@"))]
    for code in (last_block(prompt) or "", prompt, "".join(lines[starts[0] :]) if starts else ""):
        try:
            defined = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        if entry_point in defined:
            return code
    return ""
