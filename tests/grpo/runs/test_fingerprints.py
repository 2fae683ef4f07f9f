"""What a run is made of is known again, and a resumed run of other things is refused by name."""

import json
import os

import pytest

from envs import Env, Task
from grpo.config.sections import ConfigError
from grpo.runs import fingerprints
from tests.grpo.conftest import CHECKED


def env(*answers, name="train"):
    return Env("mine", {name: [Task(str(n), "p", {"answer": answer}) for n, answer in enumerate(answers)]})


def test_tasks_are_known_by_prompts_columns_and_order():
    assert fingerprints.of_tasks(env("1", "2")) == fingerprints.of_tasks(env("1", "2"))
    others = [env("2", "1"), env("1"), env("1", "3"), env("1", "2", name="test")]
    assert len({fingerprints.of_tasks(one) for one in [env("1", "2"), *others]}) == 5


def test_objects_in_columns_count_by_their_type():
    assert (
        fingerprints.of_tasks(env(object())) == fingerprints.of_tasks(env(object())) != fingerprints.of_tasks(env(1j))
    )


def test_a_model_is_known_by_the_content_of_its_files(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"1234")
    (tmp_path / "config.json").write_text("{}")
    before = fingerprints.of_model(str(tmp_path))
    (tmp_path / "log.py").write_text("no part of the model")
    assert fingerprints.of_model(str(tmp_path)) == before
    os.utime(tmp_path / "model.safetensors", (1, 1))
    assert fingerprints.of_model(str(tmp_path)) == before
    (tmp_path / "model.safetensors").write_bytes(b"1235")
    assert fingerprints.of_model(str(tmp_path)) != before


def test_of_a_large_file_many_places_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints, "WHOLE_BYTES", 10)
    monkeypatch.setattr(fingerprints, "PLACE_BYTES", 2)
    monkeypatch.setattr(fingerprints, "PLACES", 4)
    path = tmp_path / "model.safetensors"
    found = set()
    for content in (b"0" * 12, b"1" + b"0" * 11, b"0" * 11 + b"1", b"0" * 13):
        path.write_bytes(content)
        found.add(fingerprints.of_folder(tmp_path))
    assert len(found) == 4


def test_a_model_that_nobody_has_here_has_none(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fingerprints.of_model("nobody/nothing") is None


def mine(completions, **_):
    return [0.0] * len(completions)


def test_rewards_are_known_by_their_files(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_rewards.py").write_text("raise SystemExit  # it is not imported")
    before = fingerprints.of_rewards(["accuracy", "my_rewards:f", "rewards.others:len_reward"], {"mine": mine})
    assert sorted(name for name in before if "imports" not in name) == ["reward mine", "reward my_rewards:f"]
    (tmp_path / "my_rewards.py").write_text("raise SystemExit")
    after = fingerprints.of_rewards(["my_rewards:f"], {"mine": mine})
    assert (
        before["reward mine"] == after["reward mine"] and before["reward my_rewards:f"] != after["reward my_rewards:f"]
    )


def test_a_function_of_the_script_is_known_by_its_own_lines(monkeypatch):
    whole = fingerprints.of_rewards([], {"mine": mine})
    monkeypatch.setattr(mine, "__module__", "__main__")
    monkeypatch.setattr(fingerprints.inspect, "getmodule", lambda _: json, raising=True)
    monkeypatch.setattr(json, "__name__", "__main__")
    assert fingerprints.of_rewards([], {"mine": mine}) != whole


@pytest.mark.parametrize("changed", ["data", "reward", "helper", "model"])
def test_what_changed_is_refused_by_name_and_may_be_accepted(runs, changed):
    data = runs.file("tasks.jsonl", "".join(json.dumps({"prompt": f"{n}", "answer": "1"}) + "\n" for n in range(8)))
    model = runs.root / "model"
    model.mkdir()
    for path in runs.model.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    runs.module("scales", "ONE = 1.0\n")
    checked = "import scales\n" + CHECKED
    runs.module("checked", checked)
    settings = [f"data={data}", f"model={model}", "eval_every=0"]
    assert runs.run(*settings, "steps=2").code == 0
    if changed == "data":
        data.write_text(data.read_text().replace('"answer": "1"', '"answer": "2"'))
    elif changed == "reward":
        runs.module("checked", checked + "\nOTHER = 1\n")
    elif changed == "helper":
        runs.module("scales", "ONE = 2.0\n")
    else:
        shape = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(shape, indent=3))
    helper = "module scales, which reward checked:evens imports"
    names = {"data": "data", "reward": "reward checked:evens", "helper": helper, "model": f"model {model}"}
    name = names[changed]
    refused = runs.run(*settings, "steps=3", resume=True)
    assert refused.code == 2 and f"changed since it was written: {name}. " in refused.err
    accepted = runs.main(*runs.arguments("run", *settings, "steps=3"), "--resume", "--accept-changes")
    assert accepted.code == 0, accepted.err
    assert f"and accepted: {name}" in accepted.out
    assert runs.run(*settings, "steps=4", resume=True).code == 0  # from here on it is what counts


def test_accepting_changes_is_for_a_resumed_run(runs):
    with pytest.raises(SystemExit) as ended:
        runs.main(*runs.arguments("run", "steps=1"), "--accept-changes")
    assert ended.value.code == 2


def test_a_checkpoint_of_before_the_fingerprints_is_resumed(tmp_path):
    (tmp_path / "state.json").write_text('{"step": 1}')
    assert fingerprints.compare(tmp_path, {"data": "a", "model": None}, accept=False, say=print) == {"data": "a"}
    (tmp_path / "state.json").write_text('{"step": 1, "fingerprints": {"data": "b"}}')
    with pytest.raises(ConfigError, match="changed since it was written: data"):
        fingerprints.compare(tmp_path, {"data": "a"}, accept=False, say=print)


def test_a_teachers_adapter_is_known_by_its_files_and_a_pipe_among_them_is_not_read(tmp_path):
    (tmp_path / "adapters.safetensors").write_bytes(b"1234")
    before = fingerprints.of_teacher("/nowhere", str(tmp_path))["the teacher's adapter"]
    os.mkfifo(tmp_path / "pipe.json")
    assert fingerprints.of_teacher("/nowhere", str(tmp_path))["the teacher's adapter"] == before
    (tmp_path / "adapters.safetensors").write_bytes(b"1235")
    assert fingerprints.of_teacher("/nowhere", str(tmp_path))["the teacher's adapter"] not in (None, before)
