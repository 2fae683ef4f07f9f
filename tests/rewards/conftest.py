"""Where labelled data is found, if it is there."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory named by GRPO_SHARED (or ../shared beside the repository) that holds labelled cases."""
    root = Path(os.environ.get("GRPO_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    if not (root / "data" / "verifier" / "hacks.jsonl").exists():
        pytest.skip(f"no labelled cases in {root} (set GRPO_SHARED)")
    return root / "data"
