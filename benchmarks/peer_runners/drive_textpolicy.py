"""Drive textpolicy.

It puts the chat template around a prompt when it samples, but trains on the prompt without: it gets prompts that
have the template already, which it leaves alone.
"""

import functools

import mlx.core as mx
import mlx.optimizers as optim
from textpolicy.algorithms import grpo
from textpolicy.environment.text_generation import TextGenerationEnv
from textpolicy.generation.lora import create_lora_setup
from textpolicy.generation.mlx_generation import create_batched_policy, load_model
from textpolicy.rollout import RolloutRunner, create_strategy
from textpolicy.training import Trainer
from work import Clock, fewer_words, given

work, clock = given(), Clock()
mx.random.seed(0)
model, tokenizer = load_model(work.model)
adapters = {"lora_layers": len(model.layers), "lora_rank": 8, "lora_scale": 10.0, "lora_dropout": 0.0}
model, _ = create_lora_setup(model, adapters, auto_reload=False)
prompts = [
    tokenizer.apply_chat_template(
        [{"role": "user", "content": row["prompt"]}], tokenize=False, add_generation_prompt=True
    )
    for row in work.rows
]


def reward(prompt, completion, example, **_):
    return fewer_words(completion)


policy = create_batched_policy(model, tokenizer, {"max_tokens": work.tokens, "temperature": 1.0, "top_p": 1.0})
env = TextGenerationEnv(prompts, reward, max_tokens=work.tokens, tokenizer=tokenizer, group_size=work.group)
runner = RolloutRunner(env, policy=policy, strategy=create_strategy("grpo"), max_steps=work.group)
trainer = Trainer(
    model=model,
    advantage_fn=grpo.compute_advantages,
    loss_fn=functools.partial(grpo.policy_loss, clip_ratio_low=0.2, clip_ratio_high=0.2),
    optimizer=optim.Adam(learning_rate=1e-5),
    max_grad_norm=1.0,
    metrics_interval=10**9,
)
decode = clock.timed(policy, lambda result: sum(int(tokens.size) for tokens, _ in result))
clock.start()
for _ in range(work.steps):
    trainer.train(grpo.select_all_data(runner.collect_batched(decode, work.group)))
    mx.eval(model.parameters())
    clock.step()
