"""Rewards under the names and options that TRL and open-r1 give theirs, made of the ones here.

Each differs from its namesake where that one pays for what is no answer; docs/reward_names.md lists how and why.
"""

from collections.abc import Sequence
from typing import Any

from rewards.base import Completion, Reward
from rewards.code.reward import CodeReward
from rewards.form.format import FormatReward, FormatTagCountReward
from rewards.form.length import CosineLengthReward, OverlongPenalty, RelativeLengthReward
from rewards.form.style import ReasoningStepsReward, RepetitionPenalty
from rewards.maths.accuracy import strict


def accuracy_reward() -> Reward:
    """TRL's and open-r1's `accuracy_reward`, TRL's `reasoning_accuracy_reward`."""
    return strict()


def think_format_reward() -> Reward:
    """TRL's: reasoning in think tags, and something behind them."""
    return FormatReward("think")


def format_reward() -> Reward:
    """open-r1's: think tags, then answer tags."""
    return FormatReward("think_answer")


def tag_count_reward() -> Reward:
    """open-r1's: the share of the four tags that are in place."""
    return FormatTagCountReward("think_answer")


def code_format_reward(language: str = "python") -> Reward:
    """open-r1's `get_code_format_reward`: think tags, then answer tags with a block of code in them."""
    return FormatReward(f"<think>{{reasoning}}</think> <answer>{{text}}```{language}{{answer}}```{{text}}</answer>")


def reasoning_steps_reward() -> Reward:
    """open-r1's: up to three steps."""
    return ReasoningStepsReward()


def len_reward() -> Reward:
    """open-r1's, after Kimi k1.5."""
    return RelativeLengthReward()


def soft_overlong_punishment_reward(max_completion_len: int, soft_punish_cache: int) -> Reward:
    """TRL's and open-r1's `get_soft_overlong_punishment`, after DAPO."""
    return OverlongPenalty(max_completion_len, soft_punish_cache)


def repetition_penalty_reward(ngram_size: int = 3, max_penalty: float = -1.0) -> Reward:
    """TRL's `get_repetition_penalty_reward`, over tokens where they are given, else open-r1's, over words."""
    return RepetitionPenalty(ngram_size, max_penalty, tokens=True)


def cosine_scaled_reward(
    max_len: int = 1000,
    min_value_wrong: float = -1.0,
    max_value_wrong: float = -0.5,
    min_value_correct: float = 0.5,
    max_value_correct: float = 1.0,
) -> Reward:
    """TRL's and open-r1's `get_cosine_scaled_reward`."""
    correct, wrong = (max_value_correct, min_value_correct), (min_value_wrong, max_value_wrong)
    return CosineLengthReward(max_len, correct=correct, wrong=wrong, exceeded=None)


class VerifiedCode(CodeReward):
    """open-r1's `code_reward`: the fraction passed of the tests in the column `verification_info`."""

    def __init__(self) -> None:
        super().__init__(credit="fraction")

    def __call__(
        self,
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        verification_info: Sequence[Any] = (),
        **columns: Any,
    ) -> list[float | None]:
        if len(verification_info) != len(completions):
            raise ValueError(
                "code_reward needs the column verification_info: {'test_cases': [{'input', 'output'}, ...]}"
            )
        cases = [info.get("test_cases") or [] for info in verification_info]
        columns |= {"inputs": [[case["input"] for case in one] for one in cases]}
        columns |= {"outputs": [[case["output"] for case in one] for one in cases]}
        columns |= {
            "entry_point": [next((case["fn_name"] for case in one if case.get("fn_name")), None) for one in cases]
        }
        return super().__call__(prompts, completions, completion_ids, **columns)
