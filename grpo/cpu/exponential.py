"""Exponentials for the CPU, where MLX's own cost 12 to 30 ns an element: exp and the gate of an MLP.

MLX's CPU build calls libm's fma for every term of its exp. Here a shorter series is written with array operations in
pieces short enough for mx.compile to turn each into one loop that the compiler vectorises: 1 ns an element, 2.1e-7
relative. `on_cpu` says for which arrays; for others MLX's own functions are used. Nothing of the series is ever
differentiated: callers bring their gradients.
"""

import math
from typing import cast

import mlx.core as mx

from grpo.cpu.fusion import has_gradient, here, unseen
from grpo.cpu.switch import serves

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4  # their sum is ln 2; the first has few enough bits to be exact times n
ROUNDING = 12582912.0  # 1.5 x 2^23: what is added to it is rounded to a whole number
LOWEST = -1e9  # stands for minus infinity: its exp is 0, and its remainder small enough for the series to be finite


def on_cpu(x: mx.array) -> bool:
    """Return whether the functions of this module take their own way for this array."""
    return serves() and x.dtype == mx.float32


def _nearest(x: mx.array) -> mx.array:
    """Return the whole number n nearest to x / ln 2."""
    return (x * LOG2_E + ROUNDING) - ROUNDING


def _exponent(x: mx.array) -> mx.array:
    """Return n plus the exponent bias of a float32; a normal number has 1 to 254."""
    return _nearest(x).astype(mx.int32) + 127


def _power(x: mx.array) -> mx.array:
    """Return 2^n as a float32's bits, 0 where n is too low for one.

    Whole numbers are bounded here: a float's NaN would not let the compiler vectorise.
    """
    return mx.maximum(_exponent(x), 0) << 23


def _rest(x: mx.array) -> mx.array:
    """Return x - n ln 2, in [-0.35, 0.35]."""
    n = _nearest(x)
    return (x - n * LN2_HIGH) - n * LN2_LOW


def _series(r: mx.array, power: mx.array) -> mx.array:
    """Return power * exp(r) by the polynomial of degree 5 that begins with 1 + r (1.0e-7 relative)."""
    square = r * r
    high = 0.041890149525 + r * 0.008312523370
    return power * ((1.0 + r) + square * ((0.499992315363 + r * 0.166671145927) + square * high))


# One result each: where a loop writes several, the compiler does not vectorise it.
_power_of_two = mx.compile(_power)
_remainder = mx.compile(_rest)
_joined = mx.compile(_series)
_power_of_negative = mx.compile(lambda x: mx.clip(_exponent(-x), 0, 254) << 23)  # a gate has no bounds
_remainder_of_negative = mx.compile(lambda x: _rest(-x))
_sigmoid = mx.compile(lambda r, power: 1.0 / (1.0 + _series(r, power)))
_product = mx.compile(lambda gate, share, up: gate * share * up)
_by_gate = mx.compile(lambda gate, share, up, cotangent: cotangent * share * up * (1.0 + gate * (1.0 - share)))


@unseen
def _exp(x: mx.array) -> mx.array:
    return cast(mx.array, _joined(_remainder(x), mx.view(_power_of_two(x), mx.float32)))


@unseen
def _gated(gate: mx.array, up: mx.array) -> tuple[mx.array, mx.array]:
    share = _sigmoid(_remainder_of_negative(gate), mx.view(_power_of_negative(gate), mx.float32))
    return _product(gate, share, up), share


@unseen
def _gated_slopes(gate: mx.array, up: mx.array, share: mx.array, cotangent: mx.array) -> tuple[mx.array, mx.array]:
    return _by_gate(gate, share, up, cotangent), _product(gate, share, cotangent)


def swiglu(gate: mx.array, up: mx.array) -> mx.array:
    """Return gate * sigmoid(gate) * up, elementwise (Shazeer 2020, arXiv 2002.05202), of arrays on the CPU."""
    if not has_gradient():
        return cast("tuple[mx.array, mx.array]", _gated(gate, up))[0]

    @mx.custom_function
    def gated(gate: mx.array, up: mx.array) -> tuple[mx.array, mx.array]:
        return cast("tuple[mx.array, mx.array]", _gated(gate, up))

    @gated.vjp
    @here
    def gradient(
        primals: tuple[mx.array, mx.array], cotangents: tuple[mx.array, mx.array], outputs: tuple[mx.array, mx.array]
    ) -> tuple[mx.array, mx.array]:
        return cast("tuple[mx.array, mx.array]", _gated_slopes(*primals, outputs[1], cotangents[0]))

    return cast("tuple[mx.array, mx.array]", gated(gate, up))[0]


def row_max(values: mx.array) -> mx.array:
    """Return the highest value of each row, [..., n] -> [..., 1].

    Found for 64 or fewer interleaved parts first: MLX's CPU compares one number after the other within a row and four
    at a time between rows.
    """
    parts = math.gcd(values.shape[-1], 64)
    if parts >= 8 and serves():
        values = values.reshape(*values.shape[:-1], -1, parts).max(axis=-2)
    return values.max(axis=-1, keepdims=True)


def exp(x: mx.array) -> mx.array:
    """Return exp of values from LOWEST to 88 (minus infinity gives NaN, as NaN does); on the CPU without a gradient."""
    if not on_cpu(x):
        return mx.exp(x)
    return cast(mx.array, _exp(mx.stop_gradient(x) if has_gradient() else x))
