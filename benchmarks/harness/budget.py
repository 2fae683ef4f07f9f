"""Budget forcing (s1, arXiv 2501.19393, section 3.1): thinking made longer or shorter while it is being written.

Too early an end of the thinking is not written; "Wait" stands there instead and the model goes on. Thinking that has
reached its limit is closed for the model, which then answers. Lengths are counted in tokens from the prompt's
`<think>` and are exact: thinking that is closed at N has N tokens.

An end of the thinking is a stop token, or the first token with which `</think>` can begin: models to which the tag is
several tokens (`</`, `think`, `>`) would otherwise leave pieces of it behind.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

from benchmarks.harness.settings import Settings
from grpo.config.sections import ConfigError
from grpo.rollout.engine import Steer
from grpo.types import Prompt
from rewards.sections import opened_by_prompt

WAIT, CLOSE, END = "Wait", "</think>\n\n", "</think>"
TAIL = 8  # tokens before the last one among which the tag is looked for: it has 8 characters


class Budget:
    """Steers one completion.

    Args:
        minimum, maximum: tokens of thinking; None = no maximum.
        waits: how often an end may be refused; None = as often as the minimum asks. With a minimum of 0 exactly the
        first `waits` ends are refused, whatever the length.
    """

    def __init__(self, minimum: int, maximum: int | None, waits: int | None, words: "Words") -> None:
        self.minimum, self.maximum, self.words = minimum, maximum, words
        self.waits = waits
        self.refused = 0
        self.thinking: list[int] = []
        self.closed = False

    def __call__(self, token: int) -> Sequence[int]:
        """Return the token to write in place of the one drawn."""
        if self.closed:
            return (token,)
        if self.maximum is not None and len(self.thinking) >= self.maximum:
            self.closed = True
            return self.words.close
        end = self.words.end(self.thinking, token)
        if end is not None and self._refuses():
            self.refused += 1
            room = None if self.maximum is None else self.maximum - len(self.thinking)
            written = self.words.wait[:room]
            self.thinking += written
            return written
        if end == "whole":
            self.closed = True
        else:
            self.thinking.append(token)
        return (token,)

    def _refuses(self) -> bool:
        if self.waits is not None and self.refused >= self.waits:
            return False
        return len(self.thinking) < self.minimum if self.minimum else self.waits is not None


class Words:
    """The tokens of what is written for the model, and how it ends its thinking."""

    def __init__(self, tokenizer: Any, stops: Collection[int]) -> None:
        self.decode: Callable[[list[int]], str] = tokenizer.decode
        self.stops = set(stops)
        self.wait = tuple(tokenizer.encode(WAIT, add_special_tokens=False))
        self.close = tuple(tokenizer.encode(CLOSE, add_special_tokens=False))

    def end(self, thinking: Sequence[int], token: int) -> Literal["begun", "whole"] | None:
        """Return whether this token ends the thinking, or could be the beginning of its end (`</`, `</thi`)."""
        if token in self.stops:
            return "whole"
        text = self.decode([*thinking[-TAIL:], token])
        at = text.rfind("</")
        if at < 0:
            return None
        if text.startswith(END, at):
            return "whole"
        return "begun" if END.startswith(text[at:]) else None


def steering(
    settings: Settings, tokenizer: Any, stops: Collection[int], prompts: Sequence[Prompt]
) -> Callable[[], Steer] | None:
    """Return a steering function for `grpo.rollout.engine.Request.steer`; None without a budget.

    Raises ConfigError where a prompt does not end with `<think>`: the thinking would have no beginning.
    """
    if not settings.steers:
        return None
    if not all(opened_by_prompt(prompt.text) for prompt in prompts):
        raise ConfigError("a thinking budget needs prompts that end with <think>: add --think or --template r1")
    words = Words(tokenizer, stops)
    return lambda: Budget(settings.min_thinking, settings.max_thinking, settings.waits, words)
