"""Sampling ahead of learning: in order, at most so many steps, dropped and made again when a run is stopped."""

import threading
import time
from types import SimpleNamespace

import pytest

from grpo.rollout.ahead import Ahead, Sampled
from grpo.rollout.order import OrderState


class Filling:
    """A batch of a step holds the thread it was made in and the newest version then; `version` is the learner's."""

    def __init__(self, seconds=0.0):
        self.version, self.seconds, self.made = 0, seconds, []

    def __call__(self, order, step):
        version = self.version
        time.sleep(self.seconds)
        self.made.append((step, order.position))
        after = OrderState(position=order.position + 2)
        batch = SimpleNamespace(order=after, step=step, version=version, thread=threading.current_thread().name)
        return Sampled(batch, self.seconds, 0.0)


def learned(filling, max_staleness, steps=6, seconds=0.0):
    """Run the trainer's part of it; return the batches in the order they were learned from."""
    ahead, order, batches = Ahead(filling, max_staleness=max_staleness, steps=steps), OrderState(), []
    for step in range(steps):
        filling.version = step
        batch = ahead.take(order, step, lambda: None).batch
        ahead.go_on(batch.order, step)
        time.sleep(seconds)
        batches.append(batch)
        order = batch.order
    ahead.close()
    return batches


def test_without_staleness_a_step_samples_in_the_trainers_thread_with_its_own_weights():
    filling = Filling()
    batches = learned(filling, 0)
    assert [batch.version for batch in batches] == [batch.step for batch in batches] == list(range(6))
    assert {batch.thread for batch in batches} == {threading.current_thread().name}


@pytest.mark.parametrize("max_staleness", [1, 2, 3])
def test_completions_are_at_most_so_many_steps_old_and_prompts_come_in_order(max_staleness):
    filling = Filling(0.01)
    batches = learned(filling, max_staleness, steps=8, seconds=0.01)
    assert [batch.step for batch in batches] == list(range(8))
    assert filling.made == [(step, 2 * step) for step in range(8)]  # none is sampled twice, none past the end
    ages = [batch.step - batch.version for batch in batches]
    assert all(0 <= age <= max_staleness for age in ages)
    assert threading.current_thread().name not in {batch.thread for batch in batches}


def test_one_step_ahead_is_sampled_with_the_weights_before_the_step_that_is_learned_meanwhile():
    batches = learned(Filling(0.01), 1, seconds=0.05)
    assert [batch.version for batch in batches] == [0, 0, 1, 2, 3, 4]


def test_sampling_and_learning_overlap():
    # 6 steps of 0.1 s sampling and 0.1 s learning: 1.2 s one after the other, 0.1 + 6 * 0.1 = 0.7 s side by side
    started = time.monotonic()
    learned(Filling(0.1), 1, seconds=0.1)
    assert time.monotonic() - started < 1.0


def test_what_the_sampling_raises_ends_the_step():
    def broken(order, step):
        raise TimeoutError("no")

    ahead = Ahead(broken, max_staleness=1, steps=3)
    with pytest.raises(TimeoutError, match="no"):
        ahead.take(OrderState(), 0, lambda: None)


def test_waiting_for_a_batch_can_be_stopped_and_the_thread_ends_with_the_run():
    ended = threading.Event()

    def fill(order, step):
        try:
            while True:
                ahead.check()
                time.sleep(0.01)
        finally:
            ended.set()

    ahead = Ahead(fill, max_staleness=1, steps=3)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ahead.take(OrderState(), 0, stop)
    ahead.close()
    assert ended.wait(5)
