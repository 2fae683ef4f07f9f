"""Drives inductive-mlxrl: its prefix-cached group rollout, and DAPO with clip 0.2 / 0.2 (its grpo does not clip)."""

import mlx.core as mx
import mlx.optimizers as optim
from mlxrl.algo.grpo import DAPOAlgorithm
from mlxrl.policy.model import LoRAConfig, load_policy_with_lora
from mlxrl.rollout.naive import SamplingConfig
from mlxrl.rollout.optimized import generate_prefix_cached_group_rollouts
from mlxrl.train.grpo import batch_from_rollouts, optimizer_step
from work import Clock, fewer_words, given

work, clock = given(), Clock()
mx.random.seed(0)
model, tokenizer, _ = load_policy_with_lora(model_id=work.model, config=LoRAConfig(rank=8, scale=10.0, dropout=0.0))
optimizer = optim.Adam(learning_rate=1e-5)
sampling = SamplingConfig(max_tokens=work.tokens, temperature=1.0, top_p=1.0, min_p=0.0, top_k=0)
algorithm = DAPOAlgorithm(clip_low=0.2, clip_high=0.2, dynamic_sampling=False)
pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
decode = clock.timed(
    generate_prefix_cached_group_rollouts, lambda result: sum(len(row.completion_tokens) for row in result)
)
clock.start()
for step in range(work.steps):
    completions = decode(
        model=model,
        tokenizer=tokenizer,
        prompts=[work.rows[step % len(work.rows)]["prompt"]],
        group_size=work.group,
        config=sampling,
        seed=step,
        batch_groups=True,
    )
    batch = batch_from_rollouts(
        model=model,
        completions=completions,
        rewards=[fewer_words(row.text) for row in completions],
        group_size=work.group,
        pad_token_id=pad,
        algorithm=algorithm,
    )
    optimizer_step(model=model, optimizer=optimizer, batch=batch, beta=0.01, pad_token_id=pad, algorithm=algorithm)
    clock.step()
