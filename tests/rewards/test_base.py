"""The registry, and users' functions as rewards."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rewards
from rewards.base import adapt, completion_text, prompt_text

USER_MODULE = """
def plain(completions): return [float(len(c)) for c in completions]
def with_columns(completions, answer): return [float(c == a) for c, a in zip(completions, answer)]
def everything(prompts, completions, completion_ids, **kwargs): return [float(len(kwargs))] * len(prompts)
async def slow(completions, **kwargs): return [0.5] * len(completions)
def scaled(completions, factor=1.0): return [factor] * len(completions)
class Stateful:
    def __init__(self, value=2.0): self.value = value
    def __call__(self, completions): return [self.value] * len(completions)
constant = 3
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = f"user_rewards_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield name
    sys.path[:] = before
    sys.modules.pop(name, None)


def call(reward, completions=("ab", "c"), **columns):
    return reward(prompts=["p"] * len(completions), completions=list(completions), completion_ids=None, **columns)


def test_importing_the_package_loads_neither_mpmath_nor_lingua_nor_mlx():
    code = "import sys, rewards; print([m for m in ('mpmath', 'lingua', 'mlx', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "[]"


def test_every_registered_name_is_built_and_says_its_name():
    for name in rewards.names():
        assert rewards.get(name).__name__ == name


def test_an_unknown_name_lists_the_near_one():
    with pytest.raises(ValueError, match=r"unknown reward 'accuracyy': did you mean accuracy"):
        rewards.get("accuracyy")


def test_an_unknown_option_names_the_known_ones():
    with pytest.raises(ValueError, match="its options: extract"):
        rewards.get("accuracy", extrakt="boxed")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module_here:f", "module no_such_module_here not imported: ModuleNotFoundError"),
        ("os:no_such_function", "os has no function 'no_such_function'"),
        ("os:", "must read 'package.module:function'"),
        (":f", "must read 'package.module:function'"),
        ("os.path:joim", "did you mean join"),
    ],
)
def test_a_bad_user_name_says_what_is_wrong_in_one_line(name, message):
    with pytest.raises(ValueError, match=message) as caught:
        rewards.get(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "values"),
    [
        ("plain", [2.0, 1.0]),  # lengths of "ab" and "c"
        ("with_columns", [1.0, 0.0]),
        ("everything", [2.0, 2.0]),  # answer and other
        ("slow", [0.5, 0.5]),
        ("Stateful", [2.0, 2.0]),
    ],
)
def test_a_user_function_gets_the_arguments_it_names(user_module, function, values):
    assert call(rewards.get(f"{user_module}:{function}"), answer=["ab", "x"], other=[1, 2]) == values


def test_options_reach_functions_and_classes(user_module):
    assert call(rewards.get(f"{user_module}:scaled", factor=4.0)) == [4.0, 4.0]
    assert call(rewards.get(f"{user_module}:Stateful", value=7.0)) == [7.0, 7.0]


def test_a_constant_is_no_reward(user_module):
    with pytest.raises(ValueError, match="must be a function, it is int 3"):
        rewards.get(f"{user_module}:constant")


def test_an_async_reward_runs_inside_a_running_loop_too():
    async def reward(completions):
        await asyncio.sleep(0)
        return [1.0] * len(completions)

    async def outer():
        return call(adapt(reward))

    assert asyncio.run(outer()) == [1.0, 1.0]


def test_a_registered_factory_is_found_by_name(monkeypatch):
    monkeypatch.setattr("rewards.base.FACTORIES", {})
    rewards.register("ones", lambda: lambda prompts, completions, **columns: [1.0] * len(completions))
    assert call(rewards.get("ones")) == [1.0, 1.0]


@pytest.mark.parametrize("name", ["", "a:b"])
def test_a_name_that_could_not_be_asked_for_is_refused(name):
    with pytest.raises(ValueError, match="without ':'"):
        rewards.register(name, lambda: lambda **columns: [])


def test_the_text_of_messages_is_that_of_the_assistant():
    assert completion_text([{"role": "assistant", "content": "a"}, {"role": "tool", "content": "t"}]) == "a"
    assert completion_text([{"role": "assistant", "content": None}]) == ""
    assert prompt_text([{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]) == "q"
    assert prompt_text([]) == ""
