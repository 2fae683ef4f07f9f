"""Sample, judge and filter completions, in shards that can be resumed."""

import contextlib
import fcntl
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from distill.rejection.config import FREE_TO_CHANGE, RejectionConfig
from grpo.config.sections import ConfigError
from rewards.printable import say

CORPUS, REJECTED, FUNNEL, SUMMARY, VERDICTS, IDENTITY, SCRATCH = (
    "corpus.jsonl", "rejected.jsonl", "funnel.md", "summary.json", "verdicts.jsonl", "identity.json",
    ".rows.jsonl",
)  # fmt: skip

Say = Callable[[str], None]


def run_rejection(config: RejectionConfig, output: Path, *, preface: Sequence[str] = ()) -> dict[str, Any] | None:
    """Sample this process's share in `output` and, if all is sampled then, build the corpus.

    Prints the preface first. Returns what summary.json holds; None while other shards have prompts to sample. Goes on
    where an earlier run of the same settings was stopped. Raises ConfigError or envs.DataError, one line, and
    Interrupted after saving.
    """
    from distill.rejection.candidates import adapter_hash
    from distill.rejection.prompts import Prompts
    from distill.rejection.sampling import Sampling
    from distill.rejection.store import Store
    from grpo.runs.interrupt import StopFlag
    from grpo.runs.log import RunLog

    start = time.monotonic()
    env, lines = _environment(config)
    store = Store(config.store, config.shard)
    prompts = Prompts(env.tasks(config.split) if env.stream is None else env.stream, config.max_prompts)
    skipped = len(env.skipped) if env.stream is None else env.stream.unusable
    if prompts.repeats:
        lines.append(f"  {len(prompts.repeats)} prompts repeat an earlier one and are sampled once")
    adapter = adapter_hash(config.adapter)
    with StopFlag() as stop:
        _look_ahead(config, output)
        with _alone(output, ".setup"):
            _claim(
                config, output, {"adapter_sha256": adapter, "prompts_sha256": prompts.fingerprint, **_made_of(config)}
            )
        log = RunLog(output)
        log.begin()
        heard = log.heard(say)
        for line in [*preface, *lines]:
            heard(line)
        with log.failures():
            store.pull(output)
            sampling = Sampling(config, prompts, output, heard, log, store)
            rewards = _reward_set(config)
            try:
                sampling.run(lambda: _sampler(config, output, stop, env, heard), rewards, stop)
            finally:
                rewards.close()
            store.push(output)
            store.pull(output)
            if left := sampling.missing():
                heard(f"{left} of {len(prompts)} prompts are for other shards: the last one builds the corpus")
                return None
            with _alone(output, ".build"):
                figures = {"rows_skipped": skipped, "seconds": round(time.monotonic() - start, 1)}
                return _build(config, output, adapter, figures, prompts, stop, heard)


def _environment(config: RejectionConfig) -> tuple[Any, list[str]]:
    """The tasks' environment, and what is to be said of it."""
    import envs

    env = envs.make(config.data, **{"seed": config.seed, **config.data_options})
    if env.converses and config.server is not None:
        raise ConfigError(f"data {config.data} answers, which needs a model that runs here: leave server out")
    return env, [f"  {line}" for line in env.report()]


def _look_ahead(config: RejectionConfig, output: Path) -> None:
    """Refuse wrong settings of the corpus now, not after hours of sampling."""
    from distill.corpus.duplicates import problem_texts
    from distill.corpus.readers import rows_of

    for file in config.decontaminate:
        problem_texts(file)
    if config.mix is not None:
        next(iter(rows_of(config.mix)), None)
    if (judge := _judge(config, output)) is not None:
        judge.close()


def _claim(config: RejectionConfig, output: Path, identity: dict[str, str | None]) -> None:
    """Record the settings; refuse a directory of other ones, or of other prompts or weights under the same names."""
    from grpo.config.loading import to_yaml
    from grpo.runs.checkpoint import read_object, write_text
    from grpo.runs.directory import CONFIG_FILE, claim

    claim(config, output, resume=True, say=lambda _: None, free=FREE_TO_CHANGE)
    path = output / IDENTITY
    before = read_object(path) if path.exists() else identity
    meanings = {"adapter_sha256": "the adapter", "prompts_sha256": "the prompts of data"}
    for name, digest in identity.items():
        if before.get(name, digest) != digest:
            raise ConfigError(f"{meanings.get(name, name)} changed since {output} was begun: choose another --output")
    write_text(path, json.dumps(before | identity))
    write_text(output / CONFIG_FILE, to_yaml(config.model_copy(update={"output": str(output), "shard": "1/1"})))


def _made_of(config: RejectionConfig) -> dict[str, str]:
    """The fingerprints of the model that samples here and of users' rewards; a model that is not here has none."""
    from grpo.runs import fingerprints

    found = {**fingerprints.of_rewards(config.rewards)}
    known = None if config.server is not None or config.model == "miniature" else fingerprints.of_model(config.model)
    return found if known is None else found | {f"model {config.model}": known}


def _reward_set(config: RejectionConfig) -> Any:
    from rewards import RewardSet

    try:
        weights = dict.fromkeys(config.rewards, 1.0)
        return RewardSet(weights, config.reward_options, config.reward_timeout_seconds)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _sampler(config: RejectionConfig, output: Path, stop: Any, env: Any, say: Say) -> Any:
    if config.server is not None:
        from distill.rejection.server import ServerSampler

        return ServerSampler(config, say)
    from distill.rejection.samplers import ModelSampler, rendering
    from grpo.model.frozen import load_teacher
    from grpo.opening import model_path

    with _alone(output, ".setup"):  # the miniature is made once, whoever comes first
        path = model_path(rendering(config), output, say, stop)
    return ModelSampler(config, load_teacher(path, config.adapter, dtype=config.dtype), env)


def _build(
    config: RejectionConfig,
    output: Path,
    adapter: str | None,
    figures: dict[str, Any],
    prompts: Any,
    stop: Any,
    say: Say,
) -> dict[str, Any]:
    """Write corpus, rejected rows, funnel and summary."""
    from distill.corpus.row import write_lines
    from distill.rejection.build import Building, mixed_in
    from distill.rejection.ordering import Shuffled
    from distill.rejection.records import read
    from grpo.runs.checkpoint import write_text

    def on_judged(done: int) -> None:
        stop.check()
        say(f"  judged {done}")

    judge = _judge(config, output)
    building = Building(config, judge, adapter, on_judged)
    corpus = Shuffled(output / SCRATCH, config.seed)
    together: list[Any] = []  # rows that must be compared with one another

    def rejected() -> Iterator[str]:
        for passed in building.passed(record for record in read(output) if record.number in prompts):
            stop.check()
            yield from map(_line, passed.rejected)
            if config.near_duplicates is None:
                corpus.add(row for _, row in passed.rows)
            else:
                together.extend(passed.rows)
        if config.near_duplicates is not None:
            kept, repeats = building.without_near_duplicates(together)
            corpus.add(kept)
            yield from map(_line, repeats)

    try:
        write_lines(output / REJECTED, rejected())
    finally:
        if judge is not None:
            judge.close()
    mixed, wanted = mixed_in(config, building.kept, building.problems)
    corpus.add(mixed)
    rows = len(corpus)
    write_lines(output / CORPUS, corpus.lines())
    counts = {"kept": building.kept, "mixed_in": len(mixed), "mix_wanted": wanted, "rows": rows}
    summary = {**building.figures(), **counts, **figures, "corpus": str(output / CORPUS)}
    table = funnel_table(building.funnel.steps, summary)
    write_text(output / FUNNEL, table)
    write_text(output / SUMMARY, json.dumps(summary, indent=1))
    say(f"{table}{rows} rows in {output / CORPUS}; what was rejected and why: {output / REJECTED}")
    if len(mixed) < wanted:
        say(f"warning: {wanted} rows were to be mixed in, {config.mix} has {len(mixed)}")
    if not rows:
        say("warning: nothing was kept; the funnel says which rule took the most")
    return summary


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"


def _judge(config: RejectionConfig, output: Path) -> Any:
    from rewards import RewardSet

    if config.judge is None:
        return None
    options = {"cache": str(output / VERDICTS), "batch_seconds": 3000.0, **config.judge}
    try:
        return RewardSet({"judge": 1.0}, {"judge": options}, timeout_seconds=3600.0)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error


def funnel_table(steps: Sequence[Any], figures: dict[str, Any]) -> str:
    """The funnel as Markdown: what each rule dropped and what was left."""
    lines = ["| rule | dropped | completions left | prompts left |", "|---|---|---|---|"]
    lines += [f"| {step.name} | {step.dropped or ''} | {step.completions} | {step.prompts} |" for step in steps]
    lines += [f"| mixed in, no reasoning | | {figures['rows']} | |"] if figures["mixed_in"] else []
    if "pass_rate" in figures:
        lines.append(f"\npass rate {figures['pass_rate']:.3f}; of the prompts {figures['always_right']:.1%} always "
                     f"right, {figures['never_right']:.1%} never")  # fmt: skip
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def _alone(output: Path, name: str) -> Iterator[None]:
    """Inside, no other process is in the same part; waits for it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        handle = (output / name).open("w")
    except OSError as error:
        raise ConfigError(f"output {output} can't be written: {error.strerror}") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
