"""Judge what a finished completion is worth.

Every reward has TRL's signature, `f(prompts, completions, completion_ids=None, **columns) -> list[float | None]`, so
that rewards written for TRL or open-r1 run here unchanged and these run there. `get` finds one by name, `RewardSet`
weighs several and survives the ones that fail. Nothing here needs mlx or a tokenizer, and importing this package
costs no time: lingua and mpmath are loaded by the rewards that need them.
"""

from rewards.base import Completion, Judged, Reward, get, names, register
from rewards.compose import RewardSet, Scores
from rewards.users.arguments import CallState

__all__ = ["CallState", "Completion", "Judged", "Reward", "RewardSet", "Scores", "get", "names", "register"]
