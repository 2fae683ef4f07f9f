"""A small tree search, and what N samples buy."""

import json
import math

import pytest

from benchmarks.search import WAYS, WIDTH, Found, Node, figures, first_step, grow, main, path_to_leaf


def found_of(tokens, value):
    """A completion of this value: each token's logprob is its logarithm."""
    return Found(tokens, "", (math.log(value),) * len(tokens))


def test_a_step_ends_with_its_end():
    assert first_step((4, 9, 5, 9), (9,)) == (4, 9)
    assert first_step((4, 5), (9,)) == (4, 5)
    assert first_step((4, 8, 9, 5), (8, 9)) == (4, 8, 9)


def test_the_search_goes_below_the_step_of_the_highest_value():
    root = Node()
    for step, value in ((1, 0.1), (2, 0.9), (3, 0.1)):
        assert path_to_leaf(root) == [root]  # room for another step
        grow([root], found_of((step, 9, 5), value), (9,))
    assert len(root.children) == WIDTH and root.visits == 3 and root.value == pytest.approx(1.1)
    path = path_to_leaf(root)
    assert [node.tokens for node in path] == [(), (2, 9)]
    grow(path, found_of((2, 9, 7, 9, 1), 0.3), (9,))
    assert path[-1].visits == 2 and list(path[-1].children) == [(7, 9)]
    assert path[-1].children[7, 9].tokens == (2, 9, 7, 9)


def test_a_step_seen_seldom_is_tried_again():
    root = Node(visits=100, value=50.0)
    root.children = {(1,): Node((1,), (), 98, 49.0), (2,): Node((2,), (), 1, 0.3), (3,): Node((3,), (), 1, 0.2)}
    assert root.best_child().tokens == (2,)  # 0.3 + 0.5 * sqrt(ln 100 / 1) = 1.37 against 0.5 + 0.11


def test_what_each_way_is_worth():
    answer = "<think> x </think> <answer> {} </answer>".format
    given = ((5, 0.2), (6, 0.9), (5, 0.1), (7, 0.3))
    one = [Found((1,), answer(value), (math.log(weight),)) for value, weight in given]
    found = figures(one, one, [True, False, True, False] * 2)
    # half are right; 5 has two votes; the likeliest is 6
    assert [found[name] for name in WAYS] == [0.5, 1.0, 0.0, 0.0, 1.0, 1.0]


def test_the_command_writes_its_table(bench, tmp_path):
    arguments = ["--model", str(bench.model), "--samples", "3", "--limit", "4", "--output", str(tmp_path / "out")]
    assert main([*arguments, "--max-tokens", "12"]) == 0
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert all(len(record["right"][name]) == 4 for name in WAYS)
    assert main(["--model", str(tmp_path / "nothing"), "--output", str(tmp_path / "out")]) == 2
