"""Budget forcing: thinking as long as asked, to the token."""

import pytest

from benchmarks.harness.budget import CLOSE, Budget, Words
from benchmarks.harness.scoring import thinking_tokens
from grpo.types import Rollout

EOS = 256


@pytest.fixture
def letters(words):
    return Words(words, {EOS})


def written(budget, drawn):
    """What comes out when these tokens are drawn, one by one."""
    return [token for one in drawn for token in budget(one)]


def ids(words, text):
    return words.encode(text)


def test_nothing_is_changed_within_the_budget(words, letters):
    drawn = [*ids(words, "abc"), *ids(words, "</think>"), *ids(words, "7"), EOS]
    assert written(Budget(2, 10, None, letters), drawn) == drawn


def test_thinking_is_closed_after_exactly_the_maximum(words, letters):
    out = written(Budget(0, 5, None, letters), ids(words, "abcdefgh"))
    # the sixth token that is drawn is not written, the end stands in its place; then the model goes on as it likes
    assert words.decode(out) == "abcde</think>\n\ngh"
    assert out[:5] == ids(words, "abcde")


def test_an_early_end_becomes_wait_until_the_minimum(words, letters):
    end = ids(words, "</think>")
    budget = Budget(4, None, None, letters)
    out = written(budget, [*ids(words, "ab"), *end, *ids(words, "c"), *end, *ids(words, "9")])
    # 2 tokens: refused; Wait is one; 1 more = 4 tokens: may end
    assert words.decode(out) == "abWaitc</think>9" and len(budget.thinking) == 4 and budget.refused == 1


def test_a_stop_token_is_an_end_too(words, letters):
    assert words.decode(written(Budget(3, None, None, letters), [*ids(words, "a"), EOS])) == "aWait"
    assert written(Budget(3, None, None, letters), [*ids(words, "abc"), EOS])[-1] == EOS


def test_waits_without_a_minimum_are_written_exactly_so_often(words, letters):
    end = ids(words, "</think>")
    out = written(Budget(0, None, 2, letters), [*ids(words, "a"), *end, *end, *end, *ids(words, "9")])
    assert words.decode(out) == "aWaitWait</think>9"
    assert words.decode(written(Budget(0, None, 0, letters), [*ids(words, "a"), *end])) == "a</think>"


def test_waits_bound_the_minimum(words, letters):
    end = ids(words, "</think>")
    assert words.decode(written(Budget(99, None, 1, letters), [*end, *end])) == "Wait</think>"


class Pieces:
    """A tokenizer whose tokens are these pieces."""

    def __init__(self, *pieces):
        self.table = ["a", "Wait", CLOSE, *pieces]

    def encode(self, text, **_):
        return [self.table.index(text)]

    def decode(self, tokens):
        return "".join(self.table[token] for token in tokens)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["<", "/", "think", ">"], "a<Waitthink>"),
        (["</", "think", ">"], "aWaitthink>"),
        (["\n</", "thi", "nk>"], "aWaitthink>"),
        ([" </think>"], "aWait"),
        (["</think>\n\n", "a"], "aWaita"),
    ],
)
def test_a_tag_of_several_tokens_is_refused_at_its_beginning(pieces, expected):
    tokenizer = Pieces(*pieces)
    out = written(Budget(9, None, None, Words(tokenizer, {99})), [0, *range(3, 3 + len(pieces))])
    assert tokenizer.decode(out) == expected


@pytest.mark.parametrize("pieces", [["<", "/", "think", ">"], ["</", "think", ">"], ["</think>\n"]])
def test_a_tag_of_several_tokens_ends_the_thinking(pieces):
    tokenizer = Pieces(*pieces)
    budget = Budget(0, 10, None, Words(tokenizer, {99}))
    out = written(budget, [0, *range(3, 3 + len(pieces)), *[0] * 20])
    assert tokenizer.decode(out) == "a" + "".join(pieces) + "a" * 20 and budget.closed


def test_the_beginning_of_another_tag_is_thinking(words, letters):
    # "</" may be refused, but does not close: the maximum still holds
    out = written(Budget(0, 8, None, letters), ids(words, "x</b>yzuvw"))
    assert words.decode(out) == "x</b>yzu</think>\n\nw"
    spaced = "a < b / c"
    assert words.decode(written(Budget(20, None, None, letters), ids(words, spaced))) == spaced


def test_wait_does_not_carry_the_thinking_over_the_maximum(words, letters):
    letters.wait = tuple(words.encode("W")) + tuple(words.encode("t"))  # two tokens
    budget = Budget(4, 4, None, letters)
    out = written(budget, [*ids(words, "abc"), *ids(words, "</think>"), *ids(words, "de")])
    assert words.decode(out) == "abcW</think>\n\ne" and len(budget.thinking) == 4


@pytest.mark.parametrize(
    ("text", "opened", "expected"),
    [
        ("abc</think>9", True, 3),
        ("abc", True, 3),
        ("<think>abc</think>9", False, 3),
        ("9", False, None),
        ("</think>9", True, 0),
    ],
)
def test_thinking_tokens_are_those_before_the_tag(words, text, opened, expected):
    row = Rollout(tuple(ids(words, text)), (), (), text, "length")
    assert thinking_tokens(row, words.decode, opened=opened) == expected


def test_the_stop_token_is_no_thinking(words):
    row = Rollout((*ids(words, "abc"), EOS), (), (), "abc", "stop")
    assert thinking_tokens(row, words.decode, opened=True) == 3


@pytest.mark.parametrize("maximum", [0, 1, 7])
def test_runs_think_as_long_as_they_may(bench, maximum):
    bench.run("--template", "r1", "--max-tokens", "40", "--max-thinking", str(maximum), "--min-thinking", str(maximum))
    items = bench.items()
    assert {item["thinking_tokens"] for item in items} == {maximum}
    assert all("</think>" in item["completion"] for item in items)


def test_a_minimum_lengthens_only_what_ends_early(bench):
    bench.run("--template", "r1", "--max-tokens", "60", name="free")
    bench.run("--template", "r1", "--max-tokens", "60", "--min-thinking", "20", name="long")
    free, forced = bench.items("free"), bench.items("long")
    assert any(item["thinking_tokens"] < 20 for item in free)
    assert all(item["thinking_tokens"] >= 20 for item in forced)
    for before, after in zip(free, forced, strict=True):
        if before["thinking_tokens"] >= 20 and "</" not in before["completion"][:20]:
            assert after["completion"] == before["completion"]
