"""Warnings that teach: what happened in a run, with its number, and which config key to try.

The coach sees every step's metrics in order and nothing else, so a resumed run rebuilds it by showing it
metrics.jsonl again.
"""

import math
from collections.abc import Callable, Iterator

from grpo.config import Config

QUIET_STEPS = 20  # a kind of warning is not repeated sooner
WINDOW = 5  # steps of the mean that a reward collapse is measured on
FARMING_STEPS = 10
SOLVED = 0.85  # accuracy from which a low entropy is no loss
DIGITS = 9  # metrics.jsonl keeps as many, and a replay must decide alike

History = list[dict[str, float]]
Findings = Iterator[tuple[str, str]]  # kind, message


class Coach:
    """Turns a run's metrics into one-line warnings, each kind at most once in QUIET_STEPS steps."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.history: History = []  # the last FARMING_STEPS + 1 steps
        self.first_entropies: list[float] = []  # nats, of the first three steps
        self.best_reward = -math.inf  # best mean of WINDOW steps
        self.warned_at: dict[str, int] = {}  # kind -> step

    def look(self, step: int, metrics: dict[str, float]) -> list[str]:
        """Return this step's warnings; call it once a step, in order."""
        self._remember(metrics)
        warnings = []
        for check in CHECKS:
            for kind, message in check(self):
                if step - self.warned_at.get(kind, -QUIET_STEPS) >= QUIET_STEPS:
                    self.warned_at[kind] = step
                    warnings.append(message)
        return warnings

    def _remember(self, metrics: dict[str, float]) -> None:
        now = {name: float(f"{value:.{DIGITS}g}") for name, value in metrics.items() if _is_finite(value)}
        self.history = [*self.history, now][-FARMING_STEPS - 1 :]
        if "entropy" in now and len(self.first_entropies) < 3:
            self.first_entropies.append(now["entropy"])
        mean = self.mean("reward", WINDOW)
        if mean is not None:
            self.best_reward = max(self.best_reward, mean)

    def last(self, name: str) -> float | None:
        """This step's value; None where there is none or it is not finite."""
        return self.history[-1].get(name)

    def mean(self, name: str, steps: int) -> float | None:
        """Return the mean over the last `steps` steps; None before all of them have a value."""
        values = [metrics[name] for metrics in self.history[-steps:] if name in metrics]
        return math.fsum(values) / steps if len(values) == steps else None


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def equal_groups(coach: Coach) -> Findings:
    """Nearly all groups have equal rewards: there is nothing to learn from."""
    recent = [metrics.get("frac_reward_zero_std", 0.0) for metrics in coach.history[-3:]]
    if len(recent) < 3 or min(recent) < 0.95:
        return
    many = "all groups" if min(recent) == 1 else f"at least {min(recent):.0%} of the groups"
    said = f"{many} had equal rewards for 3 steps and teach nothing: "
    share, what = _success(coach)
    if share >= 0.5:
        said += (
            f"the tasks are too easy ({what}). Try harder data (data, data_options), "
            "or raise num_generations so that rare failures show"
        )
    else:
        said += (
            f"the tasks are too hard or the answer's format is missed ({what}). Read completions/, try easier data, "
            "a model or adapter that knows the format, reward_options.accuracy, or the graded reward format_similarity"
        )
    yield "equal groups", said


def _success(coach: Coach) -> tuple[float, str]:
    """Return how near the rewards are to their best, as a share and in words."""
    accuracy = coach.mean("rewards/accuracy/mean", 3)
    if accuracy is not None:
        return accuracy, f"accuracy {accuracy:.2f}"
    reward = coach.mean("reward", 3) or 0.0
    best = sum(weight for weight in coach.config.reward_weights.values() if weight > 0) or 1.0
    return reward / best, f"reward {reward:.2f} of at most about {best:g}"


def truncated(coach: Coach) -> Findings:
    """Hardly any completion ends before its limit."""
    ratio = coach.last("completions/clipped_ratio")
    if ratio is not None and ratio >= 0.9:
        yield (
            "truncated",
            f"{ratio:.0%} of the completions were cut at max_completion_length {coach.config.max_completion_length} "
            "without a stop token: raise max_completion_length, or check that template fits the model and "
            "that it ever stops",
        )


def farmed_format(coach: Coach) -> Findings:
    """The format reward rises, accuracy stays 0."""
    if len(coach.history) <= FARMING_STEPS:
        return
    accuracy = coach.mean("rewards/accuracy/mean", FARMING_STEPS)
    before, now = coach.history[0].get("rewards/format/mean"), coach.last("rewards/format/mean")
    if accuracy is None or before is None or now is None or accuracy >= 0.02 or now - before < 0.2:
        return
    yield (
        "farmed format",
        f"the format reward rose from {before:.2f} to {now:.2f} in {FARMING_STEPS} steps while accuracy stays at "
        f"{accuracy:.2f}: the form alone is being farmed. Lower reward_weights.format, use easier data, or begin from "
        "a cold start (adapter) that is right now and then",
    )


def entropy_collapse(coach: Coach) -> Findings:
    """The policy has stopped exploring before it was right; certainty is welcome only when it is right."""
    entropy, accuracy = coach.last("entropy"), coach.mean("rewards/accuracy/mean", WINDOW)
    if entropy is None or len(coach.first_entropies) < 3 or (accuracy is not None and accuracy >= SOLVED):
        return
    start = math.fsum(coach.first_entropies) / 3
    if entropy < 0.1 and entropy < 0.2 * start:
        yield (
            "entropy",
            f"entropy fell from {start:.2f} to {entropy:.3f} nats a token, a group's samples are nearly the same: "
            f"lower learning_rate (now {coach.config.learning_rate:g}), raise beta (now {coach.config.beta:g}), or set "
            "epsilon_high: 0.28",
        )


def mismatch(coach: Coach) -> Findings:
    """Sampler and learner disagree at a batch's first update; later ones are meant to leave the sampler's policy."""
    k3 = coach.last("sampling/mismatch_k3")
    if k3 is not None and k3 > 1e-3 and coach.config.num_updates * coach.config.num_iterations == 1:
        yield (
            "mismatch",
            f"sampler and trainer disagree about the same tokens (mean k3 {k3:.2g}, should be below 0.001): try "
            "dtype: float32, merge_adapter: false, lora.dropout: 0",
        )


def dropped(coach: Coach) -> Findings:
    """An update was not finite."""
    count = coach.last("updates/dropped")
    if count:
        yield (
            "dropped",
            f"{count:.0f} update(s) had a loss or gradient that is not finite and were dropped; three in a row end the "
            f"run: lower learning_rate (now {coach.config.learning_rate:g}), or set dtype: float32",
        )


def reward_collapse(coach: Coach) -> Findings:
    """The reward has fallen far below its best."""
    now = coach.mean("reward", WINDOW)
    if now is not None and coach.best_reward > 0.1 and now < coach.best_reward / 2:
        yield (
            "reward",
            f"the mean reward fell to {now:.2f}, less than half of the {coach.best_reward:.2f} it had been at "
            f"(means of {WINDOW} steps): lower learning_rate (now {coach.config.learning_rate:g}) and start again, or "
            "go back to an earlier checkpoint",
        )


def failing_rewards(coach: Coach) -> Findings:
    """A reward raises, hangs or returns nonsense."""
    prefix = "rewards/failed/"
    for name, count in coach.history[-1].items():
        if not name.startswith(prefix) or not count:
            continue
        reward, _, kind = name.removeprefix(prefix).rpartition("/")
        reward, kind = (reward, kind) if reward else (kind, "failed")
        advice = (
            "raise reward_timeout_seconds, or make it faster"
            if kind == "timeout"
            else f"log.txt has its tracebacks; mend it, or take it out with reward_weights.{reward}=null"
        )
        yield (
            name,
            f"reward {reward} reported {kind} for {count:.0f} completion(s): {advice}",
        )


def kl_blow_up(coach: Coach) -> Findings:
    """The policy is far from where it began."""
    kl = coach.last("kl")
    if kl is not None and kl > 10:
        yield (
            "kl",
            f"the KL to the start of the run is {kl:.1f} nats a token, the policy has left its language: lower "
            f"learning_rate (now {coach.config.learning_rate:g}), or raise beta (now {coach.config.beta:g})",
        )


CHECKS: tuple[Callable[[Coach], Findings], ...] = (
    dropped,
    failing_rewards,
    equal_groups,
    truncated,
    farmed_format,
    entropy_collapse,
    mismatch,
    reward_collapse,
    kl_blow_up,
)
