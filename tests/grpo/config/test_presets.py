"""`algorithm: NAME` sets several keys at once."""

import pytest

from grpo.config import Config, load_config
from grpo.config.layers import Layer, stack
from grpo.config.presets import PRESETS, odd_mixtures


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_config_and_no_odd_mixture(name):
    config = load_config(None, [f"algorithm={name}"])
    for key, value in PRESETS[name].items():
        section, _, part = key.partition(".")
        assert (getattr(config, section)[part] if part else getattr(config, key)) == value
    assert odd_mixtures(config) == []
    assert Config(algorithm=name) == config


def test_keys_given_beside_it_have_the_last_word():
    assert load_config(None, ["epsilon_high=0.3", "algorithm=dapo"]).epsilon_high == 0.3
    assert Config(algorithm="dapo", dynamic_sampling=False).dynamic_sampling is False
    assert load_config(None, ["algorithm=dapo"]).reward_weights == {**Config().reward_weights, "overlong": 1.0}


def test_on_the_command_line_it_beats_the_file_and_says_what_it_set():
    loaded = stack(Config, [Layer("mine.yaml", {"loss_type": "bnpo", "steps": 5})], ["algorithm=gspo"])
    assert (loaded.config.loss_type, loaded.config.steps) == ("gspo", 5)
    assert "loss_type=gspo" in loaded.differing()["algorithm gspo"]


def test_a_recorded_config_stays_as_it_is():
    config = load_config(None, ["algorithm=dapo", "epsilon=0.1"])
    assert stack(Config, [Layer("config.yaml", config.model_dump(mode="json"))]).config == config


def test_an_unknown_one_is_refused():
    with pytest.raises(ValueError, match="algorithm: must be one of grpo, dr_grpo, dapo"):
        load_config(None, ["algorithm=ppo"])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"importance_sampling_level": "sequence", "loss_type": "dapo"}, "sequence with loss_type dapo"),
        ({"loss_type": "gspo", "num_iterations": 2}, "nothing is clipped"),
        ({"epsilon": 3e-4, "num_iterations": 2}, "a range for sequences"),
        ({"loss_type": "cispo", "epsilon_high": 0.3}, "the bound of the ratio itself"),
        ({"loss_type": "dr_grpo"}, "leave the std out"),
        ({"dynamic_sampling": True, "advantage": "reinforce_pp"}, "groups without spread teach there"),
    ],
)
def test_odd_mixtures_are_warned_about(keys, said):
    [line] = odd_mixtures(Config(**keys))
    assert said in line
