"""Everything a run can be told, in one tree: defaults <- YAML file <- `a.b=c` overrides. Needs no mlx.

An unknown key, a wrong type or an impossible combination is a ConfigError of one line. Names are TRL's where the
meaning is TRL's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from grpo.config.algorithm import AlgorithmSettings, algorithm_rules
from grpo.config.correction import CorrectionSettings
from grpo.config.loading import load
from grpo.config.presets import with_preset
from grpo.config.rollout import RolloutSettings, rollout_rules, with_correction
from grpo.config.sections import (
    NONE_WORDS,
    BenchmarkSettings,
    ColdStart,
    DataPart,
    LoggedRun,
    ModelSettings,
    TurnSettings,
)


class Config(ModelSettings, LoggedRun, BenchmarkSettings, AlgorithmSettings, CorrectionSettings, TurnSettings):
    """One run of `python -m grpo.train`."""

    model: str = Field(
        "miniature", description="hub id, local MLX directory, or miniature = the embedded model, made on the spot"
    )
    adapter: str | None = Field(
        None, description="directory of adapters to start from; they are then also the reference"
    )
    fine_tune: Literal["lora", "dora", "full"] = Field(
        "lora", description="train adapters, or all weights of a model that is not quantised"
    )
    cold_start: ColdStart = Field(default_factory=ColdStart, description="of the miniature model")
    gradient_checkpointing: bool | Literal["auto"] = Field(  # type: ignore[assignment]
        "auto",
        description="recompute each block in the backward pass: less memory, about a third more time; auto = where the "
        "activations would take more than 4 GB, or more than memory_gb leaves",
    )

    data: str | list[DataPart] = Field(
        "digit_sums",
        description="an environment's name (python -m envs list), a JSONL, JSON, parquet or CSV file, a hub data set, "
        "or module:function = your own rows, generator of rows or Env (docs/own_data.md); or several with shares, "
        "[{env: NAME, weight: 1.0, options: {...}}, ...]",
    )
    data_options: dict[str, Any] = Field(
        default_factory=dict, description="options of the environment (python -m envs show NAME)"
    )
    shuffle_dataset: bool = Field(
        True, description="each epoch in an order of its own, drawn by seed; false = as it is"
    )
    template: Literal["chat", "plain", "r1_zero"] = Field(
        "chat", description="how a task becomes a prompt: the model's chat template, as it is, or R1-Zero's"
    )
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
        default_factory=list,
        description="tokens, by id or text, that end a completion besides the model's own and its template's",
    )
    max_prompt_length: int = Field(1024, ge=1, description="tokens; a longer prompt is left out and counted")

    reward_weights: dict[str, float] = Field(
        default_factory=lambda: {"accuracy": 1.0, "format": 0.3, "language": 0.2},
        description="registered reward or package.module:function -> its weight; 0 = measured only",
    )
    reward_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="reward -> its options, e.g. {accuracy: {extract: last_number}}"
    )
    reward_gates: dict[str, str] = Field(
        default_factory=dict,
        description="reward -> the reward that must hold for it to count, e.g. {accuracy: format} or {cosine: "
        "language>=0.8}; holds from 0.5 on if not said",
    )
    reward_clip: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="reward -> [low, high] that its values are held between"
    )
    multi_objective_aggregation: Literal["sum_then_normalize", "normalize_then_sum"] = Field(
        "sum_then_normalize",
        description="normalize_then_sum = GDPO: each reward's advantages are normalised in their group before they are "
        "weighed and summed, then once more over the batch",
    )
    missing_rewards: Literal["exclude", "zero", "ignore"] = Field(
        "exclude",
        description="a completion that lacks a reward others of its group have: exclude = it has no total and is not "
        "learned from, zero = that reward counts 0, ignore = the sum of its other rewards",
    )
    reward_timeout_seconds: float = Field(
        60.0, gt=0, description="a reward that takes longer on one batch is left out of it"
    )
    reward_process: Literal["own", "trainer"] = Field(
        "own",
        description="where your rewards run: a process of their own, which a crash or hang costs one batch, or the "
        "trainer's, which it may take along",
    )
    reward_batch: Literal["group", "step"] = Field(
        "group",
        description="completions a reward is called with: one prompt's, while others are sampled, or the whole step's",
    )
    control: Literal["none", "random_reward"] = Field(
        "none", description="random_reward = train on coin flips instead: what such a run gains is not learning"
    )

    steps: int = Field(200, ge=1, description="rollout batches")
    prompts_per_step: int = Field(2, ge=1, description="prompts of a rollout batch")
    num_generations: int = Field(16, ge=2, description="samples of each prompt (G)")
    max_completion_length: int = Field(256, ge=1, description="tokens; of each turn, where an environment answers")
    credit: Literal["trajectory", "turn"] = Field(
        "trajectory",
        description="what the tokens of a turn are credited with: the whole completion's advantage, or that of what "
        "came after the turn began (replies' rewards and the final ones), compared with the same turn of its group",
    )
    temperature: float = Field(
        1.0, gt=0, description="of sampling in training; every logprob is of logits / temperature"
    )
    top_p: float = Field(1.0, description="must be 1 in training")
    top_k: int = Field(0, description="must be 0 in training")
    max_rows: int = Field(64, ge=1, description="completions decoded together; more wait until rows are free")
    kv_bits: Literal[0, 4, 8] = Field(
        0, description="completions' keys and values while decoding: quantised, a quarter or an eighth of the memory"
    )

    rollout: RolloutSettings = Field(
        default_factory=RolloutSettings, description="servers that sample, docs/scaling.md"
    )
    max_staleness: int = Field(
        0,
        ge=0,
        description="with rollout.url or --samplers: steps that sampling may run ahead of learning, by adapters as "
        "many steps old; 0 = a step samples, then learns",
    )
    num_updates: int = Field(
        1, ge=1, description="optimizer updates a rollout batch, each on an equal share of its prompts"
    )
    num_iterations: int = Field(1, ge=1, description="passes over each rollout batch")
    scale_rewards: Literal["group", "batch", "none"] = Field(
        "group", description="what the advantages' std is taken over"
    )
    epsilon: float = Field(
        0.2, gt=0, description="clip range of the ratio below 1 (and above, if epsilon_high is not given)"
    )
    epsilon_high: float | None = Field(
        None, gt=0, description="clip range above 1 (DAPO: 0.28); for cispo the bound itself"
    )
    delta: float | None = Field(None, gt=1, description="dual clip: upper bound of the ratio for negative advantages")
    importance_sampling_level: Literal["token", "sequence"] = Field(
        "token", description="a ratio a token or one a completion"
    )
    beta: float = Field(0.01, ge=0, description="weight of the KL to the start of the run; 0 = no reference is run")
    mask_truncated_completions: bool = Field(
        False, description="leave completions without a stop token out of the loss (DAPO's overlong filtering)"
    )
    token_budget: int = Field(
        1024,
        ge=1,
        description="tokens, padding included, that are learned from at a time (in two micro-batches side by side on a "
        "CPU); less = less memory, same gradient",
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        description="what the run may take: token_budget is lowered until the estimate fits; none = as it is",
    )
    tensor_parallel: bool = Field(
        False,
        description="each process of mlx.launch holds a part of every layer: for a model too large for one machine; "
        "all learn from the same rows (LoRA only)",
    )
    logits_chunk: int = Field(128, ge=1, description="positions whose vocabulary row exists at a time")

    eval_every: int = Field(
        0, ge=0, description="steps between evaluations on held-out tasks; 0 = never, not even before and after"
    )
    eval_tasks: int = Field(200, ge=1, description="held-out tasks evaluated, if there are that many")
    eval_samples: int = Field(1, ge=1, description="samples of each at eval_temperature")
    eval_temperature: float = Field(1.0, gt=0, description="of sampling in evaluations")
    eval_top_p: float = Field(1.0, gt=0, le=1, description="in evaluations, after the temperature")
    metric_for_best_model: str | None = Field(
        "reward",
        description="held-out figure, of which higher is better: the adapter with the best is kept in best/, beside "
        "the newest; e.g. reward, accuracy, gsm8k/pass@1; none = only the newest",
    )
    eval_greedy: bool = Field(
        False, description="before and after training also take the likeliest token, under summary's greedy"
    )
    completions_every: int = Field(
        1, ge=0, description="steps between files of completions; the last step has one as well; 0 = none"
    )
    completions_logprobs: int = Field(
        0,
        ge=0,
        description="groups of each such file whose rows also hold policy_logprobs, after the step's updates, and with "
        "beta reference_logprobs; each takes one forward pass more",
    )
    probe_every: int = Field(
        0, ge=0, description="steps between samples of the probe prompts, always by the same random numbers; 0 = none"
    )
    probe_prompts: int = Field(2, ge=1, description="prompts that are probed: the first held-out tasks")

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, given: Any) -> Any:
        weights = cls.model_fields["reward_weights"].get_default(call_default_factory=True)
        return with_correction(with_preset(given, weights)) if isinstance(given, Mapping) else given

    @field_validator("reward_weights", "reward_gates", "reward_clip", mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        """`reward_weights.language=null` takes a default reward out."""
        if not isinstance(given, dict):
            return given
        return {k: v for k, v in given.items() if v is not None and str(v).strip().lower() not in NONE_WORDS}

    @field_validator("steps", mode="before")
    @classmethod
    def _some_step(cls, steps: Any) -> Any:
        if str(steps) == "0":
            raise ValueError(
                "must be at least 1; to measure a model without training it: python -m grpo.evaluate --model MODEL "
                "--data DATA"
            )
        return steps

    @field_validator("reward_weights")
    @classmethod
    def _some_reward(cls, weights: dict[str, float]) -> dict[str, float]:
        if not any(weights.values()):
            raise ValueError("at least one reward needs a weight other than 0, or nothing is learned")
        return weights

    @model_validator(mode="after")
    def _possible(self) -> "Config":
        for rule, reason in self._rules():
            if not rule:
                raise ValueError(reason)
        return self

    def _rules(self) -> list[tuple[bool, str]]:
        """Return the rules between keys that are broken, each with its reason."""
        unfiltered = "logprobs of filtered draws are not the policy's"
        return [
            (
                self.top_p == 1,
                f"top_p must be 1 in training, got {self.top_p}: {unfiltered} (evaluations have eval_top_p)",
            ),
            (
                self.credit == "trajectory" or (self.advantage == "group" and self.scale_rewards != "batch"),
                "credit turn needs advantage group and scale_rewards group or none: turns are compared in their group",
            ),
            (self.top_k == 0, f"top_k must be 0 in training, got {self.top_k}: {unfiltered}"),
            (
                self.template == "chat" or not (self.system_prompt or self.chat_template_kwargs),
                f"system_prompt and chat_template_kwargs need template: chat, got {self.template}",
            ),
            (all(self.stop), "stop must hold texts that are not empty"),
            (
                self.prompts_per_step % self.num_updates == 0,
                f"prompts_per_step must be a multiple of num_updates, got {self.prompts_per_step} and "
                f"{self.num_updates}: every update takes whole groups",
            ),
            (
                self.max_rows >= self.num_generations,
                f"max_rows must be at least num_generations, got {self.max_rows} and {self.num_generations}: "
                "a group is decoded together",
            ),
            (
                self.fine_tune != "full" or self.adapter is None,
                "adapter needs fine_tune: lora; for full fine-tuning fuse it into the model first (mlx_lm.fuse)",
            ),
            (
                self.multi_objective_aggregation == "sum_then_normalize" or self.scale_rewards == "group",
                f"multi_objective_aggregation normalize_then_sum needs scale_rewards: group, got {self.scale_rewards}: "
                "it brings its own scaling",
            ),
            (
                not self.tensor_parallel
                or (self.fine_tune == "lora" and self.adapter is None and self.lora.dropout == 0 and not self.revision),
                "tensor_parallel needs fine_tune: lora, a fresh adapter (no adapter), lora.dropout 0 and no revision",
            ),
            (
                not (self.tensor_parallel and self.eval_benchmarks),
                "tensor_parallel has no eval_benchmarks: they load and run the whole model in one process",
            ),
            *algorithm_rules(self),
            *rollout_rules(self),
            (
                self.min_learning_rate <= self.learning_rate,
                f"min_learning_rate must be at most learning_rate, got {self.min_learning_rate} and "
                f"{self.learning_rate}",
            ),
            (
                self.loss_type != "cispo" or self.epsilon_high is not None,
                "loss_type cispo needs epsilon_high, the upper bound of the ratio itself, e.g. 5.0",
            ),
        ]

    @property
    def source(self) -> str | list[dict[str, Any]]:
        """Return the arguments for `envs.make`."""
        return self.data if isinstance(self.data, str) else [part.model_dump() for part in self.data]

    @property
    def data_name(self) -> str:
        """The data in words."""
        return self.data if isinstance(self.data, str) else " + ".join(part.env for part in self.data)

    @property
    def clip_high(self) -> float:
        """Clip range of the ratio above 1; for cispo the bound itself."""
        return self.epsilon if self.epsilon_high is None else self.epsilon_high

    @property
    def batch(self) -> int:
        """Completions of a rollout batch."""
        return self.prompts_per_step * self.num_generations


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """The config of an RL run, see `load`."""
    return load(Config, path, overrides)
