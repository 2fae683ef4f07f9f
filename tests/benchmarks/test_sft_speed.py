"""The arithmetic of the SFT speed table; its figures are measured, not tested."""

import pytest

from benchmarks.sft_speed import ratio, render


def run(speed):
    return {"tokens_per_second": speed, "step_seconds": 2.0, "peak_bytes": 3e9}


RATES = {"distill.sft": [run(30.0), run(10.0), run(20.0)], "mlx_lm lora": [run(8.0), run(40.0), run(10.0)]}


def test_the_ratio_is_of_medians():
    assert ratio(RATES) == pytest.approx(20 / 10)


def test_the_table_shows_both_sides():
    table = render(RATES)
    assert "| distill.sft | 20 | 2.00 | 3.00 GB |" in table and "2.00 times as fast" in table
