"""Settings of a benchmark run: one record, from which the command line is made. Needs no mlx.

Everything in it but FREE_TO_CHANGE decides what the completions are; it is written to the output directory, and
a run there is resumed only under the same settings.
"""

import argparse
import json
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from benchmarks.harness.spec import Benchmark
from grpo.config.layers import build
from grpo.config.sections import Section

FREE_TO_CHANGE = {"limit", "shard", "samples", "max_rows", "concurrency"}


class Settings(Section):
    """One run of a benchmark."""

    model: str = Field(description="hub id or local MLX directory; with --server the server's name for it")
    server: str | None = Field(
        None, description="ask this OpenAI-compatible server, http://127.0.0.1:8080/v1, in place of a model here"
    )
    concurrency: int = Field(8, ge=1, description="requests to the server at a time")
    adapter: str | None = Field(None, description="directory of adapters (LoRA, DoRA or full weights of a run)")
    revision: str | None = Field(None, description="branch, tag or commit of a hub model")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the weights; auto = as stored, float32 on a CPU"
    )
    data: str | None = Field(None, description="a file with the benchmark's columns instead of the hub's copy")
    data_revision: str | None = Field(None, description="commit of the hub's data set")
    limit: int | None = Field(
        None, ge=1, description="only the first N problems (of each language in mgsm); may be raised later"
    )
    shots: int | None = Field(None, ge=1, description="worked examples before each problem")
    shots_data: str | None = Field(None, description="file of worked examples: the benchmark's columns, and solution")
    samples: int = Field(4, ge=1, description="completions of each problem; may be raised later")
    temperature: float = Field(0.6, ge=0, description="comes before the filters; 0 = the likeliest token")
    top_p: float = Field(0.95, gt=0, le=1, description="smallest set of tokens with this mass")
    top_k: int = Field(0, ge=0, description="only the k likeliest tokens; 0 = all")
    max_tokens: int = Field(4096, ge=1, description="of a completion, thinking included")
    seed: int = Field(0, ge=0, description="same seed = same completions")
    template: Literal["chat", "r1", "r1_zero", "plain"] = Field(
        "chat",
        description="the model's chat template; r1 = the same with the answer begun by <think>; r1_zero = R1-Zero's "
        "prompt; plain = the question alone",
    )
    think: bool | None = Field(None, description="begin the answer with <think> and a line break; template r1 does")
    system_prompt: str | None = Field(None, description="system message of the chat template")
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="""arguments of the chat template, as JSON: '{"enable_thinking": false}'"""
    )
    min_thinking: int = Field(
        0, ge=0, description='tokens; where the model would stop thinking earlier, "Wait" is written instead'
    )
    waits: int | None = Field(
        None, ge=0, description='how often "Wait" is written at most; without --min-thinking: exactly so often'
    )
    max_thinking: int | None = Field(None, ge=0, description="tokens after which the thinking is closed")
    tools: str | None = Field(
        None,
        description="calculator, python (in the sandbox) or module:function, several with commas between: the model "
        "may call them, its last message is judged",
    )
    max_turns: int = Field(8, ge=1, description="messages of the model, with --tools")
    max_rows: int = Field(64, ge=1, description="completions decoded together")
    shard: str | None = Field(None, description="i/n: every n-th problem from the i-th; n processes share one --output")

    @field_validator("shard")
    @classmethod
    def _shard_form(cls, shard: str | None) -> str | None:
        if shard is not None:
            parse_shard(shard)
        return shard

    @model_validator(mode="after")
    def _possible(self) -> "Settings":
        if (self.system_prompt or self.chat_template_kwargs) and self.template not in ("chat", "r1"):
            raise ValueError(f"system_prompt and chat_template_kwargs need template chat or r1, got {self.template}")
        if self.server is not None and (self.adapter is not None or self.revision is not None):
            raise ValueError("with server the server has the model: leave adapter and revision out")
        if self.server is not None and (self.template != "chat" or self.opens_thinking or self.steers or self.top_k):
            raise ValueError("with server the server has the template and the sampler: template chat, no think, top_k "
                             "or thinking budget")  # fmt: skip
        if self.shots is None and self.shots_data is not None:
            raise ValueError("shots_data needs shots: how many of its rows are shown")
        if self.shots is not None and self.template == "r1_zero":
            raise ValueError("shots need template chat, r1 or plain: R1-Zero's prompt holds one question")
        if self.steers and not self.opens_thinking and self.template != "chat":
            raise ValueError("a thinking budget needs --think or --template r1: thinking counts from the <think> there")
        if self.tools and self.server is not None:
            raise ValueError("tools need a model that runs here: leave server out")
        if self.tools and (self.steers or self.opens_thinking):
            raise ValueError("tools can't be combined with a thinking budget, --think or --template r1")
        if self.max_thinking is not None and self.max_thinking < self.min_thinking:
            raise ValueError(f"max_thinking {self.max_thinking} is below min_thinking {self.min_thinking}")
        if self.max_thinking is not None and self.max_thinking >= self.max_tokens:
            raise ValueError(f"max_thinking {self.max_thinking} leaves no room for an answer in max_tokens")
        return self

    @property
    def opens_thinking(self) -> bool:
        """Return whether <think> is written for the model."""
        return self.template == "r1" if self.think is None else self.think

    @property
    def steers(self) -> bool:
        """Return whether there is a thinking budget."""
        return bool(self.min_thinking or self.waits or self.max_thinking is not None)

    @property
    def part(self) -> tuple[int, int]:
        """(which, of how many) parts of the problems this process has."""
        return parse_shard(self.shard) if self.shard else (0, 1)


def parse_shard(text: str) -> tuple[int, int]:
    """`i/n` -> (i mod n, n): counting from 0 or from 1, n consecutive numbers are all of it."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and 0 <= int(number) <= int(count) and int(count) > 0):
        raise ValueError(f"must read i/n with i up to n, e.g. 1/2 and 2/2, got {text!r:.80}")
    return int(number) % int(count), int(count)


def parser(benchmark: Benchmark, description: str) -> argparse.ArgumentParser:
    """The command line of a benchmark, its own defaults in the help."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{benchmark.name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, info in Settings.model_fields.items():
        default = _own_default(benchmark, name, info.get_default(call_default_factory=True))
        kind = _plain_type(info.annotation)
        help_text = (info.description or "").replace("%", "%%")
        shown = "" if default in (None, {}) or info.is_required() else f" (default {default})"
        options: dict[str, Any] = {"help": help_text + shown, "default": argparse.SUPPRESS}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options |= {"type": kind, "required": info.is_required(), "metavar": _metavar(info.annotation, kind)}
        made.add_argument(f"--{name.replace('_', '-')}", **options)
    made.add_argument("--dry-run", action="store_true", help="check the settings and what they name; run nothing")
    made.add_argument("--output", type=Path, required=True, help="directory for items, results and table")
    return made


def settings_of(benchmark: Benchmark, options: argparse.Namespace) -> Settings:
    """The settings of a command line; ConfigError, one line, for what can't be."""
    own = {name: _own_default(benchmark, name, None) for name in ("samples", "max_tokens")}
    given = {name: value for name, value in vars(options).items() if name in Settings.model_fields}
    if given.get("temperature") == 0 and "samples" not in given:
        own["samples"] = 1  # the likeliest tokens are the same each time
    return build(Settings, {**own, **given}, source=f"benchmarks.{benchmark.name}")


def _own_default(benchmark: Benchmark, name: str, default: Any) -> Any:
    return {"samples": benchmark.samples, "max_tokens": benchmark.max_tokens}.get(name, default)


def _plain_type(annotation: Any) -> Any:
    """Return the type that a flag is read as: int of `int | None`, str of a Literal."""
    parts: Sequence[Any] = [annotation]
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    return {Literal: str, dict: json_object}.get(typing.get_origin(parts[0]), parts[0])


def json_object(text: str) -> dict[str, Any]:
    """The object that a flag gives as JSON."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError
    return found


def _metavar(annotation: Any, kind: Any) -> str:
    if typing.get_origin(annotation) is Literal:
        return "|".join(typing.get_args(annotation))
    return {int: "N", float: "X", json_object: "JSON"}.get(kind, "TEXT")
