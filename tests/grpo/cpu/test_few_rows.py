"""Products of few rows: what a BLAS gives, the same whatever else is in the batch, no other product."""

import ctypes
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from grpo.cpu import few_rows
from grpo.cpu.blas import load_blas

pytestmark = pytest.mark.skipif(not load_blas().few_rows, reason=f"not to be had here: {load_blas().few_rows_reason}")
ROW_MAJOR, AS_IS, TURNED = 101, 111, 112
FLOATS = ctypes.POINTER(ctypes.c_float)


@pytest.fixture(scope="module", params=["this processor", "AVX2"])
def library(request, tmp_path_factory) -> ctypes.CDLL:
    """The one this process already uses, and one for processors without AVX-512."""
    if request.param == "AVX2":
        path = tmp_path_factory.mktemp("built") / "few_rows.so"
        options = [*few_rows.OPTIONS, "-mno-avx512f", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(["gcc", *options, few_rows.SOURCE, "-o", path], check=True)
        found = ctypes.CDLL(str(path))
        found.few_rows_start(ctypes.cast(ctypes.CDLL(load_blas().path).cblas_sgemm, ctypes.c_void_p), 2, None)
    else:
        found = ctypes.CDLL(str(few_rows.compiled()))
    found.few_rows_taken.restype = ctypes.c_long
    return found


def taken(library, function):
    """What the function returns, and how many products were taken from the BLAS meanwhile."""
    before = library.few_rows_taken()
    return function(), library.few_rows_taken() - before


def multiplied(library, a, b, c, *, rows=None, inner=None, alpha=1.0, beta=0.0, orders=(AS_IS, TURNED)):
    """c = alpha a b' + beta c by cblas_sgemm, of the leading parts of arrays that may be wider."""
    m, k = rows or len(a), inner or a.shape[1]
    n = len(b) if orders[1] == TURNED else b.shape[1]
    pointers = [array.ctypes.data_as(FLOATS) for array in (a, b, c)]
    steps = [array.shape[1] for array in (a, b, c)]
    library.cblas_sgemm(
        ROW_MAJOR, *orders, m, n, k, ctypes.c_float(alpha), pointers[0], steps[0], pointers[1], steps[1],
        ctypes.c_float(beta), pointers[2], steps[2],
    )  # fmt: skip
    return c


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32])
@pytest.mark.parametrize(
    ("columns", "inner"), [(576, 576), (130, 1000), (257, 515), (4, 16399), (65537, 1), (8193, 17)]
)
def test_it_is_the_product(library, rows, columns, inner):
    a, b = numbers(rows, inner), numbers(columns, inner, seed=1)
    out = np.full((rows + 1, columns), np.nan, np.float32)
    product, count = taken(library, lambda: multiplied(library, a, b, out))
    assert count == 1
    exact = a.astype(np.float64) @ b.T.astype(np.float64)
    assert np.abs(product[:rows] - exact).max() <= 4e-7 * np.sqrt(inner) * max(1, np.abs(exact).max())
    assert np.isnan(product[rows]).all()  # nothing is written beyond


def test_of_wider_arrays_only_the_part_asked_for_is_read_and_written(library):
    a, b, out = numbers(5, 700), numbers(300, 650, seed=1), np.full((5, 311), 7, np.float32)
    a[:, 600:], b[:, 600:] = np.nan, np.nan
    product, count = taken(library, lambda: multiplied(library, a, b, out, inner=600))
    assert count == 1
    np.testing.assert_allclose(product[:, :300], a[:, :600] @ b[:, :600].T, atol=1e-3)
    assert (product[:, 300:] == 7).all()


@pytest.mark.parametrize("inner", [576, 515, 1700])
def test_a_row_has_the_same_bits_whatever_else_is_multiplied_and_wherever_it_lies(library, inner):
    a, b = numbers(32, inner), numbers(301, inner, seed=1)
    whole = multiplied(library, a, b, np.zeros((32, 301), np.float32))
    for rows in (1, 3, 8, 12, 13, 16, 31):
        assert (multiplied(library, a[-rows:], b, np.zeros((rows, 301), np.float32)) == whole[-rows:]).all()
    for columns in (300, 299, 150):
        some = multiplied(library, a, b[-columns:], np.zeros((32, columns), np.float32))
        assert (some == whole[:, -columns:]).all()
    memory = np.empty(b.size + 16, np.float32)
    for shift in (1, 5, 11):
        moved = memory[shift : shift + b.size].reshape(b.shape)
        moved[:] = b
        assert (multiplied(library, a, moved, np.zeros((32, 301), np.float32)) == whole).all()


def test_what_is_no_number_stays_in_its_row_and_column(library):
    a, b = numbers(6, 576), numbers(200, 576, seed=1)
    a[2, 5], b[7, 9] = np.nan, np.inf
    product = multiplied(library, a, b, np.zeros((6, 200), np.float32))
    odd = ~np.isfinite(product)
    assert odd[2].all() and odd[:, 7].all() and odd.sum() == 200 + 6 - 1


@pytest.mark.parametrize("rows", range(1, 9))
@pytest.mark.parametrize(("columns", "inner"), [(4, 64), (130, 64), (77, 80), (50, 33), (5, 512)])
def test_small_ones_of_turned_matrices(library, rows, columns, inner):
    a, b = numbers(8, inner), numbers(columns, inner, seed=1)
    out = np.full((rows + 1, columns), np.nan, np.float32)
    product, count = taken(library, lambda: multiplied(library, a, b, out, rows=rows))
    assert count == 1
    np.testing.assert_allclose(product[:rows], a[:rows] @ b.T, atol=1e-5 * inner)
    assert (product[:rows] == multiplied(library, a, b, np.zeros((8, columns), np.float32))[:rows]).all()
    assert np.isnan(product[rows]).all()


@pytest.mark.parametrize("rows", range(1, 9))
@pytest.mark.parametrize(("columns", "inner"), [(16, 5), (64, 130), (80, 1), (128, 300), (112, 48)])
def test_small_ones_of_matrices_as_they_are(library, rows, columns, inner):
    a, b = numbers(8, inner), numbers(inner, columns, seed=1)
    out = np.full((rows + 1, columns), np.nan, np.float32)
    call = {"inner": inner, "orders": (AS_IS, AS_IS)}
    product, count = taken(library, lambda: multiplied(library, a, b, out, rows=rows, **call))
    assert count == 1
    np.testing.assert_allclose(product[:rows], a[:rows] @ b, atol=1e-5 * inner)
    assert (product[:rows] == multiplied(library, a, b, np.zeros((8, columns), np.float32), **call)[:rows]).all()
    assert np.isnan(product[rows]).all()


def test_of_wider_arrays_a_small_product_reads_and_writes_the_part_asked_for(library):
    a, b, out = numbers(3, 90), numbers(80, 64, seed=1), np.full((3, 90), 7, np.float32)
    a[:, 80:] = np.nan
    product = multiplied(library, a, b, out, inner=80, orders=(AS_IS, AS_IS))
    np.testing.assert_allclose(product[:, :64], a[:, :80] @ b, atol=1e-3)
    assert (product[:, 64:] == 7).all()


@pytest.mark.parametrize(
    ("changed", "shape"),
    [
        ({"alpha": 2.0}, (4, 600, 500)),
        ({"beta": 1.0}, (4, 600, 500)),
        ({"orders": (AS_IS, AS_IS)}, (4, 600, 500)),
        ({"orders": (TURNED, TURNED)}, (4, 600, 500)),
        ({}, (33, 600, 500)),
        ({}, (9, 60, 50)),
        ({}, (4, 3, 50)),
        ({}, (4, 60, 513)),
        ({"orders": (AS_IS, AS_IS)}, (4, 61, 50)),
        ({"orders": (AS_IS, AS_IS)}, (9, 64, 50)),
        ({"alpha": 0.5}, (4, 60, 50)),
    ],
)
def test_other_products_are_the_blas_s(library, changed, shape):
    rows, columns, inner = shape
    orders = changed.get("orders", (AS_IS, TURNED))
    a, b = numbers(rows, inner), numbers(columns, inner, seed=1)
    kept_a = np.ascontiguousarray(a.T) if orders[0] == TURNED else a
    kept_b = b if orders[1] == TURNED else np.ascontiguousarray(b.T)
    call = {"rows": rows, "inner": inner} | changed
    out, count = taken(
        library, lambda: multiplied(library, kept_a, kept_b, np.ones((rows, columns), np.float32), **call)
    )
    assert count == 0
    np.testing.assert_allclose(out, changed.get("alpha", 1) * a @ b.T + changed.get("beta", 0), atol=1e-3)


@pytest.mark.parametrize("orders", [(AS_IS, AS_IS), (AS_IS, TURNED), (TURNED, AS_IS), (TURNED, TURNED)])
@pytest.mark.parametrize("shape", [(1000, 48, 64), (48, 1000, 64), (48, 64, 1000), (9, 3000, 128), (128, 128, 128)])
def test_thin_products_are_whole_where_they_are_cut_into_slices(library, shape, orders):
    rows, columns, inner = shape
    a, b, c = numbers(rows, inner), numbers(columns, inner, seed=1), numbers(rows, columns + 5, seed=2)
    kept_a = np.ascontiguousarray(a.T) if orders[0] == TURNED else a
    kept_b = b if orders[1] == TURNED else np.ascontiguousarray(b.T)
    call = {"rows": rows, "inner": inner, "orders": orders, "alpha": 0.5, "beta": 2.0}
    out = multiplied(library, kept_a, kept_b, c.copy(), **call)
    np.testing.assert_allclose(out[:, :columns], 0.5 * a @ b.T + 2 * c[:, :columns], atol=1e-3)
    assert (out[:, columns:] == c[:, columns:]).all()
    fresh = multiplied(library, kept_a, kept_b, np.full_like(c, np.nan), **{**call, "beta": 0.0})
    np.testing.assert_allclose(fresh[:, :columns], 0.5 * a @ b.T, atol=1e-3)


@pytest.mark.parametrize("library", ["this processor"], indirect=True)
def test_mlx_s_layers_use_it_for_few_rows_and_the_blas_for_many(library):
    import mlx.core as mx

    weight = mx.random.normal((600, 500))
    for rows, count in ((16, 1), (64, 0)):
        x = mx.random.normal((rows, 1, 500))
        mx.eval(x, weight)
        product, used = taken(library, lambda x=x: np.array(x @ weight.T))
        assert used == count
        np.testing.assert_allclose(product[:, 0], np.array(x)[:, 0] @ np.array(weight).T, atol=1e-3)


def test_threads_that_multiply_at_once_do_not_disturb_each_other(library):
    wrong = []

    def work(seed):
        a, b = numbers(4 + seed, 576, seed=seed), numbers(300, 576, seed=seed + 10)
        exact = a @ b.T
        for i in range(40):
            product = multiplied(library, a, b, np.zeros_like(exact))
            if np.abs(product - exact).max() > 1e-3:
                wrong.append(seed)
            if i % 10 == 0:
                time.sleep(0.002)  # long enough for the helpers to fall asleep

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


REPORT = """
import json
from grpo.cpu.blas import load_blas
blas = load_blas()
import mlx.core as mx
total = (mx.ones((4, 512)) @ mx.ones((512, 512)).T).sum().item()
print(json.dumps([blas.path is not None, blas.few_rows, blas.few_rows_reason, total]))
"""


def loaded(**environment):
    done = subprocess.run(
        [sys.executable, "-c", REPORT], capture_output=True, text=True, env={**os.environ, **environment}, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_can_be_switched_off():
    assert loaded(GRPO_FEW_ROWS="none") == [True, False, "GRPO_FEW_ROWS is none", 4 * 512 * 512]


def test_without_a_compiler_the_blas_serves_all_products_and_the_reason_is_given(tmp_path):
    found, ours, reason, total = loaded(PATH="", XDG_CACHE_HOME=str(tmp_path))
    assert (found, ours, total) == (True, False, 4 * 512 * 512)
    assert "no gcc" in reason and "apt install gcc" in reason


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(tmp_path):
    (tmp_path / "gcc").write_text("#!/bin/sh\necho 'few_rows.c:3: error: made up' >&2\nexit 1\n")
    (tmp_path / "gcc").chmod(0o755)
    found, ours, reason, total = loaded(PATH=f"{tmp_path}:{os.environ['PATH']}", XDG_CACHE_HOME=str(tmp_path))
    assert (found, ours, total) == (True, False, 4 * 512 * 512)
    assert "error: made up" in reason
    assert not list((tmp_path / "grpo-mlx").iterdir())


def test_a_cache_that_can_t_be_written_is_no_failure(tmp_path):
    (tmp_path / "grpo-mlx").write_text("a file in the folder's place")
    found, ours, reason, total = loaded(XDG_CACHE_HOME=str(tmp_path))
    assert (found, ours, total) == (True, False, 4 * 512 * 512)
    assert reason


def test_it_is_compiled_once(tmp_path):
    assert loaded(XDG_CACHE_HOME=str(tmp_path))[1]
    (made,) = (tmp_path / "grpo-mlx").iterdir()
    before = made.stat().st_mtime_ns
    assert loaded(XDG_CACHE_HOME=str(tmp_path), PATH="")[1]  # no compiler needed any more
    assert made.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["cut off", "a byte changed", "empty"])
def test_a_damaged_library_is_compiled_again(tmp_path, damage):
    assert loaded(XDG_CACHE_HOME=str(tmp_path))[1]
    (made,) = (tmp_path / "grpo-mlx").iterdir()
    whole = made.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    made.write_bytes({"cut off": whole[: len(whole) // 2], "a byte changed": bytes(changed), "empty": b""}[damage])
    assert loaded(XDG_CACHE_HOME=str(tmp_path))[1]
    assert made.stat().st_size == len(whole) and few_rows._is_whole(made)
