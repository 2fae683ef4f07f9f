"""Drives TRL's GRPOTrainer on torch, float32, on the processor's cores."""

import os
import tempfile

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from work import Clock, fewer_words, given

torch.set_num_threads(os.cpu_count() or 1)
work, clock = given(), Clock()


def reward(completions, **_):
    return [fewer_words(completion[0]["content"]) for completion in completions]


class Listener(TrainerCallback):
    def on_train_begin(self, *_, **__):
        clock.start()

    def on_step_end(self, *_, **__):
        clock.step()


settings = GRPOConfig(
    output_dir=tempfile.mkdtemp(),
    use_cpu=True,
    bf16=False,
    fp16=False,
    gradient_checkpointing=False,
    max_steps=work.steps,
    per_device_train_batch_size=work.group,
    num_generations=work.group,
    max_completion_length=work.tokens,
    temperature=1.0,
    top_p=1.0,
    top_k=0,
    beta=0.01,
    epsilon=0.2,
    loss_type="grpo",
    learning_rate=1e-5,
    logging_steps=1,
    save_strategy="no",
    report_to=[],
)
trainer = GRPOTrainer(
    model=AutoModelForCausalLM.from_pretrained(work.model, dtype=torch.float32),
    processing_class=AutoTokenizer.from_pretrained(work.model),
    reward_funcs=[reward],
    args=settings,
    train_dataset=Dataset.from_list(
        [{"prompt": [{"role": "user", "content": row["prompt"]}], "answer": row["answer"]} for row in work.rows]
    ),
    peft_config=LoraConfig(r=8, lora_alpha=80, target_modules="all-linear", task_type="CAUSAL_LM"),
    callbacks=[Listener()],
)
# its own name for the part that decodes, in the version this is pinned to: (prompt ids, completion ids, ...)
trainer._generate = clock.timed(trainer._generate, lambda result: sum(len(row) for row in result[1]))
trainer.train()
