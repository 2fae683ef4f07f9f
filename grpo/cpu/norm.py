"""RMS norms of few rows in three operations in place of eleven, for decoding on a CPU."""

from typing import cast

import mlx.core as mx
import mlx.nn as nn

from grpo.cpu.exponential import on_cpu

MOST = 1 << 16  # numbers; for more of them MLX's own is as fast


@mx.compile
def _scaled(x: mx.array, mean: mx.array, weight: mx.array, eps: mx.array) -> mx.array:
    return x * mx.rsqrt(mean + eps) * weight


class FewRowsNorm(nn.RMSNorm):
    """x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich, arXiv 1910.07467), the mean as a matrix product."""

    def __call__(self, x: mx.array) -> mx.array:
        if not on_cpu(x) or x.size > MOST:
            return cast(mx.array, super().__call__(x))
        if getattr(self, "_averages", None) is None:
            self._averages, self._eps = mx.full((x.shape[-1], 1), 1 / x.shape[-1]), mx.array(self.eps)
        return cast(mx.array, _scaled(x, (x * x) @ self._averages, self.weight, self._eps))


def install(model: nn.Module) -> None:
    """Replace every RMS norm of the model by a FewRowsNorm."""
    for part in model.modules():
        if type(part) is nn.RMSNorm:
            part.__class__ = FewRowsNorm
