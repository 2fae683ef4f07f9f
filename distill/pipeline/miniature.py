"""The embedded model's parts of a pipeline: its base, a smaller student's start, and rows of its task."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.corpus.row import CorpusRow, write_corpus, write_lines
from distill.pipeline.direct import direct
from distill.pipeline.products import CORPUS, MODEL, TASKS, fuse
from distill.pipeline.sections import MiniatureConfig, MiniatureRows, MiniatureStudent
from distill.sft.config import SFTConfig
from envs import Task
from envs.digit_sums import chain, digit_sums, imperfect_chain

BLANK, IMPERFECT = "blank", "imperfect.jsonl"


def run_miniature(config: MiniatureConfig, folder: Path) -> dict[str, Any]:
    """The embedded model in model/; one that is stopped goes on where it was."""
    from grpo.model import miniature
    from grpo.runs.interrupt import StopFlag
    from rewards.printable import say

    with StopFlag() as stop:

        def on_step(step: int, loss: float) -> None:
            stop.check()
            if step % 40 == 0 or step == config.steps:
                say(f"  {step}/{config.steps}  loss {loss:.3f}")

        partial = folder / f".partial_{MODEL}"
        miniature.build(partial, config, config.seed, on_step)
        shutil.rmtree(folder / MODEL, ignore_errors=True)
        partial.rename(folder / MODEL)
    return {"steps": config.steps}


def run_miniature_student(config: MiniatureStudent, folder: Path) -> dict[str, Any]:
    """A smaller model in model/, taught on imperfect chains of the task's `train` split."""
    from distill.sft.run import run_sft

    rng = random.Random(f"imperfect chains {config.seed}")
    tasks = list(digit_sums(seed=config.seed).tasks("train"))
    lines = (_line(task, rng, config) for task in _repeated(tasks, config.rows, rng))
    write_lines(folder / IMPERFECT, lines)
    blank(Path(config.like), folder / BLANK, config)
    sft = SFTConfig(
        model=str(folder / BLANK),
        data=str(folder / IMPERFECT),
        fine_tune="full",
        template="plain",
        epochs=config.epochs,
        examples_per_step=config.examples_per_step,
        learning_rate=config.learning_rate,
        warmup_steps=10,
        validation_share=0.0,
        eval_every=0,
        save_every=40,
        keep_checkpoints=1,
        token_budget=1024,
        packing=False,  # rows are all about as long
        seed=config.seed,
    )
    summary = run_sft(sft, folder, resume=True)
    fuse(str(folder / BLANK), folder)
    return {"steps": summary["steps"], "learned_tokens": summary["tokens"]}


def blank(like: Path, folder: Path, config: MiniatureStudent) -> None:
    """Random weights of the student's shape, with the tokenizer of the model it is like."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.models import llama

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(like / name, folder / name)
    shape = json.loads((like / "config.json").read_text())
    shape |= {
        "hidden_size": config.hidden_size,
        "intermediate_size": 3 * config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
    }
    mx.random.seed(config.seed + 1)
    weights = dict(tree_flatten(llama.Model(llama.ModelArgs.from_dict(shape)).parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(shape, indent=1))


def run_miniature_rows(config: MiniatureRows, folder: Path) -> dict[str, Any]:
    """Rows of the task's `train` split as corpus.jsonl; tasks, which nobody has answered yet, as tasks.jsonl."""
    rng = random.Random(f"{config.rows} {config.seed}")
    tasks = list(digit_sums(seed=config.seed).tasks("train"))
    rng.shuffle(tasks)
    if config.rows == "clean":
        rows = [_row(task, chain(task)) for task in tasks[: config.count]]
        write_corpus(folder / CORPUS, rows)
        return {"rows": len(rows)}
    general = list(direct(seed=config.seed).tasks("train"))
    if config.rows == "general":
        rows = [_row(task, f"<answer> {task.columns['reply']} </answer>") for task in general[: config.count]]
        write_corpus(folder / CORPUS, rows)
        return {"rows": len(rows)}
    mixed = [{"prompt": task.prompt, **task.columns} for task in [*tasks[: config.count], *general]]
    rng.shuffle(mixed)
    write_lines(folder / TASKS, (json.dumps(row, ensure_ascii=False) + "\n" for row in mixed))
    return {"rows": len(mixed)}


def _repeated(tasks: list[Task], count: int, rng: random.Random) -> Iterator[Task]:
    """So many tasks, each as often as any other, in a new order every time round."""
    while count > 0:
        order = rng.sample(tasks, len(tasks))[:count]
        count -= len(order)
        yield from order


def _row(task: Task, completion: str) -> CorpusRow:
    reasons = "<think>" in completion
    return CorpusRow(
        prompt=str(task.prompt),
        completion=completion,
        reference=str(task.columns["answer"]),
        domain="math" if reasons else "general",
        requires_reasoning=reasons,
        language="en",
        source="digit_sums",
    )


def _line(task: Task, rng: random.Random, config: MiniatureStudent) -> str:
    completion = imperfect_chain(task, rng, wrong=config.wrong, mixed=config.mixed, broken=config.broken)
    return json.dumps({"prompt": task.prompt, "completion": completion}, ensure_ascii=False) + "\n"
