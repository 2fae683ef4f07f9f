"""Between a conversation's messages and the tokens of its row.

What has been sampled or read is never tokenised again: a reply's tokens are those that the model's chat template puts
between the end of one of its messages and the beginning of the next.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from envs import Message, Tool
from envs.tools.calls import FIRST_ID, TAGS, CallFormat, format_of, said
from grpo.config.sections import ConfigError
from grpo.rollout.rendering import TemplateBeyond, rendered

MARK = "zqxhere"  # stands in for the model's message when a template is asked what comes after it
CHARACTERS = 8  # of a token, at most: a reply is cut to about its bound before it is tokenised
WORD = re.compile(r"\w+")
LEFT_OUT = "\n[... {} characters left out ...]\n"
OTHER_END = re.compile(r"^<\|end\|>(?=<\|start\|>)")  # gpt-oss: the model ends its last turn with <|return|>


def call_format(tokenizer: Any) -> CallFormat:
    """A model's way of writing tool calls: as mlx_lm reads them, as its template shows them, or by tags."""
    if getattr(tokenizer, "has_tool_calling", False):
        return CallFormat(tokenizer.tool_call_start, tokenizer.tool_call_end, tokenizer.tool_parser)
    template = getattr(tokenizer, "chat_template", None)
    return format_of(template if isinstance(template, str) else "")


class ChatWriter:
    """Writes by the model's chat template (`template` chat), or in plain words for a model without one.

    Args:
        tokenizer: mlx_lm's.
        template: as in the config: chat, plain or r1_zero.
        stop_tokens: ids that end a message.
        max_reply_tokens: of a reply; a longer one loses its middle.
        arguments: further ones of the chat template.
    """

    def __init__(
        self,
        tokenizer: Any,
        template: str,
        stop_tokens: Collection[int],
        *,
        max_reply_tokens: int,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.tokenizer, self.template, self.calls = tokenizer, template, call_format(tokenizer)
        self.max_reply_tokens, self.arguments = max_reply_tokens, dict(arguments or {})
        self.stops = [text for text in (tokenizer.decode([token]) for token in sorted(stop_tokens)) if text]

    def message(self, tokens: Sequence[int], tools: Sequence[Tool]) -> Message:
        """Return what the model said in these tokens (stop token left out), tool calls read if there are tools."""
        text = self.tokenizer.decode(list(tokens))
        if not tools:
            return {"role": "assistant", "content": text}
        schemas = [tool.schema for tool in tools]
        message = said(text, self.calls, schemas)
        read = "tool_calls" in message or "tool_faults" in message
        # a template that shows no tools: they are described, and calls asked for by tags
        return message if read or TAGS.start not in text else said(text, TAGS, schemas)

    def reply(self, message: Message, replies: Sequence[Message], *, stopped: bool) -> list[int]:
        """Return the tokens from the end of the model's message to the beginning of its next one.

        `stopped` says whether it ended its message itself; otherwise the tokens that end it come first.
        """
        most = CHARACTERS * self.max_reply_tokens
        while True:
            shown = [{**one, "content": shortened(str(one["content"]), most)} for one in replies]
            tokens = self.tokenizer.encode(self._text(message, shown, stopped=stopped), add_special_tokens=False)
            if len(tokens) <= self.max_reply_tokens or most == 0:
                return list(tokens)
            most = most // 2 if most > 16 else 0

    def _text(self, message: Message, replies: Sequence[Message], *, stopped: bool) -> str:
        if self.template == "chat":
            return self._by_template(message, replies, stopped=stopped)
        said = "\n\n".join(str(one["content"]) for one in replies)
        return f" User: {said} Assistant:" if self.template == "r1_zero" else f"\n\n{said}\n\n"

    def _by_template(self, message: Message, replies: Sequence[Message], *, stopped: bool) -> str:
        """Return what the template writes after a message that ends with MARK."""
        found = self._after_calls(message.get("tool_calls") or [], replies) if answers_calls(replies) else None
        if found is None:  # a template without tools: their replies stand as the user's
            replies = [{**one, "role": "user"} if one["role"] == "tool" else one for one in replies]
            found = self._after({"role": "assistant", "content": MARK}, replies)
        if found is None:
            raise ConfigError("the model's chat template does not show the messages of a conversation one by one")
        return self._from_end(found, stopped=stopped)

    def _after_calls(self, calls: Sequence[Mapping[str, Any]], replies: Sequence[Message]) -> str | None:
        """Return what a template writes after a message that calls tools; None if it knows no tools.

        Templates differ in what they take: arguments as an object or as its text, the model's own ids of calls or nine
        letters and digits, one call or several.
        """
        first = calls or [{"function": {"name": str(replies[0].get("name") or "tool")}}]
        for given, own_ids in ((first, True), (first, False), (first[:1], False)):
            for arguments in ({MARK: MARK}, json.dumps({MARK: MARK})):
                ids = [str(call.get("id") or FIRST_ID) if own_ids else FIRST_ID for call in given]
                marked = [
                    {
                        "type": "function",
                        "id": one,
                        "function": {"name": call["function"]["name"], "arguments": arguments},
                    }
                    for one, call in zip(ids, given, strict=True)
                ]
                answered = [
                    {**one, "tool_call_id": one.get("tool_call_id", ids[0]) if own_ids else ids[0]}
                    if one["role"] == "tool"
                    else one
                    for one in replies
                ]
                found = self._after({"role": "assistant", "content": "", "tool_calls": marked}, answered)
                if found is not None:
                    return found
        template = str(getattr(self.tokenizer, "chat_template", None))
        if "'tool'" in template or '"tool"' in template:  # it reads their results, but no calls
            return self._after({"role": "assistant", "content": MARK}, replies)
        return None

    def _after(self, assistant: Message, replies: Sequence[Message]) -> str | None:
        """Return the template's text after the last MARK; None if it refuses the messages or leaves one out."""
        messages = [{"role": "user", "content": "."}, assistant, *replies]
        try:
            text = rendered(self.tokenizer, messages, add_generation_prompt=True, **self.arguments)
        except TemplateBeyond:
            raise
        except Exception:  # a template may raise anything at roles it does not know
            return None
        _, mark, after = text.rpartition(MARK)
        words = [found[0] for one in replies if (found := WORD.search(str(one["content"])))]
        return after if mark and all(word in after for word in words) else None

    def _from_end(self, after: str, *, stopped: bool) -> str:
        """Return the text from the stop token on, or after it where the model has written it."""
        ends = [(after.find(stop), stop) for stop in self.stops if stop in after]
        if not ends:  # a template may end a turn that is not the last with another token than the model does
            return OTHER_END.sub("", after, count=1) if stopped else after
        place, stop = min(ends)
        return after[place + len(stop) :] if stopped else after[place:]


def answers_calls(replies: Sequence[Message]) -> bool:
    """Return whether a reply has results of tools."""
    return any(one["role"] == "tool" for one in replies)


def shortened(text: str, most: int) -> str:
    """Return a text of at most `most` characters and a note of what is left out of its middle."""
    if len(text) <= most:
        return text
    half = most // 2
    return text[:half] + LEFT_OUT.format(len(text) - 2 * half) + text[len(text) - half :]
