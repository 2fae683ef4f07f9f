"""What a command makes of an error: one line and an exit code for what can be put right, a traceback for a bug."""

import errno
import signal
import subprocess
import sys

import pytest

from grpo.config.sections import ConfigError
from grpo.runs.command import guarded


def failing(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("the disk is full: a checkpoint needs 9 MiB"),
        RuntimeError("[write] Unable to write 107944 bytes to file."),  # mlx's
    ],
)
@pytest.mark.parametrize("saved", [False, True])
def test_a_full_disk_is_one_line_that_claims_no_more_than_there_is(capsys, error, saved):
    assert guarded(failing(error), go_on="COMMAND", saved=lambda: saved) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "make room and go on with: COMMAND" in said
    assert ("what was saved before is whole" in said) is saved and ("no step was saved" in said) is not saved


def test_what_the_user_got_wrong_is_one_line(capsys):
    assert guarded(failing(ConfigError("beta\nmust be 0"))) == 2
    assert capsys.readouterr().err == "error: beta must be 0\n"


def test_another_error_is_passed_on():
    with pytest.raises(RuntimeError, match="a bug"):
        guarded(failing(RuntimeError("a bug")))


def test_an_interrupt_while_libraries_are_imported_is_one_line(capsys):
    def work():
        raise KeyboardInterrupt

    assert guarded(work, go_on="the command --resume") == 130
    assert capsys.readouterr().out == "interrupted before the first step. Begin again with: the command --resume\n"


CLOSED = """
import sys
from grpo.runs.command import guarded
from rewards.printable import say
from grpo.runs.logger import Output
def work():
    while True:
        {print}
sys.exit(guarded(work, go_on="GO", saved=lambda: {saved}))
"""


@pytest.mark.parametrize("how", ["say('line')", "Output().print('line')"])
@pytest.mark.parametrize("saved", [True, False])
def test_a_reader_that_has_gone_ends_a_command_in_one_line(how, saved):
    code = CLOSED.format(print=how, saved=saved)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "line\n"
    process.stdout.close()
    error = process.stderr.read()
    assert process.wait(60) == 128 + signal.SIGPIPE
    assert error.count("\n") == 1 and error.startswith("stopped by SIGPIPE") and error.endswith(": GO\n")
    assert ("what was done is saved" in error) == saved


def test_a_broken_pipe_to_another_process_is_passed_on(capsys):
    def work():
        raise BrokenPipeError("a worker's")

    with pytest.raises(BrokenPipeError, match="a worker's"):
        guarded(work)
