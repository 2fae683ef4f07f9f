"""The trainer from Python: a program written for TRL, with another import."""

from grpo.api.config import GRPOConfig
from grpo.api.trainer import GRPOTrainer

__all__ = ["GRPOConfig", "GRPOTrainer"]
