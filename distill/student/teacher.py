"""The teacher: a model that is only read, and whether the student speaks its vocabulary."""

from typing import Any

from grpo.config.sections import ConfigError


def require_same_vocabulary(student: Any, teacher: Any) -> None:
    """ConfigError unless both tokenizers give every token the same id: else the teacher scores other text."""
    mine, theirs = student.get_vocab(), teacher.get_vocab()
    if mine == theirs:
        return
    different = sum(theirs.get(token) != place for token, place in mine.items())
    example = next((token for token, place in mine.items() if theirs.get(token) != place), None)
    shown = f", e.g. {example!r} is {mine[example]} and {theirs.get(example)}" if example is not None else ""
    raise ConfigError(
        f"student and teacher must have the same vocabulary: {len(mine)} and {len(theirs)} tokens, {different} of the "
        f"student's differ{shown}; use method: sequence, which needs only the teacher's text"
    )
