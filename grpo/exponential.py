"""Exponentials for the CPU, where MLX's own cost 12 to 30 ns an element: exp and the gate of an MLP.

MLX's CPU build calls libm's fma for every term of its exp. Here the same series is written with array operations in
pieces short enough for mx.compile to turn each into one loop that the compiler vectorises: 1.5 ns an element, 2.5e-7
relative. `on_cpu` says for which arrays; for others MLX's own functions are used. Nothing of the series is ever
differentiated: callers bring their gradients.
"""

from typing import cast

import mlx.core as mx

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4  # their sum is ln 2; the first has few enough bits to be exact times n
ROUNDING = 12582912.0 + 127  # 1.5 x 2^23 + the exponent bias: what is added to it is rounded to a whole number
LOWEST, HIGHEST = -88.0, 88.0  # at or below the first, exp is 0 here


def on_cpu(x: mx.array) -> bool:
    """Whether the functions of this module take their own way for this array."""
    return x.dtype == mx.float32 and mx.default_device().type == mx.DeviceType.cpu


@mx.compile
def _reduce(x: mx.array) -> tuple[mx.array, mx.array]:
    """x = n ln 2 + r: n in the low bits of the first result, r the second, in [-0.35, 0.35]."""
    shifted = x * LOG2_E + ROUNDING
    n = shifted - ROUNDING
    return shifted, (x - n * LN2_HIGH) - n * LN2_LOW


@mx.compile
def _series(r: mx.array, scale: mx.array) -> mx.array:
    """scale * exp(r), to the sixth power of r."""
    square = r * r
    high = (1 / 24 + r * (1 / 120)) + square * (1 / 720)
    return scale * ((1.0 + r) + square * ((0.5 + r * (1 / 6)) + square * high))


def _exp_within(x: mx.array) -> mx.array:
    """exp of values from LOWEST, where it is 0, to HIGHEST; no gradient; NaN stays NaN."""
    shifted, r = _reduce(x)
    return _series(r, mx.view(mx.view(shifted, mx.int32) << 23, mx.float32))  # the bits of 2^n


@mx.compile
def _gated(exponential: mx.array, gate: mx.array, up: mx.array) -> tuple[mx.array, mx.array]:
    share = 1.0 / (1.0 + exponential)
    return gate * up * share, share


@mx.compile
def _gate_slopes(share: mx.array, gate: mx.array, up: mx.array, cotangent: mx.array) -> tuple[mx.array, mx.array]:
    pulled = cotangent * share
    return pulled * up * (1.0 + gate * (1.0 - share)), pulled * gate


@mx.custom_function
def _swiglu(gate: mx.array, up: mx.array) -> tuple[mx.array, mx.array]:
    return _gated(_exp_within(mx.clip(-gate, LOWEST, HIGHEST)), gate, up)


@_swiglu.vjp
def _swiglu_gradient(
    primals: tuple[mx.array, mx.array], cotangents: tuple[mx.array, mx.array], outputs: tuple[mx.array, mx.array]
) -> tuple[mx.array, mx.array]:
    return _gate_slopes(outputs[1], *primals, cotangents[0])


def swiglu(gate: mx.array, up: mx.array) -> mx.array:
    """gate * sigmoid(gate) * up, elementwise (Shazeer 2020, arXiv 2002.05202), of arrays that are `on_cpu`."""
    return cast("tuple[mx.array, mx.array]", _swiglu(gate, up))[0]


def exp(x: mx.array) -> mx.array:
    """exp of values at most 88; on the CPU without a gradient."""
    return _exp_within(mx.maximum(mx.stop_gradient(x), LOWEST)) if on_cpu(x) else mx.exp(x)
