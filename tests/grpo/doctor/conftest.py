"""A healthy made run for the tests of the doctor."""

import pytest

from tests.grpo.doctor.made import Made


@pytest.fixture
def run(tmp_path) -> Made:
    return Made(tmp_path / "run")
