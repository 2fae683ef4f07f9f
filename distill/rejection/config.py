"""Config of rejection sampling. Same tree, loader and errors as `grpo.config`; no mlx."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from distill.corpus.row import Domain
from grpo.config.sections import ColdStart, TurnSettings

# Keys that may differ when a run is resumed: how samples become a corpus, who works on it and how fast.
WORK = {"output", "shard", "store", "concurrency", "timeout_seconds"}
RULES = {"require", "may_lack", "max_paragraph_words", "code_in_reasoning", "max_copied", "judge", "min_judge"}
CHOICE = {"min_pass_rate", "max_pass_rate", "choose", "keep_per_prompt", "near_duplicates", "decontaminate"}
ROWS = {"mix", "mix_share", "domain", "source", "licence"}
FREE_TO_CHANGE = frozenset(WORK | RULES | CHOICE | ROWS)


class RejectionConfig(TurnSettings):
    """One run of `python -m distill.rejection`."""

    model: str = Field(
        "miniature", description="hub id, local MLX directory, or miniature = the embedded model, made on the spot"
    )
    adapter: str | None = Field(None, description="directory of adapters the model samples with")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the weights; auto = as stored, float32 on a CPU"
    )
    cold_start: ColdStart = Field(default_factory=ColdStart, description="of the miniature model")
    server: str | list[str] | None = Field(
        None,
        description="sample from this OpenAI-compatible server instead, e.g. http://127.0.0.1:8080/v1, or from several "
        "that serve the same model: [ADDRESS, ...]",
    )
    concurrency: int = Field(8, ge=1, description="requests to each server at a time")
    timeout_seconds: float = Field(600.0, gt=0, description="for one request to the server")
    server_model: str = Field("default_model", description="the model's name there")
    server_seeds: bool = Field(
        True, description="send a seed with each request; mlx_lm.server then answers them one at a time"
    )

    data: str = Field(
        "digit_sums", description="an environment's name (python -m envs list), a JSONL file or a hub data set"
    )
    data_options: dict[str, Any] = Field(
        default_factory=dict, description="options of the environment (python -m envs show NAME)"
    )
    split: str = Field("train", description="of the environment")
    max_prompts: int | None = Field(None, ge=1, description="prompts, from the start of the split; none = all")
    template: Literal["chat", "plain", "r1_zero"] = Field("chat", description="how a task becomes a prompt")
    system_prompt: str | None = Field(
        None, description="system message of the chat template, in the place of the tasks' own"
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="arguments of the chat template, e.g. {enable_thinking: false}"
    )
    stop: list[str] = Field(
        default_factory=list, description="texts that end a completion once the model has written one; it keeps them"
    )
    stop_tokens: list[int | str] = Field(
        default_factory=list, description="tokens, by id or text, that end a completion besides the model's own"
    )
    max_prompt_length: int = Field(1024, ge=1, description="tokens; a longer prompt is left out and counted")

    samples: int = Field(8, ge=1, description="completions of each prompt (K)")
    max_completion_length: int = Field(1024, ge=1, description="tokens")
    temperature: float = Field(1.0, gt=0, description="of sampling")
    top_p: float = Field(1.0, gt=0, le=1, description="of sampling, after the temperature")
    seed: int = Field(0, ge=0, description="of data order, sampling and choices")
    max_rows: int = Field(64, ge=1, description="completions decoded together")
    chunk_prompts: int = Field(
        32, ge=1, description="prompts sampled together and written at once: what a kill can cost; more = fewer "
        "rows idle at a chunk's end"
    )  # fmt: skip
    shard: str = Field("1/1", description="this process's share of the prompts, e.g. 2/4; all write to one output")
    store: str | None = Field(
        None, description="where shards on several machines put their samples, e.g. s3://bucket/run (fsspec); none = "
        "all write to one output"
    )  # fmt: skip
    output: str | None = Field(None, description="run directory; none = a new one under runs/")

    rewards: list[str] = Field(
        default_factory=lambda: ["accuracy", "format", "language"], description="measured on every completion"
    )
    reward_options: dict[str, dict[str, Any]] = Field(default_factory=dict, description="reward -> its options")
    reward_timeout_seconds: float = Field(120.0, gt=0, description="for all completions of a prompt")

    require: dict[str, float] = Field(
        default_factory=lambda: {"accuracy": 1.0, "format": 1.0, "language": 0.95},
        description="reward -> the least value of a completion that is kept",
    )
    may_lack: list[str] = Field(
        default_factory=lambda: ["language"], description="of these, rewards that may have no value (nothing to judge)"
    )
    max_paragraph_words: int | None = Field(300, ge=1, description="of the reasoning; none = no limit")
    code_in_reasoning: bool = Field(False, description="keep reasoning with a fenced code block")
    max_copied: float = Field(
        0.6, gt=0, le=1, description="share of a completion's runs of five words that may stand in its prompt"
    )
    judge: dict[str, Any] | None = Field(
        None, description="options of the reward `judge`, asked about what the rules keep, e.g. {url: ..., rubric: ...}"
    )
    min_judge: float = Field(0.5, ge=0, le=1, description="least verdict of a completion that is kept")
    min_pass_rate: float = Field(0.0, ge=0, le=1, description="prompts solved less often are dropped")
    max_pass_rate: float = Field(1.0, ge=0, le=1, description="prompts solved more often are dropped, e.g. 0.99")
    choose: Literal["shortest", "diverse", "best_judged", "all"] = Field(
        "shortest", description="which of a prompt's completions stay"
    )
    keep_per_prompt: int = Field(1, ge=1, description="completions of a prompt that stay (all: no limit)")
    near_duplicates: float | None = Field(
        0.8, gt=0, le=1, description="rows that share this much of their runs of five words are one; none = keep all"
    )
    decontaminate: list[str] = Field(
        default_factory=list, description="JSONL files of benchmark problems: rows that share ten words are dropped"
    )
    mix: str | None = Field(None, description="file or hub data set of rows without reasoning to mix in")
    mix_share: float = Field(0.25, gt=0, lt=1, description="of the corpus that they are (R1: 200k of 800k)")
    domain: Domain = Field("general", description="of rows whose task names none")
    source: str | None = Field(None, description="of the rows; none = data")
    licence: str | None = Field(None, description="of the rows")

    @field_validator("shard")
    @classmethod
    def _shard(cls, text: str) -> str:
        found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"shard must look like 2/4, the first at least 1 and at most the second, got {text!r:.80}")
        return text

    @model_validator(mode="after")
    def _possible(self) -> "RejectionConfig":
        unknown = sorted(set(self.require) - set(self.rewards))
        if unknown:
            raise ValueError(f"require names {', '.join(unknown)}, which is not among rewards")
        if self.max_rows < self.samples:
            raise ValueError(f"max_rows must be at least samples, got {self.max_rows} and {self.samples}")
        if self.choose == "best_judged" and self.judge is None:
            raise ValueError("choose: best_judged needs judge")
        if self.min_pass_rate > self.max_pass_rate:
            raise ValueError(f"min_pass_rate {self.min_pass_rate} is above max_pass_rate {self.max_pass_rate}")
        if self.server is not None and (self.adapter is not None or self.template != "chat"):
            raise ValueError("with server the server has the model's adapter and template: leave adapter out, "
                             "template: chat")  # fmt: skip
        if self.server is not None and self.stop_tokens:
            raise ValueError("with server stop_tokens can't be given, stop can")
        if self.template != "chat" and (self.system_prompt or self.chat_template_kwargs):
            raise ValueError(f"system_prompt and chat_template_kwargs need template: chat, got {self.template}")
        return self

    @property
    def servers(self) -> list[str]:
        """The servers' addresses, none where a model that runs here samples."""
        return [self.server] if isinstance(self.server, str) else self.server or []

    @property
    def sampled_by(self) -> str:
        """The name of what sampled, for the corpus: the model, or its servers."""
        return ", ".join(self.servers) or self.model

    @property
    def own_shard(self) -> tuple[int, int]:
        """(which, from 0; of how many)."""
        index, count = map(int, self.shard.split("/"))
        return index - 1, count

    @property
    def right(self) -> str | None:
        """The reward that says whether a completion is right: pass rates are of it."""
        names = [name for name in ("accuracy", "code", "accuracy_lenient") if name in self.rewards]
        return names[0] if names else next(iter(self.require), None)
