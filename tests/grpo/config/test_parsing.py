"""YAML that is broken, huge or hostile is one line."""

import pytest

from grpo.config.parsing import parse_yaml, read_yaml
from grpo.config.sections import ConfigError

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
HOSTILE = {
    "aliases that blow up": BOMB,
    "an integer of 5,000 digits": f"steps: {'9' * 5000}",
    "a deep list": f"a: {'[' * 200}{']' * 200}",
    "a list deeper than Python's stack": f"a: {'[' * 30000}{']' * 30000}",
    "a date that is none": "a: 2024-13-45",
    "a self reference": "a: &a [*a]",
    "a file of many megabytes": f"# {'x' * 2_000_000}",
    "an object": "a: !!python/object/apply:os.getcwd []",
    "an integer without digits": "a: !!int ''",
    "a truth that is none": "a: !!bool perhaps",
    "a time that is none": "a: !!timestamp soon",
    "a number of 2,000 hexadecimal digits": f"steps: 0x{'f' * 2000}",
    "a number in base 60 beyond a float": f"learning_rate: 1:{'10:' * 300}10.5",
    "a key that is a list": "? [a]\n: 1",
    "one merge of many": "a: &a {"
    + ", ".join(f"k{n}: 1" for n in range(500))
    + "}\nb: {<<: ["
    + "*a, " * 19_999
    + "*a]}",
    "many merges of one": "a: &a {"
    + ", ".join(f"k{n}: 1" for n in range(900))
    + "}\n"
    + "".join(f"b{n}: {{<<: *a}}\n" for n in range(900)),
    "a number in base 60 of 100,000 digits": f"steps: 1{':59' * 100_000}",
    "a number of 2,000 binary digits": f"steps: 0b{'1' * 2000}",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_one_line(tmp_path, what):
    path = tmp_path / "run.yaml"
    path.write_text(HOSTILE[what])
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("what", "said"),
    [("one merge of many", "<< names 20,000 mappings"), ("many merges of one", "<< takes in too many keys")],
)
def test_merges_are_refused_before_they_are_made(what, said):
    with pytest.raises(ConfigError, match=said):
        parse_yaml(HOSTILE[what], "x")


def test_ordinary_aliases_are_read():
    tree = parse_yaml("a: &words {x: [1, 2]}\nb: *words", "x")
    assert tree == {"a": {"x": [1, 2]}, "b": {"x": [1, 2]}}


def test_a_plain_text_that_is_no_yaml_is_taken_as_it_is():
    assert parse_yaml("say: [", "x", plain_text=True) == "say: ["


def test_merges_are_taken_in_and_colons_make_no_number():
    tree = parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 4}]}\nd: 1:30\ne: 8:1:1\nf: 1_000", "x")
    assert tree["b"] == {"x": 1, "y": 3} and tree["c"] == {"x": 1, "y": 2, "z": 4}
    assert (tree["d"], tree["e"], tree["f"]) == ("1:30", "8:1:1", 1000)
