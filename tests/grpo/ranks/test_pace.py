"""Which rank the others wait for."""

from grpo.ranks.pace import QUIET_STEPS, WINDOW, Pace


def test_a_slow_rank_is_named_once_the_mean_says_so():
    pace = Pace(3)
    for _ in range(WINDOW - 1):
        pace.note([1.0, 2.0, 1.0])
    assert pace.slow(4) is None
    pace.note([1.0, 2.0, 1.0])
    found = pace.slow(5)
    assert found is not None and found.rank == 1
    assert found.said.startswith("2.0 s of work an update where the others take 1.0 s")
    assert pace.slow(6) is None and pace.slow(5 + QUIET_STEPS) is not None


def test_one_slow_update_is_none():
    pace = Pace(2)
    for busy in [[1.0, 1.0]] * 4 + [[1.0, 2.0]]:  # means 1.0 and 1.2, which is less than 1.5 times
        pace.note(busy)
    assert pace.slow(9) is None


def test_the_imbalance_is_the_longest_over_the_mean():
    pace = Pace(2)
    assert pace.metrics() == {}
    pace.note([1.0, 3.0])  # 3 / 2
    assert pace.metrics() == {"ranks/slowest": 1.0, "ranks/imbalance": 1.5}
