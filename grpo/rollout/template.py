"""A model's chat template: the text the model goes on from, and the token that ends its turn."""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from envs.conversation import Message
from grpo.config.sections import ConfigError
from grpo.rollout.rendering import TemplateBeyond, rendered, renderer

OPENED = "<think>"  # what templates of reasoning models write before the model does
OF_THE_TRAINER = frozenset({"messages", "tools", "add_generation_prompt", "continue_final_message", "tokenize"})
SAID = "4711"  # stands for what the assistant says, in a turn rendered to see how it ends


class ChatTemplate:
    """The chat template of a tokenizer, with the arguments of a config; `notes` says what had to be changed for it."""

    def __init__(
        self, tokenizer: Any, arguments: Mapping[str, Any] | None = None, *, others: str = "plain or r1_zero"
    ) -> None:
        """Raises ConfigError if there is none, or if it does not read one of the arguments."""
        if not tokenizer.has_chat_template:
            raise ConfigError(
                f"template: chat needs a model with a chat template, this one has none: use template: {others}"
            )
        self.tokenizer, self.arguments = tokenizer, dict(arguments or {})
        self.notes: list[str] = []
        self._check_arguments()

    def opening(self, messages: Sequence[Message], tools: Sequence[Any] | None = None, *, goes_on: bool = True) -> str:
        """The text that the model goes on from: its turn's opening, or the beginning that its last message makes.

        Without `goes_on` a last message of the assistant is a turn that is over.
        """
        begun = ""
        if goes_on and messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls"):
            begun, messages = messages[-1]["content"], messages[:-1]
        text = self._rendered(messages, tools, add_generation_prompt=True)
        return text + without_opened(text, begun)

    def whole(self, messages: Sequence[Message], tools: Sequence[Any] | None = None) -> str:
        """The text of a conversation that is over."""
        return self._rendered(messages, tools)

    def end_of_turn(self) -> int | None:
        """The special token that ends the assistant's turn; None where the template writes none after it."""
        turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": SAID}]
        try:
            tail = self.whole(turn).rpartition(SAID)[2]
        except ConfigError:
            return None
        tokens = self.tokenizer.encode(tail, add_special_tokens=False) if tail else []
        kinds = ("all_special_ids", "added_tokens_decoder", "eos_token_ids")
        special = {token for kind in kinds for token in getattr(self.tokenizer, kind, ())}
        return tokens[0] if tokens and tokens[0] in special else None

    def _rendered(self, messages: Sequence[Message], tools: Sequence[Any] | None, **how: Any) -> str:
        """Rendered as they are; where the template refuses or drops a system message, with that in the user's turn."""
        try:
            text, problem = self._apply(messages, tools, how), None
        except Exception as error:  # a template raises what it likes, jinja2 the rest
            text, problem = "", error
        system = messages[0]["content"].strip() if messages and messages[0]["role"] in ("system", "developer") else ""
        if system and system not in text:
            try:
                text, problem = self._apply(folded(messages), tools, how), None
            except Exception as error:
                problem = problem or error
            else:
                self._note("the chat template takes no system message: it begins the user's first message instead")
        if isinstance(problem, TemplateBeyond):
            raise problem
        if problem is not None:
            roles = ", ".join(message["role"] for message in messages)
            reason = " ".join(f"{type(problem).__name__}: {problem}".split())[:200]
            raise ConfigError(f"the model's chat template can't render messages of the roles {roles}: {reason}")
        return text

    def _apply(self, messages: Sequence[Message], tools: Sequence[Any] | None, how: Mapping[str, Any]) -> str:
        try:
            return self._written(with_arguments(messages), tools, how)
        except Exception as error:
            if not any(message.get("tool_calls") for message in messages):
                raise
            try:  # such as DeepSeek's, which joins the arguments of calls to other text
                return self._written(with_arguments(messages, as_text=True), tools, how)
            except Exception:
                raise error from None

    def _written(self, messages: Sequence[Message], tools: Sequence[Any] | None, how: Mapping[str, Any]) -> str:
        more = {"tools": list(tools)} if tools else {}
        return rendered(self.tokenizer, list(messages), **how, **more, **self.arguments)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _check_arguments(self) -> None:
        """An argument that the template never reads would change nothing, in silence."""
        template = getattr(self.tokenizer, "chat_template", None)  # text, unless a program takes its place
        known = variables_of(template) if self.arguments and isinstance(template, str) else None
        for name in self.arguments:
            if name in OF_THE_TRAINER:
                raise ConfigError(f"chat_template_kwargs.{name} is the trainer's own: leave it out")
            if known is not None and name not in known:
                said = ", ".join(sorted(known - OF_THE_TRAINER)) or "no argument"
                raise ConfigError(f"chat_template_kwargs.{name}: the chat template does not read it; it reads {said}")


@functools.lru_cache(maxsize=16)
def variables_of(template: str) -> frozenset[str] | None:
    """The variables a template reads; None where that can't be found out."""
    from jinja2 import TemplateError

    try:
        return renderer().names(template) or None
    except TemplateError:  # rendering it says why
        return None


def with_arguments(messages: Sequence[Message], *, as_text: bool = False) -> list[Message]:
    """Return the messages with the arguments of their tool calls as objects, or as JSON text."""

    def written(call: Any) -> Any:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or "arguments" not in function:
            return call
        arguments = function["arguments"]
        if as_text and not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        elif not as_text and isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except ValueError:  # no JSON: as it is
                return call
        return {**call, "function": {**function, "arguments": arguments}}

    return [
        {**message, "tool_calls": [written(call) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else message
        for message in messages
    ]


def folded(messages: Sequence[Message]) -> list[Message]:
    """The messages without their first, the system's, whose text begins the user's first message."""
    system, *rest = messages
    place = next((n for n, message in enumerate(rest) if message["role"] == "user"), None)
    if place is None:
        return [{"role": "user", "content": system["content"]}, *rest]
    both = f"{system['content']}\n\n{rest[place]['content']}"
    return [*rest[:place], {**rest[place], "content": both}, *rest[place + 1 :]]


def without_opened(opening: str, said: str) -> str:
    """Return the assistant's text without the `<think>` that the opening of its turn already ends with."""
    if not (opening.rstrip().endswith(OPENED) and said.lstrip().startswith(OPENED)):
        return said
    rest = said.lstrip().removeprefix(OPENED)
    return rest.removeprefix("\n") if opening.endswith("\n") else rest
