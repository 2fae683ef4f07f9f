"""Evaluate a model on tasks, a part at a time, so that one that is stopped goes on where it was."""

import hashlib
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
from grpo.evaluate.measure import Measured, evaluate, measured
from grpo.model.frozen import load_teacher
from grpo.opening import model_path, reward_set, tasks, try_rewards
from grpo.ranks import here
from grpo.rollout.dialogue import dialogues_of, tools_for
from grpo.rollout.prompts import fitting
from grpo.rollout.server import Asking, server_groups
from grpo.rollout.stopping import stops
from grpo.runs import checkpoint
from grpo.runs.interrupt import StopFlag
from grpo.runs.live import token_bar
from grpo.runs.log import RunLog, versions
from grpo.runs.rows import completion_rows, to_line
from grpo.scoring import Scorer, failed_dialogues, tool_tracebacks

COMPLETIONS, RESULTS, SETTINGS = "completions.jsonl", "results.json", "settings.json"
PART_ROWS = 256  # completions after which what there is, is written; a part is never less than max_rows


@dataclass(frozen=True)
class Wish:
    """An evaluation's subject: the run's config, or one made of the command line, and what neither says."""

    config: Config
    home: Path  # where the miniature stands, or is made
    adapter: str | None = None
    server: str | None = None  # that is asked in place of a model here; config.model is its name there
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
        return checkpoint.read_object(output / RESULTS)
    rewards = reward_set(config)
    scorer = Scorer(rewards, config.max_completion_length)
    try:
        env = tasks(config, say, rewards)
        chosen = asked_tasks(wish, env)
        try_rewards(rewards, env, chosen, config, output, say, stop)
        source = server_source(wish, env, chosen) if wish.server is not None else _model(wish, env, chosen, say, stop)
        rows = _sample(config, source, scorer, output, say, stop)
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
        **({} if wish.server is None else {"server": wish.server}),
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
    checkpoint.write_text(output / SETTINGS, json.dumps(require_same(wish, output), indent=1))
    log = RunLog(output)
    log.begin()
    return log.heard(say)


def require_same(wish: Wish, output: Path) -> dict[str, Any]:
    """Return the settings of an evaluation; ConfigError where `output` holds one with others."""
    path = output / SETTINGS
    mine: dict[str, Any] = json.loads(json.dumps(_settings(wish)))
    before = checkpoint.read_object(path) if path.exists() else mine
    if changed := [name for name in mine if before.get(name) != mine[name]]:
        raise ConfigError(
            f"output {output} holds an evaluation with another {changed[0]} ({before.get(changed[0])!r}, now "
            f"{mine[changed[0]]!r}): choose another --output"
        )
    return mine


def asked_tasks(wish: Wish, env: envs.Env) -> Sequence[envs.Task]:
    """Return the tasks that are evaluated; ConfigError where there are none."""
    held_out = list(env.splits.get("test", ()))
    chosen = [*env.splits.get("train", ()), *held_out] if wish.every_row else held_out
    if not chosen:
        raise ConfigError(f"data {wish.config.data} has no held-out tasks: name others with --data")
    return chosen[: wish.config.eval_tasks]


@dataclass(frozen=True)
class Source:
    """What is asked, and where the answers come from."""

    count: int  # prompts
    part: Callable[[range, int, Scorer, Callable[[int], None]], Measured]  # places, number of the part, ...


def _model(
    wish: Wish, env: envs.Env, chosen: Sequence[envs.Task], say: Callable[[str], None], stop: StopFlag
) -> Source:
    """The model of the config, loaded, and the prompts that fit."""
    config = wish.config
    path = model_path(config, wish.home, say, stop)
    policy = load_teacher(path, wish.adapter, dtype=config.dtype, revision=config.revision)
    dialogues = dialogues_of(env, policy.tokenizer, config, stops(config, policy.tokenizer).tokens)
    tools = None if dialogues is None else lambda task: tools_for(env, task)
    prompts, notes = fitting(chosen, policy.tokenizer, config, "held-out", tools)
    for note in notes:
        say(f"  note: {note}")
    if not prompts:
        raise ConfigError(f"data {config.data}: no prompt is left of {len(chosen)}: {' '.join(notes)}")

    def part(places: range, number: int, scorer: Scorer, advance: Callable[[int], None]) -> Measured:
        some = prompts[places.start : places.stop]
        return evaluate(policy, some, scorer, config, step=number, on_tokens=advance, dialogues=dialogues)

    return Source(len(prompts), part)


def server_source(wish: Wish, env: envs.Env, chosen: Sequence[envs.Task]) -> Source:
    """The server of the wish, which has a template of its own; ConfigError for what it can't do."""
    config = wish.config
    if here().size > 1:
        raise ConfigError("--server is asked by one process: start without mlx.launch")
    if env.converses:
        raise ConfigError(f"data {config.data_name} answers, which needs a model that runs here: leave --server out")
    asking = Asking(
        url=str(wish.server),
        model=config.model,
        samples=config.eval_samples,
        max_tokens=config.max_completion_length,
        temperature=config.eval_temperature,
        top_p=config.eval_top_p,
        seed=config.seed,
        stop=config.stop,
        chat_template_kwargs=config.chat_template_kwargs,
    )

    def part(places: range, number: int, scorer: Scorer, advance: Callable[[int], None]) -> Measured:
        some = chosen[places.start : places.stop]
        answers = server_groups(asking, some, advance, system_prompt=config.system_prompt, numbers=places)
        return measured([group for _, group in sorted(answers, key=lambda pair: pair[0])], scorer, advance)

    return Source(len(chosen), part)


def _sample(
    config: Config, source: Source, scorer: Scorer, output: Path, say: Callable[[str], None], stop: StopFlag
) -> list[dict[str, Any]]:
    """Return the rows of all completions; those of whole parts that are there already are not sampled again."""
    size = max(1, max(PART_ROWS, config.max_rows) // config.eval_samples)
    parts = [range(at, min(at + size, source.count)) for at in range(0, source.count, size)]
    rows: list[dict[str, Any]] = []
    writes, paths = here().writes, [output / f".part_{number:06d}.jsonl" for number in range(len(parts))]
    done = here().from_first(lambda: [_part(path) is not None for path in paths])
    total = source.count * config.eval_samples * config.max_completion_length
    log = RunLog(output)
    with token_bar(Console(quiet=not writes), "evaluating", total) as bar:

        def advance(tokens: int) -> None:
            stop.check()
            bar.advance(bar.task_ids[0], tokens)

        for number, (part, path) in enumerate(zip(parts, paths, strict=True)):
            if not done[number]:
                found = source.part(part, number, scorer, advance)
                made = [
                    row
                    for group, scores in zip(found.groups, found.scored, strict=True)
                    for row in completion_rows(group, scores, None)
                ]
                for message in (text for scores in found.scored for text in scores.messages.values()):
                    say(f"  {message}")
                for group, dialogue in failed_dialogues(found.groups):
                    where = f"task {group.prompt.task.id}, environment"
                    log.write(f"{where}\n{dialogue.traceback or dialogue.problem}")
                for group, text in tool_tracebacks(found.groups):
                    log.write_once(f"task {group.prompt.task.id}, tool", text)
                if writes:
                    text = "".join(map(to_line, made)).encode("utf-8", "replace").decode()
                    checkpoint.write_text(path, f"{_digest(text)}\n{text}")
            if writes:
                rows += [json.loads(line) for line in (_part(path) or "").split("\n") if line]
    if writes:
        checkpoint.write_text(output / COMPLETIONS, "".join(map(to_line, rows)))
        for path in paths:
            path.unlink(missing_ok=True)
    return rows


def _part(path: Path) -> str | None:
    """The lines of a finished part; None where there are none or the file is not as it was written."""
    try:
        digest, _, text = path.read_bytes().decode().partition("\n")
    except (OSError, ValueError):
        return None
    return text if digest == _digest(text) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
