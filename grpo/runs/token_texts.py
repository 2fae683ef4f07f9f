"""The text of single tokens, for whoever looks at what each was worth."""

from collections.abc import Callable, Sequence

HALF = "\ufffd"  # what a decoder writes for bytes that are no whole character


class TokenTexts:
    """Reads tokens as they stand within a text: `[" wait", ","]`, whatever the tokenizer does at a text's start.

    Where a character is spread over several tokens, the last of them has it and the others are empty.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.decode = decode
        self.known: dict[int, str] = {}

    def __call__(self, tokens: Sequence[int]) -> list[str]:
        """Return a text for each token, [time]."""
        texts = [self._text(token) for token in tokens]
        waiting: list[int] = []  # tokens of a character that is not whole yet
        for place, token in enumerate(tokens):
            if not waiting and HALF not in texts[place]:
                continue
            waiting.append(token)
            texts[place] = ""
            whole = self.decode(waiting)
            if HALF not in whole or len(waiting) > 4:  # UTF-8 has at most four bytes a character
                texts[place], waiting = whole, []
        if waiting:
            texts[-1] = self.decode(waiting)
        return texts

    def _text(self, token: int) -> str:
        """The second of two equal tokens: only the first of a text may lose its space."""
        if token not in self.known:
            once, twice = self.decode([token]), self.decode([token, token])
            self.known[token] = twice[len(once) :] if twice.startswith(once) else once
        return self.known[token]
