"""The long part of a benchmark: sampling and judging the problems that are missing, each written as it is done."""

import functools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from benchmarks.harness.budget import steering
from benchmarks.harness.items import Item, ItemFile
from benchmarks.harness.model import load_for_sampling
from benchmarks.harness.problems import Problems
from benchmarks.harness.scoring import Decode, items_of
from benchmarks.harness.settings import Settings
from benchmarks.harness.spec import Benchmark
from benchmarks.harness.templates import as_trained, render
from envs import Env
from envs.tools.ready import equipped
from grpo.config.sections import ConfigError
from grpo.model.policy import Policy
from grpo.rollout.dialogue import dialogues_of, tools_for
from grpo.rollout.engine import Request, generate
from grpo.rollout.sampler import Sampling
from grpo.rollout.server import Asking, server_groups
from grpo.rollout.stopping import stops
from grpo.scoring import Scorer
from grpo.types import Group, Prompt
from rewards import RewardSet
from rewards.printable import say

Say = Callable[[str], None]
Groups = Callable[[Callable[[int], None]], Iterator[tuple[int, Group]]]

SPEED = "speed.jsonl"
SAY_EVERY_SECONDS = 10.0


class Session:
    """Everything that is needed to decode the problems at these places, ready.

    Raises ConfigError, one line, for a model or reward that can't be had and a budget the template does not allow.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        settings: Settings,
        problems: Problems,
        missing: list[int],
        *,
        policy: Policy | None = None,
        say: Say = say,
    ) -> None:
        """`policy` is measured in place of the settings' model, e.g. one that is being trained."""
        self.benchmark, self.settings, self.missing, self.say = benchmark, settings, missing, say
        self.tasks = [problems.tasks[place] for place in missing]
        self.words: Decode | None = None  # from token ids to text
        weights = dict.fromkeys(benchmark.rewards, 1.0)
        try:
            rewards = RewardSet(weights, benchmark.reward_options, benchmark.reward_timeout_seconds)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self.groups = self._from_server() if settings.server is not None else self._from_here(policy)
        self.scorer = Scorer(rewards)

    def decode(self, file: ItemFile, check: Callable[[], None]) -> None:
        """Sample, judge, append to the file; `check` may raise to stop, what is decoded is written then."""
        progress = _Progress(len(self.missing), self.settings.samples, check, self.say)

        def judge(place: int, group: Group) -> None:
            items = items_of(group, place, self.benchmark, self.scorer, self.words)
            file.append(items)
            progress.problem(items)

        waiting: list[Future[None]] = []
        try:
            with ThreadPoolExecutor(max_workers=2, thread_name_prefix="judge") as threads:
                for index, group in self.groups(progress.tokens):
                    waiting.append(threads.submit(judge, self.missing[index], group))
                    for future in [one for one in waiting if one.done()]:
                        waiting.remove(future)
                        future.result()
            for future in waiting:
                future.result()
        finally:
            self.scorer.close()
            progress.close(file.path.parent)

    def _from_server(self) -> Groups:
        """Return what asks the settings' server."""
        settings = self.settings
        asking = Asking(
            url=str(settings.server),
            model=settings.model,
            samples=settings.samples,
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            seed=settings.seed,
            chat_template_kwargs=settings.chat_template_kwargs,
            concurrency=settings.concurrency,
        )
        return functools.partial(
            server_groups, asking, self.tasks, system_prompt=settings.system_prompt, numbers=self.missing
        )

    def _from_here(self, policy: Policy | None) -> Groups:
        """Return what decodes completions by the model here, ready."""
        settings = self.settings
        model = policy or load_for_sampling(settings)
        ends = stops(as_trained(settings), model.tokenizer)
        names = settings.tools.split(",") if settings.tools else []
        env = Env(self.benchmark.name, {"test": self.tasks})
        env = equipped(env, [name.strip() for name in names]) if names else env
        dialogues = dialogues_of(env, model.tokenizer, as_trained(settings), ends.tokens)
        prompts = [
            render(task, model.tokenizer, settings, tools_for(env, task) if names else ()) for task in env.tasks("test")
        ]
        request = Request(
            samples=settings.samples,
            max_tokens=settings.max_tokens,
            sampling=Sampling(settings.temperature, settings.top_p, settings.top_k),
            seed=settings.seed,
            stream="eval",
            max_rows=max(settings.max_rows, settings.samples),
            numbers=self.missing,
            steer=steering(settings, model.tokenizer, ends.tokens, prompts),
            stops=ends,
            dialogues=dialogues,
        )
        self.words = model.tokenizer.decode
        _warn_of_length(model, prompts, settings, self.say)
        return functools.partial(generate, model, prompts, request)


def _warn_of_length(policy: Policy, prompts: list[Prompt], settings: Settings, say: Say) -> None:
    """A model asked for more than it was made for writes nonsense there; nothing else would say so."""
    longest = max(len(prompt.tokens) for prompt in prompts) + settings.max_tokens
    window = getattr(getattr(policy.model, "args", None), "max_position_embeddings", None)
    if isinstance(window, int) and longest > window:
        say(f"note: prompt and max_tokens make {longest} tokens, the model was made for {window}")


class _Progress:
    """Print progress while decoding, and notice signals."""

    def __init__(self, problems: int, samples: int, check: Callable[[], None], say: Say) -> None:
        self.problems, self.samples, self.check = problems, samples, check
        self.lock = threading.Lock()
        self.began = self.said = time.monotonic()
        self.done = self.written = self.right = 0
        say(f"{problems} problems x {samples} samples to decode")

    def tokens(self, count: int) -> None:
        """Hear of a step's tokens; raises Interrupted if a signal has come."""
        self.written += count
        self.check()
        if time.monotonic() - self.said > SAY_EVERY_SECONDS:
            self.say()

    def problem(self, items: list[Item]) -> None:
        """Hear of a problem that is judged."""
        with self.lock:
            self.done += 1
            self.right += sum(next(iter(item.scores.values())) == 1 for item in items)

    def say(self) -> None:
        self.said = time.monotonic()
        seconds = max(self.said - self.began, 1e-9)
        share = f", right {self.right / (self.done * self.samples):.3f}" if self.done else ""
        print(
            f"{self.done}/{self.problems} problems, {self.written} tokens, "
            f"{self.written / seconds:.0f} tokens/s{share}",
            file=sys.stderr,
            flush=True,
        )

    def close(self, folder: Path) -> None:
        """Write down how fast it went."""
        self.say()
        line = {"tokens": self.written, "seconds": round(self.said - self.began, 3)}
        with (folder / SPEED).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")


def speed(folder: Path) -> dict[str, float]:
    """Tokens and seconds of all processes that ended by themselves, and tokens a second of one process."""
    if not (folder / SPEED).exists():
        return {}
    lines = [json.loads(line) for line in (folder / SPEED).read_text(encoding="utf-8").splitlines()]
    tokens, seconds = sum(line["tokens"] for line in lines), sum(line["seconds"] for line in lines)
    return {"tokens": tokens, "seconds": round(seconds, 3), "tokens_per_second": round(tokens / max(seconds, 1e-9), 2)}
