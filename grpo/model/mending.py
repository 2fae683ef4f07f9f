"""Mend models of mlx_lm that cannot be trained as they are, each in place and with its reason.

Recurrent layers keep every state for their gradient, which takes gigabytes a layer from 1,000 tokens on. Here they run
in pieces of time of which only the state at the end is kept; the pieces are run again in the backward pass.
"""

import importlib
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from grpo.model.recompute import recomputed

DELTA_PIECE, SSM_PIECE = 64, 256  # tokens


def mend(model: nn.Module) -> None:
    """Mend a network that mlx_lm has built."""
    for part in [model, *model.modules()]:
        if not hasattr(part, "_no_grad"):  # recurrent_gemma's Model never calls its base class
            nn.Module.__init__(part)
    modules = {type(part).__module__ for part in model.modules()}
    if "mlx_lm.models.rwkv7" in modules:
        _replace("mlx_lm.models.rwkv7", "l2_norm", lambda _: _l2_norm)
        for part in model.modules():
            if type(part).__name__ == "Rwkv7TimeMixing":
                _in_pieces_of_rwkv(type(part))
    _replace("mlx_lm.models.gated_delta", "gated_delta_ops", _delta_in_pieces)
    _replace("mlx_lm.models.ssm", "ssm_attn", _ssm_in_pieces)


def _replace(module: str, name: str, make: Callable[[Any], Any]) -> None:
    """Put make(function) in the function's place, once."""
    owner = importlib.import_module(module)
    plain = getattr(owner, name)
    if not getattr(plain, "mended", False):
        mended = make(plain)
        mended.mended = True
        setattr(owner, name, mended)


def _l2_norm(x: mx.array) -> mx.array:
    """X / |x|, at most 1e7 times x; mlx_lm's has no gradient where x is 0."""
    return x * mx.rsqrt(mx.maximum((x * x).sum(axis=-1, keepdims=True), 1e-14))


def _delta_in_pieces(plain: Any) -> Any:
    def gated_delta_ops(
        q: mx.array,
        k: mx.array,
        v: mx.array,
        g: mx.array,
        beta: mx.array,
        state: mx.array | None = None,
        mask: mx.array | None = None,
    ) -> tuple[mx.array, mx.array]:
        if q.shape[1] <= DELTA_PIECE:
            return plain(q, k, v, g, beta, state, mask)
        if state is None:
            state = mx.zeros((q.shape[0], *v.shape[-2:], q.shape[-1]), mx.float32)

        def piece(part: slice, state: mx.array, *inputs: mx.array) -> tuple[mx.array, mx.array]:
            return plain(*inputs, state, None if mask is None else mask[:, part])

        return _in_pieces(piece, DELTA_PIECE, state, q, k, v, g, beta)

    return gated_delta_ops


def _ssm_in_pieces(plain: Any) -> Any:
    def ssm_attn(
        x: mx.array,
        A_log: mx.array,
        B: mx.array,
        C: mx.array,
        D: mx.array,
        dt: mx.array,
        dt_bias: mx.array,
        state: mx.array | None = None,
        time_step_limit: tuple[float, float] = (0.001, 100.0),
        mask: mx.array | None = None,
        lengths: mx.array | None = None,
        step: int = SSM_PIECE,
    ) -> tuple[mx.array, mx.array]:
        if x.shape[1] <= SSM_PIECE or lengths is not None:
            return plain(x, A_log, B, C, D, dt, dt_bias, state, time_step_limit, mask, lengths, step)
        if state is None:
            state = mx.zeros((x.shape[0], *x.shape[2:], B.shape[-1]), x.dtype)

        def piece(
            part: slice, state: mx.array, x: mx.array, B: mx.array, C: mx.array, dt: mx.array
        ) -> tuple[mx.array, mx.array]:
            seen = None if mask is None else mask[..., part]
            return plain(x, A_log, B, C, D, dt, dt_bias, state, time_step_limit, seen)

        return _in_pieces(piece, SSM_PIECE, state, x, B, C, dt)

    return ssm_attn


def _in_pieces_of_rwkv(kind: Any) -> None:
    plain, step = kind._wkv7, importlib.import_module(kind.__module__)._wkv7_step_ops
    if getattr(plain, "mended", False):
        return

    def piece(_: slice, state: mx.array, *sequences: mx.array) -> tuple[mx.array, mx.array]:
        outputs = []
        for time in range(sequences[0].shape[1]):
            output, state = step(*(sequence[:, time] for sequence in sequences), state)
            outputs.append(output)
        return mx.stack(outputs, axis=1).astype(sequences[0].dtype), state

    def _wkv7(layer: Any, *inputs: mx.array) -> tuple[mx.array, mx.array]:
        *sequences, state = inputs
        if not layer.training:
            return plain(layer, *inputs)  # on Metal a kernel, which has no gradient
        if state is None:
            batch, heads, dims = sequences[0].shape[0], layer.num_heads, layer.head_dim
            state = mx.zeros((batch, heads, dims, dims), sequences[0].dtype)
        return _in_pieces(piece, DELTA_PIECE, state, *sequences)

    _wkv7.mended = True  # type: ignore[attr-defined]
    kind._wkv7 = _wkv7


def _in_pieces(
    piece: Callable[..., tuple[mx.array, mx.array]], size: int, state: mx.array, *sequences: mx.array
) -> tuple[mx.array, mx.array]:
    """Run piece(part, state, *parts) -> (output, state) over axis 1; the backward pass runs each piece again."""
    outputs = []
    for start in range(0, sequences[0].shape[1], size):
        part = slice(start, start + size)
        inputs = [sequence[:, part] for sequence in sequences]
        output, state = recomputed(lambda *arrays, part=part: piece(part, *arrays), state, *inputs)
        outputs.append(output)
    return mx.concatenate(outputs, axis=1), state
