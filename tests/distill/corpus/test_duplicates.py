"""Near duplicates, exactly as their definition."""

import random

import pytest

from distill.corpus.duplicates import ProblemIndex, near_duplicates, words_of


def brute_force(texts, threshold, size=5):
    """The definition, every pair compared."""
    sets = []
    for text in texts:
        words = words_of(text)
        sets.append({tuple(words[at : at + size]) for at in range(max(1, len(words) - size + 1))})
    kept, found = [], []
    for at, mine in enumerate(sets):
        earlier = [k for k in kept if len(mine & sets[k]) >= threshold * len(mine | sets[k])]
        found.append(earlier[0] if earlier else None)
        kept += [] if earlier else [at]
    return found


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
def test_what_is_found_is_what_comparing_every_pair_finds(threshold):
    rng = random.Random(3)
    base = [[rng.choice("abcdefgh") for _ in range(30)] for _ in range(12)]
    texts = []
    for _ in range(150):
        words = list(rng.choice(base))
        for _ in range(rng.randrange(4)):
            words[rng.randrange(30)] = rng.choice("abcdefgh")
        texts.append(" ".join(words[: rng.randrange(3, 31)]))
    expected = brute_force(texts, threshold)
    assert near_duplicates(texts, threshold) == expected
    assert sum(found is not None for found in expected) > 5


def test_case_and_marks_make_no_difference_and_a_number_does():
    texts = ["What is 7 + 5? It is 12.", "what IS 7 + 5 -- it is 12", "What is 7 + 6? It is 13."]
    assert near_duplicates(texts, 0.8) == [None, 0, None]


def test_a_chain_of_small_changes_does_not_drift_away():
    # 20 words, 16 runs; one other word at an end changes one run: 15 / 17 = 0.88. Two: 14 / 18 = 0.78
    words = [f"w{n}" for n in range(20)]
    once, twice = ["x", *words[1:]], ["x", *words[1:-1], "y"]
    texts = [" ".join(words), " ".join(once), " ".join(twice)]
    assert near_duplicates(texts, 0.8) == [None, 0, None]  # the third is like the second, which is gone


def test_a_threshold_out_of_range_is_refused():
    with pytest.raises(ValueError, match="threshold must be above 0"):
        near_duplicates(["a"], 0)


def test_the_problem_that_is_shared_most_is_named():
    words = [f"w{n}" for n in range(30)]
    index = ProblemIndex([("b:1", " ".join(words[:15])), ("b:2", " ".join(words[5:30]))])
    assert index.holds(" ".join(words[4:22])) == "b:2"  # w5 to w21: 8 runs of ten of it, 2 of the first
    assert index.holds(" ".join(words[:9])) is None
