"""Group-relative advantages: what a completion is worth compared with the other answers to the same prompt."""

import math
from typing import Literal, get_args

import mlx.core as mx

Scale = Literal["group", "batch", "none"]


def group_advantages(rewards: mx.array, *, scale: Scale = "group", epsilon: float = 1e-4) -> mx.array:
    """The reward of each completion relative to its group, one advantage a completion.

    A_i = (r_i - mean(r)) / (std(r) + epsilon), mean over the group and std with ddof = 1 over

    - `group`: the group (DeepSeekMath, arXiv 2402.03300),
    - `batch`: all rewards of the batch, around the batch's mean,
    - `none`: nothing; A_i = r_i - mean(r) (Dr. GRPO, arXiv 2503.20783).

    Call it before completions are dropped from the loss: a truncated completion still counts in its group's mean.

    Args:
        rewards: [prompts, samples]; NaN is a missing reward, left out of every mean and std.
        scale: what the std is taken over.
        epsilon: added to the std, in units of reward.
    Returns:
        [prompts, samples] float32. 0 for a missing reward, for a group with fewer than 2 rewards and, exactly, for a
        group whose rewards are all equal; nearly equal rewards stay within (samples - 1) / sqrt(samples).
    """
    if scale not in get_args(Scale):
        raise ValueError(f"scale must be one of {', '.join(get_args(Scale))}, got {scale!r}")
    rewards, present = _present(rewards)
    centred = _centred(rewards, present, axis=1)  # [prompts, samples]
    if scale == "none":
        return centred
    if scale == "group":
        std = _std(centred, present, axis=1)  # [prompts, 1]
    else:
        std = _std(_centred(rewards, present, axis=None), present, axis=None)  # [1, 1]
    divisor = std + epsilon
    return centred / mx.where(divisor > 0, divisor, 1.0)


def decoupled_advantages(rewards: mx.array, weights: mx.array, *, epsilon: float = 1e-4) -> mx.array:
    """Advantages of several rewards, each normalised on its own: GDPO (arXiv 2601.05242).

    A_ki = (r_ki - mean(r_k)) / (std(r_k) + epsilon) over the group, S_i = sum_k w_k A_ki, A_i = S_i / (std(S) +
    epsilon), the last std over the batch. Summed first (`group_advantages`), a rare small reward beside a large one
    hardly shows, and different mixes of rewards get the same advantage.

    The paper also takes off the batch's mean of S; it is 0, since every A_k sums to 0 over its group, so that what
    would be taken off is rounding error, and a group without any spread would no longer be exactly 0.

    Args:
        rewards: [rewards, prompts, samples]; NaN is a missing reward, which adds nothing to S.
        weights: [rewards].
        epsilon: added to both stds.
    Returns:
        [prompts, samples] float32; 0 for a completion without any reward, and for a group in which no reward differs.
    """
    if rewards.ndim != 3 or weights.shape != rewards.shape[:1]:
        raise ValueError(
            f"rewards must be [rewards, prompts, samples] and weights [rewards], got {rewards.shape} and "
            f"{weights.shape}"
        )
    summed = mx.zeros(rewards.shape[1:])  # [prompts, samples]
    for values, weight in zip(rewards, weights, strict=True):
        summed = summed + weight * group_advantages(values, epsilon=epsilon)
    present = mx.logical_not(mx.isnan(rewards)).any(axis=0)  # [prompts, samples]
    divisor = _std(summed, present, axis=None) + epsilon
    return summed / mx.where(divisor > 0, divisor, 1.0)


def leave_one_out_advantages(rewards: mx.array) -> mx.array:
    """The reward of each completion less the mean of the others in its group: RLOO (arXiv 2402.14740).

    A_i = r_i - sum_{j != i} r_j / (n - 1) = n / (n - 1) * (r_i - mean(r))

    Args:
        rewards: [prompts, samples]; NaN is a missing reward.
    Returns:
        [prompts, samples] float32; 0 for a missing reward and, exactly, for a group whose rewards are all equal.
    """
    rewards, present = _present(rewards)
    above, count = _above_lowest(rewards, present, axis=1)
    others = (above.sum(axis=1, keepdims=True) - above) / mx.maximum(count - 1, 1)
    return mx.where(mx.logical_and(present, count > 1), above - others, 0.0)


def whitened_advantages(rewards: mx.array, *, baseline: bool = False, epsilon: float = 1e-4) -> mx.array:
    """Rewards normalised over the whole batch: REINFORCE++ (arXiv 2501.03262).

    A_i = (x_i - mean(x)) / (std(x) + epsilon) over the batch, ddof = 1; x = r, or with `baseline` r less its group's
    mean (the paper's variant for several samples a prompt).

    Args:
        rewards: [prompts, samples]; NaN is a missing reward.
        baseline: take off the group's mean first.
        epsilon: added to the std.
    Returns:
        [prompts, samples] float32; 0 for a missing reward and, exactly, if all rewards of the batch are equal (with
        `baseline`: of the group).
    """
    rewards, present = _present(rewards)
    centred = _centred(rewards, present, axis=1 if baseline else None)
    divisor = _std(centred, present, axis=None) + epsilon
    return centred / mx.where(divisor > 0, divisor, 1.0)


def maximum_likelihood_advantages(rewards: mx.array, *, epsilon: float = 1e-4) -> mx.array:
    """The reward of each completion relative to its group's mean: MaxRL (arXiv 2602.02710), for rewards >= 0.

    A_i = (r_i - mean(r)) / (mean(r) + epsilon)

    With rewards of 0 and 1 the gradient is that of the likelihood of a success, truncated at n samples: a prompt solved
    once in n attempts weighs n times as much as one always solved.

    Args:
        rewards: [prompts, samples]; NaN is a missing reward.
        epsilon: added to the mean.
    Returns:
        [prompts, samples] float32; 0 for a missing reward, a group of mean 0 or below, and a group of equal rewards.
    """
    rewards, present = _present(rewards)
    centred = _centred(rewards, present, axis=1)
    count = mx.maximum(present.sum(axis=1, keepdims=True), 1)
    mean = mx.where(present, rewards, 0.0).sum(axis=1, keepdims=True) / count
    return mx.where(mean > 0, centred / mx.where(mean > 0, mean + epsilon, 1.0), 0.0)


def pass_at_k_advantages(rewards: mx.array, k: int, *, epsilon: float = 1e-4) -> mx.array:
    """Advantage of a completion as its gain to the best of k: pass@k training (arXiv 2508.10751), any rewards.

    A_i = (E[max of a set of k with i] - E[max of a set of k]) / (std(max of a set of k) + epsilon)

    over all sets of k of the group's completions. With rewards of 0 and 1 and c failures of n: E[max] = 1 - C(c, k) /
    C(n, k), for a success 1, for a failure 1 - C(c - 1, k - 1) / C(n - 1, k - 1): the paper's analytical form.

    Args:
        rewards: [prompts, samples]; NaN is a missing reward, a set has none.
        k: completions of a set, from 1 (then the group's own std, with ddof 0) to samples.
        epsilon: added to the std.
    Returns:
        [prompts, samples] float32; 0 for a missing reward, for equal rewards and where fewer than k are present.
    """
    rewards, present = _present(rewards)
    samples = rewards.shape[1]
    if not 1 <= k <= samples:
        raise ValueError(f"k must be between 1 and the {samples} samples of a group, got {k}")
    above, count = _above_lowest(rewards, present, axis=1)
    order = mx.argsort(mx.where(present, above, mx.inf), axis=1)  # missing rewards last
    highest = above.max(axis=1, keepdims=True)
    ascending = mx.take_along_axis(above, order, axis=1) - highest  # from it, so that equal bests are exactly 0 apart
    of_all, of_own = _best_of_sets(samples, k)  # [n + 1, samples], [n + 1, samples, samples]
    n = count[:, 0].astype(mx.int32)
    mean = (of_all[n] * ascending).sum(axis=1, keepdims=True)
    spread = mx.sqrt((of_all[n] * mx.square(ascending - mean)).sum(axis=1, keepdims=True))
    own = (of_own[n] * ascending[:, None, :]).sum(axis=2)  # [prompts, samples], by rank
    own = mx.take_along_axis(own, mx.argsort(order, axis=1), axis=1)
    usable = mx.logical_and(present, mx.logical_and(count >= k, highest > 0))
    return mx.where(usable, (own - mean) / (spread + epsilon), 0.0)


def _best_of_sets(samples: int, k: int) -> tuple[mx.array, mx.array]:
    """Probabilities that the reward of each rank is the best of a random set of k, for n = 0 .. samples rewards.

    [n + 1, samples]: of any set; [n + 1, samples, samples]: of a set that holds the first rank. Rank 0 is the lowest;
    0 beyond the n-th.
    """
    of_all, of_own = [], []
    for n in range(samples + 1):
        sets, own_sets = max(math.comb(n, k), 1), max(math.comb(max(n - 1, 0), k - 1), 1)
        ranks = range(samples)
        of_all.append([math.comb(best, k - 1) / sets if best < n else 0.0 for best in ranks])
        of_own.append([[_own(rank, best, n, k) / own_sets for best in ranks] for rank in ranks])
    return mx.array(of_all), mx.array(of_own)


def _own(rank: int, best: int, n: int, k: int) -> int:
    """Sets of k among n that hold `rank` and whose highest rank is `best`."""
    if max(rank, best) >= n or best < rank:
        return 0
    if best == rank:
        return math.comb(rank, k - 1)
    return math.comb(best - 1, k - 2) if k > 1 else 0


def _present(rewards: mx.array) -> tuple[mx.array, mx.array]:
    """Rewards [prompts, samples] in float32, and which are not missing."""
    if rewards.ndim != 2:
        raise ValueError(f"rewards must be [prompts, samples], got shape {rewards.shape}")
    rewards = rewards.astype(mx.float32)
    return rewards, mx.logical_not(mx.isnan(rewards))


def _above_lowest(rewards: mx.array, present: mx.array, *, axis: int | None) -> tuple[mx.array, mx.array]:
    """Rewards less the lowest present one, 0 at missing ones, and how many are present."""
    lowest = mx.where(present, rewards, mx.inf).min(axis=axis, keepdims=True)
    return mx.where(present, rewards - lowest, 0.0), present.sum(axis=axis, keepdims=True)


def _centred(rewards: mx.array, present: mx.array, *, axis: int | None) -> mx.array:
    """Return r - mean(r) over the present rewards, 0 at missing ones.

    The lowest reward is taken off first: equal rewards, or a lone one, then give exactly 0, and nearly equal large ones
    keep their digits.
    """
    above, count = _above_lowest(rewards, present, axis=axis)
    return mx.where(present, above - above.sum(axis=axis, keepdims=True) / mx.maximum(count, 1), 0.0)


def _std(centred: mx.array, present: mx.array, *, axis: int | None) -> mx.array:
    """sqrt(sum(centred^2) / (n - 1)); 0 where fewer than 2 are present."""
    count = present.sum(axis=axis, keepdims=True)
    return mx.sqrt(centred.square().sum(axis=axis, keepdims=True) / mx.maximum(count - 1, 1))
