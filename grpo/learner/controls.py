"""What a run decides or adapts of its loss: the KL's and the entropy bonus's coefficients, importance weights."""

from dataclasses import dataclass, replace

from grpo.config import Config

MISMATCH = 1e-3  # mean k3 between sampler and trainer, nats a token, above which tokens are weighed
CAP = 2.0  # of those weights
LARGEST_ERROR = 0.2  # of the KL, relative to its target, that a step answers to


@dataclass(frozen=True)
class Controls:
    """The coefficients in use, as plain values that a checkpoint keeps."""

    beta: float
    entropy_coef: float
    entropy_below_target: bool = True
    mismatch: float | None = None  # mean k3 between sampler and trainer on the run's first batch; None = not measured

    @classmethod
    def of(cls, config: Config) -> "Controls":
        """Return those a run begins with."""
        return cls(config.beta, config.entropy_coef)

    def after(self, config: Config, *, kl: float, entropy: float) -> "Controls":
        """Return the coefficients for the next step, from this one's mean KL and entropy in nats a token.

        beta *= 1 + clip(kl / kl_target - 1, -0.2, 0.2) / kl_horizon (Ziegler et al., arXiv 1909.08593). entropy_coef
        += entropy_coef_delta below entropy_target, -= above it, where it is also not applied (Skywork-OR1, arXiv
        2505.22312).
        """
        beta, coef, below = self.beta, self.entropy_coef, True
        if config.kl_target is not None:
            error = max(-LARGEST_ERROR, min(LARGEST_ERROR, kl / config.kl_target - 1))
            beta *= 1 + error / config.kl_horizon
        if config.use_adaptive_entropy:
            below = entropy <= config.entropy_target
            coef += config.entropy_coef_delta if below else -config.entropy_coef_delta
            coef = max(config.entropy_coef_min, min(config.entropy_coef_max, coef))
        return replace(self, beta=beta, entropy_coef=coef, entropy_below_target=below)

    def asks_mismatch(self, config: Config) -> bool:
        """Return whether the mismatch has to be measured before the next update."""
        return config.importance_sampling_cap == "auto" and self.mismatch is None

    @property
    def disagree(self) -> bool:
        """Return whether sampler and trainer were found to disagree."""
        return self.mismatch is not None and not self.mismatch <= MISMATCH

    def applied(self, config: Config) -> Config:
        """Return the config with the coefficients in use."""
        if config.importance_sampling_cap == "auto" and self.disagree:
            config = config.model_copy(update={"importance_sampling_cap": CAP})
        if config.kl_target is None and not config.use_adaptive_entropy:
            return config
        coef = self.entropy_coef if self.entropy_below_target else 0.0
        return config.model_copy(update={"beta": self.beta, "entropy_coef": coef})

    def metrics(self, config: Config) -> dict[str, float]:
        """Return those that are adapted."""
        found = {"beta": self.beta} if config.kl_target is not None else {}
        return found | ({"entropy_coef": self.entropy_coef} if config.use_adaptive_entropy else {})
