"""TRL's names of settings: translated, noted or refused, none in silence."""

import pytest

from grpo import GRPOConfig
from grpo.api.trl_names import REFUSED, RENAMED, TRANSLATED, WITHOUT_EFFECT
from grpo.config import Config
from grpo.config.sections import ConfigError

TYPICAL = {  # as the examples of TRL's documentation have it
    "output_dir": "out",
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 4,
    "num_generations": 8,
    "max_completion_length": 64,
    "num_train_epochs": 2,
    "learning_rate": 1e-5,
    "logging_steps": 10,
    "bf16": True,
    "gradient_checkpointing": True,
    "report_to": "tensorboard",
    "warmup_ratio": 0.1,
    "save_strategy": "epoch",
    "log_completions": True,
    "use_vllm": False,
}


def test_a_typical_config_is_taken_as_written():
    config = GRPOConfig(**TYPICAL)
    assert config.notes == [
        "logging_steps changes nothing here: every step is logged, to metrics.jsonl and TensorBoard"
    ]
    # 4 a device x 4 accumulated = 16 completions = 2 prompts of 8
    assert (config.prompts_per_step, config.num_updates, config.dtype) == (2, 1, "bfloat16")
    run = config.resolved(25, model="m")
    # 2 epochs of 25 prompts, 2 a step: 25 steps; a tenth of them, rounded up: 3; an epoch is 13 steps
    assert (run.steps, run.warmup_steps, run.save_every, run.model) == (25, 3, 13, "m")
    assert type(run) is Config


@pytest.mark.parametrize(
    ("theirs", "key", "ours"),
    [
        ({"output_dir": "x"}, "output", "x"),
        ({"max_steps": 7}, "steps", 7),
        ({"max_steps": -1}, "steps", 200),
        ({"save_steps": 7}, "save_every", 7),
        ({"save_strategy": "no"}, "save_every", 0),
        ({"eval_steps": 7}, "eval_every", 7),
        ({"eval_strategy": "no", "eval_steps": 7}, "eval_every", 0),
        ({"eval_strategy": "steps", "eval_steps": 7}, "eval_every", 7),
        ({"num_generations_eval": 3}, "eval_samples", 3),
        ({"save_total_limit": 7}, "keep_checkpoints", 7),
        ({"save_total_limit": None}, "keep_checkpoints", 3),
        ({"lr_scheduler_type": "cosine"}, "lr_schedule", "cosine"),
        ({"lr_scheduler_type": "constant_with_warmup"}, "lr_schedule", "constant"),
        ({"adam_beta2": 0.95}, "adam_betas", (0.9, 0.95)),
        ({"scale_rewards": False}, "scale_rewards", "none"),
        ({"scale_rewards": True}, "scale_rewards", "group"),
        ({"scale_rewards": "batch"}, "scale_rewards", "batch"),
        ({"bf16": False}, "dtype", "float32"),
        ({"optim": "adamw_torch"}, "optimizer", "adamw"),
        ({"max_tool_calling_iterations": 3}, "max_turns", 4),
        ({"vllm_importance_sampling_correction": True}, "importance_sampling_cap", 3.0),
        ({"vllm_importance_sampling_clip_max": 2.0}, "importance_sampling_mode", "sequence_mask"),
        ({"vllm_importance_sampling_correction": False}, "importance_sampling_cap", None),
        ({"fp16": True}, "dtype", "float16"),
        ({"model_init_kwargs": {"dtype": "bfloat16", "revision": "main"}}, "revision", "main"),
        ({"log_completions": False}, "completions_every", 0),
        ({"report_to": ["tensorboard"]}, "wandb_project", None),
        ({"report_to": "wandb"}, "wandb_project", "grpo"),
        ({"report_to": "trackio"}, "trackio_project", "grpo"),
        ({"report_to": "none"}, "wandb_project", None),
        ({"per_device_train_batch_size": 8}, "num_generations", 8),  # TRL's default comes with its batch
        # 6 completions = 2 prompts of 3
        ({"per_device_train_batch_size": 6, "num_generations": 3}, "prompts_per_step", 2),
        # 3 completions three times = 3 prompts of 3
        (
            {"gradient_accumulation_steps": 3, "per_device_train_batch_size": 3, "num_generations": 3},
            "prompts_per_step",
            3,
        ),
        # 4 times 4 generated, 2 times 4 an update: 2 updates
        (
            {"steps_per_generation": 4, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
            "num_updates",
            2,
        ),
        ({"generation_batch_size": 32, "per_device_train_batch_size": 8}, "num_updates", 4),
        ({"generation_batch_size": 32, "per_device_train_batch_size": 8}, "prompts_per_step", 4),
        # one update over two generations is one batch of both
        ({"steps_per_generation": 1, "gradient_accumulation_steps": 2}, "prompts_per_step", 2),
        # 5 updates at 2 a batch
        ({"max_steps": 5, "num_iterations": 2}, "steps", 3),
        ({"save_steps": 4, "num_iterations": 2}, "save_every", 2),
    ],
)
def test_what_means_the_same_is_translated(monkeypatch, theirs, key, ours):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    assert getattr(GRPOConfig(**theirs), key) == ours


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"learning_rat": 1.0}, "unknown setting learning_rat (did you mean learning_rate?)"),
        ({"per_device_train_batchsize": 1}, "did you mean per_device_train_batch_size?"),
        ({"quux": 1}, "unknown setting quux; python -m grpo.train --help lists all"),
        ({"repetition_penalty": 1.1}, "repetition_penalty=1.1 has no equivalent here"),
        ({"top_p": 0.9}, "top_p must be 1 in training"),
        ({"optim": "sgd"}, "optim='sgd' has no equivalent here: optimizer is adamw or muon"),
        ({"report_to": "mlflow"}, "there are tensorboard, wandb, trackio and none"),
        ({"trust_remote_code": True}, "code of a model's repository is never run"),
        ({"push_to_hub": True}, "distill.export"),
        ({"output_dir": "a", "output": "b"}, "output_dir and output are the same setting"),
        ({"max_steps": 1, "steps": 2}, "max_steps and steps say the same"),
        ({"num_train_epochs": 1, "steps": 2}, "num_train_epochs and steps say the same"),
        ({"num_train_epochs": 0}, "num_train_epochs must be a positive number, got 0"),
        ({"bf16": True, "fp16": True}, "can't both be true"),
        ({"per_device_train_batch_size": 0}, "must be a whole number of at least 1, got 0"),
        ({"per_device_train_batch_size": 2, "prompts_per_step": 2}, "say the same: give one or the other"),
        (
            {"per_device_train_batch_size": 3},
            "completions (3 a device x 1) must be a multiple of num_generations, got 8",
        ),
        ({"generation_batch_size": 9}, "must be a multiple of per_device_train_batch_size, got 9 and 8"),
        ({"generation_batch_size": 8, "steps_per_generation": 1}, "not both"),
        ({"eval_strategy": "steps"}, "eval_strategy='steps' needs eval_steps"),
        ({"save_strategy": "best"}, "save_strategy must be no, steps or epoch, got 'best'"),
        ({"model_init_kwargs": {"quantization_config": 4}}, "there are dtype, revision"),
        ({"learning_rate": -1}, "learning_rate"),
    ],
)
def test_what_has_no_equivalent_is_refused_in_one_line(theirs, said):
    with pytest.raises(ConfigError) as refused:
        GRPOConfig(**theirs)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", sorted(WITHOUT_EFFECT))
def test_what_changes_nothing_is_taken_and_said(name):
    assert GRPOConfig(**{name: 2}).notes == [f"{name} changes nothing here: {WITHOUT_EFFECT[name]}"]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_the_value_that_says_what_is_done_anyway_is_taken(name):
    same, _ = REFUSED[name]
    assert all(GRPOConfig(**{name: value}).notes == [] for value in same)
    with pytest.raises(ConfigError, match="has no equivalent here"):
        GRPOConfig(**{name: "something else"})


def test_a_name_is_in_one_table():
    tables = [set(RENAMED), TRANSLATED, set(WITHOUT_EFFECT), set(REFUSED)]
    assert sum(map(len, tables)) == len(set().union(*tables))
    assert not set().union(*tables) & set(Config.model_fields)  # these are looked up first


def test_the_directory_may_be_the_only_positional_argument():
    assert GRPOConfig("out").output == "out"
