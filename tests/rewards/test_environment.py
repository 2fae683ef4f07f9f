"""The reward `environment`: what replies gave, summed up."""

from rewards import get


def test_it_sums_what_the_replies_gave():
    reward = get("environment")
    given = [[{"a": 0.5}, {"a": 0.5, "b": -2.0}], [{}], []]
    assert reward(prompts=["", "", ""], completions=["", "", ""], turn_rewards=given) == [-1.0, 0, None]


def test_it_does_not_apply_where_no_environment_answers():
    assert get("environment")(prompts=[""], completions=[""], answer=["1"]) == [None]
