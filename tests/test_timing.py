"""The limits of time in tests fail what is slow."""

import sys
import time

import pytest

from tests.timing import seconds_of, within


def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_block_that_computes_too_long_fails():
    with pytest.raises(AssertionError, match=r"took 0\.\d\d s of CPU time where 0\.02 s are allowed"), within(0.02):
        spin(0.03)
    with within(0.1):
        time.sleep(0.15)


def test_the_cpu_time_of_a_command_is_counted():
    idle = seconds_of(sys.executable, "-c", "")
    busy = seconds_of(sys.executable, "-c", "import time\nwhile time.process_time() < 1: pass")
    assert idle < 0.9 < busy
