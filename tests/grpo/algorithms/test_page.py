"""docs/algorithms.md says what the code does."""

import re
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from grpo.algorithms.page import tables
from grpo.config import Config
from grpo.types import LossInputs

PAGE = Path(__file__).parents[3] / "docs" / "algorithms.md"


@pytest.mark.parametrize("heading", tables())
def test_the_tables_are_those_of_the_code(heading):
    assert tables()[heading] in PAGE.read_text("utf-8"), "python -m grpo.algorithms.page prints the tables as they are"


def test_every_key_of_the_page_is_one_of_the_config():
    quoted = re.findall(r"`([a-z_]+(?:\.[a-z_]+)?)(?:: [^`]*)?`", PAGE.read_text("utf-8"))
    known = set(Config.model_fields) | {f"lora.{name}" for name in Config().lora.model_fields}
    inputs = {f"inputs.{name}" for name in ("entropies", "config", "missing", "prompts")}
    values = {"kl_cov", "clip_cov", "reference_logprobs"} | inputs | set(Config().reward_weights)
    names = {name for name in quoted if "_" in name or "." in name}
    tabled = set(re.findall(r"^\| `([a-z_]+)`", PAGE.read_text("utf-8"), flags=re.M))
    assert names - known - values - tabled - {"reward_weights.overlong"} == set()


def test_the_page_s_own_functions_work():
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.S)
    names: dict = {}
    exec(code, names)
    logprobs, mask = mx.full((2, 3), -1.0), mx.ones((2, 3))
    outputs = names["loss"](LossInputs(logprobs, logprobs, None, mx.array([1.0, -1.0]), mask, Config()))
    np.testing.assert_allclose(np.array(outputs.token_losses), [[-1.0] * 3, [1.0] * 3])
