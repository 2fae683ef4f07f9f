"""Fitted exponents of known curves; the steps themselves are those of benchmarks.step_speed."""

import pytest

from benchmarks import scaling


@pytest.mark.parametrize("power", [0.0, 1.0, 1.7])
def test_the_exponent_of_a_power_law_is_its_power(power):
    sizes = [4, 8, 16, 32]
    assert scaling.exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)


def test_fixed_costs_flatten_the_fit_and_the_two_largest_show_it():
    # 8 + size: between 16 and 32 seconds go from 24 to 40: log2(40 / 24) = 0.737
    points = {str(size): [{part: 8.0 + size for part in scaling.PARTS}] for size in (4, 8, 16, 32)}
    fit = scaling.fitted(points)["step"]
    assert fit["largest_two"] == pytest.approx(0.737, abs=1e-3)
    assert fit["all"] < fit["largest_two"]


def test_the_median_of_rounds_is_fitted():
    # medians 1 and 4 over a doubling: exponent 2
    points = {"8": [{part: value for part in scaling.PARTS} for value in (1.0, 9.0, 0.5)]}
    points["16"] = [{part: value for part in scaling.PARTS} for value in (4.0, 4.0, 70.0)]
    assert scaling.fitted(points)["learn"]["all"] == pytest.approx(2.0)


def test_an_axis_is_measured_at_every_size(byte_model, monkeypatch):
    monkeypatch.setattr(scaling, "BASE", {"samples": 2, "tokens": 3, "prompt": 5, "prompts": 1})
    found = scaling.measure({"model": str(byte_model), "axis": "prompts", "sizes": [1, 2]})
    assert list(found) == ["1", "2"]
    for seconds in found.values():
        assert seconds["step"] == pytest.approx(seconds["rollout"] + seconds["learn"])
        assert min(seconds.values()) > 0


def test_a_fit_needs_two_points(byte_model, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        scaling.main(["--model", str(byte_model), "--output", str(tmp_path), "--largest", "64"])
    assert ended.value.code == 2
    assert "--largest must be at least 128, got 64" in capsys.readouterr().err
