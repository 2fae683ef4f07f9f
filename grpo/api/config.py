"""The config of a run from Python, in our names or TRL's."""

from typing import Any

from pydantic import PrivateAttr

from grpo.api.translation import Pending, translate
from grpo.config import Config
from grpo.config.layers import build


class GRPOConfig(Config):
    """`grpo.config.Config` that also takes the names of TRL's GRPOConfig and of transformers' TrainingArguments.

    What means the same is translated, what changes nothing here is noted, what has no equivalent is refused with what
    to do instead: docs/python.md has the table. Raises ConfigError, a ValueError of one line.
    """

    _pending: Pending = PrivateAttr(default_factory=Pending)
    _notes: list[str] = PrivateAttr(default_factory=list)
    _weights: dict[str, float] | None = PrivateAttr(None)

    def __init__(self, output_dir: str | None = None, **settings: Any) -> None:
        """`output_dir` may be the only positional argument, as in TRL."""
        given = settings if output_dir is None else {"output_dir": output_dir, **settings}
        translated = translate(given)
        build(Config, translated.tree)  # for its errors, which are one line
        super().__init__(**translated.tree)
        self._pending, self._notes = translated.pending, translated.notes
        self._weights = translated.tree.get("reward_weights")

    @property
    def given_weights(self) -> dict[str, float]:
        """The reward_weights that were given, those of a list by place: `algorithm` may bring some of its own."""
        return dict(self._weights or {})

    @property
    def notes(self) -> list[str]:
        """Return notes about settings in TRL's names, a line each."""
        return list(self._notes)

    def resolved(self, prompts: int, **changes: Any) -> Config:
        """The plain config of a run on that many prompts, with `changes` on top."""
        pending = self._pending.resolve(prompts, self)
        tree = {name: getattr(self, name) for name in self.model_fields_set} | pending | changes
        return build(Config, {name: _plain(value) for name, value in tree.items()})


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value
