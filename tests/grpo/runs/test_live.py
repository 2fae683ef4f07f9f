"""A terminal gets bars, the best and worst of a group, findings; without one, or a small one, plain lines alone."""

import io

import pytest
from rich.console import Console

from envs import Task
from grpo.config import Config
from grpo.doctor.findings.kinds import found
from grpo.runs.live import LiveView, token_bar
from grpo.runs.logger import RunLogger
from grpo.scoring import GroupScores
from grpo.types import Group, Prompt, Rollout


class Screen(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def group(*texts: str) -> Group:
    rollouts = tuple(Rollout((1, 2), (-0.1, -0.2), (0.5, 0.5), text, "stop") for text in texts)
    return Group(Prompt(Task("t1", "5 + 7 =", {"answer": "12"}), (1,), "5 + 7 ="), rollouts)


def drawn(view: LiveView, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, height=40, force_terminal=True, color_system=None)
    view.console = console
    console.print(view)
    return console.file.getvalue()


@pytest.fixture
def view() -> LiveView:
    return LiveView(Console(file=io.StringIO(), force_terminal=True, width=80, height=40), steps=8)


def test_it_shows_the_step_the_rewards_and_both_ends_of_the_group(view):
    scores = [GroupScores({"accuracy": [0.0, 1.0]}, [0.1, 1.3], {}, {}), GroupScores({}, [0.5, 0.5], {}, {})]
    view.completions([group("it is eleven", "it is twelve"), group("a", "the last one")], scores)
    view.update(3, {"rewards/accuracy/mean": 0.5}, [found("too hard", 0.8, "accuracy never passed 0")])
    text = drawn(view)
    assert "step 3 of 8" in text and "accuracy" in text and "0.50" in text and "5 + 7 =" in text
    assert "best 1.30: it is twelve" in text and "worst 0.10: it is eleven" in text  # of the group that differs most
    assert "last: the last one" in text and "too hard: accuracy never passed 0" in text


def test_what_a_model_wrote_stays_text(view):
    view.completions([group("\x1b[2J[red]no[/red]", "x")], [GroupScores({}, [1.0, 0.0], {}, {})])
    view.update(1, {}, [])
    text = drawn(view)
    assert "\x1b[2J" not in text and "[red]no[/red]" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_long_completion_is_cut_to_the_terminal(view, width):
    view.completions([group("word " * 5000, "x")], [GroupScores({}, [1.0, None], {}, {})])
    view.update(1, {}, [])
    lines = drawn(view, width).splitlines()
    assert len(lines) < 40 and max(map(len, lines)) <= width


def test_the_bar_of_a_rollout_is_drawn_in_the_view(view):
    bar = view.progress("sampling", 100)
    with bar:
        bar.advance(bar.task_ids[0], 25)
        assert "sampling" in drawn(view) and "25/100" in drawn(view)


def test_without_a_terminal_there_are_plain_lines(tmp_path, capsys):
    logger = RunLogger(tmp_path, Config(steps=1))
    logger.watch()
    assert logger.view is None
    with logger.progress("sampling", 10) as bar:
        bar.advance(bar.task_ids[0], 5)
    logger.say("step 1/1  reward 0.500")
    logger.close()
    assert capsys.readouterr().out == "step 1/1  reward 0.500\n"


def test_a_terminal_too_small_gets_lines(tmp_path):
    logger = RunLogger(tmp_path, Config(steps=1))
    logger.console = Console(file=Screen(), force_terminal=True, width=80, height=8)
    logger.watch()
    assert logger.view is None
    logger.console = Console(file=Screen(), force_terminal=True, width=80, height=40)
    logger.watch()
    assert logger.view is not None
    logger.say("a line above it")
    logger.close()
    assert logger.view is None and "a line above it" in logger.console.file.getvalue()


def test_a_pipe_with_forced_colours_gets_lines(tmp_path):
    logger = RunLogger(tmp_path, Config(steps=1))
    logger.console = Console(file=io.StringIO(), force_terminal=True, width=80, height=40)  # as FORCE_COLOR=1 makes it
    logger.watch()
    assert logger.view is None
    with logger.progress("sampling", 10):
        pass
    logger.close()
    assert logger.console.file.getvalue() == ""


def test_a_bar_without_a_terminal_prints_nothing():
    console = Console(file=io.StringIO())
    with token_bar(console, "evaluating", 5):
        pass
    assert console.file.getvalue() == ""


@pytest.mark.parametrize(
    ("means", "filled"),
    [
        ([0.25], 0.25),
        ([-3.0, -0.5], 0.625),  # of -3 to 1, the lowest seen and the highest a share can be: 2.5 / 4
        ([4.0, 1.0], 0.25),  # of 0 to 4
    ],
)
def test_a_bar_spans_what_the_reward_was_so_far(view, means, filled):
    for step, value in enumerate(means, 1):
        view.update(step, {"rewards/own:short/mean": value}, [])
    _, bar, said = (column._cells[1] for column in view._bars().columns)
    assert bar.completed / bar.total == filled and str(said) == f"{means[-1]:.2f}"
