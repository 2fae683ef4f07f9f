"""Parts side by side: the same numbers, each on its own stream, the BLAS sharing out its threads meanwhile."""

import threading

import mlx.core as mx
import numpy as np
import pytest

from grpo.cpu import lanes as module
from grpo.cpu.blas import WIDTH_VARIABLE
from grpo.cpu.fusion import here
from grpo.cpu.lanes import divided, lane, lanes, side_by_side

needs_lanes = pytest.mark.skipif(lanes() < 2, reason="one core, or a BLAS whose threads can't be set")


def products(seed, seen=None):
    """A part: a chain of products; notes the stream it was laid out on."""

    def part():
        if seen is not None:
            seen.append(mx.default_stream(mx.default_device()))
        x = mx.array(np.random.default_rng(seed).normal(size=(64, 64)).astype(np.float32))
        y = x
        for _ in range(30):
            y = mx.tanh(x @ y)
        return y

    return part


def alone(seed):
    return np.array(products(seed)())


@pytest.mark.parametrize("count", [1, 2, 5])
def test_parts_make_what_they_make_alone(count):
    made = side_by_side([products(seed) for seed in range(count)])
    for seed, array in enumerate(made):
        np.testing.assert_allclose(np.array(array), alone(seed), atol=1e-4)


@needs_lanes
def test_two_parts_have_a_stream_each_and_the_caller_keeps_its_own():
    before, seen = mx.default_stream(mx.cpu), []
    side_by_side([products(0, seen), products(1, seen)])
    assert seen[0] != seen[1] and before not in seen
    assert mx.default_stream(mx.cpu) == before


@needs_lanes
def test_the_threads_of_the_blas_are_shared_out_only_while_parts_run(monkeypatch):
    threads, _ = module._threads_of_blas()
    before, inside = threads(), []
    evaluate = mx.eval
    monkeypatch.setattr(mx, "eval", lambda made: (inside.append(threads()), evaluate(made)))
    side_by_side([products(0), products(1)])
    assert (inside, threads()) == ([before // 2], before)


@needs_lanes
def test_a_part_that_fails_leaves_all_as_it_was():
    def fails():
        raise ValueError("no part")

    threads, _ = module._threads_of_blas()
    before, stream = threads(), mx.default_stream(mx.cpu)
    with pytest.raises(ValueError, match="no part"):
        side_by_side([products(0), fails])
    assert (threads(), mx.default_stream(mx.cpu)) == (before, stream)


@needs_lanes
def test_any_thread_has_lanes_of_its_own():
    made = []
    worker = threading.Thread(target=lambda: made.extend(np.array(x) for x in side_by_side([products(0), products(1)])))
    worker.start()
    worker.join()
    np.testing.assert_allclose(made[1], alone(1), atol=1e-4)


@needs_lanes
def test_what_is_put_on_a_lane_has_another_stream():
    before, streams = mx.default_stream(mx.cpu), []
    for number in (0, 1):
        with lane(number):
            streams.append(mx.default_stream(mx.cpu))
    assert before not in streams and streams[0] != streams[1]
    assert mx.default_stream(mx.cpu) == before


def test_without_lanes_all_is_on_the_stream_of_the_caller(monkeypatch):
    monkeypatch.setattr(module, "_threads_of_blas", lambda: None)
    before = mx.default_stream(mx.cpu)
    with lane(1):
        assert mx.default_stream(mx.cpu) == before


@pytest.mark.parametrize("width", ["20", "", "many"])
def test_no_lanes_where_mlx_would_run_one_after_the_other(monkeypatch, width):
    monkeypatch.setenv(WIDTH_VARIABLE, width)
    assert lanes() == 1


def test_no_lanes_without_a_blas_that_can_be_told(monkeypatch):
    monkeypatch.setattr(module, "_threads_of_blas", lambda: None)
    assert lanes() == 1


@needs_lanes
def test_the_rule_of_a_custom_function_runs_on_the_lane_the_function_is_on():
    streams = []

    def square(x):
        @mx.custom_function
        def product(x):
            return x * x

        @product.vjp
        @here
        def gradient(x, cotangent, _output):
            streams.append(mx.default_stream(mx.cpu))
            return 2 * x * cotangent

        streams.append(mx.default_stream(mx.cpu))
        return product(x)

    def on_a_lane(x):
        with lane(1):
            return square(x)

    before = mx.default_stream(mx.cpu)
    assert mx.grad(on_a_lane)(mx.array(3.0)).item() == 6.0
    assert streams[0] == streams[1] != before == mx.default_stream(mx.cpu)


@needs_lanes
@pytest.mark.parametrize("parts", [1, 3, 100])
def test_a_blas_keeps_its_threads_where_there_are_no_lanes_for_so_many(parts):
    threads, _ = module._threads_of_blas()
    before = threads()
    with divided(parts):
        assert threads() == (before if parts == 1 or parts > lanes() else max(1, before // parts))
    assert threads() == before
