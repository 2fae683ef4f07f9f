"""make: names, options and their errors."""

import pytest

from envs import DataError, available, make


def message_of(name, **options):
    with pytest.raises(DataError) as raised:
        make(name, **options)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_an_unknown_name_lists_its_neighbours_and_how_to_list_all():
    text = message_of("arithmetc")
    assert "did you mean arithmetic?" in text and "python -m envs list" in text


def test_a_name_like_no_other_lists_what_there_is():
    text = message_of("no_such_env")
    assert all(name in text for name in available())


def test_an_unknown_option_is_named_with_the_valid_ones():
    text = message_of("arithmetic", hihg=3)
    assert "no option 'hihg'" in text and "did you mean high?" in text and "test_size" in text


def test_an_option_of_the_wrong_type_is_named_with_its_value():
    assert "option low: " in message_of("arithmetic", low="few")
    assert "'few'" in message_of("arithmetic", low="few")


@pytest.mark.parametrize("test_size", [-1, 1.5, -0.1, float("nan")])
def test_a_test_size_that_is_no_count_and_no_share_is_refused(test_size):
    assert "test_size must be" in message_of("arithmetic", test_size=test_size)


def test_a_limit_below_one_is_refused():
    assert "limit must be at least 1" in message_of("arithmetic", limit=0)


def test_every_registered_name_has_a_factory():
    from envs.registry import ENVIRONMENTS, load

    for entry in ENVIRONMENTS.values():
        assert callable(load(entry.factory))
        assert entry.preset is None or callable(load(entry.preset))


def test_an_environment_is_called_what_it_was_asked_for_as(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "1+1?", "answer": "2"}\n')
    assert make("gsm8k", data=str(path)).name == "gsm8k"
    assert make(str(path)).name == str(path)
