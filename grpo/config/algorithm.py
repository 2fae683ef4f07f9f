"""The keys of an algorithm: which loss, which advantage, and what they are called with. Needs no mlx."""

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from grpo.config.presets import PRESETS
from grpo.config.sections import Section

if TYPE_CHECKING:
    from grpo.config.training import Config

LOSS_TYPES = ("grpo", "bnpo", "dapo", "dr_grpo", "gspo", "cispo", "sapo", "dppo", "gmpo", "luspo")
ADVANTAGES = ("group", "rloo", "reinforce_pp", "reinforce_pp_baseline", "max_rl", "pass_at_k")


class AlgorithmSettings(Section):
    """The loss an update minimises and the advantage of a completion: see docs/algorithms.md."""

    algorithm: str | None = Field(
        None, description=f"sets several keys at once: {', '.join(PRESETS)}; keys given beside it have the last word"
    )
    loss_type: str = Field(
        "grpo", description=f"{', '.join(LOSS_TYPES)}, or your own as module:function (docs/algorithms.md)"
    )
    advantage: str = Field(
        "group", description=f"{', '.join(ADVANTAGES)}, or your own as module:function (docs/algorithms.md)"
    )
    pass_k: int = Field(4, ge=1, description="advantage pass_at_k: completions of a set whose best counts")
    divergence: Literal["tv", "kl"] = Field("tv", description="loss_type dppo: what epsilon and epsilon_high bound")
    sapo_temperature_pos: float = Field(1.0, gt=0, description="loss_type sapo: of tokens with advantages above 0")
    sapo_temperature_neg: float = Field(1.05, gt=0, description="loss_type sapo: of the other tokens")

    rollout_source: str = Field(
        "engine", description="who samples: engine = the policy in this process, or your own as module:function"
    )
    process_reward: str | None = Field(
        None, description="module:function that gives each step or token of a completion a value, on top of the rewards"
    )
    process_split: Literal["paragraph", "tag", "token"] = Field(
        "paragraph", description="what a step ends with: an empty line, a closing tag; or every token is one"
    )
    process_weight: float = Field(1.0, gt=0, description="of the process reward beside the advantage")
    dynamic_sampling: bool = Field(
        False, description="drop groups whose rewards are all equal and sample the next tasks until the batch is full"
    )
    dynamic_sampling_rounds: int = Field(
        10, ge=1, description="most times a step samples for that; then it learns from what there is, and says so"
    )
    group_filter: str = Field(
        "spread", description="what dynamic_sampling keeps: spread = rewards differ, or your own as module:function"
    )
    pass_reward: str = Field(
        "accuracy", description="the reward whose mean over a group is its pass rate, for curriculum and replay"
    )
    curriculum_mastered: float | None = Field(
        None, gt=0, description="tasks whose last group had this pass rate or more are not sampled again"
    )
    curriculum_hopeless: float | None = Field(
        None, ge=0, description="tasks whose last group had this pass rate or less are put off"
    )
    curriculum_pause: int = Field(1, ge=1, description="epochs that a hopeless task is left out")
    difficulty_column: str | None = Field(
        None, description="column with a number by which tasks are sorted into pools, the easiest first"
    )
    difficulty_pools: int = Field(3, ge=2, description="pools that open one after another over the run's first half")
    length_schedule: list[tuple[int, int]] = Field(
        default_factory=list,
        description="[[step, tokens], ...]: the limit of completions from that step on, below max_completion_length",
    )
    replay_size: int = Field(
        0, ge=0, description="tasks whose rare success is kept and put into a later group without any; 0 = no replay"
    )
    replay_below: float = Field(
        0.25, gt=0, le=1, description="a success is rare if at most this share of its group passes"
    )

    @field_validator("algorithm")
    @classmethod
    def _known_algorithm(cls, name: str | None) -> str | None:
        if name is not None and name not in PRESETS:
            raise ValueError(f"must be one of {', '.join(PRESETS)}")
        return name

    @field_validator("loss_type")
    @classmethod
    def _known_loss(cls, name: str) -> str:
        return _known(name, LOSS_TYPES)

    @field_validator("advantage")
    @classmethod
    def _known_advantage(cls, name: str) -> str:
        return _known(name, ADVANTAGES)


def _known(name: str, names: tuple[str, ...]) -> str:
    if name not in names and ":" not in name:
        raise ValueError(f"must be one of {', '.join(map(repr, names))}, or your own 'module:function'")
    return name


def algorithm_rules(config: "Config") -> list[tuple[bool, str]]:
    """Return the rules between an algorithm's keys that are broken, each with its reason."""
    starts, limits = [first for first, _ in config.length_schedule], [limit for _, limit in config.length_schedule]
    follows_rates = config.curriculum_mastered is not None or config.curriculum_hopeless is not None
    return [
        (
            config.multi_objective_aggregation == "sum_then_normalize" or config.advantage == "group",
            f"multi_objective_aggregation normalize_then_sum needs advantage: group, got {config.advantage}",
        ),
        (
            config.scale_rewards == "group" or config.advantage == "group" or ":" in config.advantage,
            f"scale_rewards {config.scale_rewards} needs advantage: group, got {config.advantage}, which scales itself",
        ),
        (
            config.advantage != "pass_at_k" or config.pass_k <= config.num_generations,
            f"pass_k must be at most num_generations, got {config.pass_k} and {config.num_generations}",
        ),
        (
            config.sampling_cap is not None or config.importance_sampling_min is None,
            "importance_sampling_min needs importance_sampling_cap, a number",
        ),
        (
            (config.importance_sampling_min or 0) < (config.sampling_cap or math.inf),
            f"importance_sampling_min must be below importance_sampling_cap, got {config.importance_sampling_min} and "
            f"{config.importance_sampling_cap}",
        ),
        (
            config.beta > 0 or not (config.sync_ref_model or config.kl_target or config.use_bias_correction_kl),
            "sync_ref_model, kl_target and use_bias_correction_kl need beta above 0: without it there is no reference",
        ),
        (
            ":" not in config.loss_type or not config.use_bias_correction_kl,
            f"use_bias_correction_kl needs a built-in loss_type, got {config.loss_type}: yours has its own KL term",
        ),
        (
            config.fine_tune == "full" or config.full_layers == -1,
            f"full_layers needs fine_tune: full, got {config.fine_tune}; adapters have lora.layers",
        ),
        (
            config.fine_tune != "full" or config.lora_plus_ratio == 1,
            "lora_plus_ratio needs adapters, got fine_tune: full",
        ),
        (
            config.rollout_source == "engine" or ":" in config.rollout_source,
            f"rollout_source must be engine or module:function, got {config.rollout_source}",
        ),
        (
            config.process_reward is None or ":" in config.process_reward,
            f"process_reward must be module:function, got {config.process_reward}",
        ),
        (
            config.group_filter == "spread" or (config.dynamic_sampling and ":" in config.group_filter),
            f"group_filter must be spread, or module:function with dynamic_sampling, got {config.group_filter}",
        ),
        (
            config.pass_reward in config.reward_weights or not (follows_rates or config.replay_size),
            f"pass_reward must be one of reward_weights, got {config.pass_reward}: curriculum and replay go by it",
        ),
        (
            (config.curriculum_hopeless or 0) < (config.curriculum_mastered or math.inf),
            f"curriculum_hopeless must be below curriculum_mastered, got {config.curriculum_hopeless} and "
            f"{config.curriculum_mastered}",
        ),
        (
            starts == sorted({*starts}) and all(1 <= limit <= config.max_completion_length for limit in limits),
            f"length_schedule must have rising steps and 1 to max_completion_length tokens, got "
            f"{config.length_schedule} and {config.max_completion_length}",
        ),
    ]
