"""Presets over `envs.data`: options a user would otherwise write again for every word-problem data set."""

from typing import Any

from envs.base import DataError

BOXED_SUFFIX = "\nPlease reason step by step, and put your final answer within \\boxed{}."
MATH_SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)


def word_problems(options: dict[str, Any]) -> dict[str, Any]:
    """Any file of questions and answers, asked in English and without a suffix."""
    if "data" not in options:
        raise DataError("word_problems: data is required: a JSONL file with question and answer, or a hub data set id")
    return {"language": "en", **options}


def gsm8k(options: dict[str, Any]) -> dict[str, Any]:
    """GSM8K (arXiv 2110.14168), the hub's copy with its own test split; `data=FILE` reads a local copy."""
    hub = {"data": "openai/gsm8k", "config": "main", "test_split": "test"}
    return _preset(hub, options)


def math(options: dict[str, Any]) -> dict[str, Any]:
    r"""MATH (arXiv 2103.03874), its seven subjects from the hub; the answer is the last `\boxed` of the solution."""
    hub = {"data": "EleutherAI/hendrycks_math", "config": MATH_SUBJECTS, "test_split": "test"}
    return _preset(hub, options)


def _preset(hub: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The user's options over the preset's; what describes the hub's copy goes when `data` names another."""
    source = {} if options.get("data", hub["data"]) != hub["data"] else hub
    return {"language": "en", "suffix": BOXED_SUFFIX, **source, **options}
