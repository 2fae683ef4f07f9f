"""The keys that hold an update back: off-policy corrections, entropy, the reference. Needs no mlx; names are TRL's."""

from typing import Annotated, Literal

from pydantic import Field

from grpo.config.sections import Section


class CorrectionSettings(Section):
    """Limits on tokens that another policy sampled, and the terms that keep the policy near its reference."""

    importance_sampling_cap: Annotated[float, Field(gt=0)] | Literal["auto"] | None = Field(
        "auto",
        description="weigh each token by how much likelier the trainer's policy makes it than the sampler did, at most "
        "this; the ratio of the loss is then against the trainer's policy at the step's start; none = no weight; auto "
        "= 2 if the first batch shows that sampler and trainer disagree (mean k3 above 0.001), else no weight",
    )
    importance_sampling_min: float | None = Field(None, ge=0, description="the least such weight; none = 0")
    importance_sampling_mode: Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"] = Field(
        "token_truncate", description="of a token or its whole sequence; outside of the bounds held there, or 0"
    )
    routing_replay: bool = Field(
        False,
        description="train a mixture of experts on the experts that were sampled, whatever its routers choose by now "
        "(arXiv 2510.11370)",
    )
    off_policy_mask_threshold: float | None = Field(
        None, gt=0, description="leave out bad completions that have become this much less likely, in nats a token"
    )
    use_bias_correction_kl: bool = Field(
        False, description="weigh the KL term by the ratio, so that its gradient is unbiased off policy too"
    )

    entropy_coef: float = Field(0.0, ge=0, description="bonus for a token's mean entropy; the head runs twice")
    use_adaptive_entropy: bool = Field(
        False, description="raise entropy_coef below entropy_target, lower it above, by entropy_coef_delta a step"
    )
    entropy_target: float = Field(0.2, gt=0, description="nats; of use_adaptive_entropy")
    entropy_coef_min: float = Field(0.0, ge=0, description="of use_adaptive_entropy")
    entropy_coef_max: float = Field(1.0, gt=0, description="of use_adaptive_entropy")
    entropy_coef_delta: float = Field(0.005, gt=0, description="of use_adaptive_entropy")
    top_entropy_quantile: float = Field(
        1.0, gt=0, le=1, description="share of an update's tokens, those of the highest entropy, that is learned from"
    )
    covariance: Literal["none", "clip_cov", "kl_cov"] = Field(
        "none", description="tokens whose logprob and advantage rise together: some left out, or held by a KL penalty"
    )
    covariance_share: float = Field(2e-4, gt=0, le=1, description="share of an update's tokens that this takes")
    covariance_range: tuple[float, float] = Field((1.0, 5.0), description="covariances that clip_cov draws from")
    covariance_kl_coef: float = Field(1.0, gt=0, description="weight of kl_cov's |policy - sampler|")

    sync_ref_model: bool = Field(False, description="move the reference to the policy every ref_model_sync_steps")
    ref_model_sync_steps: int = Field(400, ge=1, description="steps between them (R1-Zero: 400)")
    ref_model_mixup_alpha: float = Field(
        1.0, gt=0, le=1, description="share of the policy in the new reference; below 1 a moving average"
    )
    kl_target: float | None = Field(
        None, gt=0, description="adapt beta so that the KL to the reference stays near this, in nats a token"
    )
    kl_horizon: int = Field(
        100, ge=1, description="beta changes by at most 0.2 / kl_horizon of itself a step, towards kl_target"
    )

    @property
    def sampling_cap(self) -> float | None:
        """The cap of importance weights; None = no weights, as long as auto has not decided for them."""
        return None if self.importance_sampling_cap == "auto" else self.importance_sampling_cap
