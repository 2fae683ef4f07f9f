"""The table of the ablation: means over seeds, and what is slower than grpo is marked."""

import pytest

from benchmarks.ablation import ARMS, CONTROL, draw, table
from grpo.config import Config, load_config
from grpo.config.presets import PRESETS
from grpo.train import QUICKSTART


def run(accuracy, steps, entropy=0.5):
    points = [(0, 0.5), (5, 0.6), (10, accuracy)]
    return {"points": points, "steps_to_goal": steps, "accuracy": accuracy, "interval": [0.1, 0.9], "entropy": entropy}


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_is_a_config(arm):
    assert isinstance(load_config(QUICKSTART, ARMS[arm]), Config)


def test_every_preset_is_an_arm():
    assert {f"algorithm={name}" for name in PRESETS} <= {keys[0] for keys in ARMS.values()}


def test_the_table_has_means_intervals_and_marks():
    runs = {
        "grpo": [run(0.9, 20), run(0.92, 30)],
        "slow": [run(0.9, 50), run(0.9, None)],
        "never": [run(0.4, None)],
        CONTROL: [run(0.3, None)],
    }
    lines = table(runs).splitlines()[2:]
    # mean 0.91, std 0.0141: 12.71 * 0.01 = 0.127 to each side, held at 1
    assert lines[0] == "| grpo | 2 | 25 | 0.910 (0.783 to 1.000) | 0.50 |  |"
    assert lines[1] == "| slow | 2 | 50 (1 of 2) | 0.900 (0.900 to 0.900) | 0.50 | more than 1.5 times grpo |"
    assert lines[2] == "| never | 1 | never | 0.400 (0.100 to 0.900) | 0.50 | more than 1.5 times grpo |"
    assert lines[3].endswith("|  |")


def test_the_picture_is_drawn(tmp_path):
    draw({"grpo": [run(0.9, 20)], CONTROL: [run(0.3, None)]}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
