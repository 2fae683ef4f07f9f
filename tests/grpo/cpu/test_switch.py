"""GRPO_PLAIN turns every replacement of grpo/cpu off; anything but 0, 1 and all is refused."""

import mlx.core as mx
import pytest

from grpo.cpu import allocator, few_rows, fusion, switch
from grpo.cpu.exponential import exp, on_cpu, row_max
from grpo.cpu.lanes import lanes


@pytest.fixture(autouse=True)
def read_again():
    """The variable is read once a process."""
    switch._setting.cache_clear()
    yield
    switch._setting.cache_clear()


@pytest.mark.parametrize(
    ("value", "plain", "without_blas"),
    [(None, False, False), ("", False, False), ("0", False, False), ("1", True, False), ("all", True, True)],
)
def test_values(monkeypatch, value, plain, without_blas):
    monkeypatch.delenv(switch.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(switch.VARIABLE, value)
    assert (switch.plain(), switch.without_blas()) == (plain, without_blas)


def test_another_value_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv(switch.VARIABLE, "yes")
    with pytest.raises(SystemExit) as stopped:
        switch.plain()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: GRPO_PLAIN must be 0, 1 or all, got 'yes'\n"


def test_plain_decides_against_each_replacement(monkeypatch):
    monkeypatch.setenv(switch.VARIABLE, "1")
    monkeypatch.delenv(allocator.VARIABLE, raising=False)
    assert lanes() == 1
    assert not on_cpu(mx.zeros(1))
    assert allocator.environment() == {}
    with fusion.fused_gradients():
        assert not fusion._local.fuses
    with pytest.raises(few_rows.Unavailable, match="GRPO_PLAIN is set"):
        few_rows.load(None)
    x = mx.random.normal((3, 64), key=mx.random.key(0))
    assert mx.array_equal(exp(x), mx.exp(x)).item()
    assert mx.array_equal(row_max(x), x.max(axis=-1, keepdims=True)).item()
