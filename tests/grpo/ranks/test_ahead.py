"""What is asked for ahead over ranks: in order, as far as staleness and certainty allow, gathered by its step."""

import pytest

from grpo.ranks.ahead import AheadOverRanks, timed
from grpo.rollout.ahead import Sampled
from grpo.rollout.filling import Batch, Filling
from grpo.rollout.order import OrderState, PromptOrder


class Shares:
    """Hears asks and gives empty shares; `begun` and `gathered` are steps, `log` both in their order."""

    def __init__(self):
        self.asks, self.waiting, self.log = [], [], []

    def begin(self, ask):
        self.asks.append(ask)
        self.waiting.append(ask.step)
        self.log.append(("begun", ask.step))

    def parts(self, check):
        check()
        self.log.append(("gathered", self.waiting.pop(0)))
        return [timed(lambda: ([], []))] * 2

    def close(self):
        self.log.append(("closed", 0))


def run_of(tiny, steps=5, draws=1, **settings):
    """Run the trainer's part of some steps, each of `draws` draws of two prompts; return the shares."""
    config = tiny.config(steps=steps, **settings)
    filling, shares = Filling(config, PromptOrder([tiny.prompt([n]) for n in range(40)], config), None), Shares()

    def fill(order, step):
        for draw in range(draws):
            ahead.sampled(order, [], step, 2 * draw)
            order = filling.order.take(order, 2, step)[1]
        return Sampled(Batch([], [], None, order, {}), 0.0, 0.0)

    ahead, order = AheadOverRanks(filling, fill, shares), OrderState()
    for step in range(steps):
        sampled = ahead.take(order, step, lambda step=step: shares.log.append(("looked", step)))
        order = sampled.batch.order
        ahead.go_on(order, step)
        shares.log.append(("learned", step))
        assert sampled.decoding > 0
    return shares


def test_without_staleness_a_step_is_begun_and_gathered_when_it_comes(tiny):
    log = run_of(tiny, steps=2).log
    each = ["begun", "looked", "gathered", "learned"]
    assert log == [(what, step) for step in (0, 1) for what in each]


@pytest.mark.parametrize("max_staleness", [1, 2, 3])
def test_steps_are_begun_as_far_ahead_as_they_may_be_and_none_twice(tiny, max_staleness):
    shares = run_of(tiny, max_staleness=max_staleness)
    assert [(ask.step, ask.order.position) for ask in shares.asks] == [(step, 2 * step) for step in range(5)]
    for step in range(4):
        before = shares.log[: shares.log.index(("learned", step))]
        assert max(at for what, at in before if what == "begun") == min(step + max_staleness, 4)
        assert ("gathered", step) in before and ("gathered", step + 1) not in before


def test_where_the_next_prompts_depend_on_a_step_only_one_is_begun_ahead(tiny):
    shares = run_of(tiny, max_staleness=3, draws=2, dynamic_sampling=True)
    # each step draws prompts 4 n and 4 n + 1 ahead, 4 n + 2 and 4 n + 3 when it comes
    asked = [(ask.step, ask.order.position, ask.before) for ask in shares.asks]
    assert asked == [pair for n in range(5) for pair in ((n, 4 * n, 0), (n, 4 * n + 2, 2))]
    assert shares.log.index(("begun", 1)) < shares.log.index(("learned", 0))
