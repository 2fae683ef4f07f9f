"""exp(values - shift), by numpy on a CPU.

mlx's exp on an x86 CPU handles one number at a time, 15 to 25 ns each: dearer than the matrix products around it in
attention and in the loss. numpy's uses vector instructions and takes about 1 ns. It has to have its input computed, so
on a CPU, where nothing is gained by asking for work ahead, the graph up to here is evaluated. Elsewhere mlx's is used.
"""

import mlx.core as mx
import numpy as np


def exp_minus(values: mx.array, shift: mx.array) -> mx.array:
    """exp(values - shift).

    Args:
        values: any shape.
        shift: broadcast against values.
    Returns:
        the shape and type of values. No gradient is defined on a CPU: callers are custom functions with their own.
    """
    if values.dtype != mx.float32 or mx.default_device().type != mx.DeviceType.cpu:
        return mx.exp(values - shift)
    mx.eval(values, shift)
    difference = np.subtract(np.asarray(values), np.asarray(shift))
    return mx.array(np.exp(difference, out=difference))
