"""Everything a run can be told. Needs no mlx."""

from grpo.config.layers import AnyConfig, build
from grpo.config.loading import load, to_yaml
from grpo.config.parsing import read_yaml
from grpo.config.reference import describe, keys
from grpo.config.sections import (
    ColdStart,
    ConfigError,
    LoRA,
    ModelSettings,
    OptimizerSettings,
    RunSettings,
    Schedule,
    Section,
)
from grpo.config.training import Config, load_config

__all__ = [
    "AnyConfig",
    "ColdStart",
    "Config",
    "ConfigError",
    "LoRA",
    "ModelSettings",
    "OptimizerSettings",
    "RunSettings",
    "Schedule",
    "Section",
    "build",
    "describe",
    "keys",
    "load",
    "load_config",
    "read_yaml",
    "to_yaml",
]
