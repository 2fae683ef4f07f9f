"""exp(values - shift) for sums over keys or tokens, in pieces that stay in a CPU's cache.

`grpo.exponential` writes exp as some twenty array operations. On one large array each of them would go through memory;
on a piece of a megabyte or two they run at the speed of the cache.
"""

import mlx.core as mx

from grpo.exponential import exp, on_cpu

PIECE = 1 << 18  # elements


def exp_minus(values: mx.array, shift: mx.array) -> mx.array:
    """exp(values - shift), of values at most 88 above shift.

    Args:
        values: [..., n].
        shift: broadcast against values.
    Returns:
        the shape and type of values. No gradient is defined on a CPU: callers are custom functions with their own.
    """
    if not on_cpu(values) or values.ndim < 2 or values.size <= PIECE:
        return exp(values - shift)
    differences = (values - shift).reshape(-1, values.shape[-1])
    rows = max(1, PIECE // values.shape[-1])
    pieces = [exp(differences[start : start + rows]) for start in range(0, differences.shape[0], rows)]
    return mx.concatenate(pieces).reshape(values.shape)
