"""The metrics of a step: of its rollouts, of each reward, and of its updates."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from envs.mixture import ENVIRONMENT
from grpo.config import Config
from grpo.learner.optimizer import learning_rate
from grpo.scoring import GroupScores
from grpo.types import Group, Rollout

TOOL_COUNTS = ("tool_calls", "tool_failures", "malformed_calls")
EXPERTS = ("experts_agreement", "experts_tokens")  # sums of a micro-batch, of grpo.model.experts
OWN = "mean/"  # before the sums of a loss's own metrics


def rollout_metrics(
    groups: Sequence[Group],
    scored: Sequence[GroupScores],
    rewards: np.ndarray,
    experts: Sequence[int] | None = None,
) -> dict[str, float]:
    """Return the rewards, entropy and completion lengths of a rollout batch; `experts` of each of the mixtures."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    lengths = np.array([rollout.trained_tokens for rollout in rollouts])
    ended = np.array([rollout.trained_tokens for rollout in rollouts if rollout.stop_reason == "stop"])
    entropies = np.concatenate([rollout.trained(rollout.entropies) for rollout in rollouts])
    present = rewards[~np.isnan(rewards)]
    stds = [_std(row[~np.isnan(row)]) for row in rewards]
    return {
        **({"reward": float(present.mean()), "reward_std": float(np.mean(stds))} if present.size else {}),
        "frac_reward_zero_std": float(np.mean([std < 1e-8 for std in stds])),
        "rewards/missing": float(rewards.size - present.size),
        **reward_metrics(scored),
        "entropy": float(entropies.mean()),
        "completions/mean_length": float(lengths.mean()),
        "completions/min_length": float(lengths.min()),
        "completions/max_length": float(lengths.max()),
        "completions/clipped_ratio": float(np.mean([rollout.stop_reason == "length" for rollout in rollouts])),
        "completions/mean_terminated_length": float(ended.mean()) if ended.size else 0.0,
        **dialogue_metrics(rollouts),
        **expert_metrics(rollouts, experts or []),
        **metrics_by_environment(groups, rewards),
    }


def dialogue_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return what conversations were like; nothing where no environment answers.

    turns/mean, /max; environment/failed, the share whose environment failed, and /tokens, those it wrote (mean);
    turn_rewards/NAME/mean, summed over a conversation; tools/call_frequency, calls a completion (TRL's), and of the
    calls the share that failed, tools/failure_frequency, and that could not be read, tools/malformed.
    """
    talks = [(rollout, rollout.dialogue) for rollout in rollouts if rollout.dialogue is not None]
    if not talks:
        return {}
    turns = [len(dialogue.turns) for _, dialogue in talks]
    names = sorted({name for _, dialogue in talks for turn in dialogue.rewards for name in turn})
    counts = Counter[str]()
    for _, dialogue in talks:
        for info in dialogue.info:
            counts.update({name: info[name] for name in TOOL_COUNTS if isinstance(info.get(name), int)})
    calls = counts["tool_calls"]
    tools = {
        "tools/call_frequency": calls / len(talks),
        "tools/failure_frequency": counts["tool_failures"] / max(calls, 1),
        "tools/malformed": counts["malformed_calls"] / max(calls, 1),
    }
    return {
        "turns/mean": float(np.mean(turns)),
        "turns/max": float(max(turns)),
        "environment/failed": float(np.mean([dialogue.failed for _, dialogue in talks])),
        "environment/tokens": float(np.mean([len(rollout.tokens) - rollout.trained_tokens for rollout, _ in talks])),
        **{
            f"turn_rewards/{name}/mean": float(
                np.mean([sum(turn.get(name, 0.0) for turn in dialogue.rewards) for _, dialogue in talks])
            )
            for name in names
        },
        **(tools if "tool_calls" in counts else {}),
    }


def expert_metrics(rollouts: Sequence[Rollout], sizes: Sequence[int]) -> dict[str, float]:
    """Return how evenly the sampler's routers spread their tokens; nothing without mixtures, of these many experts.

    experts/load_max: tokens of a mixture's busiest expert, 1 = its even share, the mean over mixtures; experts/idle:
    the share of experts that no token was sent to.
    """
    heard = [rollout.experts for rollout in rollouts if rollout.experts is not None and len(rollout.experts)]
    if not heard:
        return {}
    tokens = np.concatenate(heard)  # [tokens, mixtures, chosen]
    busiest, idle = [], 0
    for mixture, size in enumerate(sizes):
        chosen = tokens[:, mixture].ravel()
        counts = np.bincount(chosen[chosen >= 0], minlength=size)
        busiest.append(counts.max() * size / max(counts.sum(), 1))
        idle += int((counts == 0).sum())
    return {"experts/load_max": float(np.mean(busiest)), "experts/idle": idle / sum(sizes)}


def metrics_by_environment(groups: Sequence[Group], rewards: np.ndarray) -> dict[str, float]:
    """Return environments/NAME/reward, /length (tokens) and /share of the groups, in a mixture of environments."""
    named: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        name = group.prompt.task.columns.get(ENVIRONMENT)
        if isinstance(name, str):
            named.setdefault(name, []).append(place)
    metrics: dict[str, float] = {}
    for name, places in named.items():
        prefix, own = f"environments/{name}/", rewards[places]
        if not np.isnan(own).all():
            metrics[prefix + "reward"] = float(np.nanmean(own))
        lengths = [rollout.trained_tokens for place in places for rollout in groups[place].rollouts]
        metrics |= {prefix + "length": float(np.mean(lengths)), prefix + "share": len(places) / len(groups)}
    return metrics


def _std(values: np.ndarray) -> float:
    """Return the standard deviation with ddof 1; exactly 0 of equal values, whose mean may be rounded."""
    return 0.0 if values.size < 2 or values.min() == values.max() else float(np.std(values, ddof=1))


def reward_metrics(scored: Sequence[GroupScores]) -> dict[str, float]:
    """Return statistics of each reward as measured, over the completions that have it.

    rewards/NAME/mean, /std, /min, /max; rewards/NAME/zero_std, the share of groups in which it is the same for all;
    rewards/NAME/missing, the share of completions without it, and /gated, /clipped, /gate_unknown where that happened;
    rewards/failed/NAME/KIND, counts.
    """
    metrics: dict[str, float] = {}
    completions = sum(len(group.totals) for group in scored)
    for name in scored[0].values:
        groups = [[value for value in group.values[name] if value is not None] for group in scored]
        values = [value for group in groups for value in group]
        if values:
            prefix = f"rewards/{name}/"
            metrics[prefix + "mean"] = float(np.mean(values))
            metrics[prefix + "std"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            metrics |= {prefix + "min": float(min(values)), prefix + "max": float(max(values))}
            metrics[prefix + "zero_std"] = float(np.mean([len(set(group)) < 2 for group in groups]))
        if 0 < len(values) < completions:
            metrics[f"rewards/{name}/missing"] = 1 - len(values) / completions
    applied, failures = Counter[str](), Counter[str]()
    for group in scored:
        applied.update(group.applied)
        failures.update(group.failures)
    metrics |= {f"rewards/{kind}": count / completions for kind, count in sorted(applied.items())}
    return metrics | {f"rewards/failed/{kind}": float(count) for kind, count in sorted(failures.items())}


def staleness_metrics(groups: Sequence[Group], step: int) -> dict[str, float]:
    """Return how many steps the policy had learned since these completions were sampled, mean and largest.

    sampling/staleness/mean and /max, over completions that say which version they are of.
    """
    behind = [step - r.version for group in groups for r in group.rollouts if r.version is not None]
    if not behind:
        return {}
    return {"sampling/staleness/mean": float(np.mean(behind)), "sampling/staleness/max": float(max(behind))}


def logged_metrics(scored: Sequence[GroupScores], taken: Collection[str] = ()) -> dict[str, float]:
    """Means of what rewards gave to log_metric, by its name, or logged/NAME where the run has a metric NAME already."""
    logged: dict[str, list[float]] = {}
    for group in scored:
        for name, values in group.metrics.items():
            logged.setdefault(f"logged/{name}" if name in taken else name, []).extend(values)
    return {name: float(np.mean(values)) for name, values in logged.items()}


def learner_metrics(
    totals: Mapping[str, float], norms: Sequence[float], config: Config, step: int, first: Mapping[str, float]
) -> dict[str, float]:
    """Return the metrics of a step's updates, from the sums over them all and each one's gradient norm.

    `first` are the sums of the first update alone, before which the policy is still the one that sampled.
    """
    tokens = max(totals["tokens"], 1)
    metrics = {
        "loss": totals["loss"] / len(norms),
        "grad_norm": sum(norms) / len(norms),
        "learning_rate": learning_rate(config, step),
        "clip_ratio/low_mean": totals["clip_low"] / tokens,
        "clip_ratio/high_mean": totals["clip_high"] / tokens,
        "clip_ratio/region_mean": (totals["clip_low"] + totals["clip_high"]) / tokens,
        "sampling/sampling_logp_difference/mean": totals["difference"] / tokens,
        "sampling/mismatch_k3": totals["mismatch_k3"] / tokens,
        **({"sampling/first_update_k3": first["mismatch_k3"] / first["tokens"]} if first.get("tokens") else {}),
        "updates/dropped": totals["dropped_updates"],
        "updates/skipped": totals["skipped_updates"],
    }
    for name, total in totals.items():
        if name.startswith(OWN):  # a loss's own
            metrics[name.removeprefix(OWN)] = total / tokens
    agreed, compared = (totals[name] for name in EXPERTS)
    if compared:
        metrics["experts/agreement"] = agreed / compared  # of sampler and trainer, share of a token's experts
    if config.beta > 0:
        metrics["kl"] = totals["kl"] / tokens
    return metrics
