"""The trainer from Python: a program written for TRL, with another import."""

import json

import mlx.core as mx
import pytest

from envs import Env
from envs.data import from_rows
from grpo import GRPOConfig, GRPOTrainer
from grpo.config.sections import ConfigError
from grpo.types import LossOutputs

ROWS = [{"prompt": f"w{n} w9 w10", "answer": str(n), "hint": n} for n in range(20, 30)]


@pytest.fixture
def settings(tmp_path):
    return {
        "output_dir": str(tmp_path / "run"),
        "max_steps": 2,
        "num_generations": 4,
        "max_completion_length": 6,
        "template": "plain",
        "fine_tune": "full",
        "learning_rate": 1e-3,
    }


def even(completion_ids, **_):
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


def metrics(tmp_path):
    return [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def model(tiny, tmp_path):
    return str(tiny.directory(tmp_path / "model"))


def test_a_function_and_a_list_of_rows_are_enough(tmp_path, settings, model):
    seen = []

    def mine(prompts, completions, answer, hint, **_):
        seen.extend(zip(prompts, answer, hint, strict=True))
        return [float(len(text)) for text in completions]

    summary = GRPOTrainer(model=model, reward_funcs=mine, args=GRPOConfig(**settings), train_dataset=ROWS).train()
    assert (summary["steps"], summary["before"]) == (2, None)
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    assert [line["rewards/mine/mean"] > 0 for line in metrics(tmp_path)] == [True, True]
    assert {(f"w{n} w9 w10", str(n), n) for n in range(20, 30)} >= set(seen)


def test_a_loaded_model_is_trained_in_place(tmp_path, settings, model):
    from mlx_lm import load

    network, tokenizer = load(model)
    before = mx.array(network.model.norm.weight)
    GRPOTrainer((network, tokenizer), even, GRPOConfig(**settings), ROWS).train()
    assert not mx.array_equal(network.model.norm.weight, before).item()


def test_the_same_run_by_path_and_loaded(tmp_path, settings, model):
    from mlx_lm import load

    GRPOTrainer(model, even, GRPOConfig(**settings), ROWS).train()
    settings["output_dir"] = str(tmp_path / "other")
    GRPOTrainer(load(model)[:2], even, GRPOConfig(**settings), ROWS).train()
    one, other = (mx.load(str(tmp_path / name / "adapters.safetensors")) for name in ("run", "other"))
    assert all(mx.array_equal(one[name], other[name]).item() for name in one)


def test_held_out_rows_are_evaluated(settings, model):
    trainer = GRPOTrainer(model, even, GRPOConfig(**settings, eval_steps=1), ROWS, eval_dataset=ROWS[:3])
    summary = trainer.train()
    assert summary["before"]["tasks"] == summary["after"]["tasks"] == 3


def test_an_env_is_a_data_set(settings, model):
    env = from_rows(ROWS)
    assert isinstance(env, Env)
    assert GRPOTrainer(model, even, GRPOConfig(**settings), env).train()["steps"] == 2


def test_a_finished_run_is_resumed_to_more_steps(tmp_path, settings, model):
    GRPOTrainer(model, even, GRPOConfig(**settings), ROWS).train()
    with pytest.raises(ConfigError, match="holds a run already"):
        GRPOTrainer(model, even, GRPOConfig(**settings), ROWS).train()
    summary = GRPOTrainer(model, even, GRPOConfig(**{**settings, "max_steps": 3}), ROWS).train(resume=True)
    assert summary["steps"] == 3 and [line["step"] for line in metrics(tmp_path)] == [1, 2, 3]


def test_weights_are_1_a_function_unless_given(settings, model):
    def other(completions, **_):
        return [0.0] * len(completions)

    plain = GRPOTrainer(model, [even, other, "format"], GRPOConfig(**settings), ROWS).config.reward_weights
    assert plain == {"even": 1.0, "other": 1.0, "format": 1.0}
    listed = GRPOTrainer(model, [even, other], GRPOConfig(**settings, reward_weights=[0.5, 2.0]), ROWS)
    assert listed.config.reward_weights == {"even": 0.5, "other": 2.0}


def test_two_functions_of_one_name_are_refused(settings, model):
    with pytest.raises(ConfigError, match="reward_funcs must have different names, got even, even"):
        GRPOTrainer(model, [even, even], GRPOConfig(**settings), ROWS)


@pytest.mark.parametrize(
    ("theirs", "key", "ours"),
    [
        ({"output_dir": "x"}, "output", "x"),
        ({"max_steps": 7}, "steps", 7),
        ({"save_steps": 7}, "save_every", 7),
        ({"eval_steps": 7}, "eval_every", 7),
        ({"save_total_limit": 7}, "keep_checkpoints", 7),
        ({"lr_scheduler_type": "cosine"}, "lr_schedule", "cosine"),
        ({"adam_beta2": 0.95}, "adam_betas", (0.9, 0.95)),
        ({"scale_rewards": False}, "scale_rewards", "none"),
        ({"scale_rewards": True}, "scale_rewards", "group"),
        ({"scale_rewards": "batch"}, "scale_rewards", "batch"),
    ],
)
def test_trls_names_are_taken(theirs, key, ours):
    assert getattr(GRPOConfig(**theirs), key) == ours


def test_an_unknown_argument_is_an_error():
    with pytest.raises(ValueError, match="learning_rat"):
        GRPOConfig(learning_rat=1.0)


def test_loss_advantage_and_callbacks_from_python(model, settings):
    seen = []

    def loss(inputs):
        return LossOutputs(-inputs.policy_logprobs * inputs.advantages[:, None], {"own": inputs.policy_logprobs})

    def advantage(inputs):
        return inputs.rewards - inputs.rewards.mean(axis=1, keepdims=True)

    trainer = GRPOTrainer(
        model,
        even,
        GRPOConfig(**settings),
        ROWS,
        loss_fn=loss,
        advantage_fn=advantage,
        callbacks=[lambda step, metrics: seen.append((step, metrics["own"]))],
    )
    trainer.train()
    assert [step for step, _ in seen] == [1, 2] and all(own < 0 for _, own in seen)
    assert trainer.config.loss_type.endswith("<locals>.loss")
