"""Compiled pieces of custom functions: the same values in and out of a gradient, and really one loop in both."""

import re
import subprocess
import sys
import threading

import mlx.core as mx
import pytest

from grpo.cpu.fusion import fused_gradients, unseen
from grpo.cpu.switch import plain

tripled = unseen(mx.compile(lambda x: (x * 2.0 + 1.0) * 1.5))
slopes = unseen(mx.compile(lambda x, cotangent: cotangent * 3.0 + x * 0.0))


@mx.custom_function
def line(x):
    return tripled(x)  # (2x + 1) * 1.5 = 3x + 1.5


@line.vjp
def line_gradient(x, cotangent, _output):
    return slopes(x, cotangent)


def operations(tmp_path, *arrays):
    """Names of the operations that make up the arrays."""
    path = tmp_path / "graph.dot"
    mx.export_to_dot(str(path), *arrays)
    return re.findall(r'label ?= ?"([A-Za-z]+)"[^;]*shape=rectangle', path.read_text())


@pytest.mark.skipif(plain(), reason="GRPO_PLAIN turns off what is tested here")
def test_in_a_gradient_the_rules_stay_one_operation_each(tmp_path):
    x = mx.array([1.0, 2.0])
    with fused_gradients():
        (value,), (gradient,) = mx.vjp(line, [x * 1.0], [mx.array([1.0, 10.0])])
    found = operations(tmp_path, value, gradient)
    assert sum(name.startswith("Compiled") for name in found) == 2, found
    assert value.tolist() == [4.5, 7.5] and gradient.tolist() == [3.0, 30.0]


def test_without_it_mlx_takes_them_apart(tmp_path):
    # should this fail, MLX has learnt to fuse in gradients and grpo.cpu.fusion can go
    _, (gradient,) = mx.vjp(line, [mx.array([1.0, 2.0])], [mx.array([1.0, 10.0])])
    assert not any(name.startswith("Compiled") for name in operations(tmp_path, gradient))
    assert gradient.tolist() == [3.0, 30.0]


def test_an_error_inside_reaches_the_caller_and_the_next_call_works():
    broken = unseen(mx.compile(lambda x, y: x @ y))
    with fused_gradients():
        with pytest.raises(ValueError, match="matmul"):
            broken(mx.zeros((2, 3)), mx.zeros((2, 3)))
        assert broken(mx.ones((1, 2)), mx.ones((2, 1))).item() == 2
    assert tripled(mx.array(1.0)).item() == 4.5


def test_threads_do_not_get_each_others_results():
    found = {}

    def work(number):
        with fused_gradients(), mx.stream(mx.cpu):
            found[number] = [tripled(mx.full((4,), float(number))).tolist()[0] for _ in range(50)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: [1.5] * 50, 1: [4.5] * 50}


def test_the_interpreter_ends_cleanly_after_it():
    code = (
        "import mlx.core as mx\nfrom grpo.cpu.fusion import fused_gradients, unseen\n"
        "g = unseen(mx.compile(lambda x: x * 2.0 + 1.0))\n"
        "with fused_gradients():\n    print(mx.grad(lambda x: (x * mx.stop_gradient(g(x))).sum())(mx.ones(2)).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[3.0, 3.0]\n", "")
