"""TRL's and transformers' names of settings: what each is called here, or why there is no such thing.

Facts of TRL 1.16 and transformers 5; a name that `grpo.config.Config` has is not looked up here.
"""

from typing import Any

# theirs -> ours, same meaning
RENAMED = {
    "output_dir": "output",
    "save_steps": "save_every",
    "eval_steps": "eval_every",
    "save_total_limit": "keep_checkpoints",
    "lr_scheduler_type": "lr_schedule",
    "num_generations_eval": "eval_samples",
}

# read together with others by `grpo.api.translation`
TRANSLATED = {
    "max_steps",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "steps_per_generation",
    "generation_batch_size",
    "warmup_ratio",
    "eval_strategy",
    "save_strategy",
    "report_to",
    "bf16",
    "fp16",
    "log_completions",
    "adam_beta1",
    "adam_beta2",
    "model_init_kwargs",
    "max_tool_calling_iterations",
    "optim",
    "vllm_importance_sampling_correction",
    "vllm_importance_sampling_mode",
    "vllm_importance_sampling_clip_max",
    "vllm_importance_sampling_cap",
    "vllm_importance_sampling_clip_min",
}

# any value is taken, for it changes nothing that is learned; said once, with the reason
WITHOUT_EFFECT = {
    **dict.fromkeys(
        ("logging_steps", "logging_strategy", "logging_first_step", "logging_nan_inf_filter"),
        "every step is logged, to metrics.jsonl and TensorBoard",
    ),
    **dict.fromkeys(
        ("num_completions_to_print", "log_unique_prompts", "log_multimodal"),
        "completions are in the files of the run directory's completions/ (completions_every)",
    ),
    **dict.fromkeys(
        ("per_device_eval_batch_size", "eval_accumulation_steps"), "max_rows completions are decoded at a time"
    ),
    **dict.fromkeys(
        (
            "dataloader_num_workers",
            "dataloader_pin_memory",
            "dataloader_persistent_workers",
            "dataloader_prefetch_factor",
            "dataloader_drop_last",
            "accelerator_config",
            "ddp_timeout",
            "ddp_find_unused_parameters",
            "ddp_backend",
            "ds3_gather_for_generation",
            "average_tokens_across_devices",
            "local_rank",
        ),
        "prompts are in memory, and there is one device",
    ),
    **dict.fromkeys(
        ("use_liger_kernel", "liger_kernel_config", "torch_empty_cache_steps", "pad_to_multiple_of"),
        "the loss never holds the logits of a whole batch, and micro-batches are cut by token_budget",
    ),
    **dict.fromkeys(
        (
            "use_vllm",
            "vllm_mode",
            "vllm_model_impl",
            "vllm_enable_sleep_mode",
            "vllm_server_base_url",
            "vllm_server_host",
            "vllm_server_port",
            "vllm_server_timeout",
            "vllm_group_port",
            "vllm_gpu_memory_utilization",
            "vllm_max_model_length",
            "vllm_tensor_parallel_size",
            "use_transformers_continuous_batching",
            "transformers_continuous_batching_config",
            "use_transformers_paged",
            "cache_implementation",
        ),
        "completions are sampled by this package's own engine",
    ),
    **dict.fromkeys(("disable_tqdm",), "a bar is shown in a terminal only"),
    **dict.fromkeys(("eval_on_start",), "with eval_every, held-out tasks are evaluated before the first step anyway"),
    **dict.fromkeys(("run_name",), "a run is called by its directory, output"),
    **dict.fromkeys(("disable_dropout",), "there is no dropout but lora.dropout, which is 0 unless given"),
    **dict.fromkeys(("full_determinism",), "the same seed gives the same run anyway"),
    **dict.fromkeys(
        ("gradient_checkpointing_kwargs", "torch_compile", "torch_compile_backend", "tf32"), "it is torch's"
    ),
    **dict.fromkeys(("do_train", "do_eval"), "train() and evaluate() are called by name"),
}

# theirs -> the values that say what is done here anyway, and what to do for others
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "min_p": ((None, 0.0), "training needs the logprobs of unfiltered draws"),
    "repetition_penalty": (
        (1.0,),
        "training needs the logprobs of unfiltered draws; the reward `repetition` punishes it",
    ),
    "generation_kwargs": (
        (None, {}),
        "training needs the logprobs of unfiltered draws; temperature and stops have keys",
    ),
    "vllm_structured_outputs_regex": ((None,), "reward the form instead: reward_funcs=['format', ...]"),
    "trust_remote_code": ((False,), "code of a model's repository is never run"),
    "remove_unused_columns": (
        (False, None),
        "rewards get every column; take out of the data set what they must not see",
    ),
    "router_aux_loss_coef": ((None, 0.0), "there is no loss on the router; routers are not trained"),
    "cast_lm_head_to_fp32": ((False,), "set dtype='float32'"),
    "adam_epsilon": ((1e-8,), "AdamW's epsilon is 1e-8"),
    "lr_scheduler_kwargs": ((None, {}), "min_learning_rate is where linear and cosine end"),
    "label_smoothing_factor": ((0, 0.0), "there are no labels to smooth"),
    "neftune_noise_alpha": ((None,), "noise on embeddings would part sampler and trainer"),
    "data_seed": ((None,), "seed is that of the data order too"),
    "auto_find_batch_size": ((False,), "memory_gb lowers token_budget until the estimate fits"),
    "deepspeed": ((None, ""), "it is for one machine: memory_gb, gradient_checkpointing"),
    "fsdp": ((None, "", []), "it is for one machine: memory_gb, gradient_checkpointing"),
    "push_to_hub": ((False,), "python -m distill.export --model M --adapter RUN --output DIR --push owner/name"),
    "hub_model_id": ((None,), "python -m distill.export --push owner/name"),
    "log_completions_hub_repo": ((None,), "the files are in the run directory's completions/"),
    "load_best_model_at_end": (
        (False,),
        "the adapter that is best by metric_for_best_model is kept in output_dir/best, beside the newest",
    ),
    "greater_is_better": ((None, True), "metric_for_best_model is a figure of which higher is better"),
    "resume_from_checkpoint": ((None, False), "trainer.train(resume=True)"),
    "overwrite_output_dir": ((False,), "choose another output_dir, or train(resume=True)"),
    "save_only_model": ((False,), "a checkpoint holds what resume needs"),
    "eval_delay": ((0, None), "evaluations come every eval_every steps"),
    "logging_dir": ((None,), "TensorBoard's curves are in output_dir"),
    "use_cpu": ((False,), "mx.set_default_device(mx.cpu) before the trainer is made"),
}


def known() -> list[str]:
    """Every name of theirs that is understood or refused with advice."""
    return sorted({*RENAMED, *TRANSLATED, *WITHOUT_EFFECT, *REFUSED})
