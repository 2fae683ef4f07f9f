"""The loader never raises, says what serves MLX and, where that is slow, what to do. Each case in its own process."""

import ctypes.util
import json
import os
import platform
import subprocess
import sys

import pytest

from grpo.cpu.blas import has_cuda_backend
from grpo.cpu.switch import plain

LINUX_CPU = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the loader does nothing")
REPORT = """
import json, sys
from grpo.cpu.blas import load_blas
before = "mlx.core" in sys.modules
blas = load_blas()
print(json.dumps({"name": blas.name, "path": blas.path, "warning": blas.warning, "mlx_before": before,
                  "mlx_after": "mlx.core" in sys.modules}))
"""


def loaded(code: str = REPORT, **environment: str) -> dict:
    """What a fresh process prints as JSON; GRPO_BLAS and MKL_CBWR are unset unless given."""
    variables = {
        name: value for name, value in os.environ.items() if name not in ("GRPO_BLAS", "MKL_CBWR")
    } | environment
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_none_keeps_mlx_s_own():
    blas = loaded(GRPO_BLAS="none")
    assert blas["path"] is None and blas["warning"] is None
    assert sys.platform != "linux" or blas["name"] == "MLX's own"


@LINUX_CPU
def test_a_library_that_does_not_exist_falls_back_or_warns_with_the_remedy():
    blas = loaded(GRPO_BLAS="/nowhere/libblas.so")
    assert blas["name"] in ("MKL", "OpenBLAS") or "pip install mkl" in blas["warning"]  # what is installed is found


ORDER = """
import json, os
import grpo.cpu.blas as blas
tried = []
blas._try_load = lambda path: tried.append(path)
blas.has_cuda_backend = blas._preloaded = lambda: False
blas._mkl_paths, blas._openblas_paths = lambda: ["mkl"], lambda: ["openblas"]
blas._is_intel = lambda: INTEL
blas.load_blas()
print(json.dumps([tried, os.environ.get("MKL_CBWR")]))
"""


@LINUX_CPU
def test_mkl_comes_first_on_intel_alone_and_always_gives_the_same_bits_there():
    assert loaded(ORDER.replace("INTEL", "True")) == [["mkl", "openblas"], "AUTO,STRICT"]
    assert loaded(ORDER.replace("INTEL", "False")) == [["openblas", "mkl"], None]
    assert loaded(ORDER.replace("INTEL", "True"), MKL_CBWR="AVX2") == [["mkl", "openblas"], "AVX2"]


@LINUX_CPU
def test_a_named_library_comes_before_all():
    assert loaded(ORDER.replace("INTEL", "True"), GRPO_BLAS="/nowhere/own.so")[0][0] == "/nowhere/own.so"


@LINUX_CPU
def test_a_preloaded_library_is_the_one_named():
    path = ctypes.util.find_library("openblas")
    if path is None:
        pytest.skip("no OpenBLAS here")
    blas = loaded(LD_PRELOAD=path)
    assert (blas["name"], blas["path"], blas["warning"]) == ("OpenBLAS", None, None)


@LINUX_CPU
def test_without_any_library_the_warning_names_the_remedy():
    hidden = (
        "import grpo.cpu.blas; grpo.cpu.blas._mkl_paths = grpo.cpu.blas._openblas_paths = lambda: ['/nowhere/lib.so']\n"
    )
    blas = loaded(hidden + "grpo.cpu.blas.has_cuda_backend = lambda: False\n" + REPORT)
    assert blas["name"] == "MLX's own"
    assert "pip install mkl" in blas["warning"] and "libopenblas" in blas["warning"]


@LINUX_CPU
def test_a_file_that_is_no_library_does_not_raise(tmp_path):
    path = tmp_path / "libfake.so"
    path.write_text("not a library")
    assert loaded(GRPO_BLAS=str(path))["path"] != str(path)


def test_it_is_loaded_before_mlx():
    blas = loaded()
    assert not blas["mlx_before"] and not blas["mlx_after"]  # the loader itself must not import mlx


@LINUX_CPU
def test_too_late_is_said():
    pytest.importorskip("mlx.core")
    code = "import mlx.core\nimport grpo.cpu.blas\ngrpo.cpu.blas.has_cuda_backend = lambda: False\n" + REPORT
    assert "import grpo first" in loaded(code)["warning"]


def test_a_second_call_gives_the_same():
    code = "from grpo.cpu.blas import load_blas\nprint(str(load_blas() is load_blas()).lower())"
    assert loaded(code) is True


def test_mlx_works_after_it():
    code = (
        "from grpo.cpu.blas import load_blas\nload_blas()\nimport mlx.core as mx\n"
        "print((mx.ones((64, 64)) @ mx.ones((64, 64))).sum().item())"
    )
    assert loaded(code) == 64**3


@pytest.mark.parametrize("module", ["grpo.train", "grpo.doctor", "grpo.config", "grpo.runs.coach"])
def test_the_first_import_of_a_command_is_not_mlx(module):
    code = f"import {module}, json, sys\nprint(json.dumps('mlx.core' in sys.modules))"
    assert loaded(code) is False


FAULTS = """
import ctypes, json, resource, sys
if sys.argv[1] == "load":
    from grpo.cpu.blas import load_blas
    load_blas()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes, libc.free.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], [ctypes.c_void_p]
counts = []
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(1 << 26)
    libc.memset(block, 1, 1 << 26)
    libc.free(block)
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(json.dumps(counts))
"""


@pytest.mark.skipif(plain(), reason="GRPO_PLAIN turns off what is tested here")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or has_cuda_backend(), reason="there nothing is changed")
def test_memory_that_was_freed_is_used_again_without_new_pages():
    counts = {}
    for how in ("load", "leave"):
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, timeout=60)
        counts[how] = json.loads(done.stdout)
    assert max(counts["load"][1:]) < 100 < min(counts["leave"][1:]), counts
