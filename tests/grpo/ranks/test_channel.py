"""How ranks hear of each other's end."""

import socket
import threading
import time
from functools import partial

import pytest

from grpo.config.sections import ConfigError
from grpo.ranks import channel
from grpo.ranks.alone import RankLost
from grpo.ranks.channel import Channel
from grpo.runs.interrupt import Interrupted

NAMES = ["rank 0 (a)", "rank 1 (b)", "rank 2 (c)"]


@pytest.fixture
def ranks(monkeypatch):
    """Three ranks in one process."""
    monkeypatch.setattr(channel, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(channel, "PARTING_SECONDS", 0.2)
    pairs = {rank: socket.socketpair() for rank in (1, 2)}
    first = Channel(0, NAMES, {rank: pair[0] for rank, pair in pairs.items()})
    others = [Channel(rank, NAMES, {0: pair[1]}) for rank, pair in pairs.items()]
    yield [first, *others]
    for one in [first, *others]:
        one.part(kind="bye")


def ends(one, seconds=5.0):
    """Wait until a rank is to end, and return why."""
    one.wait_for_end(seconds)
    with pytest.raises((RankLost, ConfigError, Interrupted)) as raised:
        one.check()
    return raised.value


def cut(one):
    """Close a rank's connections as its death would; it says nothing more."""
    one._closing.set()
    for connection in one.connections.values():
        connection.shutdown(socket.SHUT_RDWR)


def meet(one, look=lambda: None):
    """Let a rank meet in a thread of its own; what it raised is in `failed`."""
    failed = []

    def work():
        try:
            one.meet(look)
        except RankLost as error:
            failed.append(str(error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, failed


def test_ranks_go_on_when_all_are_there(ranks):
    for _ in range(3):
        looks: list[int] = []
        early = [meet(ranks[0], partial(looks.append, 1))[0], meet(ranks[2])[0]]
        deadline = time.monotonic() + 5
        while not looks and time.monotonic() < deadline:
            time.sleep(0.01)
        assert looks and all(thread.is_alive() for thread in early)  # both wait for rank 1, rank 0 looks about
        for thread in [*early, meet(ranks[1])[0]]:
            thread.join(5)
            assert not thread.is_alive()


def test_nobody_waits_for_a_rank_that_has_ended(ranks):
    thread, failed = meet(ranks[0])
    ranks[1].part(kind="bye")
    meet(ranks[2])
    thread.join(5)
    assert failed == ["rank 1 (b) has ended before the others"]


def test_what_ends_a_rank_ends_its_wait(ranks):
    thread, failed = meet(ranks[2], ranks[2].check)
    cut(ranks[1])
    thread.join(5)
    assert failed == ["rank 1 (b) is lost: its connection closed"]


def test_nothing_ends_what_is_well(ranks):
    time.sleep(0.3)
    for one in ranks:
        one.check()


def test_a_lost_rank_is_known_to_all(ranks):
    cut(ranks[2])
    for one in ranks[:2]:
        assert str(ends(one)) == "rank 2 (c) is lost: its connection closed"
    assert ranks[0].lost == ranks[1].lost == {2}


def test_the_loss_of_rank_0_is_noticed_by_each(ranks):
    cut(ranks[0])
    for one in ranks[1:]:
        assert str(ends(one)).startswith("rank 0 (a) is lost")
        assert one.lost == {0}


def test_a_silent_rank_is_lost(ranks, monkeypatch):
    monkeypatch.setattr(channel, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(ranks[1], "tell", lambda **_: None)
    assert "rank 1 (b) is lost: nothing was heard of it" in str(ends(ranks[0]))
    assert "rank 1 (b) is lost" in str(ends(ranks[2]))


def test_a_signal_goes_to_rank_0_and_its_stop_to_all(ranks):
    ranks[2].tell(kind="signal", number=15)
    deadline = time.monotonic() + 5
    while ranks[0].signalled is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ranks[0].signalled == 15
    ranks[0].part(kind="stop", rank=0, number=15)
    for one in ranks[1:]:
        assert ends(one).exit_code == 143
        assert one.lost == set()


def test_what_the_user_can_put_right_is_a_config_error_on_all(ranks):
    ranks[1].part(kind="failed", rank=1, text="data none.jsonl: no such file", input=True)
    for one in (ranks[0], ranks[2]):
        error = ends(one)
        assert isinstance(error, ConfigError) and str(error) == "rank 1 (b): data none.jsonl: no such file"


def test_a_failure_is_told(ranks):
    ranks[0].part(kind="failed", rank=0, text="ValueError: odd", input=False)
    assert str(ends(ranks[2])) == "rank 0 (a) failed: ValueError: odd"


def test_a_rank_that_is_done_is_not_lost(ranks):
    ranks[1].part(kind="bye")
    time.sleep(0.3)
    ranks[0].check()
    ranks[2].check()


def test_whoever_does_not_know_the_token_is_turned_away():
    listener = channel.listen("127.0.0.1")
    port = listener.getsockname()[1]
    stranger = channel.connect("127.0.0.1", port, 1, "guess")
    friend = channel.connect("127.0.0.1", port, 1, "secret")
    found = channel.accept(listener, 1, "secret")
    assert found[1].getpeername() == friend.getsockname()
    assert stranger.recv(1) == b""
    for one in (stranger, friend, found[1]):
        one.close()


def test_too_few_ranks_are_reported(monkeypatch):
    monkeypatch.setattr(channel, "CONNECT_SECONDS", 0.2)
    with pytest.raises(ConfigError, match="2 ranks did not connect"):
        channel.accept(channel.listen("127.0.0.1"), 2, "secret")
