"""What stands in a run directory under another kind than its name says is refused before a run reads or writes it."""

import os

import pytest

from grpo.config.sections import ConfigError
from grpo.runs.ordinary import require_ordinary

FILES = ["config.yaml", "log.txt", "summary.json", "report.html", "adapters.safetensors", ".lock"]
DEEPER = ["completions/step_000007.jsonl", "checkpoints/step_000002/state.json", "samples/1_of_1/samples.jsonl"]


@pytest.mark.parametrize("name", [*FILES, *DEEPER])
@pytest.mark.parametrize("kind", ["a directory where a file belongs", "no regular file"])
def test_a_directory_or_a_pipe_in_the_place_of_a_file_is_refused(tmp_path, name, kind):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path) if kind == "no regular file" else path.mkdir()
    with pytest.raises(ConfigError) as refused:
        require_ordinary(tmp_path)
    assert str(refused.value) == f"{path} is {kind}: take it away"


def test_a_link_to_nothing_and_a_file_in_the_place_of_a_folder_are_refused(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"metrics\.jsonl is no regular file"):
        require_ordinary(tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "completions").write_text("")
    with pytest.raises(ConfigError, match="completions is no directory"):
        require_ordinary(tmp_path)


def test_what_no_run_writes_is_left_alone(tmp_path):
    require_ordinary(tmp_path / "new")
    for name in ("notes.d/my.jsonl", "miniature", ".partial_best"):
        (tmp_path / name).mkdir(parents=True)
    os.mkfifo(tmp_path / "control")
    (tmp_path / "latest").symlink_to(tmp_path / "gone")
    require_ordinary(tmp_path)
