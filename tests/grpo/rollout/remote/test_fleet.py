"""Jobs over several servers: none is lost, none is done twice, the dead are waited for and said."""

import threading
import time
from collections import Counter

import pytest

from grpo.config.sections import ConfigError
from grpo.rollout.remote import fleet
from grpo.rollout.remote.fleet import Fleet
from grpo.runs.interrupt import Interrupted
from rewards.judge.endpoint import EndpointError


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(fleet, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(fleet, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(fleet, "GLANCE_SECONDS", 0.02)


class Servers:
    """Addresses that square a number unless they are `down`."""

    def __init__(self, *, seconds=0.0):
        self.down, self.seconds, self.done, self.asked = set(), seconds, Counter(), Counter()
        self.running, self.most, self.guard = Counter(), Counter(), threading.Lock()

    def __call__(self, address, job):
        with self.guard:
            self.asked[address] += 1
            self.running[address] += 1
            self.most[address] = max(self.most[address], self.running[address])
        time.sleep(self.seconds)
        with self.guard:
            self.running[address] -= 1
            if address in self.down:
                raise EndpointError(f"http://{address}: refused", passing=True)
            self.done[job] += 1
        return job * job


def collected(made, jobs, tick=lambda: None):
    return dict(made.results(jobs, tick))


def test_every_job_is_done_once_whoever_does_it():
    servers = Servers(seconds=0.002)
    found = collected(Fleet(["a", "b"], servers, concurrency=4), range(60))
    assert found == {n: n * n for n in range(60)} and set(servers.done.values()) == {1}
    assert servers.asked["a"] and servers.asked["b"]


def test_no_server_gets_more_requests_at_a_time_than_asked_for():
    servers = Servers(seconds=0.02)
    collected(Fleet(["a", "b"], servers, concurrency=3), range(24))
    assert servers.most["a"] == 3 and servers.most["b"] == 3


def test_the_jobs_of_a_server_that_dies_go_to_the_others_and_what_came_is_kept():
    servers, said, lost = Servers(seconds=0.005), [], []
    seen = Counter()
    made = Fleet(["a", "b"], servers, concurrency=2, say=said.append, lost=lost.append)
    for job, square in made.results(range(40), lambda: None):
        seen[job] += 1
        assert square == job * job
        if sum(seen.values()) == 5:
            servers.down.add("a")
    assert set(seen.values()) == {1} and len(seen) == 40 and set(servers.done.values()) == {1}
    assert "a" in lost and "b" not in lost
    assert any("a: refused" in line and "go to the 1 others" in line for line in said)


def test_a_fleet_that_is_all_gone_is_waited_for_and_its_return_is_said():
    servers, said, ticks = Servers(), [], []
    servers.down.add("a")

    def tick():
        ticks.append(1)
        if len(ticks) == 5:
            servers.down.clear()

    assert collected(Fleet(["a"], servers, concurrency=2, say=said.append), range(6), tick)[5] == 25
    assert "waiting until it is back" in said[0]
    assert any("answers again" in line for line in said)


def test_a_long_wait_is_said_again(monkeypatch):
    monkeypatch.setattr(fleet, "REMIND_SECONDS", 0.05)
    servers, said = Servers(), []
    servers.down.add("a")
    started = time.monotonic()

    def tick():
        if time.monotonic() - started > 0.3:
            servers.down.clear()

    collected(Fleet(["a"], servers, concurrency=1, say=said.append), range(2), tick)
    assert any("is gone for" in line for line in said)


def test_a_refusal_ends_the_run_in_one_line():
    def refuse(address, job):
        raise EndpointError("answers 404 no such model", passing=False, status=404)

    with pytest.raises(ConfigError, match="answers 404 no such model"):
        collected(Fleet(["a"], refuse, concurrency=2), range(3))


def test_attempts_are_bounded_where_asked():
    asked = []

    def busy(address, job):
        asked.append(job)
        raise EndpointError("busy", passing=True)

    with pytest.raises(ConfigError, match="busy"):
        collected(Fleet(["a"], busy, concurrency=1, attempts=3), [7])
    assert asked == [7, 7, 7]


def test_a_job_is_given_up_when_every_server_has_failed_it_as_often_as_it_may():
    servers = Servers(seconds=0.02)
    servers.down.add("a")  # takes a job again and again while b is busy
    assert len(collected(Fleet(["a", "b"], servers, concurrency=1, attempts=2), range(8))) == 8
    servers.down.add("b")
    with pytest.raises(ConfigError, match="refused"):
        collected(Fleet(["a", "b"], servers, concurrency=1, attempts=2), range(2))


def test_a_signal_is_not_held_up_by_a_request_that_hangs():
    def hang(address, job):
        time.sleep(30)

    def stop():
        raise Interrupted(15)

    started = time.monotonic()
    with pytest.raises(Interrupted):
        collected(Fleet(["a"], hang, concurrency=1), [1], stop)
    assert time.monotonic() - started < 5
