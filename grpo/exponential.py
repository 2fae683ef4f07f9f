"""Exponentials for the CPU, where MLX's own cost 12 to 30 ns an element: exp and the gate of an MLP.

MLX's CPU build calls libm's fma for every term of its exp. Here the same series is written with array operations in
pieces short enough for mx.compile to turn each into one loop that the compiler vectorises: 1.5 ns an element, 2.5e-7
relative. `on_cpu` says for which arrays; for others MLX's own functions are used. Nothing of the series is ever
differentiated: callers bring their gradients.
"""

from typing import cast

import mlx.core as mx

from grpo.fusion import fused

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4  # their sum is ln 2; the first has few enough bits to be exact times n
ROUNDING = 12582912.0 + 127  # 1.5 x 2^23 + the exponent bias: what is added to it is rounded to a whole number
LOWEST, HIGHEST = -88.0, 88.0  # at or below the first, exp is 0 here


def on_cpu(x: mx.array) -> bool:
    """Whether the functions of this module take their own way for this array."""
    return x.dtype == mx.float32 and mx.default_device().type == mx.DeviceType.cpu


def _split(x: mx.array) -> tuple[mx.array, mx.array]:
    """x = n ln 2 + r: n in the low bits of the first result, r the second, in [-0.35, 0.35]."""
    shifted = x * LOG2_E + ROUNDING
    n = shifted - ROUNDING
    return shifted, (x - n * LN2_HIGH) - n * LN2_LOW


def _series(r: mx.array, scale: mx.array) -> mx.array:
    """scale * exp(r), to the sixth power of r."""
    square = r * r
    high = (1 / 24 + r * (1 / 120)) + square * (1 / 720)
    return scale * ((1.0 + r) + square * ((0.5 + r * (1 / 6)) + square * high))


def _power_of_two(shifted: mx.array) -> mx.array:
    """2^n of what `_split` gave."""
    return mx.view(mx.view(shifted, mx.int32) << 23, mx.float32)  # the bits of 2^n


# One result each but for the first: where a loop writes several, the compiler does not vectorise it.
_parts = fused(_split)
_parts_of_negative = fused(lambda x: _split(-x))
_joined = fused(_series)
_sigmoid = fused(lambda r, scale: 1.0 / (1.0 + _series(r, scale)))
_product = fused(lambda gate, share, up: gate * share * up)
_by_gate = fused(lambda gate, share, up, cotangent: cotangent * share * up * (1.0 + gate * (1.0 - share)))


@mx.custom_function
def _swiglu(gate: mx.array, up: mx.array) -> tuple[mx.array, mx.array]:
    shifted, r = _parts_of_negative(mx.clip(gate, LOWEST, HIGHEST))
    share = _sigmoid(r, _power_of_two(shifted))
    return _product(gate, share, up), share


@_swiglu.vjp
def _swiglu_gradient(
    primals: tuple[mx.array, mx.array], cotangents: tuple[mx.array, mx.array], outputs: tuple[mx.array, mx.array]
) -> tuple[mx.array, mx.array]:
    (gate, up), cotangent, share = primals, cotangents[0], outputs[1]
    return _by_gate(gate, share, up, cotangent), _product(gate, share, cotangent)


def swiglu(gate: mx.array, up: mx.array) -> mx.array:
    """gate * sigmoid(gate) * up, elementwise (Shazeer 2020, arXiv 2002.05202), of arrays that are `on_cpu`."""
    return cast("tuple[mx.array, mx.array]", _swiglu(gate, up))[0]


def exp(x: mx.array) -> mx.array:
    """exp of values at most 88; on the CPU without a gradient."""
    if not on_cpu(x):
        return mx.exp(x)
    shifted, r = _parts(mx.maximum(mx.stop_gradient(x), LOWEST))  # NaN stays NaN
    return cast(mx.array, _joined(r, _power_of_two(shifted)))
