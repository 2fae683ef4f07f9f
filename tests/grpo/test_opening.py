"""Opening a run directory: what may be written where, and what a resumed run starts from."""

import json

import mlx.core as mx
import pytest

from grpo.config import Config
from grpo.config.loading import to_yaml
from grpo.config.sections import ConfigError
from grpo.opening import open_run, reward_set, tasks
from grpo.runs import checkpoint
from grpo.runs.directory import FREE_TO_CHANGE, claim
from grpo.runs.interrupt import StopFlag


def silent(_):
    pass


@pytest.fixture
def folder(tmp_path):
    """A run directory of a config with seed 3."""
    (tmp_path / "config.yaml").write_text(to_yaml(Config(seed=3)))
    return tmp_path


def test_an_empty_directory_is_claimed(tmp_path):
    assert claim(Config(), tmp_path, resume=False, say=silent) is None
    assert claim(Config(), tmp_path, resume=True, say=silent) is None


@pytest.mark.parametrize("resume", [False, True])
def test_checkpoints_without_the_config_are_not_written_over(folder, resume):
    checkpoint.save(folder / "checkpoints", 1, weights={}, adapter_config={}, optimizer={}, state={"step": 1})
    (folder / "config.yaml").unlink()
    with pytest.raises(ConfigError, match=r"holds checkpoints but no config\.yaml"):
        claim(Config(seed=3), folder, resume=resume, say=silent)


def test_a_directory_with_a_run_is_refused_without_resume(folder):
    with pytest.raises(ConfigError, match="holds a run already: add --resume"):
        claim(Config(seed=3), folder, resume=False, say=silent)


def test_the_first_difference_is_named_with_both_values(folder):
    with pytest.raises(ConfigError, match=r"beta was 0\.01, now 0\.5 \(and 1 more: seed\)"):
        claim(Config(seed=4, beta=0.5), folder, resume=True, say=silent)


def test_a_refusal_says_who_gave_the_key_what_may_change_and_the_way_out(folder):
    with pytest.raises(ConfigError) as caught:
        claim(Config(seed=3, beta=0.5), folder, resume=True, say=silent, origins={"beta": "the command line"})
    message = str(caught.value)
    assert "now 0.5 (the command line)" in message and "What may change: " in message and "steps" in message
    assert f"adapter={folder} --output NEW" in message


def test_a_stretched_schedule_is_said(tmp_path):
    (tmp_path / "config.yaml").write_text(to_yaml(Config(steps=10, lr_schedule="linear")))
    said = []
    claim(Config(steps=20, lr_schedule="linear"), tmp_path, resume=True, say=said.append)
    assert "  steps was 10, is 20 from here on" in said
    assert any("linear schedule" in line and "stretched from 10 to 20 steps" in line for line in said)
    said.clear()
    claim(Config(steps=10, lr_schedule="linear"), tmp_path, resume=True, say=said.append)
    assert not any("is stretched from" in line for line in said)


@pytest.mark.parametrize("key", sorted(FREE_TO_CHANGE))
def test_what_does_not_change_the_learning_may_differ(folder, key):
    texts = dict.fromkeys(("output", "wandb_project", "trackio_project", "metric_for_best_model"), "elsewhere")
    value = {**texts, "reward_process": "trainer", "rollout": {"url": "http://127.0.0.1:1"}}.get(key, 7)
    # from one server or staleness to another: the first of either changes the correction too
    before = {"rollout": {"url": "http://127.0.0.1:2"}, "max_staleness": 1}
    if key in before:
        (folder / "config.yaml").write_text(to_yaml(Config(seed=3, **{key: before[key]})))
    assert claim(Config(seed=3, **{key: value}), folder, resume=True, say=silent) is None


def test_the_newest_whole_checkpoint_is_found_and_damage_is_said(folder):
    for step in (1, 2):
        parts = {"weights": {}, "adapter_config": {}, "optimizer": {}, "state": {"step": step}}
        checkpoint.save(folder / "checkpoints", step, **parts)
    (folder / "checkpoints" / "step_000002" / "state.json").write_text("{}")
    said = []
    assert claim(Config(seed=3), folder, resume=True, say=said.append) == folder / "checkpoints" / "step_000001"
    assert "step_000002 is damaged" in said[0] and said[1].startswith("resuming from")


def test_skipped_rows_and_notes_are_said(tmp_path):
    rows = [{"question": f"{n}+1?", "answer": str(n + 1)} for n in range(8)] + [{"nothing": 1}] * 5
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = []
    config = Config(data=str(path))
    env = tasks(config, said.append, reward_set(config))
    assert len(env.skipped) == 5
    assert said[0] == f"data {path}: 7 train, 1 test tasks"
    assert said[1] == "  skipped 5 rows that can't be used (the first 3 are shown):"
    assert said[2].startswith(f"    {path}:9: no prompt column")  # by file and line


def test_a_row_without_an_answer_is_used_unless_a_reward_needs_one(tmp_path, monkeypatch):
    (tmp_path / "needs_of_rewards.py").write_text(
        "def free(completions, **columns): return [0.0]\n"
        "def maybe(completions, answer=None): return [0.0]\n"
        "def needing(completions, answer): return [0.0]\n"
    )
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "Why?"}\n{"question": "How?", "answer": "so"}\n')

    def used(reward):
        config = Config(data=str(path), reward_weights={reward: 1.0})
        return sum(map(len, tasks(config, silent, reward_set(config)).splits.values()))

    names = ["needs_of_rewards:free", "needs_of_rewards:maybe", "needs_of_rewards:needing", "accuracy"]
    assert [used(name) for name in names] == [2, 2, 1, 1]


def test_the_seed_of_the_run_decides_the_split():
    first, same, other = (tasks(Config(seed=seed), silent, reward_set(Config())).tasks("test") for seed in (3, 3, 4))
    assert first == same != other
    fixed = tasks(Config(seed=4, data_options={"seed": 3}), silent, reward_set(Config())).tasks("test")
    assert fixed == first


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"reward_weights": {"accuracyy": 1.0}}, "unknown reward 'accuracyy': did you mean"),
        ({"reward_weights": {"nowhere:f": 1.0}}, "module nowhere not imported"),
        ({"reward_weights": {"json:nonesuch": 1.0}}, "json has no function 'nonesuch'"),
        ({"reward_options": {"code": {"a": 1}}}, "options given for code, which has no weight"),
        ({"reward_options": {"format": {"nonesuch": 1}}}, "nonesuch"),
    ],
)
def test_a_wrong_reward_is_the_users_to_put_right(settings, reason):
    with pytest.raises(ConfigError, match=reason):
        reward_set(Config(**settings))


def test_a_resumed_run_starts_from_its_own_copy_of_the_adapter(tiny, tmp_path):
    source = tmp_path / "adapter"
    source.mkdir()
    tiny.policy(fine_tune="lora", adapter_noise=0.2).save_adapter(source)
    model = tiny.directory(tmp_path / "model")
    config = Config(model=str(model), adapter=str(source), template="plain", reward_weights={"format": 1.0})
    rows = "".join(json.dumps({"prompt": f"w{n} w9", "answer": "1"}) + "\n" for n in range(10, 20))
    (tmp_path / "rows.jsonl").write_text(rows)
    config = config.model_copy(update={"data": str(tmp_path / "rows.jsonl")})
    output = tmp_path / "run"
    output.mkdir()
    first = open_run(config, output, resume=False, say=silent, stop=StopFlag())
    first.close()
    for path in source.iterdir():
        path.unlink()
    again = open_run(config, output, resume=True, say=silent, stop=StopFlag())
    again.close()
    start, resumed = first.policy.reference_parameters, again.policy.reference_parameters
    assert start.keys() == resumed.keys() and all((start[name] == resumed[name]).all().item() for name in start)


def test_an_adapter_that_was_refused_is_not_what_the_next_start_takes(tiny, tmp_path):
    for name in ("other", "right"):
        (tmp_path / name).mkdir()
        tiny.policy(fine_tune="lora", adapter_noise=0.2).save_adapter(tmp_path / name)
    weights = mx.load(str(tmp_path / "other" / "adapters.safetensors"))
    mx.save_safetensors(str(tmp_path / "other" / "adapters.safetensors"), dict(list(weights.items())[1:]))
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"prompt": "w{n} w9", "answer": "1"}}\n' for n in range(10, 20)))
    given = {"model": str(tiny.directory(tmp_path / "model")), "data": str(tmp_path / "rows.jsonl")}
    config = Config(**given, adapter=str(tmp_path / "other"), template="plain", reward_weights={"format": 1.0})
    output = tmp_path / "run"
    output.mkdir()
    with pytest.raises(ConfigError, match=f"adapter {tmp_path}/other does not fit this model"):
        open_run(config, output, resume=False, say=silent, stop=StopFlag())
    config = config.model_copy(update={"adapter": str(tmp_path / "right")})
    open_run(config, output, resume=False, say=silent, stop=StopFlag()).close()
    with pytest.raises(ConfigError), checkpoint.lock(tmp_path / "fails"):
        wrong = config.model_copy(update={"adapter": str(tmp_path / "other")})
        open_run(wrong, tmp_path / "fails", resume=False, say=silent, stop=StopFlag())
    assert not (tmp_path / "fails").exists()


def test_an_adapter_that_is_not_there_leaves_no_copy(tmp_path):
    config = Config(model="miniature", adapter=str(tmp_path / "none"), template="plain")
    with pytest.raises(ConfigError, match=r"adapter .*none: neither adapters\.safetensors nor"):
        open_run(config, tmp_path, resume=False, say=silent, stop=StopFlag())
    assert not (tmp_path / "start_adapter").exists()


def test_several_environments_are_opened_as_one_is(tmp_path):
    parts = [{"env": "arithmetic", "weight": 1.0}, {"env": "digit_sums", "weight": 1.0}]
    with StopFlag() as stop, pytest.raises(ConfigError, match="model nowhere: no such directory"):  # past the data
        open_run(Config(model="nowhere", data=parts), tmp_path, resume=False, say=silent, stop=stop)
