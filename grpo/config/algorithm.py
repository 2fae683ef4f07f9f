"""The keys of an algorithm: which loss, which advantage, and what they are called with. Needs no mlx."""

from typing import Literal

from pydantic import Field, field_validator

from grpo.config.sections import Section

LOSS_TYPES = ("grpo", "bnpo", "dapo", "dr_grpo", "gspo", "cispo", "sapo", "dppo", "gmpo", "luspo")
ADVANTAGES = ("group", "rloo", "reinforce_pp", "reinforce_pp_baseline", "max_rl", "pass_at_k")


class AlgorithmSettings(Section):
    """What an update minimises and what a completion is credited with: see docs/algorithms.md."""

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
