"""Prompts of a stream: each once an epoch, shuffled in buffers, in the same order when a run is resumed."""

import json

import pytest

from grpo.config.sections import ConfigError
from grpo.rollout.order import OrderState
from grpo.rollout.stream import StreamOrder
from grpo.runs.interrupt import TrainingFailed


class Rows:
    """Eleven rows, of which the fourth can't be used; counts those that are read."""

    rows = "rows"

    def __init__(self, count=11):
        self.count, self.read = count, 0

    def after(self, count):
        for number in range(count, self.count):
            self.read += 1
            yield None if number == 3 else number


def order(tiny, rows, *, buffer=4, **settings):
    said = []

    def fit(number):
        return None if number == 5 else tiny.prompt([8, number + 8])

    made = StreamOrder(rows, buffer, tiny.config(**settings), fit, said.append)
    made.said = said
    return made


def taken(made, state, steps, count=2):
    found = []
    for step in range(steps):
        places, state = made.take(state, count, step)
        found += [made.prompts[place].tokens[1] - 8 for place in places]
    return found, state


def test_every_usable_row_comes_once_an_epoch_and_buffers_come_in_order(tiny):
    made = order(tiny, Rows())
    found, state = taken(made, OrderState(), 9)
    usable = [n for n in range(11) if n not in (3, 5)]
    assert sorted(found[:9]) == usable and sorted(found[9:18]) == usable
    assert set(found[:4]) == {0, 1, 2, 4} and set(found[4:8]) == {6, 7, 8, 9} and found[8] == 10
    assert found[:9] != sorted(found[:9]) and found[:9] != found[9:18]  # shuffled, in another order each epoch
    assert (state.position, state.epoch) == (18, 1) and made.passes(state) == (1.0, 0.0)
    assert made.said and "can't be used or are longer" in made.said[0]


def test_without_shuffling_rows_come_as_they_are(tiny):
    found, _ = taken(order(tiny, Rows(), shuffle_dataset=False), OrderState(), 4)
    assert found == [0, 1, 2, 4, 6, 7, 8, 9]


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7])
def test_a_resumed_run_goes_on_with_the_prompt_it_would_have_taken(tiny, steps):
    whole, _ = taken(order(tiny, Rows()), OrderState(), 9)
    first, state = taken(order(tiny, Rows()), OrderState(), steps)
    rest, _ = taken(order(tiny, Rows()), OrderState(**vars(state)), 9 - steps)
    assert first + rest == whole


def test_a_stream_is_read_once_an_epoch_and_no_more_than_a_buffer_ahead(tiny):
    rows = Rows(10_000)
    taken(order(tiny, rows, buffer=50), OrderState(), 10)
    assert rows.read <= 60


def test_a_stream_without_a_usable_row_is_one_line(tiny):
    rows = Rows(1)
    made = StreamOrder(rows, 4, tiny.config(), lambda task: None, lambda line: None)
    with pytest.raises(ConfigError, match="no prompt of rows can be trained on"):
        made.take(OrderState(), 1, 0)


@pytest.mark.parametrize("setting", [{"curriculum_mastered": 0.9}, {"difficulty_column": "x"}, {"replay_size": 3}])
def test_what_needs_all_tasks_is_refused(tiny, setting):
    with pytest.raises(ConfigError, match="needs tasks in memory"):
        order(tiny, Rows(), **setting)


def test_a_run_on_a_stream_is_resumed_to_the_bit(runs, monkeypatch):
    lines = [json.dumps({"question": f"{n % 10} + {n // 10} + 1 =", "answer": n % 10 + n // 10 + 1}) for n in range(40)]
    path = runs.file("rows.jsonl", "\n".join(lines))
    settings = ("data=stream", f"data_options.rows={path}", "data_options.buffer=7", "save_every=1")
    whole = runs.run(*settings, "steps=5", name="whole")
    assert whole.code == 0, whole.err
    assert "training tasks are streamed from" in whole.out
    tasks = [row["task"] for rows in whole.completions.values() for row in rows]
    assert len(set(tasks)) == 10  # five steps of two prompts
    from grpo.trainer import Trainer

    plain = Trainer._step

    def stop(self, step):
        if step == 3:
            raise TrainingFailed("killed")
        plain(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stop)
        assert runs.run(*settings, "steps=5", name="parts").code == 1
    parts = runs.run(*settings, "steps=5", name="parts", resume=True)
    assert parts.code == 0, parts.err
    assert [m["loss"] for m in parts.metrics] == [m["loss"] for m in whole.metrics]
    assert (parts.folder / "adapters.safetensors").read_bytes() == (whole.folder / "adapters.safetensors").read_bytes()
    assert [row["task"] for rows in parts.completions.values() for row in rows] == tasks
