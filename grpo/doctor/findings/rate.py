"""Findings about how the policy moves: too far, too little, not at all, and on wrong logprobs."""

from collections.abc import Iterator
from statistics import median

from grpo.doctor.findings.evidence import FORMATS, Evidence
from grpo.doctor.findings.kinds import Finding, found

MISMATCH, ASKED_MISMATCH, FAR, CLIPPED = (
    1e-3,
    3e-5,
    0.5,
    0.1,
)  # k3, of settings that make one; KL in nats a token; share of tokens outside the clip range
STILL = 5e-5  # nats a token: a policy that has not moved
LARGE_BONUS = 0.05  # entropy_coef; 0.001 to 0.01 are common
NEAR = 5  # steps before and after one that its gradient norm is compared with
FLAT_STEPS = 8  # steps from which a reward can be called flat


def fallen(seen: Evidence) -> list[str]:
    """Return what was there and is gone: the reward, the accuracy, the format."""
    said = []
    names = ["reward", seen.accuracy_metric, *(f"rewards/{name}/mean" for name in FORMATS)]
    spread = seen.start("reward_std") or 0.0
    for name in names:
        best, end = seen.highest(name), seen.end(name)
        if best is None or end is None:
            continue
        whole = name == "reward"
        lost = best - end
        if (lost > max(0.8 * spread, 0.1) if whole else lost > 0.15) and end < best - 0.4 * abs(best):
            said.append(f"{name.removeprefix('rewards/').removesuffix('/mean')} fell from {best:.2f} to {end:.2f}")
    return said


def moved_far(seen: Evidence) -> list[str]:
    """Return the signs of updates that were too large."""
    said = []
    kl, clipped = seen.peak("kl"), seen.peak("clip_ratio/region_mean")
    start, end, most = seen.start("entropy"), seen.end("entropy"), seen.peak("entropy")
    if kl is not None and kl > FAR:
        said.append(f"the KL to the start reached {kl:.2g} nats a token")
    if clipped is not None and clipped > CLIPPED:
        said.append(f"up to {clipped:.0%} of the tokens left the clip range in one step")
    if start is not None and most is not None and most > max(2.5 * start, start + 0.3):
        said.append(f"the entropy jumped from {start:.2f} to {most:.2f}")
    elif start is not None and end is not None and end < 0.15 * start:
        said.append(f"the entropy fell from {start:.2f} to {end:.3f}")
    if dropped := sum(seen.values("updates/dropped")):
        said.append(f"{dropped:.0f} updates were not finite")
    return said


def too_high(seen: Evidence) -> Iterator[Finding]:
    """The reward collapsed together with a jump of the policy."""
    if seen.count < 2:
        return
    lost, far = fallen(seen), moved_far(seen)
    rate = seen.number("learning_rate")
    lower = f"learning_rate={rate / 10:.2g}"
    if not any(one.startswith("reward ") for one in lost) and rising(seen):
        return  # it learns what is paid, though that may not be the task
    if lost and far:
        both = "reward" in lost[0] or len(lost) > 1
        strong = 0.97 if len(far) > 1 and both else 0.85 if both else 0.7
        yield found(
            "learning rate too high", strong, f"{', '.join(lost)} while {' and '.join(far)} (rate {rate:g})", lower
        )
    elif len(far) > 1 and (seen.peak("kl") or 0) > 4 * FAR and not (seen.gain("reward") or 0) > seen.noise("reward"):
        early = max(seen.values("kl")[:3]) > 2 * FAR  # a reward cannot have asked for that in three steps
        yield found("learning rate too high", 0.85 if early else 0.6, f"{' and '.join(far)} (rate {rate:g})", lower)


def collapsed_reward(seen: Evidence) -> str | None:
    """Return what the reward fell from and to, where it is less than half of its best; None otherwise."""
    best, end = seen.best("reward"), seen.end("reward")
    if best is None or end is None or seen.count < 6 or best <= 0.15 or end >= best / 2:
        return None
    return f"the mean reward fell to {end:.2f}, less than half of its best, {best:.2f}"


def kl_blow_up(seen: Evidence) -> Iterator[Finding]:
    """The policy is far from where it began."""
    end = seen.end("kl")
    if end is not None and end > 2 * FAR:
        confidence = 0.9 if end > 10 else 0.65
        changes = (
            f"learning_rate={seen.number('learning_rate') / 5:.2g}",
            f"beta={max(0.02, 2 * seen.number('beta')):g}",
        )
        yield found("KL blow-up", confidence, f"the KL to the start of the run is {end:.2f} nats a token", *changes)


def gradient_spikes(seen: Evidence) -> Iterator[Finding]:
    """Some gradient norms are far beyond the usual one, or not finite."""
    dropped = sum(seen.values("updates/dropped"))
    limit = seen.number("max_grad_norm", 1.0)
    if dropped:
        yield found("gradient spikes", 0.8, f"{dropped:.0f} update(s) had a loss or gradient that is not finite")
        return
    norms = [norm for norm in seen.values("grad_norm") if norm > 1e-8]
    if len(norms) < 6:
        return
    usual = median(norms)
    # compared with the steps around it, because the norm falls while a run learns well
    around = [norms[max(0, i - NEAR) : i] + norms[i + 1 : i + 1 + NEAR] for i in range(len(norms))]
    beyond, most, near = max(
        (norm / median(others), norm, median(others)) for norm, others in zip(norms, around, strict=True)
    )
    if beyond > 10 and most > 2:
        yield found(
            "gradient spikes",
            0.6 + min(0.3, beyond / 300),
            f"the gradient norm reached {most:.3g}, {beyond:.0f} times that of the steps around it, {near:.2g} "
            f"(max_grad_norm {limit:g})",
            f"max_grad_norm={min(limit, 1.0):g}",
        )
    elif usual > 50 and limit > 50:
        yield found(
            "gradient spikes", 0.7, f"gradient norms of {usual:.3g} pass max_grad_norm {limit:g}", "max_grad_norm=1"
        )


def mismatch(seen: Evidence) -> Iterator[Finding]:
    """Sampler and trainer disagree before the policy has moved."""
    name = "sampling/first_update_k3"
    single = seen.number("num_updates", 1) * seen.number("num_iterations", 1) == 1
    fresh = [step for step in seen.steps if not step.get("sampling/staleness/max")]  # an older policy differs by right
    values = [step[name] for step in fresh if name in step]
    if not values and single:
        values = [step["sampling/mismatch_k3"] for step in fresh if "sampling/mismatch_k3" in step]
    if not values:
        return
    middle = sorted(values)[len(values) // 2]
    asked = [f"{key} is {seen.setting(key)}" for key in ("kv_bits", "lora.dropout") if seen.number(key)]
    if MISMATCH >= middle > ASKED_MISMATCH and asked and seen.setting("importance_sampling_cap") is None:
        said = f"{' and '.join(asked)}, so sampler and trainer differ (mean k3 {middle:.2g}), and nothing corrects it"
        yield found("mismatch", 0.65, said, "kv_bits=0", "lora.dropout=0")
    elif middle > MISMATCH:
        yield found(
            "mismatch",
            0.93 if middle > 10 * MISMATCH else 0.75,
            f"sampler and trainer differ about the same tokens before an update (mean k3 {middle:.2g}, should be below "
            f"{MISMATCH:g})",
            "dtype=float32",
            "kv_bits=0",
            "merge_adapter=false",
            "lora.dropout=0",
        )


def rising(seen: Evidence) -> bool:
    """Return whether the reward rose beyond its noise."""
    return (seen.gain("reward") or 0.0) > max(2.5 * seen.noise("reward"), 0.02)


def flat(seen: Evidence) -> bool:
    """Return whether the reward of a run long enough has not risen beyond its noise."""
    return seen.count >= FLAT_STEPS and seen.gain("reward") is not None and not rising(seen)


def unmoved(seen: Evidence) -> str | None:
    """Return what says that the policy is where it began; None where it is not, or nothing says."""
    kl = seen.peak("kl")
    if kl is not None:
        return f"the KL to the start never passed {kl:.1g} nats a token" if kl < STILL else None
    within = seen.peak("sampling/mismatch_k3")
    if (
        seen.number("num_updates", 1) * seen.number("num_iterations", 1) > 1
        and within is not None
        and within < STILL / 100
    ):
        return f"the updates of a batch moved the policy by {within:.1g} nats a token at most"
    if len(seen.greedy) < 2:
        return None
    first, last = (seen.greedy[step] for step in (min(seen.greedy), max(seen.greedy)))
    pairs = list(zip(first, last, strict=False))
    same = sum(a.text == b.text for a, b in pairs)
    if len(pairs) >= 10 and same >= 0.98 * len(pairs):
        return f"{same} of {len(pairs)} greedy answers are the same before and after"
    return None


def dead_adapters(seen: Evidence) -> Iterator[Finding]:
    """Rewards differ and the gradient is nothing, or moves nothing."""
    norms, most = seen.values("grad_norm"), seen.peak("grad_norm")
    if seen.count < 2 or most is None or seen.spread < 0.15:
        return
    kl = seen.peak("kl")
    still = kl is None or kl < 1e-7
    scale = seen.number("lora.alpha", 32.0) / max(1.0, seen.number("lora.rank", 16.0))
    adapters = seen.setting("fine_tune") in ("lora", "dora")
    what = "adapters" if adapters else "trained weights"
    if most < 1e-4 and still and seen.count >= 2:
        confidence = 0.95 if most < 1e-6 else 0.85
        yield found(
            "dead adapters",
            confidence,
            f"the gradient of the {what} is at most {most:.1g} in {len(norms)} steps although rewards differ in "
            f"{seen.spread:.0%} of the groups" + (f"; lora.alpha / lora.rank is {scale:.2g}" if adapters else ""),
            *(("lora.alpha=32", "lora.targets=all") if adapters else ()),
        )


def too_low(seen: Evidence) -> Iterator[Finding]:
    """The policy has not moved although it was told to."""
    if not flat(seen) or seen.spread < 0.15 or (seen.peak("grad_norm") or 0) < 1e-6:
        return
    still, rate = unmoved(seen), seen.number("learning_rate")
    mean_rate = sum(seen.values("learning_rate")) / max(1, len(seen.values("learning_rate")))
    warm = seen.number("warmup_steps")
    late = f"; warmup_steps is {warm:.0f} of {seen.count} steps" if warm >= 0.5 * seen.count else ""
    tiny = 0 < mean_rate < (2e-8 if seen.setting("fine_tune") == "full" else 2e-7)
    if still or tiny:
        why = still or f"the mean learning rate is {mean_rate:.1g}"
        changes = (f"warmup_steps={seen.count // 10}",) if late else (f"learning_rate={rate * 10:.2g}",)
        yield found(
            "learning rate too low",
            0.85 if still else 0.6,
            f"the reward is flat and {why} (rate {rate:g}{late})",
            *changes,
        )


def kl_too_strong(seen: Evidence) -> Iterator[Finding]:
    """The penalty holds the policy at its start."""
    beta, kl = seen.number("beta"), seen.end("kl")
    if beta < 0.25 or kl is None or not flat(seen):
        return
    yield found(
        "KL penalty too strong",
        0.9 if beta >= 1 else 0.7,
        f"beta is {beta:g} and the reward is flat, with a KL of {kl:.1g} nats a token",
        "beta=0.01",
    )


def entropy_collapse(seen: Evidence) -> Iterator[Finding]:
    """The samples have become alike before they were right."""
    start, end = seen.start("entropy"), seen.end("entropy")
    accuracy = seen.end(seen.accuracy_metric)
    if start is None or end is None or seen.count < 4 or (accuracy is not None and accuracy >= 0.85):
        return
    if end < 0.1 and end < 0.2 * start and (accuracy is not None or seen.spread_at_end < 0.7):
        yield found(
            "entropy collapse",
            0.75,
            f"the entropy fell from {start:.2f} to {end:.3f} nats a token"
            + ("" if accuracy is None else f" at an accuracy of {accuracy:.2f}"),
            f"learning_rate={seen.number('learning_rate') / 3:.2g}",
            "epsilon_high=0.28",
        )


def entropy_bonus(seen: Evidence) -> Iterator[Finding]:
    """The bonus for entropy outweighs the rewards."""
    coefficient, start, end = seen.number("entropy_coef"), seen.start("entropy"), seen.peak("entropy")
    if coefficient < LARGE_BONUS or start is None or end is None or end < max(1.5 * start, start + 0.2):
        return
    if not rising(seen):
        yield found(
            "entropy bonus too strong",
            0.98 if coefficient >= 2 * LARGE_BONUS else 0.75,
            f"entropy_coef is {coefficient:g}, the entropy rose from {start:.2f} to {end:.2f} nats a token and the "
            "reward did not",
            "entropy_coef=0.001",
        )


def temperature(seen: Evidence) -> Iterator[Finding]:
    """The sampling temperature is far from 1."""
    given, entropy = seen.number("temperature", 1.0), seen.start("entropy")
    if given >= 1.5 and entropy is not None:
        yield found(
            "temperature too high",
            0.98 if given >= 2 else 0.7,
            f"temperature is {given:g}, and the entropy of its samples {entropy:.2f} nats a token",
            "temperature=1.0",
        )
    elif given <= 0.4 and entropy is not None and seen.spread < 0.6:
        yield found(
            "temperature too low",
            0.95 if given <= 0.2 else 0.75,
            f"temperature is {given:g}: {1 - seen.spread:.0%} of the groups have equal rewards",
            "temperature=1.0",
        )


RULES = (
    too_high,
    kl_blow_up,
    gradient_spikes,
    mismatch,
    dead_adapters,
    kl_too_strong,
    too_low,
    entropy_collapse,
    entropy_bonus,
    temperature,
)
