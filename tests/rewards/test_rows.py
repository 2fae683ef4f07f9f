"""Options of rewards as the command line gives them."""

import pytest

from rewards.rows import InputError, read_options


def test_a_value_is_json_or_else_text():
    pairs = ["judge.url=http://127.0.0.1:8080/v1", "overlong.max_length=1024", "my.module:f.words=[1, 2]"]
    assert read_options(pairs, ["judge", "overlong", "my.module:f"]) == {
        "judge": {"url": "http://127.0.0.1:8080/v1"},
        "overlong": {"max_length": 1024},
        "my.module:f": {"words": [1, 2]},
    }


@pytest.mark.parametrize("pair", ["judge", "judge=1", "judge.=1", "other.url=1"])
def test_what_is_no_option_of_a_wanted_reward_is_one_line(pair):
    with pytest.raises(InputError, match="--option"):
        read_options([pair], ["judge"])
