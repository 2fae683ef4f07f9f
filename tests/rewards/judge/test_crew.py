"""How many requests a judge gets at a time, and what becomes of those nobody waits for."""

import threading
import time

from rewards.judge.crew import START, Load, in_threads

SOON = 60.0  # seconds from now


def rounds(load, count, seconds):
    """Replies that take this long, a round at a time."""
    for _ in range(count):
        for _ in range(load.limit):
            load.replied(seconds(load.limit))


def test_more_at_a_time_as_long_as_more_come_a_second():
    load = Load(32)
    rounds(load, 20, lambda at_once: 1.0)  # an endpoint that takes any number at once
    assert load.limit == START + 20
    serial = Load(32)
    rounds(serial, 20, lambda at_once: 1.0 * at_once)  # one that answers them one after the other
    assert serial.limit == START + 1


def test_never_more_than_the_most():
    load = Load(6)
    rounds(load, 20, lambda at_once: 1.0)
    assert load.limit == 6
    assert Load(2).limit == 2


def test_a_failure_that_may_pass_halves_it_and_it_grows_again():
    load = Load(32)
    rounds(load, 4, lambda at_once: 1.0)
    assert load.limit == 8
    load.failed()
    assert load.limit == 4
    for _ in range(9):
        load.failed()
    assert load.limit == 1
    rounds(load, 3, lambda at_once: 1.0)
    assert load.limit == 4


def test_no_more_are_under_way_than_the_limit():
    load, at_once, most, lock = Load(8), [0], [0], threading.Lock()
    load.limit = 3

    def judge(case):
        with load.place(time.monotonic() + SOON) as got:
            assert got
            with lock:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            time.sleep(0.02)
            with lock:
                at_once[0] -= 1
        return case

    assert in_threads(judge, range(20), load, time.monotonic() + SOON, lambda: None) == list(range(20))
    assert most == [3]


def test_where_there_is_no_place_in_time_there_is_none():
    load = Load(1)
    with load.place(time.monotonic() + SOON), load.place(time.monotonic() + 0.05) as got:
        assert not got
    with load.place(time.monotonic() + SOON) as got:
        assert got


def test_what_is_under_way_at_the_end_is_hung_up():
    hung_up = threading.Event()

    def judge(case):
        assert hung_up.wait(SOON)

    start = time.monotonic()
    assert in_threads(judge, [1], Load(4), start + 0.1, hung_up.set) == [None]
    assert hung_up.is_set() and time.monotonic() - start < 5


def test_progress_is_said(monkeypatch, capsys):
    monkeypatch.setattr("rewards.judge.crew.SAY_EVERY_SECONDS", 0.0)
    in_threads(lambda case: time.sleep(1.2), [1], Load(4), time.monotonic() + SOON, lambda: None)
    assert "judge: 0 of 1, 4 at a time" in capsys.readouterr().err
