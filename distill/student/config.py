"""Config of each way to make a student: the keys of SFT or of RL, and the teacher's. Needs no mlx."""

from typing import Literal

from pydantic import Field

from distill.sft.config import SFTConfig
from grpo.config import Config
from grpo.config.reference import keys


class SequenceStudent(SFTConfig):
    """SFT on a corpus that a teacher wrote."""

    method: Literal["sequence"] = Field("sequence", description="sequence, logit or on_policy")


class LogitStudent(SFTConfig):
    """The teacher's distribution at each counted token of a corpus."""

    method: Literal["logit"] = Field("logit", description="the teacher's distribution at each token of a corpus")
    teacher: str = Field(description="hub id or local MLX directory; same vocabulary as the student")
    teacher_adapter: str | None = Field(None, description="directory of the teacher's adapters")
    divergence: Literal["forward", "reverse", "js"] = Field(
        "forward", description="KL(teacher || student), KL(student || teacher), or Jensen-Shannon"
    )
    distill_temperature: float = Field(1.0, gt=0, description="of both sides; the loss is times its square")
    top_k: int | None = Field(
        None, ge=1, description="teacher tokens kept on disk, all others in one bucket; none = all, the teacher live"
    )
    teacher_cache: str | None = Field(None, description="where they are kept, for several runs; none = in the run")


class OnPolicyStudent(Config):
    """The student samples, the teacher scores each token; rewards are only measured."""

    method: Literal["on_policy"] = Field("on_policy", description="the student samples, the teacher scores each token")
    teacher: str = Field(description="hub id or local MLX directory; same vocabulary as the student")
    teacher_adapter: str | None = Field(None, description="directory of the teacher's adapters")
    beta: float = Field(0.0, ge=0, description="weight of a KL to the student's start besides the teacher's")
    num_generations: int = Field(4, ge=2, description="samples of each prompt")
    loss_type: str = Field("dapo", description="as in grpo.train; dapo: every token counts the same")


Student = SequenceStudent | LogitStudent | OnPolicyStudent
METHODS: dict[str, type[Student]] = {
    "sequence": SequenceStudent,
    "logit": LogitStudent,
    "on_policy": OnPolicyStudent,
}


def own_keys() -> str:
    """The keys that SFT and RL do not have, for --help."""
    lines = []
    for name, kind in METHODS.items():
        base = {key.name for parent in kind.__mro__[1:2] for key in keys(parent)}
        rows = [key for key in keys(kind) if key.name not in base and key.name != "method"]
        lines += [f"  {name}: {key.name} = {key.default}\n      {key.meaning}" for key in rows]
    return "\n".join(lines)
