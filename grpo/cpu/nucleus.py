"""Top-k and top-p on a CPU: only tokens that can be in the nucleus are sorted.

A token with less than (1 - top_p) / vocab of the mass can't be: all such tokens together hold less than 1 - top_p. Of
a language model's 50,000 tokens that leaves some hundreds, so the filter costs milliseconds where sorting the
vocabulary takes longer than the network. Works on the host and waits for the masses; on a GPU sorting is the faster.
"""

import mlx.core as mx
import numpy as np


def nucleus(masses: mx.array, *, top_p: float, top_k: int) -> mx.array:
    """Return masses [batch, vocab] (not negative, of any sum) with all outside the nucleus set to 0.

    First the top_k likeliest (0: all), then of these the fewest likeliest that hold top_p of their mass. Of equal
    masses the token with the smaller id counts as the likelier.
    """
    rows = np.array(masses, dtype=np.float32)
    kept = np.zeros_like(rows)
    for row, out in zip(rows, kept, strict=True):
        mass = row.sum(dtype=np.float64)
        if 0 < top_k < len(row):
            places = np.flatnonzero(row >= np.partition(row, -top_k)[-top_k])
        else:  # a thousandth lower: nothing is lost to rounding
            places = np.flatnonzero(row >= 0.999 * (1 - top_p) * mass / len(row))
        places = places[np.argsort(-row[places], kind="stable")]
        likeliest = row[places].astype(np.float64)
        if 0 < top_k < len(row):
            places, likeliest = places[:top_k], likeliest[:top_k]
            mass = likeliest.sum()
        before = np.cumsum(likeliest) - likeliest  # mass of the likelier tokens
        places = places[before < top_p * mass]
        out[places] = row[places]
    return mx.array(kept)
