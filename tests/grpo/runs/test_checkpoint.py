"""What is on disk is whole or known not to be."""

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import mlx.core as mx
import pytest

from envs import DataError
from grpo.config.sections import ConfigError
from grpo.runs import checkpoint

FILES = ["adapters.safetensors", "optimizer.safetensors", "adapter_config.json", "state.json", "manifest.json"]


def save(folder, step, value=1.0, reference=None):
    return checkpoint.save(
        folder,
        step,
        weights={"a.lora_b": mx.full((8, 8), value)},
        adapter_config={"fine_tune_type": "lora"},
        optimizer={"step": mx.array(step), "a.lora_b.m": mx.full((8, 8), value / 2)},
        state={"step": step, "tokens": 10 * step},
        reference=reference,
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_holds_five_files_with_sizes_and_hashes(tmp_path):
    path = save(tmp_path, 3)
    assert path == tmp_path / "step_000003"
    assert names(path) == sorted(FILES)
    manifest = json.loads((path / "manifest.json").read_text())
    assert sorted(manifest) == sorted(set(FILES) - {"manifest.json"})
    for name, entry in manifest.items():
        assert entry == {"bytes": (path / name).stat().st_size, "sha256": checkpoint.sha256(path / name)}


def test_what_was_saved_is_read_back(tmp_path):
    save(tmp_path, 2), save(tmp_path, 10, value=3.0)
    path, damaged = checkpoint.newest(tmp_path)
    assert (path, damaged) == (tmp_path / "step_000010", [])
    assert checkpoint.read_state(path) == {"step": 10, "tokens": 100}
    assert mx.load(str(path / "adapters.safetensors"))["a.lora_b"].tolist() == [[3.0] * 8] * 8


def test_no_checkpoint_is_no_error(tmp_path):
    assert checkpoint.newest(tmp_path / "checkpoints") == (None, [])


def torn(path):
    path.write_bytes(path.read_bytes()[:-7])


def bit_flipped(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def zeroed(path):
    content = path.read_bytes()
    path.write_bytes(content[:-16] + bytes(16))


def missing(path):
    path.unlink()


@pytest.mark.parametrize("damage", [torn, bit_flipped, zeroed, missing])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_taken(tmp_path, name, damage):
    save(tmp_path, 1), save(tmp_path, 2)
    damage(tmp_path / "step_000002" / name)
    path, shown = checkpoint.newest(tmp_path)
    assert path == tmp_path / "step_000001"
    assert len(shown) == 1 and shown[0].startswith("checkpoint step_000002 is damaged (") and name in shown[0]
    assert names(tmp_path) == ["damaged_step_000002", "step_000001"]  # kept for whoever wants to look


def test_if_all_are_damaged_the_run_does_not_start_over(tmp_path):
    for step in (1, 2):
        torn(save(tmp_path, step) / "state.json")
    for _ in range(2):  # nor on a second try
        with pytest.raises(ConfigError, match=r"no checkpoint in .* is whole"):
            checkpoint.newest(tmp_path)


def test_saving_a_step_again_replaces_it(tmp_path):
    save(tmp_path, 1, value=1.0), save(tmp_path, 1, value=2.0)
    assert mx.load(str(checkpoint.newest(tmp_path)[0] / "adapters.safetensors"))["a.lora_b"][0, 0].item() == 2.0


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code under test may catch it."""


@pytest.mark.parametrize("at", ["writing", "flushing", "renaming"])
@pytest.mark.parametrize("step", [2, 1])  # a new step, and the same one again
def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path, monkeypatch, at, step):
    save(tmp_path, 1, value=1.0)

    def kill(*_, **__):
        raise Killed

    if at == "writing":
        monkeypatch.setattr(checkpoint, "sha256", kill)
    elif at == "flushing":
        monkeypatch.setattr(checkpoint.os, "fsync", kill)
    else:
        monkeypatch.setattr(checkpoint.Path, "rename", kill)
    with pytest.raises(Killed):
        save(tmp_path, step, value=2.0)
    monkeypatch.undo()
    path, shown = checkpoint.newest(tmp_path)
    assert (path, shown) == (tmp_path / "step_000001", [])
    assert mx.load(str(path / "adapters.safetensors"))["a.lora_b"][0, 0].item() == 1.0
    save(tmp_path, 2, value=3.0)  # and what the kill left does not disturb the next one
    assert checkpoint.newest(tmp_path)[0] == tmp_path / "step_000002"


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    save(tmp_path, 1)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 99, 1 << 20))
    with pytest.raises(OSError, match=r"the disk is full: a checkpoint needs 0 MiB in .*, 1 MiB are free"):
        save(tmp_path, 2)
    assert names(tmp_path) == ["step_000001"]
    assert checkpoint.newest(tmp_path)[0] == tmp_path / "step_000001"


@pytest.mark.parametrize(
    "error", [RuntimeError("[write] Unable to write 4096 bytes"), OSError(28, "No space left on device")]
)
def test_a_disk_that_fills_up_midway_leaves_what_was_there(tmp_path, monkeypatch, error):
    save(tmp_path, 1)
    plain = mx.save_safetensors

    def fail_at_the_second(path, *rest, **options):
        if "optimizer" in path:
            raise error
        plain(path, *rest, **options)

    monkeypatch.setattr(mx, "save_safetensors", fail_at_the_second)
    with pytest.raises(OSError):
        save(tmp_path, 2)
    assert names(tmp_path) == ["step_000001"]


def test_the_newest_are_kept(tmp_path):
    for step in (1, 2, 9, 10, 100):
        save(tmp_path, step)
    checkpoint.prune(tmp_path, 2)
    assert names(tmp_path) == ["step_000010", "step_000100"]


def test_the_last_adapter_is_published_in_the_run_directory(tmp_path):
    for step in (1, 2):
        path = save(tmp_path / "checkpoints", step, value=float(step))
        checkpoint.publish(path, tmp_path)
    assert names(tmp_path) == ["adapter_config.json", "adapters.safetensors", "checkpoints"]
    assert mx.load(str(tmp_path / "adapters.safetensors"))["a.lora_b"][0, 0].item() == 2.0


def test_a_run_directory_has_one_writer(tmp_path):
    with checkpoint.lock(tmp_path / "run"):
        code = (
            "import sys; from pathlib import Path; from grpo.runs import checkpoint\n"
            "try: checkpoint.lock(Path(sys.argv[1]))\n"
            "except Exception as error: print(type(error).__name__, error)"
        )
        second = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True)
        assert second.stdout.startswith("ConfigError output") and "is in use by another run" in second.stdout
    checkpoint.lock(tmp_path / "run").close()  # free again


def test_a_place_that_cannot_be_written_is_the_users_to_change(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't be written"):
        checkpoint.lock(tmp_path / "file" / "run")


def test_a_small_file_is_replaced_at_once(tmp_path, monkeypatch):
    checkpoint.write_text(tmp_path / "a.json", "old")

    def kill(*_):
        raise Killed

    monkeypatch.setattr(os, "replace", kill)
    with pytest.raises(Killed):
        checkpoint.write_text(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "old"


@pytest.mark.parametrize("name", ["adapters.safetensors", "optimizer.safetensors", "adapter_config.json", "state.json"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_manifest_with_an_entry_less_is_damage(tmp_path, name, gone):
    save(tmp_path, 1), save(tmp_path, 2)
    path = tmp_path / "step_000002" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest[name]
    path.write_text(json.dumps(manifest))
    if gone:
        (tmp_path / "step_000002" / name).unlink()
    found, shown = checkpoint.newest(tmp_path)
    assert found == tmp_path / "step_000001"
    assert f"manifest.json does not list {name}" in shown[0]


def test_a_reference_that_the_manifest_does_not_list_is_damage(tmp_path):
    path = save(tmp_path, 1)
    (path / "reference.safetensors").write_bytes(b"from elsewhere")
    assert checkpoint.fault_of(path, checkpoint.CHECKPOINT_FILES) == "manifest.json does not list reference.safetensors"
    (path / "reference.safetensors").rename(path / ".DS_Store")  # what a file manager leaves is no part of it
    assert checkpoint.fault_of(path, checkpoint.CHECKPOINT_FILES) is None


@pytest.mark.parametrize("error", [ConfigError("no"), DataError("no")])
def test_a_refused_start_takes_its_new_directory_away(tmp_path, error):
    with pytest.raises(type(error)), checkpoint.lock(tmp_path / "run"):
        (tmp_path / "run" / "log.txt").write_text("why")
        raise error
    assert not (tmp_path / "run").exists()


def test_what_holds_something_stays_and_so_does_what_was_there_before(tmp_path):
    with pytest.raises(ConfigError), checkpoint.lock(tmp_path / "run"):
        (tmp_path / "run" / "config.yaml").write_text("a: 1")
        raise ConfigError("no")
    assert (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError), checkpoint.lock(tmp_path / "mine"):
        raise ConfigError("no")
    assert (tmp_path / "mine").exists()


def test_a_crash_keeps_its_log(tmp_path):
    with pytest.raises(ZeroDivisionError), checkpoint.lock(tmp_path / "run"):
        (tmp_path / "run" / "log.txt").write_text("Traceback")
        raise ZeroDivisionError
    assert (tmp_path / "run" / "log.txt").exists()


def test_a_reference_that_is_gone_with_its_entry_is_damage(tmp_path):
    path = save(tmp_path, 1, reference={"a.lora_b": mx.ones((8, 8))})
    assert checkpoint.fault_of(path, checkpoint.CHECKPOINT_FILES) is None
    (path / "reference.safetensors").unlink()
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["reference.safetensors"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    fault = checkpoint.fault_of(path, checkpoint.CHECKPOINT_FILES)
    assert fault == "reference.safetensors, which was written with it, is gone"


@pytest.mark.parametrize("name", ["manifest.json", "state.json"])
def test_a_pipe_in_the_place_of_a_file_is_damage(tmp_path, name):
    save(tmp_path, 1), save(tmp_path, 2)
    path = tmp_path / "step_000002" / name
    path.unlink()
    os.mkfifo(path)
    found, shown = checkpoint.newest(tmp_path)
    assert found == tmp_path / "step_000001" and f"{name} is no regular file" in shown[0]


def test_a_manifest_that_is_nested_without_end_is_damage(tmp_path):
    path = save(tmp_path, 1)
    (path / "manifest.json").write_text("[" * 100_000)
    assert "manifest.json: maximum recursion depth" in checkpoint.fault_of(path, checkpoint.CHECKPOINT_FILES)
