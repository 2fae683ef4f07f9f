"""Evaluate a model on tasks, a part at a time, so that one that is stopped goes on where it was."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import envs
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.evaluate.intervals import interval
from grpo.evaluate.measure import evaluate
from grpo.model.frozen import load_teacher
from grpo.model.policy import Policy
from grpo.opening import model_path, reward_set, tasks, try_rewards
from grpo.ranks import here
from grpo.rollout.dialogue import dialogues_of, tools_for
from grpo.rollout.prompts import fitting
from grpo.rollout.stopping import stops
from grpo.runs import checkpoint
from grpo.runs.interrupt import StopFlag
from grpo.runs.live import token_bar
from grpo.runs.log import RunLog, versions
from grpo.runs.rows import completion_rows, to_line
from grpo.scoring import Scorer
from grpo.types import Prompt

COMPLETIONS, RESULTS, SETTINGS = "completions.jsonl", "results.json", "settings.json"
PART_ROWS = 256  # completions after which what there is, is written; a part is never less than max_rows


@dataclass(frozen=True)
class Wish:
    """An evaluation's subject: the run's config, or one made of the command line, and what neither says."""

    config: Config
    home: Path  # where the miniature stands, or is made
    adapter: str | None = None
    every_row: bool = False  # of a file named for this evaluation, not only its held-out part
    command: str = ""


def run_evaluation(wish: Wish, output: Path, say: Callable[[str], None], stop: StopFlag) -> dict[str, Any]:
    """Sample, score and write completions.jsonl and results.json in `output`; return what the latter holds.

    Over ranks each samples its share of every part, and rank 0 writes; the others return nothing.

    Raises ConfigError or envs.DataError, one line, for what the user can put right, and Interrupted after saving.
    """
    config, start, ranks = wish.config, time.monotonic(), here()
    say = _claim(wish, output, say) if ranks.writes else lambda _: None
    if ranks.from_first(lambda: (output / RESULTS).exists()):
        if not ranks.writes:
            return {}
        say(f"{output} holds this evaluation already")
        done: dict[str, Any] = json.loads((output / RESULTS).read_text(encoding="utf-8"))
        return done
    rewards = reward_set(config)
    scorer = Scorer(rewards, config.max_completion_length)
    try:
        env = tasks(config, say, rewards)
        chosen = _tasks(wish, env)
        try_rewards(rewards, env, chosen, config, output, say, stop)
        policy = load_teacher(
            model_path(config, wish.home, say, stop), wish.adapter, dtype=config.dtype, revision=config.revision
        )
        rows = _sample(config, policy, env, chosen, scorer, output, say, stop)
    finally:
        scorer.close()
    if not ranks.writes:
        return {}
    found = _settings(wish) | {
        "tasks": len({row["task"] for row in rows}),
        "figures": figures(rows),
        "mean_length": float(np.mean([row["tokens"] for row in rows])),
        "truncated": float(np.mean([row["stop_reason"] == "length" for row in rows])),
        "seconds": round(time.monotonic() - start, 1),
        "command": wish.command,
        "versions": versions(),
    }
    checkpoint.write_text(output / RESULTS, json.dumps(found, indent=1, ensure_ascii=False))
    return found


def figures(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return mean and 95% interval over tasks of each reward, and of their sum as `reward`; `missing` counts rows.

    A reward without a value for any completion is left out; of one task alone there may be no interval.
    """
    names = list(dict.fromkeys(name for row in rows for name in row["rewards"]))
    columns = {name: [row["rewards"].get(name) for row in rows] for name in names}
    columns["reward"] = [row["reward"] for row in rows]
    found = {}
    for name, values in columns.items():
        by_task: dict[str, list[float]] = {}
        for row, value in zip(rows, values, strict=True):
            if value is not None:
                by_task.setdefault(row["task"], []).append(value)
        if by_task:
            means = [float(np.mean(task)) for task in by_task.values()]
            low, high = interval(means)
            missing = sum(value is None for value in values)
            ends = {"low": low, "high": high} if low == low else {"low": None, "high": None}
            found[name] = {"mean": float(np.mean(means)), **ends, "missing": missing}
    return found


def _settings(wish: Wish) -> dict[str, Any]:
    """Return all settings that decide the completions: equal settings give equal completions."""
    config = wish.config
    names = (
        "model",
        "revision",
        "data",
        "data_options",
        "template",
        "system_prompt",
        "reward_weights",
        "reward_options",
    )
    return {
        **{name: getattr(config, name) for name in names},
        "data": config.source,
        "adapter": wish.adapter,
        "every_row": wish.every_row,
        "samples": config.eval_samples,
        "limit": config.eval_tasks,
        "temperature": config.eval_temperature,
        "top_p": config.eval_top_p,
        "max_completion_length": config.max_completion_length,
        **{name: getattr(config, name) for name in ("max_turns", "max_conversation_length", "max_reply_length")},
        "seed": config.seed,
    }


def _claim(wish: Wish, output: Path, say: Callable[[str], None]) -> Callable[[str], None]:
    """Record the settings; refuse a directory of other ones. Returns a `say` that log.txt hears too."""
    path = output / SETTINGS
    mine = json.loads(json.dumps(_settings(wish)))
    try:
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else mine
    except ValueError:
        raise ConfigError(f"{path} can't be read: choose another --output") from None
    if changed := [name for name in mine if before.get(name) != mine[name]]:
        raise ConfigError(
            f"output {output} holds an evaluation with another {changed[0]} ({before.get(changed[0])!r}, now "
            f"{mine[changed[0]]!r}): choose another --output"
        )
    checkpoint.write_text(path, json.dumps(mine, indent=1))
    log = RunLog(output)
    log.begin()
    return log.heard(say)


def _tasks(wish: Wish, env: envs.Env) -> Sequence[envs.Task]:
    held_out = list(env.splits.get("test", ()))
    chosen = [*env.splits.get("train", ()), *held_out] if wish.every_row else held_out
    if not chosen:
        raise ConfigError(f"data {wish.config.data} has no held-out tasks: name others with --data")
    return chosen[: wish.config.eval_tasks]


def _sample(
    config: Config,
    policy: Policy,
    env: envs.Env,
    chosen: Sequence[envs.Task],
    scorer: Scorer,
    output: Path,
    say: Callable[[str], None],
    stop: StopFlag,
) -> list[dict[str, Any]]:
    """Return the rows of all completions; those of whole parts that are there already are not sampled again."""
    dialogues = dialogues_of(env, policy.tokenizer, config, stops(config, policy.tokenizer).tokens)
    tools = None if dialogues is None else lambda task: tools_for(env, task)
    prompts, notes = fitting(chosen, policy.tokenizer, config, "held-out", tools)
    for note in notes:
        say(f"  note: {note}")
    if not prompts:
        raise ConfigError(f"data {config.data}: no prompt is left of {len(chosen)}: {' '.join(notes)}")
    size = max(1, max(PART_ROWS, config.max_rows) // config.eval_samples)
    parts: list[list[Prompt]] = [list(prompts[at : at + size]) for at in range(0, len(prompts), size)]
    rows: list[dict[str, Any]] = []
    writes, paths = here().writes, [output / f".part_{number:06d}.jsonl" for number in range(len(parts))]
    done = here().from_first(lambda: [path.exists() for path in paths])
    with token_bar(
        Console(quiet=not writes), "evaluating", len(prompts) * config.eval_samples * config.max_completion_length
    ) as bar:

        def advance(tokens: int) -> None:
            stop.check()
            bar.advance(bar.task_ids[0], tokens)

        for number, (part, path) in enumerate(zip(parts, paths, strict=True)):
            if not done[number]:
                measured = evaluate(policy, part, scorer, config, step=number, on_tokens=advance, dialogues=dialogues)
                made = [
                    row
                    for group, scores in zip(measured.groups, measured.scored, strict=True)
                    for row in completion_rows(group, scores, None)
                ]
                for message in (text for scores in measured.scored for text in scores.messages.values()):
                    say(f"  {message}")
                if writes:
                    checkpoint.write_text(path, "".join(map(to_line, made)))
            if writes:
                rows += [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    if writes:
        checkpoint.write_text(output / COMPLETIONS, "".join(map(to_line, rows)))
        for path in paths:
            path.unlink(missing_ok=True)
    return rows
