"""Layers of settings: which one wins, where each key came from, and what a refusal names."""

import pytest

from grpo.config import Config
from grpo.config.layers import Layer, shown, shown_input, stack
from grpo.config.sections import ConfigError


def refused(layers, *overrides):
    with pytest.raises(ConfigError) as caught:
        stack(Config, layers, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_later_layers_win_and_sections_are_merged_key_by_key():
    first = Layer("one.yaml", {"steps": 5, "lora": {"rank": 4, "alpha": 8}, "reward_weights": {"format": 1.0}})
    second = Layer("two.yaml", {"lora": {"rank": 2}, "reward_weights": {"accuracy": 1.0}})
    loaded = stack(Config, [first, second], ["lora.dropout=0.1"])
    lora = loaded.config.lora
    assert (loaded.config.steps, lora.rank, lora.alpha, lora.dropout) == (5, 2, 8, 0.1)
    assert loaded.config.reward_weights == {"accuracy": 1.0}  # a value, not a section: replaced whole
    assert loaded.origins["lora.rank"] == "two.yaml" and loaded.origins["lora.alpha"] == "one.yaml"


def test_only_what_differs_from_the_defaults_is_listed_under_its_source():
    layer = Layer("run.yaml", {"steps": 200, "beta": 0.5, "lora": {"rank": 4}})
    loaded = stack(Config, [layer], ["model=somewhere", "reward_weights.language=null", "beta=0.25"])
    assert loaded.differing() == {  # steps=200 is the default; the command line had the last word on beta
        "run.yaml": ["lora.rank=4"],
        "the command line": ["beta=0.25", "model=somewhere", "reward_weights.language=none"],
    }


def test_an_error_names_the_source_of_its_key():
    layers = [Layer("run.yaml", {"steps": "many", "beta": 1})]
    assert refused(layers).startswith("run.yaml: steps: ")
    assert refused(layers, "steps=few").startswith("the command line: steps: ")
    assert refused([Layer("run.yaml", {"beta": 1})], "lora.rank=x").startswith("the command line: lora.rank: ")
    assert refused([Layer("run.yaml", {"reward_weights": {"format": "x"}})]).startswith(
        "run.yaml: reward_weights.format"
    )


def test_a_rule_between_keys_names_where_each_was_given():
    layers = [Layer("the quickstart", {"num_updates": 4, "prompts_per_step": 16})]
    message = refused(layers, "prompts_per_step=3")
    assert message.endswith("(num_updates from the quickstart, prompts_per_step from the command line)")
    assert refused([], "max_rows=8").startswith("the command line: max_rows must be at least num_generations")


@pytest.mark.parametrize("word", ["none", "null", "", "None", " NULL "])
def test_none_null_and_nothing_are_none_where_a_key_allows_it(word):
    for given in ([f"system_prompt={word}", f"epsilon_high={word}", f"scale_rewards={word}", f"lora={word}"],):
        config = stack(Config, [], given).config
        assert (config.system_prompt, config.epsilon_high, config.scale_rewards) == (None, None, "none")
        assert config.lora == Config().lora
    assert stack(Config, [Layer("x", {"system_prompt": word, "memory_gb": word})]).config.memory_gb is None
    assert "accuracy" in stack(Config, [], [f"reward_weights.format={word}"]).config.reward_weights
    assert "format" not in stack(Config, [], [f"reward_weights.format={word}"]).config.reward_weights
    assert "steps" in refused([], f"steps={word}")


def test_no_step_at_all_points_at_the_evaluation():
    assert "python -m grpo.evaluate" in refused([], "steps=0")


def test_secrets_are_masked_where_a_value_is_shown():
    value = {"judge": {"api_key": "sk-12345678", "url": "https://me:hunter2@host/v1"}}
    said = shown(value) + shown_input(value)
    assert "sk-12345678" not in said and "hunter2" not in said and "https://***@host" in said
