"""The loop that RL and SFT share: the order of the data, what a checkpoint remembers, where a run ends."""

import json
import signal
from types import SimpleNamespace

import mlx.core as mx
import pytest

from grpo.config.sections import ConfigError
from grpo.runs import checkpoint
from grpo.runs.interrupt import Interrupted
from grpo.runs.loop import Loop, RunState, places


class Counting(Loop):
    """A run that counts its steps and may be interrupted in one of them."""

    def __init__(self, output, *, steps=6, save_every=2, interrupt_at=None, resume_from=None):
        self.config = SimpleNamespace(steps=steps, save_every=save_every, keep_checkpoints=2)
        policy = SimpleNamespace(
            reference_moved=False,
            saved=lambda: {"w": mx.array([float(self.state.step)])},
            adapter_config=lambda: {},
            load_saved=lambda weights: self.calls.append(("weights", weights["w"].item())),
        )
        optimizer = SimpleNamespace(
            bad_updates=0, state=lambda: {"step": mx.array(self.state.step)}, load_state=lambda state: None
        )
        self.calls, self.interrupt_at = [], interrupt_at
        super().__init__(policy, optimizer, output, RunState(), resume_from)
        self.logger = SimpleNamespace(
            metrics_bytes=lambda: 10 * self.state.step, close=lambda: self.calls.append("closed")
        )

    def _begin(self):
        self.calls.append("begun")

    def _step(self, step):
        if step == self.interrupt_at:
            raise Interrupted(signal.SIGINT)
        self.calls.append(step)
        self.state.step = step + 1
        self.optimizer.bad_updates = step % 3

    def _finish(self):
        self._save()
        return {"steps": self.state.step}


def test_every_epoch_holds_every_item_once_in_its_own_order():
    batches = [places(10, range(step * 4, step * 4 + 4), (3, 7)) for step in range(5)]
    drawn = [place for batch in batches for place in batch]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]


def test_the_order_depends_on_the_seed_and_on_nothing_before():
    assert places(10, range(12, 16), (3, 7)) == places(10, range(12, 16), (3, 7)) != places(10, range(12, 16), (4, 7))
    assert places(10, range(12, 16), (3, 7)) != places(10, range(12, 16), (3, 13))


def test_a_batch_larger_than_the_data_draws_items_again():
    assert sorted(places(2, range(5), (0,)))[:2] == [0, 0] and len(places(2, range(5), (0,))) == 5


def test_a_run_begins_steps_saves_and_closes(tmp_path):
    run = Counting(tmp_path)
    assert run.train() == {"steps": 6}
    assert run.calls == ["begun", 0, 1, 2, 3, 4, 5, "closed"]
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step_000004", "step_000006"]


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    with pytest.raises(Interrupted):
        Counting(tmp_path, interrupt_at=3).train()
    newest, damaged = checkpoint.newest(tmp_path / "checkpoints")
    assert newest.name == "step_000003" and not damaged
    run = Counting(tmp_path, resume_from=newest)
    assert (run.state.step, run.state.metrics_bytes, run.optimizer.bad_updates) == (3, 30, 2)
    assert run.train() == {"steps": 6}
    assert run.calls == [("weights", 3.0), "begun", 3, 4, 5, "closed"]


def test_before_the_first_step_nothing_is_saved(tmp_path):
    with pytest.raises(Interrupted):
        Counting(tmp_path, interrupt_at=0).train()
    assert not (tmp_path / "checkpoints").exists()


def test_a_state_of_another_kind_of_run_is_refused(tmp_path):
    run = Counting(tmp_path)
    run.train()
    newest = tmp_path / "checkpoints" / "step_000006"
    state = json.loads((newest / checkpoint.STATE).read_text())
    (newest / checkpoint.STATE).write_text(json.dumps(state | {"curve": []}))
    with pytest.raises(ConfigError, match=r"can't resume from .*step_000006.*curve"):
        Counting(tmp_path, resume_from=newest)
