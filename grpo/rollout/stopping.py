"""End a completion: at the model's end tokens, its template's end of turn, or what the config adds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.rollout.template import ChatTemplate

LOOK_BACK = 8  # tokens more than a stop text has characters: a text may stand across as many, and bytes of others


@dataclass(frozen=True)
class Stops:
    """Token ids that end a completion, and texts that end it once they stand in it."""

    tokens: frozenset[int]
    texts: tuple[str, ...] = ()

    def ends(self, tokens: Sequence[int], tokenizer: Any) -> bool:
        """Return whether the last of these tokens of a completion ends it; those before did not."""
        if tokens[-1] in self.tokens:
            return True
        if not self.texts:
            return False
        text = tokenizer.decode(list(tokens[-max(map(len, self.texts)) - LOOK_BACK :]))
        return any(stop in text for stop in self.texts)


def stops(config: Config, tokenizer: Any) -> Stops:
    """The stops of a run.

    Raises ConfigError for a text that is no token of the model, and where nothing at all would end a completion.
    """
    tokens = {token for token in tokenizer.eos_token_ids if token is not None}
    if config.template == "chat" and tokenizer.has_chat_template:
        end = ChatTemplate(tokenizer, config.chat_template_kwargs).end_of_turn()
        tokens |= {end} if end is not None else set()
    for token in config.stop_tokens:
        tokens.add(token if isinstance(token, int) else _token_of(token, tokenizer))
    if not tokens and not config.stop:
        raise ConfigError(
            f"model {config.model}: its tokenizer names no end token, so no completion would ever end: "
            "give stop_tokens, e.g. ['<|endoftext|>'], or stop, e.g. ['\\n\\n']"
        )
    return Stops(frozenset(tokens), tuple(config.stop))


def _token_of(text: str, tokenizer: Any) -> int:
    tokens = tokenizer.encode(text, add_special_tokens=False)
    if len(tokens) != 1:
        raise ConfigError(
            f"stop_tokens: {text!r} is {len(tokens)} tokens of this model, not one: "
            "give it as stop, which ends a completion at a text"
        )
    token: int = tokens[0]
    return token
