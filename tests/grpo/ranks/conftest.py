"""Several processes of a command on loopback, see `tests.launching`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.launching import Launcher


@pytest.fixture
def launch(runs: Any, tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher(runs, tmp_path)
    yield launcher
    launcher.end()
