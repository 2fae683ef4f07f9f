"""What every test stands on. The BLAS of a Linux CPU has to be loaded before anything imports mlx.core."""

import os

import pytest

from grpo.cpu.blas import load_blas

load_blas()
os.environ["GRPO_TUNED"] = ""  # what was measured for this machine's user is none of the tests' business


def pytest_collection_modifyitems(items):
    if os.environ.get("GRPO_LONG_TESTS"):
        return
    for item in items:
        if "long" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="runs with GRPO_LONG_TESTS=1"))
