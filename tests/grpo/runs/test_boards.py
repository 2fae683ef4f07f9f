"""TensorBoard, W&B and trackio get curves, the completions as a table, and the verdict; the last two as fakes."""

import errno
import struct
import sys
import threading
from types import SimpleNamespace

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from envs import Task
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.doctor.findings import Verdict
from grpo.doctor.findings.kinds import found
from grpo.runs.boards import TABLE_ROWS, TEXT, table
from grpo.runs.logger import RunLogger
from grpo.scoring import GroupScores
from grpo.types import Group, Prompt, Rollout

HOSTILE = "12 | <script>alert(1)</script> [x](javascript:alert(1)) `"
METRICS = {
    "reward": 0.5,
    "entropy": 1.0,
    "completions/mean_length": 3.0,
    "completions/clipped_ratio": 0.0,
    "step_time": 1.0,
    "tokens_per_second": 9.0,
}
VERDICT = Verdict("flat", "reward 0.50 -> 0.50", "python -m grpo.report RUN")


def record(output, first_step=0, **settings):
    """One step of a run of two completions, concluded and closed."""
    rollouts = tuple(Rollout((1, 2), (-0.1, -0.2), (0.5, 0.5), text, "stop") for text in ("11", HOSTILE))
    group = Group(Prompt(Task("t1", "5 + 7 =", {"answer": "12"}), (1,), "5 + 7 ="), rollouts)
    scores = GroupScores({"accuracy": [0.0, 1.0]}, [0.0, 1.0], {}, {})
    logger = RunLogger(output, Config(steps=2, **settings), first_step=first_step)
    logger.completions(1, [group], [scores], [[-0.7, 0.7]])
    logger.step(1, METRICS)
    logger.conclude(1, VERDICT, [found("too hard", 0.8, "accuracy never passed 0")])
    logger.close()


class Recorder:
    """What wandb and trackio are here: everything they are handed."""

    id = "a1b2"

    def __init__(self) -> None:
        self.logged, self.started, self.finished, self.summary = [], {}, 0, {}

    def init(self, **given):
        self.started = given
        return self

    def log(self, values, step=None):
        self.logged.append((step, values))

    def finish(self):
        self.finished += 1

    def Table(self, **given):
        return SimpleNamespace(**given)

    def of(self, name):
        return [(step, values[name]) for step, values in self.logged if name in values]


@pytest.fixture
def fake(monkeypatch):
    def install(name):
        recorder = Recorder()
        monkeypatch.setitem(sys.modules, name, recorder)
        return recorder

    return install


def test_wandb_gets_curves_completions_and_verdict(tmp_path, fake):
    wandb = fake("wandb")
    record(tmp_path, wandb_project="mine")
    assert (
        wandb.started["name"] == tmp_path.name
        and wandb.started["project"] == "mine"
        and wandb.started["config"]["steps"] == 2
    )
    assert wandb.of("reward") == [(1, 0.5)]
    ((step, shown),) = wandb.of("completions")
    assert step == 1 and [row[shown.columns.index("completion")] for row in shown.data] == ["11", HOSTILE]
    assert [row[shown.columns.index("accuracy")] for row in shown.data] == [0.0, 1.0]
    assert wandb.summary["verdict"] == "flat: reward 0.50 -> 0.50" and "too hard" in wandb.summary["finding 1"]
    assert wandb.finished == 1


def test_a_resumed_run_goes_on_in_its_run_of_wandb_and_trackio(tmp_path, fake):
    wandb, trackio = fake("wandb"), fake("trackio")
    record(tmp_path, wandb_project="mine", trackio_project="mine")
    assert "id" not in wandb.started and trackio.started["resume"] == "never"
    record(tmp_path, first_step=1, wandb_project="mine", trackio_project="mine")
    assert (wandb.started["id"], wandb.started["resume"]) == ("a1b2", "allow")
    assert (trackio.started["name"], trackio.started["resume"]) == (tmp_path.name, "allow")


def test_trackio_gets_curves_completions_and_verdict(tmp_path, fake):
    trackio = fake("trackio")
    record(tmp_path, trackio_project="mine")
    assert trackio.started["project"] == "mine" and trackio.started["name"] == tmp_path.name
    assert trackio.of("reward") == [(1, 0.5)]
    ((_, shown),) = trackio.of("completions")
    assert list(shown.dataframe["answer"]) == ["12", "12"] and list(shown.dataframe["advantage"]) == [-0.7, 0.7]
    ((_, verdict),) = trackio.of("verdict")
    assert verdict.dataframe["verdict"][0] == "flat: reward 0.50 -> 0.50"
    assert trackio.finished == 1


def test_tensorboard_gets_curves_completions_and_verdict_as_text_that_stays_text(tmp_path):
    record(tmp_path)
    (events,) = tmp_path.glob("events.out.tfevents.*")
    written = events.read_bytes()
    assert b"completions/text_summary" in written and b"**verdict**: flat: reward 0.50" in written
    assert b"&#60;script&#62;" in written and b"<script>" not in written and b"[x](" not in written


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_board_that_is_not_installed_is_one_line(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf"{name}_project is set but {name} is not installed: pip install"):
        record(tmp_path, **{f"{name}_project": "mine"})


def test_wandb_that_does_not_start_is_one_line(tmp_path, fake):
    wandb = fake("wandb")
    wandb.Error = KeyError

    def init(**given):
        raise KeyError("No API key")

    wandb.init = init
    with pytest.raises(ConfigError, match=r"wandb_project mine: .*No API key.*WANDB_MODE=offline"):
        record(tmp_path, wandb_project="mine")


def test_a_table_is_bounded():
    rows = [{"task": "t", "prompt": "p", "completion": "x" * 9 * TEXT, "rewards": {}, "reward": None}] * 9 * TABLE_ROWS
    columns, values = table(3, rows)
    assert len(values) == TABLE_ROWS and all(len(row) == len(columns) for row in values)
    assert len(values[0][columns.index("completion")]) < TEXT + 10 and values[0][0] == 3


def test_a_column_holds_one_kind_of_value_whatever_the_answers_are():
    rows = [
        {"answer": answer, "advantage": [1.0, None, 0.0], "rewards": {"own": 0.5}}
        for answer in (12, "12", None, [1], "\ud83d")
    ]
    columns, values = table(1, rows)
    assert [row[columns.index("answer")] for row in values] == ["12", "12", "", "[1]", "?"]  # half a pair
    # the mean of 1 and 0; a token without an advantage does not count
    assert [row[columns.index("advantage")] for row in values] == [0.5] * 5
    assert values[0][columns.index("own")] == 0.5


def events(output):
    """The records of the newest event file: length, its check, the event, the event's check."""
    data, place, found = max(output.glob("events.out.tfevents.*")).read_bytes(), 0, []
    while place < len(data):
        (length,) = struct.unpack("Q", data[place : place + 8])
        found.append(Event.FromString(data[place + 12 : place + 12 + length]))
        place += length + 16
    return found


def test_points_are_on_the_disk_at_once_and_no_thread_writes_them(tmp_path):
    before = threading.enumerate()
    logger = RunLogger(tmp_path, Config(steps=1))
    logger.step(1, METRICS)
    first, *points = events(tmp_path)
    assert first.file_version == "brain.Event:2"
    assert {point.summary.value[0].tag: point.summary.value[0].simple_value for point in points} == METRICS
    assert all(point.step == 1 and point.wall_time > 0 for point in points)
    assert threading.enumerate() == before
    logger.close()


def test_a_disk_that_is_full_is_an_error_of_the_step(tmp_path, monkeypatch):
    logger = RunLogger(tmp_path, Config(steps=1))

    def full(data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(logger.boards[0].file._py_recordio_writer, "write", full)
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            logger.boards[0].scalars(1, METRICS)


@pytest.mark.parametrize("first_step", [0, 2])
def test_no_point_of_a_killed_sitting_is_shown_twice(tmp_path, first_step):
    old = tmp_path / "events.out.tfevents.1.host"
    old.write_bytes(b"")
    RunLogger(tmp_path, Config(steps=3), first_step=first_step).close()
    assert old.exists() == (first_step > 0)
    starts = [(event.session_log.status, event.step) for event in events(tmp_path) if event.HasField("session_log")]
    assert starts == ([(SessionLog.START, 3)] if first_step else [])
