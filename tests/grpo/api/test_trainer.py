"""The trainer from Python: a program written for TRL, with another import."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import mlx.core as mx
import pytest

from envs import Env
from envs.data import from_rows
from grpo import GRPOConfig, GRPOTrainer
from grpo.config import Config, load_config
from grpo.config.sections import ConfigError
from grpo.opening import open_run
from grpo.types import LossOutputs
from tests.grpo.api.conftest import ROWS, even

ROOT = Path(__file__).parents[3]


def metrics(tmp_path):
    return [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]


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
    trainer = GRPOTrainer(
        model, even, GRPOConfig(**{**settings, "reward_process": "own"}, eval_steps=1), ROWS, eval_dataset=ROWS[:3]
    )
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


def test_a_pipe_in_the_place_of_a_file_is_one_line(tmp_path, settings, model):
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "log.txt")
    with pytest.raises(ConfigError, match=r"log\.txt is no regular file: take it away"):
        GRPOTrainer(model, even, GRPOConfig(**settings), ROWS).train()


def test_weights_are_1_a_function_unless_given(settings, model):
    def other(completions, **_):
        return [0.0] * len(completions)

    plain = GRPOTrainer(model, [even, other, "format"], GRPOConfig(**settings), ROWS).config.reward_weights
    assert plain == {"even": 1.0, "other": 1.0, "format": 1.0}
    listed = GRPOTrainer(model, [even, other], GRPOConfig(**settings, reward_weights=[0.5, 2.0]), ROWS)
    assert listed.config.reward_weights == {"even": 0.5, "other": 2.0}


def test_lambdas_methods_and_two_functions_of_one_name_have_names(settings, model):
    class Judge:
        def score(self, completions, **_):
            return [0.0] * len(completions)

    functions = [even, even, lambda completions, **_: [1.0] * len(completions), Judge().score, partial(even, x=1)]
    trainer = GRPOTrainer(model, functions, GRPOConfig(**settings, reward_weights=[1, 2, 3, 4, 5]), ROWS)
    names = {"even": 1.0, "even_2": 2.0, "lambda": 3.0, "score": 4.0, "even_3": 5.0}
    assert trainer.config.reward_weights == names
    trainer.train()
    assert all(trainer.history[0][f"rewards/{name}/mean"] is not None for name in names)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"reward_funcs": []}, "reward_funcs is empty"),
        ({"reward_funcs": None}, "reward_funcs is empty"),
        ({"reward_funcs": [3]}, "a reward function is a function or a name, got int"),
        ({"reward_funcs": "org/reward-model"}, "org/reward-model looks like a reward model"),
        ({"reward_funcs": ["format", "format"]}, "names format twice"),
        ({"train_dataset": None}, "train_dataset is missing"),
        ({"train_dataset": 7}, "train_dataset must be rows with a prompt or an Env, got int"),
        ({"train_dataset": {"test": ROWS}}, "without a 'train' split"),
        ({"callbacks": [object()]}, "an object with on_step_end, on_log, ..., got object"),
        ({"optimizers": (1, 2)}, "optimizers has no equivalent here: the optimizer is AdamW"),
        ({"peft_confg": 1}, "did you mean peft_config"),
        ({"peft_config": {"r": 4, "modules_to_save": ["lm_head"]}}, "no modules trained whole"),
        ({"peft_config": {"r": 4, "target_modules": ".*q_proj"}}, "is a pattern"),
        ({"peft_config": 4}, "must be a LoraConfig, got int"),
        ({"processing_class": object()}, "processing_class goes with a loaded model"),
        ({"args": {"max_steps": 1}}, "args must be a GRPOConfig of this package, got builtins.dict"),
        ({"args": GRPOConfig(reward_weights=[1, 2])}, "one a reward function, got 2 for 1"),
        ({"args": GRPOConfig(reward_weights={"odd": 1})}, "reward_weights names odd, reward_funcs are even"),
    ],
)
def test_what_can_be_put_right_is_one_line(given, said):
    with pytest.raises(ConfigError) as refused:
        GRPOTrainer(**{"model": "m", "reward_funcs": even, "train_dataset": ROWS, **given})
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_args_are_optional(model):
    trainer = GRPOTrainer(model=model, reward_funcs=even, train_dataset=ROWS)
    assert trainer.config.num_generations == Config().num_generations


def test_a_run_leaves_a_report_and_a_true_config(tmp_path, settings, model):
    from mlx_lm import load

    trainer = GRPOTrainer(load(model)[:2], even, GRPOConfig(**settings), ROWS)
    trainer.train()
    assert "<html" in (tmp_path / "run" / "report.html").read_text()
    written = load_config(tmp_path / "run" / "config.yaml")
    assert written == trainer.config
    assert written.data == "in memory: train_dataset, 10 rows"
    assert written.model == "in memory: mlx_lm.models.llama"
    with pytest.raises(ConfigError, match="is a run from Python, whose data was given there"):
        open_run(written, tmp_path / "run", resume=True, say=str, stop=None)


def test_a_name_as_on_the_command_line_is_a_data_set(settings, model):
    trainer = GRPOTrainer(model, even, GRPOConfig(**settings), "arithmetic")
    assert trainer.config.data == "arithmetic"


def test_splits_and_sets_of_a_dict(settings, model, capsys):
    both = GRPOTrainer(model, even, GRPOConfig(**settings, eval_steps=2), {"train": ROWS[:6], "test": ROWS[6:]})
    assert both.train()["after"]["tasks"] == 4
    assert "train is trained on and test held out" in capsys.readouterr().out
    settings["output_dir"] += "-sets"
    sets = GRPOTrainer(model, even, GRPOConfig(**settings), ROWS, {"one": ROWS[:2], "two": lambda: ROWS[:3]})
    sets.train()
    assert "eval_every is 0: only evaluate() looks at it" in capsys.readouterr().out
    figures = sets.evaluate()
    assert (figures["eval_one_tasks"], figures["eval_two_tasks"]) == (2, 3)
    assert 0 <= figures["eval_one_rewards/even/mean"] == figures["eval_one_reward"] <= 1
    assert sets.evaluate(ROWS[:1])["eval_tasks"] == 1


def test_rows_may_come_from_a_method(settings, model):
    class Tasks:
        def rows(self):
            return ROWS[:3]

    trainer = GRPOTrainer(model, even, GRPOConfig(**settings), Tasks().rows)
    assert trainer.config.data == "in memory: train_dataset, 3 rows"


def test_nothing_held_out_can_not_be_evaluated(settings, model):
    with pytest.raises(ConfigError, match="nothing to evaluate on"):
        GRPOTrainer(model, even, GRPOConfig(**settings), ROWS).evaluate()


def test_the_trained_model_can_be_used_and_saved(tmp_path, settings, model):
    from mlx_lm import load

    trainer = GRPOTrainer(model, even, GRPOConfig(**settings), ROWS)
    before = mx.array(trainer.model.model.norm.weight)
    assert trainer.history == []
    trainer.train()
    assert [line["step"] for line in trainer.history] == [1, 2]
    assert not mx.array_equal(trainer.model.model.norm.weight, before).item()
    assert trainer.tokenizer is trainer.processing_class
    one, other = trainer.generate(["w20 w9", "w21"])
    assert isinstance(one, str) and isinstance(other, str)
    assert trainer.generate("w20 w9", temperature=0) == trainer.generate("w20 w9", temperature=0)
    (three,) = trainer.generate(["w20"], num_generations=3, max_completion_length=2, seed=5)
    assert len(three) == 3
    trainer.save_model(tmp_path / "saved")
    again, _ = load(model, adapter_path=str(tmp_path / "saved"))
    assert mx.array_equal(again.model.norm.weight, trainer.model.model.norm.weight).item()


def test_a_model_that_carries_lora_goes_on_with_it(tmp_path, settings, model):
    from mlx_lm import load

    settings |= {"fine_tune": "lora", "lora": {"rank": 3, "alpha": 6.0}, "beta": 0.1}
    GRPOTrainer(model, even, GRPOConfig(**settings), ROWS).train()
    settings |= {"output_dir": str(tmp_path / "next"), "lora": {}}
    loaded = load(model, adapter_path=str(tmp_path / "run"))[:2]
    began = dict(mx.load(str(tmp_path / "run" / "adapters.safetensors")))
    trainer = GRPOTrainer(loaded, even, GRPOConfig(**settings), ROWS)
    assert (trainer.config.lora.rank, trainer.config.lora.alpha) == (3, 6.0)
    trainer.train()
    ended = dict(mx.load(str(tmp_path / "next" / "adapters.safetensors")))
    assert began.keys() == ended.keys()
    assert all(not mx.array_equal(began[name], ended[name]).item() for name in began if name.endswith("lora_b"))
    assert trainer.history[0]["kl"] == pytest.approx(0, abs=1e-6)  # the reference is the adapter it came with
    with pytest.raises(ConfigError, match="carries LoRA layers"):
        GRPOTrainer(loaded, even, GRPOConfig(**settings), ROWS, peft_config={"r": 4})


def test_peft_settings_are_lora_settings(settings, model):
    class LoraConfig:
        r, lora_alpha, lora_dropout, target_modules = 8, 16, 0.05, {"v_proj", "q_proj"}

    config = GRPOTrainer(model, even, GRPOConfig(**settings), ROWS, peft_config=LoraConfig()).config
    assert config.fine_tune == "lora"
    expected = {"rank": 8, "alpha": 16.0, "dropout": 0.05, "targets": ["q_proj", "v_proj"], "layers": -1}
    assert {name: getattr(config.lora, name) for name in expected} == expected


def test_an_algorithm_with_rewards_of_its_own_leaves_the_functions_alone(settings, model):
    config = GRPOTrainer(model, even, GRPOConfig(**settings, algorithm="dapo"), ROWS).config
    assert config.reward_weights == {"even": 1.0}
    assert config.epsilon_high == 0.28


def test_a_data_set_that_is_not_shuffled_keeps_its_order(settings, model):
    seen = []

    def mine(prompts, completions, **_):
        seen.append(prompts[0])
        return [0.0] * len(completions)

    settings |= {"shuffle_dataset": False, "max_steps": 3, "per_device_train_batch_size": 4}
    GRPOTrainer(model, mine, GRPOConfig(**settings), ROWS[:2]).train()
    assert seen[1:] == ["w20 w9 w10", "w21 w9 w10", "w20 w9 w10"]  # the first call is the trial before the run


def test_the_api_is_completed_without_importing_it():
    code = "import sys, grpo; assert {'GRPOConfig', 'GRPOTrainer'} <= set(dir(grpo)); print('mlx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.strip() == "False"


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
