"""Choose the tokens an update learns from, or holds back, by their entropy or covariance.

Chosen once an update from what the sampler said of its tokens, so that no split into micro-batches changes the choice.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from grpo.config import Config
from grpo.types import Credit, Group, Rollout

Credits = Sequence[Sequence[Credit]]


def shaped(
    groups: Sequence[Group], credits: Credits, config: Config, seeds: tuple[int, ...]
) -> tuple[Sequence[Group], Credits, dict[str, float]]:
    """Return an update's groups and credits after the config's token masks, and metrics of them.

    top_entropy_quantile: only that share of the tokens, those of the highest entropy, keeps its credit (arXiv
    2506.01939). covariance clip_cov: `covariance_share` of the tokens, drawn from those whose covariance of logprob and
    credit is within `covariance_range`, lose theirs; kl_cov: those of the highest covariance get a KL penalty (arXiv
    2505.22617).
    """
    if config.top_entropy_quantile == 1 and config.covariance == "none":
        return groups, credits, {}
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    trained = np.array([bool(kept) for rollout in rollouts for kept in rollout.mask or (1,) * len(rollout.tokens)])
    credit = _flat(rollouts, [value for row in credits for value in row])
    metrics: dict[str, float] = {}
    if config.top_entropy_quantile < 1:
        entropies = np.concatenate([rollout.entropies for rollout in rollouts])
        least = np.quantile(entropies[trained], 1 - config.top_entropy_quantile)
        credit = np.where(entropies >= least, credit, 0.0)
        metrics["entropy/least_learned"] = float(least)
    chosen = np.zeros(len(credit), dtype=bool)
    if config.covariance != "none":
        chosen = _covariant(rollouts, credit, trained, config, seeds)
        metrics["covariance/chosen"] = float(chosen.sum())
    if config.covariance == "clip_cov":
        credit, chosen = np.where(chosen, 0.0, credit), np.zeros_like(chosen)
    return _back(groups, credit, chosen), _credits(groups, credit), metrics


def _covariant(
    rollouts: Sequence[Rollout], credit: np.ndarray, trained: np.ndarray, config: Config, seeds: tuple[int, ...]
) -> np.ndarray:
    """Return which tokens the covariance rule takes, [tokens] bool."""
    logprobs = np.concatenate([rollout.logprobs for rollout in rollouts])
    covariance = (logprobs - logprobs[trained].mean()) * (credit - credit[trained].mean())
    count = max(1, round(config.covariance_share * int(trained.sum())))
    low, high = config.covariance_range
    if config.covariance == "clip_cov":
        candidates = np.flatnonzero(trained & (covariance >= low) & (covariance <= high))
        picked = np.random.default_rng(np.random.SeedSequence(seeds)).permutation(candidates)[:count]
    else:
        candidates = np.flatnonzero(trained)
        picked = candidates[np.argsort(-covariance[candidates], kind="stable")[:count]]
    chosen = np.zeros(len(credit), dtype=bool)
    chosen[picked] = True
    return chosen


def _flat(rollouts: Sequence[Rollout], credits: Sequence[Credit]) -> np.ndarray:
    """One credit a token, of all rows one after another."""
    rows = [
        np.full(len(rollout.tokens), credit) if not isinstance(credit, tuple) else np.array(credit)
        for rollout, credit in zip(rollouts, credits, strict=True)
    ]
    return np.concatenate(rows).astype(float)


def _cuts(groups: Sequence[Group], flat: np.ndarray) -> list[list[np.ndarray]]:
    """[tokens] -> [prompts][samples][time]."""
    lengths = [len(rollout.tokens) for group in groups for rollout in group.rollouts]
    rows = iter(np.split(flat, np.cumsum(lengths)[:-1]))
    return [[next(rows) for _ in group.rollouts] for group in groups]


def _credits(groups: Sequence[Group], credit: np.ndarray) -> list[list[Credit]]:
    return [[tuple(row.tolist()) for row in rows] for rows in _cuts(groups, credit)]


def _back(groups: Sequence[Group], credit: np.ndarray, chosen: np.ndarray) -> list[Group]:
    """Mark the tokens that get a penalty."""
    if not chosen.any():
        return list(groups)
    return [
        replace(
            group,
            rollouts=tuple(
                replace(rollout, penalised=tuple(row.astype(int).tolist()))
                for rollout, row in zip(group.rollouts, rows, strict=True)
            ),
        )
        for group, rows in zip(groups, _cuts(groups, chosen), strict=True)
    ]
