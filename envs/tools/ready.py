"""Any environment with tools: `data=with_tools data_options={env: gsm8k, tools: [calculator, python]}`."""

from collections.abc import Sequence
from typing import Any

from envs.base import DataError, Env
from envs.tools.calculator import calculator
from envs.tools.conversation import ToolEnv
from envs.tools.functions import FunctionTool
from envs.tools.python import PythonTool
from envs.tools.search import read_corpus, search_tool
from rewards.imports import user_object

NAMES = ("calculator", "python", "search")


def with_tools(
    env: str = "arithmetic",
    *,
    tools: list[str] | None = None,
    env_options: dict[str, Any] | None = None,
    corpus: str | None = None,
    seed: int = 0,
) -> Env:
    """The tasks of an environment, with tools.

    `tools` are calculator, python (in the sandbox), search (over `corpus`, a JSONL file or a folder of texts), or your
    own functions as module:function.
    """
    from envs.registry import make

    return equipped(make(env, seed=seed, **(env_options or {})), ["calculator"] if tools is None else tools, corpus)


def equipped(env: Env, names: Sequence[str], corpus: str | None = None) -> ToolEnv:
    """Give an environment's tasks the tools of these names; DataError, one line, for one that is not known."""
    made = [_tool(name, corpus) for name in names if name != "python"]
    if "python" not in names:
        return ToolEnv(env, made)
    return ToolEnv(env, fresh=lambda: [*made, PythonTool()])


def _tool(name: str, corpus: str | None) -> FunctionTool:
    if name == "calculator":
        return FunctionTool(calculator)
    if name == "search":
        if corpus is None:
            raise DataError("the tool search needs corpus=FILE.jsonl or a folder of texts")
        return search_tool(read_corpus(corpus))
    if ":" not in name:
        raise DataError(f"there is no tool {name!r}; there are {', '.join(NAMES)}, and your own as module:function")
    return FunctionTool(user_object(name, "tool"))
