"""log.txt of a run directory."""

import pytest

from grpo.runs.interrupt import Interrupted
from grpo.runs.log import LOG, RunLog


def test_what_is_said_is_also_written(tmp_path):
    said = []
    RunLog(tmp_path).heard(said.append)("hello")
    assert said == ["hello"] and (tmp_path / LOG).read_text().endswith("  hello\n")


def test_what_ends_a_run_is_written_with_its_traceback_and_passed_on(tmp_path):
    with pytest.raises(KeyError), RunLog(tmp_path).failures():
        raise KeyError("deep")
    text = (tmp_path / LOG).read_text()
    assert "Traceback" in text and "KeyError: 'deep'" in text


def test_an_interrupt_is_no_failure(tmp_path):
    with pytest.raises(Interrupted), RunLog(tmp_path).failures():
        raise Interrupted(2)
    assert "Traceback" not in (tmp_path / LOG).read_text()
