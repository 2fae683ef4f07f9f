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


def test_a_traceback_is_written_once_whatever_it_says(tmp_path):
    log = RunLog(tmp_path)
    for value in ("a", "b"):
        log.write_once("here", f'Traceback\n  File "x.py", line 1, in f\nKeyError: {value!r}\n')
    log.write_once("there", 'Traceback\n  File "x.py", line 2, in f\nKeyError: 1\n')
    text = (tmp_path / LOG).read_text()
    assert text.count("KeyError") == 2 and "'a'" in text and "'b'" not in text and "there" in text
