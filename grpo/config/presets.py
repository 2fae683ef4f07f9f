"""`algorithm: NAME` sets several keys at once; a key that is given beside it has the last word. Needs no mlx."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grpo.config.training import Config

PRESETS: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo", "advantage": "group", "scale_rewards": "group", "epsilon": 0.2, "beta": 0.01},
    "dr_grpo": {"loss_type": "dr_grpo", "advantage": "group", "scale_rewards": "none", "beta": 0.0},
    "dapo": {
        "loss_type": "dapo",
        "epsilon": 0.2,
        "epsilon_high": 0.28,
        "beta": 0.0,
        "dynamic_sampling": True,
        "mask_truncated_completions": True,
        "reward_weights.overlong": 1.0,
    },
    "gspo": {"loss_type": "gspo", "epsilon": 3e-4, "epsilon_high": 4e-4, "beta": 0.0},
    "cispo": {"loss_type": "cispo", "epsilon_high": 5.0, "beta": 0.0},
    "rloo": {"loss_type": "grpo", "advantage": "rloo", "scale_rewards": "group"},
    "reinforce_pp": {"loss_type": "dapo", "advantage": "reinforce_pp", "scale_rewards": "group"},
    "sapo": {"loss_type": "sapo", "sapo_temperature_pos": 1.0, "sapo_temperature_neg": 1.05, "beta": 0.0},
    "dppo": {"loss_type": "dppo", "divergence": "tv", "epsilon": 0.2, "epsilon_high": 0.2, "beta": 0.0},
}


def with_preset(given: Mapping[str, Any], default_weights: Mapping[str, float]) -> dict[str, Any]:
    """Return a config's keys with those of its `algorithm` where they are not given themselves."""
    tree = dict(given)
    for key, value in PRESETS.get(str(tree.get("algorithm")), {}).items():
        section, _, name = key.partition(".")
        if not name:
            tree.setdefault(key, value)
        elif section not in tree:
            tree[section] = {**default_weights, name: value}
    return tree


def odd_mixtures(config: "Config") -> list[str]:
    """Return a line for each pair of keys that works and is hardly what was meant."""
    loss, token_ratio = config.loss_type, config.loss_type not in ("gspo", "luspo")
    several = config.num_updates * config.num_iterations > 1
    checks = [
        (
            config.importance_sampling_level == "sequence" and loss in ("bnpo", "dapo", "dr_grpo", "cispo", "dppo"),
            f"importance_sampling_level sequence with loss_type {loss}: one ratio a sequence, summed over tokens, so "
            "long completions weigh more in the loss and less in the ratio; gspo or luspo is meant for it",
        ),
        (
            not token_ratio and config.epsilon >= 0.05 and several,
            f"loss_type {loss} with epsilon {config.epsilon:g}: a whole sequence's ratio hardly leaves such a range, "
            "nothing is clipped; 3e-4 is its authors'",
        ),
        (
            token_ratio and config.epsilon < 0.005 and loss not in ("cispo", "sapo", "dppo") and several,
            f"loss_type {loss} with epsilon {config.epsilon:g}: that is a range for sequences (gspo), token ratios "
            "leave it at once and nothing is learned after the first update",
        ),
        (
            loss == "cispo" and config.clip_high < 1,
            f"loss_type cispo with epsilon_high {config.clip_high:g}: it is the bound of the ratio itself there, and "
            "shrinks every gradient below 1",
        ),
        (
            loss == "dr_grpo" and config.advantage == "group" and config.scale_rewards != "none",
            f"loss_type dr_grpo with scale_rewards {config.scale_rewards}: its authors leave the std out (none)",
        ),
        (
            config.dynamic_sampling and config.advantage == "reinforce_pp" and config.group_filter == "spread",
            "dynamic_sampling with advantage reinforce_pp: groups without spread teach there, and are dropped",
        ),
    ]
    return [line for odd, line in checks if odd]
