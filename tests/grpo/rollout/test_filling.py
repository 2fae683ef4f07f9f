"""Which groups a step learns from: dynamic sampling, curricula, replay; nothing lost or repeated across a kill."""

import json
from dataclasses import asdict

import pytest

from grpo.config.sections import ConfigError
from grpo.rollout.filling import Filling
from grpo.rollout.order import OrderState, PromptOrder, length_limit
from grpo.scoring import GroupScores

EQUAL, MIXED, SOLVED = [0.0] * 4, [1.0, 0.0, 0.0, 0.0], [1.0] * 4


class Sampled:
    """Samples made-up groups: `rewards` maps a task's number to its group's rewards."""

    def __init__(self, tiny, rewards):
        self.tiny, self.rewards, self.seen = tiny, rewards, []

    def __call__(self, prompts, before, order):
        self.seen.append(([prompt.tokens[0] for prompt in prompts], before))
        groups = [self.tiny.group(prompt.tokens, [[4, 2]] * 4) for prompt in prompts]
        given = [self.rewards[prompt.tokens[0]] for prompt in prompts]
        return groups, [GroupScores({"accuracy": r}, r, {}, {}, {"accuracy": r}) for r in given]

    @property
    def tasks(self):
        return [task for tasks, _ in self.seen for task in tasks]


def filling_of(tiny, tasks, keep=None, **settings):
    config = tiny.config(**settings)
    return Filling(config, PromptOrder([tiny.prompt([task]) for task in range(tasks)], config), keep)


def kept(batch):
    return [group.prompt.tokens[0] for group in batch.groups]


def test_without_it_every_group_stays(tiny):
    sample = Sampled(tiny, {task: EQUAL for task in range(6)})
    batch = filling_of(tiny, 6).fill(OrderState(), 0, sample)
    assert kept(batch) == sample.tasks and len(sample.tasks) == 2 and batch.metrics == {}
    assert batch.order == OrderState(position=2)


def test_dynamic_sampling_refills_until_the_batch_is_full(tiny):
    # only tasks 1 and 4 teach; every task is drawn at most once on the way
    sample = Sampled(tiny, {task: MIXED if task in (1, 4) else EQUAL for task in range(6)})
    batch = filling_of(tiny, 6, dynamic_sampling=True).fill(OrderState(), 0, sample)
    assert sorted(kept(batch)) == [1, 4] and batch.said is None
    assert len(set(sample.tasks)) == len(sample.tasks) == batch.order.position
    assert [before for _, before in sample.seen] == [
        sum(len(t) for t, _ in sample.seen[:i]) for i in range(len(sample.seen))
    ]
    assert batch.metrics["dynamic_sampling/dropped"] == len(sample.tasks) - 2
    assert batch.metrics["dynamic_sampling/missing"] == 0


@pytest.mark.parametrize(("teaches", "left"), [((), 2), ((0,), 1)])
def test_dynamic_sampling_says_its_bound(tiny, teaches, left):
    sample = Sampled(tiny, {task: MIXED if task in teaches else EQUAL for task in range(6)})
    batch = filling_of(tiny, 6, dynamic_sampling=True, dynamic_sampling_rounds=3).fill(OrderState(), 0, sample)
    taught = [task for task in sample.tasks if task in teaches]
    assert len(sample.seen) == 3 and batch.metrics["dynamic_sampling/missing"] == 2 - len(set(taught))
    assert "after 3 rounds" in batch.said and len(batch.groups) >= 1
    assert kept(batch) == taught if taught else len(batch.groups) == left


def test_an_own_filter_decides(tiny):
    sample = Sampled(tiny, {task: EQUAL for task in range(6)})
    keep = lambda group, rewards: group.prompt.tokens[0] in (2, 3) and rewards == EQUAL  # noqa: E731
    batch = filling_of(tiny, 6, keep, dynamic_sampling=True).fill(OrderState(), 0, sample)
    assert sorted(kept(batch)) == [2, 3]


def test_the_order_of_an_epoch_is_everything_once(tiny):
    filling, state, sample = filling_of(tiny, 6), OrderState(), Sampled(tiny, {task: MIXED for task in range(6)})
    for step in range(6):
        state = filling.fill(state, step, sample).order
    assert sorted(sample.tasks[:6]) == sorted(sample.tasks[6:]) == list(range(6))
    assert sample.tasks[:6] != sample.tasks[6:]


def test_mastered_tasks_are_dropped_and_hopeless_ones_put_off(tiny):
    settings = {"curriculum_mastered": 1.0, "curriculum_hopeless": 0.0, "curriculum_pause": 1}
    filling, state = filling_of(tiny, 4, **settings), OrderState()
    sample = Sampled(tiny, {0: SOLVED, 1: EQUAL, 2: MIXED, 3: MIXED})
    for step in range(8):
        state = filling.fill(json.loads(json.dumps(asdict(state))) and OrderState(**asdict(state)), step, sample).order
    assert sorted(sample.tasks[:4]) == [0, 1, 2, 3]  # the first epoch
    assert sample.tasks.count(0) == 1  # mastered
    assert 1 <= sample.tasks.count(1) < sample.tasks.count(2)  # hopeless: every other epoch


def test_if_all_are_mastered_training_goes_on(tiny):
    filling, state = filling_of(tiny, 4, curriculum_mastered=0.9), OrderState()
    sample = Sampled(tiny, {task: SOLVED for task in range(4)})
    for step in range(4):
        state = filling.fill(state, step, sample).order
    assert len(sample.tasks) == 8


def test_pools_open_with_the_steps(tiny):
    config = tiny.config(difficulty_column="level", difficulty_pools=2, steps=8)
    order = PromptOrder([tiny.prompt([task], level=9 - task) for task in range(4)], config)  # task 3 is the easiest
    early, _ = order.take(OrderState(), 4, step=0)
    late, _ = order.take(OrderState(), 4, step=4)
    assert set(early) == {2, 3} and set(late) == {0, 1, 2, 3}
    with pytest.raises(ConfigError, match="difficulty_column level: task 9 has None there"):
        PromptOrder([tiny.prompt([9])], config)


def test_the_length_limit_follows_its_schedule(tiny):
    config = tiny.config(length_schedule=[(0, 4), (10, 8)])
    assert [length_limit(config, step) for step in (0, 9, 10, 99)] == [4, 4, 8, 8]
    assert length_limit(tiny.config(), 5) == 12


def test_a_rare_success_comes_back_when_all_fail(tiny):
    filling = filling_of(tiny, 2, replay_size=1)
    first = filling.fill(OrderState(), 0, Sampled(tiny, {0: MIXED, 1: SOLVED}))
    saved = OrderState(**json.loads(json.dumps(asdict(first.order))))
    assert list(saved.successes) == ["0"]  # of task 1 all passed
    again = filling.fill(saved, 1, Sampled(tiny, {0: EQUAL, 1: EQUAL}))
    rewards = {group.prompt.tokens[0]: row.tolist() for group, row in zip(again.groups, again.rewards, strict=True)}
    assert rewards == {0: [0.0, 0.0, 0.0, 1.0], 1: EQUAL} and again.metrics == {"replay/used": 1.0}
    [group] = [group for group in again.groups if group.prompt.tokens[0] == 0]
    assert group.rollouts[-1] == first.groups[kept(first).index(0)].rollouts[0]
