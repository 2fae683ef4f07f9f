"""Find the Python in a text: the program in an answer, or the code a prompt asks to complete."""

import ast
import re
from collections.abc import Sequence

from rewards.sections import first_turn, split

FENCES = ("```", "~~~")
LONGEST_PROMPT = 200_000  # characters
_RUN = re.compile(r"`{3,}|~{3,}")
_TAGS = re.compile(r"[ \t]*((?:</\w+>[ \t]*)*)")
_CODE_LINE = re.compile(
    r"(?:async def|def|class|import|from|if|elif|for|while|with|return|assert|raise|del|global) \S|"
    r"(?:try|else|finally|while|if|except\b.*):|(?:pass|break|continue)$|except |@\w|#|['\"]|[)\]}]|"
    r"[\w.]+(?:\[[^=]*\])?(?: *, *\w+)* *(?:[-+*/%&|^]|//|\*\*|<<|>>)?=[^=]|[\w.]+: *\w.*=|[\w.]+\(.*"
)
_BEGINNING = re.compile(r"(?:def|class|import|async def) \w|from \S+ import |@\w+|#!")
_STOPS = re.compile(r"\n(?=def |class |if |print\(|assert |#|@|\S+\n*\Z)")
_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
_BODY_ENDS = ("return", "yield", "raise")


def programs_in(completion: str, prompt: str, entry_point: str | None, *, opened: bool = False) -> tuple[str, ...]:
    """The readings of an answer as a program, likeliest first; the first that is Python counts. Empty without code.

    The last Python block after the reasoning; without a fence all of the answer, if it begins with code. What is only
    the body of the function in the prompt (HumanEval's form) is put after the prompt's code.

    Args:
        opened: the prompt ended with `<think>`.
    """
    final = split(first_turn(completion), opened=opened).final
    if final is None:
        return ()
    started = code_in_prompt(prompt, entry_point)
    block = last_block(final)
    if block is None:
        if any(fence in final for fence in FENCES):
            return ()  # cut off, or of another language
        return _unfenced(final, started, entry_point)
    return _as_body(block, started, entry_point) or (block,)


def last_block(text: str) -> str | None:
    """The last closed fenced block marked as Python, else the last unmarked one; None without either.

    A fence may follow a tag or a sentence on its line, and a tag may follow the closing one.
    """
    marked, unmarked = None, None
    fence, language, start, block = "", "", 0, [""]
    lines = text.splitlines(keepends=True)
    for at, line in enumerate(lines):
        if not fence:
            opening = _opening(line)
            if opening is not None:
                (fence, language), start = opening, at + 1
            continue
        closing = _closing(line)
        if closing is None or not closing[1].startswith(fence):
            continue
        before, _, after = closing
        if before.strip() and not after and at + 1 < len(lines):
            continue  # a line of the program that ends in a fence
        block = [*lines[start:at], *([before + "\n"] if before.strip() else [])]
        program = _dedented(block, lines[start - 1])
        if language.split(" ")[0] in ("python", "py", "python3"):
            marked = program
        elif not language:
            unmarked = program
        fence = ""
    return marked if marked is not None else unmarked


def _opening(line: str) -> tuple[str, str] | None:
    """Return the fence that a line opens and its language; None if it opens none.

    What stands before it may be blank, or text before a fence of Python or of no language.
    """
    line = line.removesuffix("\n")
    fence = _RUN.search(line)
    if fence is None or "`" in line[: fence.start()] or "~" in line[: fence.start()] or "`" in line[fence.end() :]:
        return None
    language = line[fence.end() :].lower()
    if line[: fence.start()].strip(" \t") and language.strip(" \t") not in ("", "python", "python3", "py"):
        return None
    return fence[0], language.strip()


def _closing(line: str) -> tuple[str, str, str] | None:
    """Return what stands before a line's last fence, the fence, and the closing tags after it.

    None if there is no fence, or anything else after it.
    """
    line = line.removesuffix("\n")
    fences = list(_RUN.finditer(line))
    tags = _TAGS.fullmatch(line, fences[-1].end()) if fences else None
    return (line[: fences[-1].start()], fences[-1][0], tags[1].strip()) if tags is not None else None


def _unfenced(final: str, started: str, entry_point: str | None) -> tuple[str, ...]:
    text = _untagged(final)
    body = _as_body(text, started, entry_point)
    if body:
        return body
    lines = text.splitlines(keepends=True)
    first = next((at for at, line in enumerate(lines) if _BEGINNING.match(line)), None)
    if first is None:
        first = next((at for at, line in enumerate(lines) if line.strip()), None)
        if first is None or not all(_is_code(line) for line in lines[first:]):
            return ()
    end = next((at for at in range(first, len(lines)) if not _is_code(lines[at])), len(lines))
    return tuple(dict.fromkeys(("".join(lines[first:]), "".join(lines[first:end]))))


def _untagged(final: str) -> str:
    """Return the text in the answer tags, or all of it."""
    start = final.rfind("<answer>")
    if start < 0:
        return final
    end = final.find("</answer>", start)
    return final[start + 8 : end if end >= 0 else len(final)]


def _is_code(line: str) -> bool:
    return not line.strip() or line[0] in " \t" or _CODE_LINE.match(line) is not None


def _as_body(text: str, started: str, entry_point: str | None) -> tuple[str, ...]:
    """Readings of a text as the body of the function that the prompt begins; none if it is no body."""
    if not started or entry_point is None or not entry_point.isidentifier() or f"def {entry_point}" in text:
        return ()
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or _BEGINNING.match(lines[0]) or not any(line.lstrip().startswith(_BODY_ENDS) for line in lines):
        return ()
    text = text.strip("\n") if lines[0][0] in " \t" else text.lstrip()
    stop = _STOPS.search(text)
    readings = []
    for body in (text, text[: stop.start()] if stop is not None else text):
        kept = body.splitlines(keepends=True)
        indented = [" " * 4 + line if line.strip() else line for line in kept]
        # as it stands; its first line stripped; all of it without the function's indentation
        readings += [body, indented[0] + "".join(kept[1:]), "".join(indented)]
    if lines[0][0] not in " \t":
        readings = [reading for reading in readings if reading[:1] in " \t"]
    return tuple(dict.fromkeys(f"{started.rstrip()}\n{reading}" for reading in readings))


def _dedented(lines: Sequence[str], opening: str) -> str:
    """The lines of a block without the indentation of its fence (blocks in lists are indented)."""
    indent = len(opening) - len(opening.lstrip(" "))
    return "".join(line[indent:] if line[:indent].isspace() else line for line in lines)


def code_in_prompt(prompt: str, entry_point: str | None) -> str:
    """The Python of a prompt that defines `entry_point`: a fenced block, all of it, or from its first import on.

    Of a prompt that begins `class Solution`, what stands before it: imports, classes of nodes, helpers.
    """
    if entry_point is None or len(prompt) > LONGEST_PROMPT:
        return ""
    name = entry_point.rpartition(".")[2]
    if f"def {name}" not in prompt:
        return _prelude(prompt) if name != entry_point else ""
    for code in _codes(prompt):
        defined = [node.name for node in _statements(code) if isinstance(node, ast.FunctionDef)]
        if entry_point in defined:
            return code
    return _prelude(prompt)


def _codes(prompt: str) -> list[str]:
    """The readings of a prompt as code."""
    lines = prompt.splitlines(keepends=True)
    starts = [
        at for at, line in enumerate(lines) if line.startswith(("from ", "import ", "def ", "class ", "@", "# Def"))
    ]
    return [last_block(prompt) or "", prompt, "".join(lines[starts[0] :]) if starts else ""]


def _defines(code: str) -> bool:
    """Return whether code is Python that defines something and does no more."""
    body = _statements(code)
    return bool(body) and all(isinstance(node, _DEFINITIONS) for node in body)


def _statements(code: str) -> list[ast.stmt]:
    try:
        return ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _prelude(prompt: str) -> str:
    """Return the text before `class Solution`, with the definitions that LeetCode writes as comments."""
    for code in _codes(prompt):
        before = _uncommented(("\n" + code).partition("\nclass Solution")[0])
        if _defines(before):
            return before
    return ""


def _uncommented(code: str) -> str:
    """The code, where comments after "# Definition for" that are code count as such."""
    lines, opened = [], False
    for line in code.splitlines(keepends=True):
        if line.startswith("# Definition for"):
            opened = True
            continue
        opened = opened and line.startswith("#")
        lines.append(line[1:].removeprefix(" ") if opened else line)
    return "".join(lines)
