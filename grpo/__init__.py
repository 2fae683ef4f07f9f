"""GRPO on MLX: sample groups, reward them, and move the policy toward what did better than its group."""

from typing import Any

__all__ = ["GRPOConfig", "GRPOTrainer"]


def __getattr__(name: str) -> Any:
    """Import the Python API when it is asked for: the maths and `--help` need neither a model library nor a BLAS."""
    if name not in __all__:
        raise AttributeError(f"module 'grpo' has no attribute {name!r}")
    from grpo.cpu.blas import load_blas

    load_blas()  # before anything imports mlx
    from grpo import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """Return what completion offers: the Python API without importing it."""
    return sorted({*globals(), *__all__})
