"""From a corpus row to an example: token ids and which of them count. The only place that renders training text.

A prompt is rendered exactly as at sampling (the chat template with its generation prompt), the assistant's text follows
as it stands, then the stop token. So the model is trained on the ids it will see: think text that a template would
strip from its history is kept, a `<think>` that the template opens itself is not doubled, and no BOS is added twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from distill.corpus.readers import Message, messages_of, tools_of
from grpo.config.sections import ConfigError
from grpo.rollout.rendering import TemplateBeyond
from grpo.rollout.template import OPENED, SAID, ChatTemplate, without_opened

Template = Literal["chat", "plain"]
TrainOn = Literal["assistant", "all"]


@dataclass(frozen=True)
class Example:
    """The tokens and loss mask of one row."""

    tokens: tuple[int, ...]  # [time]
    trained_mask: tuple[int, ...]  # [time], 1 where the token counts in the loss; never at the first
    prompt: str  # what a split must not cut through: rows with the same prompt stay together

    @property
    def counted_tokens(self) -> list[int]:
        """The ids that count."""
        return [token for token, counts in zip(self.tokens, self.trained_mask, strict=True) if counts]


class Piece(NamedTuple):
    """One turn: the text the model is shown, what it says to that, and the token that ends it."""

    shown: str
    said: str
    stop: int


@dataclass(frozen=True)
class Rendering:
    """Settings that turn rows into tokens."""

    template: Template = "chat"
    train_on: TrainOn = "assistant"
    system_prompt: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)


class Renderer:
    """Conversations to examples, for one tokenizer."""

    def __init__(self, tokenizer: Any, rendering: Rendering) -> None:
        """Raises ConfigError where a chat template is asked for and there is none, or where no token ends a text."""
        self.tokenizer, self.rendering = tokenizer, rendering
        self.chat = (
            ChatTemplate(tokenizer, rendering.chat_template_kwargs, others="plain")
            if rendering.template == "chat"
            else None
        )
        self.stop_token = self._stop_token()
        self.head = self._head()
        self.opened = self.unclosed = 0  # turns whose `<think>` the template wrote; those of them that never close it

    def notes(self) -> list[str]:
        """Return notes for the reader about the rows so far."""
        notes = [f"note: {note}" for note in self.chat.notes] if self.chat else []
        if self.unclosed:
            notes.append(
                f"warning: the chat template opens {OPENED}, and {self.unclosed} of {self.opened} texts never close "
                "it: the model learns to answer inside its thinking. Give rows with </think> or, if there is one, "
                "chat_template_kwargs.enable_thinking=false"
            )
        return notes

    def examples(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> list[Example]:
        """One example for the conversation.

        Several, one an assistant turn, where the template shows earlier turns otherwise than they were said (reasoning
        templates strip the think text from them): then no single row holds what the model sees at each turn.
        """
        if self.rendering.system_prompt is not None and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.rendering.system_prompt}, *messages]
        pieces: list[Piece] = []
        examples, shown = [], ""
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            prompt, said, stop = self._turn(messages[:i], message, tools)
            if pieces and not prompt.startswith(shown):
                examples.append(self._encode(pieces, messages))
                pieces, shown = [], ""
            pieces.append(Piece(prompt[len(shown) :], said, stop))
            shown = prompt + said + self.tokenizer.decode([stop])
        return [*examples, self._encode(pieces, messages)]

    def _turn(self, history: Sequence[Message], message: Message, tools: Sequence[Any]) -> tuple[str, str, int]:
        """Return the text before an assistant's, its own without what the template opened, and its stop token."""
        if self.chat is None:
            if message.get("tool_calls") or tools:
                raise ValueError("tools need template: chat, which shows them")
            return "\n\n".join(one["content"] for one in history), message["content"], self.stop_token
        prompt, stop = self.chat.opening(history, tools, goes_on=False), self.stop_token
        said = without_opened(prompt, message["content"])
        if message.get("tool_calls"):
            said, stop = self._calls(prompt, history, message, tools)
        elif not said.startswith(self.head):
            said = self.head + said
        if prompt.rstrip().endswith(OPENED):
            self.opened += 1
            self.unclosed += "</think>" not in said
        return prompt, said, stop

    def _calls(
        self, prompt: str, history: Sequence[Message], message: Message, tools: Sequence[Any]
    ) -> tuple[str, int]:
        """Return a message with tool calls as the template writes it, and the token that ends it there."""
        assert self.chat is not None
        whole = self.chat.whole([*history, message], tools)
        body = whole.removeprefix(prompt)
        ends = {self.tokenizer.decode([token]): token for token in (self.stop_token, *self.tokenizer.eos_token_ids)}
        place, stop = max((body.rfind(text), text) for text in ends)
        if not whole.startswith(prompt) or place < 0:
            raise ValueError("the chat template shows a message with tool calls in another way than a reply")
        return body[:place], ends[stop]

    def _head(self) -> str:
        """Return the special tokens that a template writes before an assistant's text, such as gpt-oss's channel."""
        if self.chat is None:
            return ""
        asked = [{"role": "user", "content": "?"}]
        try:
            prompt, whole = self.chat.opening(asked), self.chat.whole([*asked, {"role": "assistant", "content": SAID}])
        except ConfigError:
            return ""
        head = whole.removeprefix(prompt).partition(SAID)[0] if whole.startswith(prompt) else ""
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        special = {number for number, token in added.items() if token.special}
        return head if head and special & set(self.tokenizer.encode(head, add_special_tokens=False)) else ""

    def _encode(self, pieces: Sequence[Piece], messages: Sequence[Message]) -> Example:
        tokens: list[int] = []
        mask: list[int] = []
        for i, (shown, said, stop) in enumerate(pieces):
            # a template writes its own BOS; plain text gets the tokenizer's, once, as in grpo.rollout.prompts
            if self.rendering.template == "plain" and i == 0:
                before = self.tokenizer.encode(shown)
            else:
                before = self.tokenizer.encode(shown, add_special_tokens=False)
            after = [*self.tokenizer.encode(said, add_special_tokens=False), stop]
            tokens += [*before, *after]
            mask += [int(self.rendering.train_on == "all")] * len(before) + [1] * len(after)
        mask[0] = 0  # nothing stands before it that could predict it
        prompt = "\n".join(message["content"] for message in messages if message["role"] == "user")
        return Example(tuple(tokens), tuple(mask), prompt)

    def _stop_token(self) -> int:
        """The token a template ends the assistant's turn with, if that ends a completion; else the tokenizer's."""
        end = self.chat.end_of_turn() if self.chat else None
        if end is not None and end in self.tokenizer.eos_token_ids:
            return end
        if self.tokenizer.eos_token_id is None:
            raise ConfigError("the model's tokenizer names no end token: set eos_token in its tokenizer_config.json")
        token: int = self.tokenizer.eos_token_id
        return token


def tokenised(
    rows: Iterable[tuple[str, Any]], renderer: Renderer, *, max_length: int
) -> tuple[list[Example], list[str]]:
    """Examples of (place, row) pairs, and a line for every row or turn that gives none."""
    examples, skipped = [], []
    for place, row in rows:
        try:
            if isinstance(row, ValueError):
                raise row
            found = renderer.examples(messages_of(row), tools_of(row))
        except TemplateBeyond:
            raise
        except ValueError as error:  # a ConfigError too: the template can't render this row
            skipped.append(f"{place}: {error}")
            continue
        for example in found:
            if len(example.tokens) <= max_length:
                examples.append(example)
            else:
                skipped.append(f"{place}: {len(example.tokens)} tokens, more than max_length {max_length}")
    return examples, skipped


def split_by_prompt(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and validation examples; all rows of a prompt are on one side."""
    prompts = sorted({example.prompt for example in examples})
    order = np.random.default_rng(np.random.SeedSequence((seed, 11))).permutation(len(prompts))
    held_out = {prompts[i] for i in order[: round(share * len(prompts))]}
    return (
        [example for example in examples if example.prompt not in held_out],
        [example for example in examples if example.prompt in held_out],
    )
