"""What TRL's own trainer tests ask for, a line each: it works here as written, or is refused by name with the way out.

The capabilities are those of TRL 1.16's tests of its GRPO trainer; those about vision, about Liger's and vLLM's own
kernels and about several processes have no counterpart. The tests are this project's own.
"""

import asyncio
import functools
import json

import pytest

import grpo
from grpo.config.sections import ConfigError
from grpo.runs.interrupt import TrainingFailed
from tests.grpo.api.conftest import even, trainer

WORKS = ""


# Settings. A text is what the refusal says.

CONFIGS = {
    "defaults": ({}, WORKS),
    "one positional directory": ({"num_generations": 4}, WORKS),
    "loss bnpo": ({"loss_type": "bnpo"}, WORKS),
    "loss grpo": ({"loss_type": "grpo"}, WORKS),
    "loss dr_grpo": ({"loss_type": "dr_grpo"}, WORKS),
    "loss dapo over accumulated batches": ({"loss_type": "dapo", "gradient_accumulation_steps": 2}, WORKS),
    "loss cispo with its bound": ({"loss_type": "cispo", "epsilon_high": 5.0}, WORKS),
    "loss cispo without": ({"loss_type": "cispo"}, "loss_type cispo needs epsilon_high"),
    "loss sapo": ({"loss_type": "sapo"}, WORKS),
    "loss luspo": ({"loss_type": "luspo", "importance_sampling_level": "sequence"}, WORKS),
    "loss vespo": ({"loss_type": "vespo"}, "loss_type"),
    "several passes": ({"num_iterations": 2}, WORKS),
    "a reference": ({"beta": 0.1}, WORKS),
    "a reference that moves": ({"beta": 0.1, "sync_ref_model": True, "ref_model_sync_steps": 2, "max_steps": 2}, WORKS),
    "unbiased KL": ({"beta": 0.1, "use_bias_correction_kl": True}, WORKS),
    "off-policy mask": ({"off_policy_mask_threshold": 0.5}, WORKS),
    "entropy bonus": ({"entropy_coef": 0.01}, WORKS),
    "adaptive entropy": ({"use_adaptive_entropy": True, "entropy_target": 1.0, "entropy_coef": 0.01}, WORKS),
    "adaptive entropy over accumulated batches": (
        {"use_adaptive_entropy": True, "entropy_target": 1.0, "gradient_accumulation_steps": 2},
        WORKS,
    ),
    "entropy filter": ({"top_entropy_quantile": 0.2}, WORKS),
    "sequence ratios": ({"importance_sampling_level": "sequence"}, WORKS),
    "dual clip": ({"delta": 2.0}, WORKS),
    "truncated completions masked": ({"mask_truncated_completions": True}, WORKS),
    "GDPO": ({"multi_objective_aggregation": "normalize_then_sum"}, WORKS),
    "no scaling by bool": ({"scale_rewards": False}, WORKS),
    "scaling by group": ({"scale_rewards": "group"}, WORKS),
    "scaling by batch": ({"scale_rewards": "batch"}, WORKS),
    "no scaling by name": ({"scale_rewards": "none"}, WORKS),
    "steps per generation": ({"steps_per_generation": 4}, WORKS),
    "a group larger than the device's batch": (
        {"num_generations": 6, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2},
        WORKS,
    ),
    "a group that does not fit": ({"num_generations": 3}, "must be a multiple of num_generations, got 3"),
    "epochs": ({"num_train_epochs": 1, "max_steps": -1, "per_device_train_batch_size": 20}, WORKS),
    "rows in their order": ({"shuffle_dataset": False}, WORKS),
    "half precision": ({"bf16": True}, WORKS),
    "checkpointing of activations": ({"gradient_checkpointing": True}, WORKS),
    "saving by steps": ({"save_strategy": "steps", "save_steps": 1}, WORKS),
    "saving by epochs": ({"save_strategy": "epoch"}, WORKS),
    "logs": ({"logging_steps": 1, "logging_strategy": "no", "log_completions": True}, WORKS),
    "dataloader workers": ({"dataloader_num_workers": 4, "accelerator_config": {"dispatch_batches": True}}, WORKS),
    "liger": ({"use_liger_kernel": True}, WORKS),
    "padding": ({"pad_to_multiple_of": 8}, WORKS),
    "vLLM": ({"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.05}, WORKS),
    "vLLM's importance weights": (
        {"use_vllm": True, "vllm_importance_sampling_correction": True, "vllm_importance_sampling_clip_max": 3.0},
        WORKS,
    ),
    "continuous batching": ({"use_transformers_continuous_batching": True}, WORKS),
    "optimizer by name": ({"optim": "adamw_torch_fused", "adam_beta2": 0.95}, WORKS),
    "schedule": ({"lr_scheduler_type": "cosine", "warmup_steps": 0.5}, WORKS),
    "the best by a held-out figure": ({"metric_for_best_model": "eval_reward", "eval_strategy": "no"}, WORKS),
    "top-p": ({"top_p": 0.9}, "top_p must be 1 in training"),
    "top-k": ({"top_k": 10}, "top_k must be 0 in training"),
    "min-p": ({"min_p": 0.01}, "min_p=0.01 has no equivalent here: training needs the logprobs of unfiltered draws"),
    "repetition penalty": ({"repetition_penalty": 1.1}, "the reward `repetition` punishes it"),
    "generation kwargs": ({"generation_kwargs": {"length_penalty": 0.9}}, "temperature and stops have keys"),
    "structured outputs": ({"vllm_structured_outputs_regex": "x"}, "reward the form instead"),
    "a head in fp32": ({"cast_lm_head_to_fp32": True}, "set dtype='float32'"),
    "a router's loss": ({"router_aux_loss_coef": 0.001}, "routers are not trained"),
    "remote code": ({"trust_remote_code": True}, "code of a model's repository is never run"),
    "the best loaded at the end": ({"load_best_model_at_end": True}, "is kept in output_dir/best"),
    "a lower figure is better": ({"greater_is_better": False}, "of which higher is better"),
    "pushing": ({"push_to_hub": True}, "--push owner/name"),
    "deepspeed": ({"deepspeed": "zero3.json"}, "it is for one machine"),
    "a checkpoint by path": ({"resume_from_checkpoint": "run/checkpoint-2"}, "trainer.train(resume=True)"),
    "a misspelt name": ({"num_generation": 2}, "did you mean num_generations?"),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_settings_work_as_written_or_are_refused_by_name(model, tmp_path, what, capsys):
    given, said = CONFIGS[what]
    if said:
        with pytest.raises(ConfigError) as refused:
            trainer(model, tmp_path, given)
        assert said in str(refused.value) and "\n" not in str(refused.value)
        return
    made = trainer(model, tmp_path, given)
    made.train()
    assert made.history and all("grad_norm" in line for line in made.history)
    out = capsys.readouterr().out
    for name in given:  # nothing is dropped in silence: it is a key here, or there is a line about it
        known = name in type(made.config).model_fields or name in out or name in grpo.api.trl_names.RENAMED
        assert known or name in grpo.api.trl_names.TRANSLATED, name


def test_chat_template_arguments(chat, tmp_path):
    made = trainer(chat, tmp_path, {"template": "default", "chat_template_kwargs": {"enable_thinking": False}})
    made.train()
    row = json.loads((tmp_path / "run" / "completions" / "step_000001.jsonl").read_text().splitlines()[0])
    assert row["prompt"].endswith("w5 ")


# Rewards


async def slowly(completions, **_):
    await asyncio.sleep(0.01)
    return [float(len(text)) for text in completions]


def lengths(completions, **_):
    return [float(len(text)) for text in completions]


def now_and_then(completions, hint, **_):
    return [1.0 if n % 2 else None for n in hint]


def hinted(completions, hint, answer, **_):
    return [float(n == int(text)) for n, text in zip(hint, answer, strict=True)]


def told(completions, trainer_state=None, log_extra=None, log_metric=None, **_):
    log_extra("step", [trainer_state.global_step] * len(completions))
    log_metric("steps", float(trainer_state.global_step))
    return [float(len(text)) for text in completions]


class Judge:
    """An object, and a method."""

    def __call__(self, completions, **_):
        return [0.5] * len(completions)

    def score(self, prompts, completions, completion_ids, **_):
        return [float(len(ids)) for ids in completion_ids]


REWARDS = {
    "one": (lengths, ["lengths"]),
    "one that waits": (slowly, ["slowly"]),
    "several": ([lengths, even], ["lengths", "even"]),
    "both kinds": ([lengths, slowly], ["lengths", "slowly"]),
    "a name and a function": (["format", even], ["format", "even"]),
    "none for some tasks": ([now_and_then, even], ["now_and_then", "even"]),
    "extra columns": (hinted, ["hinted"]),
    "the trainer's state": (told, ["told"]),
    "an object": (Judge(), ["Judge"]),
    "a method": (Judge().score, ["score"]),
    "part of a function": (functools.partial(lengths, extra=1), ["lengths"]),
    "a lambda": (lambda completions, **_: [1.0] * len(completions), ["lambda"]),
    "two of one name": ([even, even], ["even", "even_2"]),
}


@pytest.mark.parametrize("what", REWARDS)
def test_reward_functions_of_every_kind(model, tmp_path, what):
    functions, names = REWARDS[what]
    made = trainer(model, tmp_path, reward_funcs=functions)
    made.train()
    assert list(made.config.reward_weights) == names
    assert all(f"rewards/{name}/mean" in made.history[0] or name == "now_and_then" for name in names)
    assert not any(key.startswith("rewards/failed") for key in made.history[0])


def test_weights_and_what_the_reward_metric_is(model, tmp_path):
    made = trainer(model, tmp_path, {"reward_weights": [0.7, 0.3]}, reward_funcs=[lengths, even])
    made.train()
    line = made.history[0]
    assert line["reward"] == pytest.approx(0.7 * line["rewards/lengths/mean"] + 0.3 * line["rewards/even/mean"])


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([0.7], "one a reward function, got 1 for 2"),
        ([0.7, "much"], "reward_weights"),
        ([0.7, float("nan")], "reward_weights"),
        (0.7, "reward_weights"),
        ({"lengths": 1.0, "evn": 2.0}, "reward_weights names evn, reward_funcs are lengths, even"),
        ([0.0, 0.0], "at least one reward needs a weight other than 0"),
    ],
)
def test_wrong_weights_are_one_line(model, tmp_path, weights, said):
    with pytest.raises(ConfigError) as refused:
        trainer(model, tmp_path, {"reward_weights": weights}, reward_funcs=[lengths, even])
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_metric_of_a_reward_is_logged_and_its_extra_is_in_the_rows(model, tmp_path):
    made = trainer(model, tmp_path, reward_funcs=told)
    made.train()
    row = json.loads((tmp_path / "run" / "completions" / "step_000001.jsonl").read_text().splitlines()[0])
    assert made.history[0]["steps"] == 0.0 and row["logged"] == {"step": 0}


def test_a_reward_without_any_value_ends_the_run_and_says_so(model, tmp_path):
    def nothing(completions, **_):
        return [None] * len(completions)

    with pytest.raises(TrainingFailed, match="They gave no value"):
        trainer(model, tmp_path, {"max_steps": 4}, reward_funcs=nothing).train()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"reward_funcs": "org/tiny-reward-model"}, "looks like a reward model"),
        ({"reward_processing_classes": object()}, "reward models are not run here"),
        ({"reward_funcs": None}, "reward_funcs is empty"),
        ({"train_dataset": None}, "train_dataset is missing"),
        ({"optimizers": (1, 2)}, "optimizers has no equivalent here"),
        ({"compute_metrics": len}, "GRPOTrainer takes no compute_metrics"),
        ({"peft_config": {"num_virtual_tokens": 8}}, "peft_config must be a LoraConfig"),
        ({"peft_config": {"r": 4, "modules_to_save": ["lm_head"]}}, "no modules trained whole"),
    ],
)
def test_arguments_without_an_equivalent_are_refused_by_name(tmp_path, given, said):
    with pytest.raises(ConfigError) as refused:
        trainer("m", tmp_path, **given)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_most_settings_work_as_written():
    assert sum(not said for _, said in CONFIGS.values()) >= 40
