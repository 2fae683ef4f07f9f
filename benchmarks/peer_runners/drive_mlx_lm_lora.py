"""Drives mlx-lm-lora's GRPO through its Python API, at plain temperature 1 (its command line filters by top-p, top-k).

With `together` as the last word the whole group is decoded at once; its own code decodes as many rows as there are
prompts in a batch, one here.
"""

import sys
import tempfile

import mlx.core as mx
import mlx.optimizers as optim
import mlx_lm
from mlx_lm_lora.trainer import grpo_trainer
from mlx_lm_lora.trainer.datasets import CacheDataset, GRPODataset
from mlx_lm_lora.utils import from_pretrained
from work import Clock, fewer_words, given

together = sys.argv[-1] == "together"
if together:
    sys.argv.pop()
work, clock = given(), Clock()
decode = clock.timed(grpo_trainer.generate_grpo, lambda result: sum(row.size for row in result[0]))
grpo_trainer.generate_grpo = lambda **keys: decode(**{**keys, **({"batch_size": work.group} if together else {})})


def reward(prompts, completions, answer, types=None):
    return [fewer_words(completion) for completion in completions]


class Listener:
    def on_train_loss_report(self, _):
        clock.step()

    def on_val_loss_report(self, _):
        pass


mx.random.seed(0)
adapters = {"rank": 8, "dropout": 0.0, "scale": 10.0, "num_layers": -1}
model, tokenizer, adapter_file = from_pretrained(work.model, new_adapter_path=tempfile.mkdtemp(), lora_config=adapters)
reference, _ = mlx_lm.load(work.model)
reference.freeze()
settings = grpo_trainer.GRPOTrainingArgs(
    batch_size=1,
    iters=work.steps,
    group_size=work.group,
    max_completion_length=work.tokens,
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
clock.start()
grpo_trainer.train_grpo(
    model=model,
    ref_model=reference,
    tokenizer=tokenizer,
    optimizer=optim.Adam(learning_rate=1e-5),
    train_dataset=CacheDataset(GRPODataset(work.rows, tokenizer)),
    val_dataset=None,
    reward_funcs=[reward],
    training_callback=Listener(),
    args=settings,
    end_answer_token="",
)
