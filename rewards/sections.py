"""Find the reasoning and the answer of a completion: one-pass scanners over `<think>` and `<answer>`.

Plain `str.find`, no regular expressions: `<answer>(.*?)</answer>` takes seconds on hostile text of 32k tokens, with
the interpreter lock held.
"""

from dataclasses import dataclass

SUMMARY_MARK = "|special_token|"  # R1's cold start: mark, reasoning, mark, summary
# A completion that goes on after one of these plays the next turn itself.
TURN_MARKS = (
    "<|im_end|>",
    "<|im_start|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end|>",
    "<|user|>",
    "<|assistant|>",
    "<end_of_turn>",
    "<start_of_turn>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "[INST]",
    "</s>",
)
# What a completion may begin with that was sampled with its own turn's opening.
OPENINGS = (
    "<|im_start|>assistant",
    "<|start_header_id|>assistant<|end_header_id|>",
    "<start_of_turn>model",
    "<|assistant|>",
    "<｜Assistant｜>",
)
# Plain-text turns, as a base model continues "User: ... Assistant: ..."; in the reasoning they are only talk.
PLAIN_TURNS = ("\nUser:", "\nHuman:", "\nAssistant:")


@dataclass(frozen=True)
class Sections:
    """A completion taken apart."""

    reasoning: str | None  # text of the think tags; None if there are none
    final: str | None  # what follows the reasoning (all, without tags); None if the reasoning never ends


def opened_by_prompt(prompt: str) -> bool:
    """Return whether the prompt (its template) already wrote the opening `<think>`."""
    return prompt.rstrip().endswith("<think>")


def first_turn(text: str) -> str:
    """The text up to the first special token of a chat template, or, after the reasoning, the next speaker's name."""
    start = text.lstrip()[:60]
    for opening in OPENINGS:
        if start.startswith(opening):
            text = text.lstrip()[len(opening) :]
    ends = [at for at in (text.find(mark) for mark in TURN_MARKS) if at >= 0]
    reasoned = max(text.find("</think>"), 0)
    ends += [at for at in (text.find(mark, reasoned) for mark in PLAIN_TURNS) if at >= 0]
    return text[: min(ends)] if ends else text


def split(text: str, *, opened: bool = False) -> Sections:
    """Reasoning and final part. `opened`: the prompt ended with `<think>`, so the text begins inside it.

    Without an opening tag, a closing one still ends the reasoning (templates that prefill it). Text after the last
    `</think>` is final unless the reasoning is opened again and left open.
    """
    if text.lstrip().startswith(SUMMARY_MARK):
        _, *parts = text.split(SUMMARY_MARK)
        return Sections(parts[0], parts[1] if len(parts) == 2 else None)
    start, end = text.find("<think>"), text.rfind("</think>")
    if start < 0 and end < 0:
        return Sections(None, None if opened else text)
    if end < 0 or text.find("<think>", end) >= 0:
        return Sections(text[start + 7 :] if start >= 0 else text, None)
    inside = text[start + 7 : end] if 0 <= start < end else text[:end]
    return Sections(inside, text[end + 8 :])
