"""Drives mlx-lm-lora's GRPO in its own environment: MODEL DATA STEPS GROUP TOKENS; prints `STEP seconds` after each
step.

Plain temperature 1 (its defaults filter by top-p and top-k) and the whole group decoded at once (its default ties
that to the number of prompts).
"""

import json
import sys
import tempfile
import time

import mlx.core as mx
import mlx.optimizers as optim
import mlx_lm
from mlx_lm_lora.trainer import grpo_trainer
from mlx_lm_lora.trainer.datasets import CacheDataset, GRPODataset
from mlx_lm_lora.utils import from_pretrained

model_path, data_path, (steps, group, tokens) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:6])
decode = grpo_trainer.generate_grpo
grpo_trainer.generate_grpo = lambda **keys: decode(**{**keys, "batch_size": group})


def fewer_words(prompts, completions, answer, types=None):
    return [-len(completion.split()) / 100 for completion in completions]


class Clock:
    def __init__(self):
        self.last = time.perf_counter()

    def on_train_loss_report(self, _):
        now = time.perf_counter()
        print("STEP", now - self.last, flush=True)
        self.last = now

    def on_val_loss_report(self, _):
        pass


mx.random.seed(0)
adapters = {"rank": 8, "dropout": 0.0, "scale": 10.0, "num_layers": -1}
model, tokenizer, adapter_file = from_pretrained(model_path, new_adapter_path=tempfile.mkdtemp(), lora_config=adapters)
reference, _ = mlx_lm.load(model_path)
reference.freeze()
with open(data_path) as file:
    rows = [json.loads(line) for line in file]
settings = grpo_trainer.GRPOTrainingArgs(
    batch_size=1,
    iters=steps,
    group_size=group,
    max_completion_length=tokens,
    temperature=1.0,
    top_p=1.0,
    top_k=0,
    min_p=0.0,
    beta=0.01,
    epsilon=0.2,
    reward_weights=[1.0],
    steps_per_report=1,
    steps_per_save=10**9,
    adapter_file=str(adapter_file),
    grpo_loss_type="grpo",
)
grpo_trainer.train_grpo(
    model=model,
    ref_model=reference,
    tokenizer=tokenizer,
    optimizer=optim.Adam(learning_rate=1e-5),
    train_dataset=CacheDataset(GRPODataset(rows, tokenizer)),
    val_dataset=None,
    reward_funcs=[fewer_words],
    training_callback=Clock(),
    args=settings,
    end_answer_token="",
)
