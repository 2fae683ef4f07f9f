"""The embedded model: a transformer of under a million weights that can almost add, made on the spot.

R1's own story in miniature. A Llama-type network with a vocabulary of its own is cold-started on imperfect chains of
thought (some steps wrong, some chains in two languages, some with a broken format) until it is right about as often
as not. GRPO takes it from there. What is written is an ordinary model directory: everything after loads it like any
other model.
"""

import importlib
import json
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_unflatten

import envs
from envs import Task
from envs.digit_sums import WORDS, imperfect_chain
from grpo.config.sections import ColdStart
from grpo.cpu import switch

END, PAD, UNKNOWN = "<end>", "<pad>", "<unk>"
SHAPE = {
    "model_type": "llama",
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "intermediate_size": 384,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}
UNFINISHED, SAVE_EVERY = "cold_start.safetensors", 20
WARMUP_STEPS, MAX_GRAD_NORM = 30, 1.0


def vocabulary() -> list[str]:
    """Every token, its id being its place."""
    return [PAD, END, UNKNOWN, *WORDS]


def build(folder: Path, settings: ColdStart, seed: int, on_step: Callable[[int, float], None] | None = None) -> None:
    """Train the cold start and write the model directory; `on_step` hears (step, loss).

    The chains are of the task's `train` split: what is held out is in neither the cold start nor in training. Stopped
    at any moment and called again with the same settings, it goes on from the last of its own checkpoints there.
    """
    words = {word: index for index, word in enumerate(vocabulary())}
    shape = {**SHAPE, "vocab_size": len(words)}
    mx.random.seed(seed)
    module = importlib.import_module(f"mlx_lm.models.{shape['model_type']}")
    model = module.Model(module.ModelArgs.from_dict(shape))
    tasks = envs.make("digit_sums", seed=seed).tasks("train")
    rng = random.Random(f"cold start {seed}")
    optimizer = optim.AdamW(_rate(settings), bias_correction=True)
    step_of = nn.value_and_grad(model, _cross_entropy)
    recipe = json.dumps({"seed": seed, **settings.model_dump()})
    done = _take_up(folder / UNFINISHED, recipe, model, optimizer)
    for step in range(settings.steps):
        prompts, chains = _batch(tasks, rng, settings, words)
        if step < done:
            continue  # the chains are drawn, so that the next ones are the same
        with switch.off():  # 280 steps make a rounding a different model: both paths are to train the same one
            loss, gradient = step_of(model, prompts, chains)
            mx.eval(loss, gradient)
        gradient, _ = optim.clip_grad_norm(gradient, MAX_GRAD_NORM)
        optimizer.update(model, gradient)
        mx.eval(model.state, optimizer.state, loss)
        if (step + 1) % SAVE_EVERY == 0:
            _put_by(folder / UNFINISHED, recipe, step + 1, model, optimizer)
        if on_step is not None:
            on_step(step + 1, loss.item())
    _write(folder, model, shape, words)
    (folder / UNFINISHED).unlink(missing_ok=True)


def _put_by(path: Path, recipe: str, step: int, model: nn.Module, optimizer: optim.Optimizer) -> None:
    """Write weights and optimizer in one file that replaces the last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = tree_flatten({"model": model.parameters(), "optimizer": optimizer.state})
    partial = path.with_name(f".partial_{path.name}")
    mx.save_safetensors(str(partial), dict(arrays), metadata={"recipe": recipe, "step": str(step)})
    os.replace(partial, path)


def _take_up(path: Path, recipe: str, model: nn.Module, optimizer: optim.Optimizer) -> int:
    """Load what an earlier call with the same recipe has written; return its steps, 0 if there is none."""
    try:
        loaded: Any = mx.load(str(path), return_metadata=True)
    except (RuntimeError, ValueError, FileNotFoundError):  # not there, or cut off
        return 0
    arrays, metadata = loaded
    if metadata.get("recipe") != recipe:
        return 0
    tree: Any = tree_unflatten(list(arrays.items()))
    model.update(tree["model"])
    optimizer.state = tree["optimizer"]
    return int(metadata["step"])


def _rate(settings: ColdStart) -> Callable[[mx.array], mx.array]:
    """Linear warm-up, then cosine down to 0."""
    warmup = min(WARMUP_STEPS, settings.steps // 2)
    up = optim.linear_schedule(settings.learning_rate / max(1, warmup), settings.learning_rate, max(1, warmup))
    return optim.join_schedules(
        [up, optim.cosine_decay(settings.learning_rate, max(1, settings.steps - warmup))], [warmup]
    )


def _batch(
    tasks: Sequence[Task], rng: random.Random, settings: ColdStart, words: dict[str, int]
) -> tuple[list[list[int]], list[list[int]]]:
    prompts, chains = [], []
    for _ in range(settings.batch):
        task = rng.choice(tasks)
        text = imperfect_chain(
            task,
            rng,
            wrong=settings.wrong,
            mixed=settings.mixed,
            broken=settings.broken,
            mixed_wrong=settings.mixed_wrong,
        )
        prompts.append([words[word] for word in str(task.prompt).split()])
        chains.append([words[word] for word in text.split()] + [words[END]])
    return prompts, chains


def _cross_entropy(model: nn.Module, prompts: Sequence[Sequence[int]], chains: Sequence[Sequence[int]]) -> mx.array:
    """Mean over the chains' tokens; the prompt is read, not learned."""
    rows = [[*prompt, *chain] for prompt, chain in zip(prompts, chains, strict=True)]
    width = max(map(len, rows))
    tokens = mx.array([row + [0] * (width - len(row)) for row in rows])  # [batch, time]
    starts = mx.array([len(prompt) for prompt in prompts])[:, None]
    ends = mx.array([len(row) for row in rows])[:, None]
    places = mx.arange(1, width)[None]
    trained_mask = mx.logical_and(places >= starts, places < ends)  # [batch, time - 1]
    losses = nn.losses.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])
    return (losses * trained_mask).sum() / trained_mask.sum()


def _write(folder: Path, model: nn.Module, shape: dict[str, object], words: dict[str, int]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel(vocab=words, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": PAD, "unk_token": UNKNOWN}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**settings, "clean_up_tokenization_spaces": False}, indent=1)
    )
    config = {**shape, "eos_token_id": words[END], "pad_token_id": words[PAD], "architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    mx.save_safetensors(
        str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), metadata={"format": "mlx"}
    )
