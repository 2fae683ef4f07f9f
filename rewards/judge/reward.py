"""Judges: another model scores a completion by a rubric.

`judge`, and `helpfulness` and `harmlessness` for the all-scenario stage.

The model is behind an OpenAI-compatible endpoint (`mlx_lm.server --model M --port 8080` is one) or a function that is
handed in. A failure is None and counted, never a score. Alone, any judge is farmed by what it likes (length,
confidence, flattery): where there is a right answer give `accuracy` more weight, or let the judge count only where
accuracy holds (`reward_gates: {judge: accuracy}`). The all-scenario stage of R1, in a config:

    reward_weights: {accuracy: 1.0, format: 0.3, language: 0.2, helpfulness: 0.5, harmlessness: 0.5}
    reward_gates: {helpfulness: harmlessness}
    reward_options: {helpfulness: {without_answer: true}}
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rewards.base import Completion, Judged, completion_text, prompt_text, seen_prompts
from rewards.imports import user_object
from rewards.judge.cache import VerdictCache
from rewards.judge.crew import Load, in_threads
from rewards.judge.endpoint import Endpoint, EndpointError
from rewards.judge.protocol import BadReply, Case, addresses_judge, read_verdict, request
from rewards.judge.rubrics import Rubric, domain_note, find_rubric
from rewards.sections import opened_by_prompt, split

Ask = Callable[[list[dict[str, str]], float], str]  # messages, seconds -> the reply's text
FIRST_PAUSE_SECONDS = 0.25  # before another attempt; doubled each time
MOST_REQUESTS = 32  # to an endpoint at a time


@dataclass(frozen=True)
class Outcome:
    """The result of one case."""

    kind: str  # ok, injection, no_answer, too_long; endpoint, bad_verdict, raised, deadline have no value
    value: float | None
    said: str | None = None


NOT_APPLICABLE = Outcome("not_applicable", None)


@dataclass
class JudgeReward:
    """A judge as a reward: between 0 and 1, None where no verdict was to be had.

    The text that is judged is the completion's final answer or all of it, as the rubric says. 0 without asking: a text
    that addresses its judge (`injection`), is longer than max_characters (`too_long`: length is no way around the
    judge), or has no final answer where the rubric judges that (`no_answer`).

    Args:
        rubric: basic_logic, domain_consistency, deep_reasoning, helpfulness, harmlessness.
        criteria: your own, instead of the rubric's.
        without_answer: judge only the rows whose column `answer` is empty, None for the others: in the all-scenario
            stage rules judge what they can and a model the rest.
        domain: medical, legal, programming, science or general, where there is no column `domain`.
        url, model, max_tokens, temperature, extra: of the endpoint; extra holds further keys of its request. A key is
            read from the environment variable JUDGE_API_KEY.
        generate: instead of the endpoint, a function of the messages that returns the reply, or its
            "package.module:function".
        timeout_seconds: for one request. batch_seconds: for all of a call; keep it below reward_timeout_seconds.
        retries: further attempts after a failure that may pass, or a reply that is no verdict.
        concurrency: the most requests at a time; by default 32 to an endpoint, 1 to a function. It begins with 4 and
            follows what the endpoint bears, see `rewards.judge.crew`.
        max_characters: of the text that is judged.
        screen: whether a text that addresses its judge has failed without being asked about. Turn it off for tasks
            whose honest answers speak of instructions and verdicts; quoting and ticket remain.
        cache: a JSONL file in which verdicts are kept between runs.
    """

    rubric: str = "basic_logic"
    criteria: Sequence[str] | None = None
    without_answer: bool = False
    domain: str = "general"
    url: str = "http://127.0.0.1:8080/v1"
    model: str = "default_model"
    max_tokens: int = 512
    temperature: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)
    generate: Callable[[list[dict[str, str]]], str] | str | None = None
    timeout_seconds: float = 30.0
    batch_seconds: float = 50.0
    retries: int = 2
    concurrency: int | None = None
    max_characters: int = 60_000
    screen: bool = True
    cache: str | None = None

    def __post_init__(self) -> None:
        self._rubric = _with_criteria(find_rubric(self.rubric), self.criteria)
        domain_note(self.domain)
        for name in ("timeout_seconds", "batch_seconds", "max_tokens", "max_characters"):
            if not getattr(self, name) > 0:
                raise ValueError(f"judge.{name} must be positive, got {getattr(self, name)}")
        if self.retries < 0 or (self.concurrency is not None and self.concurrency < 1):
            raise ValueError(
                f"judge.retries must be at least 0 and judge.concurrency at least 1, got {self.retries} and "
                f"{self.concurrency}"
            )
        self._ask: Ask = self._ask_function()
        self._load = Load(self.concurrency or (MOST_REQUESTS if self.generate is None else 1))
        source = self.generate if self.generate is not None else f"{self.url} {self.model} {self.temperature}"
        self._cache = VerdictCache(self.cache, f"{source} {self._rubric}")
        self.__name__ = self.rubric if self._rubric.verdict == "score" else "judge"

    def __call__(
        self,
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        domain: Sequence[str | None] | None = None,
        answer: Sequence[Any] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        domains = [self.domain] * len(completions) if domain is None else [name or self.domain for name in domain]
        seen = seen_prompts(prompts, columns)
        rows = [self._case(*row) for row in zip(prompts, seen, completions, domains, strict=True)]
        if self.without_answer and answer is not None:
            rows = [row if gold in (None, "") else NOT_APPLICABLE for row, gold in zip(rows, answer, strict=True)]
        asked = list(dict.fromkeys(row for row in rows if isinstance(row, Case)))
        end = time.monotonic() + self.batch_seconds
        outcomes = dict(zip(asked, self._judge_all(asked, end), strict=True))
        result = Judged()
        late = Outcome("deadline", None, f"no verdict within batch_seconds, {self.batch_seconds:g} s: raise it")
        for row in rows:
            outcome = row if isinstance(row, Outcome) else outcomes[row] or late
            result.append(outcome.value)
            result.count(outcome.kind, outcome.said)
        return result

    def _case(self, prompt: Completion, seen: str, completion: Completion, domain: str) -> Case | Outcome:
        """Return the question about a completion, or its result when no question is needed."""
        question = prompt_text(prompt)
        text: str | None = completion_text(completion)
        if self._rubric.sees == "final":
            text = split(text or "", opened=opened_by_prompt(seen)).final
        if text is None or not text.strip():
            return Outcome("no_answer", 0.0, "there is no final answer to judge")
        if len(text) > self.max_characters:
            return Outcome("too_long", 0.0, f"{len(text)} characters, more than max_characters")
        if self.screen and addresses_judge(text):
            return Outcome("injection", 0.0, f"the completion addresses its judge; it ends in {text[-60:]!r}")
        if not self._rubric.domain_matters:
            return Case(question, text, "general")
        try:
            domain_note(domain.lower())
        except ValueError as error:
            return Outcome("domain_unknown", None, str(error))
        return Case(question, text, domain.lower())

    def _judge_all(self, cases: Sequence[Case], end: float) -> list[Outcome | None]:
        return in_threads(lambda case: self._judge(case, end), cases, self._load, end, self.close)

    def close(self) -> None:
        """Cancel the requests that are under way."""
        self._endpoint.hang_up()

    def _judge(self, case: Case, end: float) -> Outcome:
        """Ask until there is a verdict, the attempts are used up, or the time is over."""
        if (known := self._cache.get(case)) is not None:
            return Outcome("ok", known)
        outcome = Outcome("deadline", None)
        for attempt in range(1 + self.retries):
            left = end - time.monotonic()
            if left <= 0:
                break
            asked = request(self._rubric, case, attempt)
            try:
                reply = self._reply(asked.messages, end)
                if reply is None:
                    break
                value = read_verdict(reply, asked.ticket, self._rubric).value
            except BadReply as error:
                outcome = Outcome("bad_verdict", None, f"the reply is no verdict: {error}")
            except EndpointError as error:
                outcome = Outcome("endpoint", None, str(error))
                if not error.passing:
                    break
                time.sleep(max(0.0, min(FIRST_PAUSE_SECONDS * 2**attempt, end - time.monotonic())))
            except Exception as error:  # the boundary: a function handed in may fail in any way
                return Outcome("raised", None, f"generate raised {type(error).__name__}: {error}")
            else:
                return self._kept(case, value)
        return outcome

    def _reply(self, messages: list[dict[str, str]], end: float) -> str | None:
        """The judge's reply; None where there was no place for a request before the end."""
        with self._load.place(end) as got:
            start = time.monotonic()
            if not got or start >= end:
                return None
            try:
                reply = self._ask(messages, min(self.timeout_seconds, end - start))
            except EndpointError as error:
                if error.passing:
                    self._load.failed()
                raise
            self._load.replied(time.monotonic() - start)
            return reply

    def _kept(self, case: Case, value: float) -> Outcome:
        try:
            self._cache.put(case, value)
        except OSError as error:
            return Outcome("cache_unwritable", value, f"{self.cache} can't be written: {error.strerror}")
        return Outcome("ok", value)

    def _ask_function(self) -> Ask:
        self._endpoint = Endpoint(self.url, self.model, self.max_tokens, self.temperature, dict(self.extra))
        if self.generate is None:
            return self._endpoint.ask
        function = _imported(self.generate) if isinstance(self.generate, str) else self.generate
        if not callable(function):
            raise ValueError(f"judge.generate must be a function of messages, got {type(function).__name__}")
        return lambda messages, seconds: str(function(messages))


helpfulness = functools.partial(JudgeReward, rubric="helpfulness")
harmlessness = functools.partial(JudgeReward, rubric="harmlessness")


def _with_criteria(rubric: Rubric, criteria: Sequence[str] | None) -> Rubric:
    if criteria is None:
        return rubric
    if isinstance(criteria, str) or not criteria or not all(isinstance(one, str) and one for one in criteria):
        raise ValueError(f"judge.criteria must be a list of sentences, got {criteria!r}")
    return replace(rubric, criteria=tuple(criteria))


def _imported(name: str) -> Any:
    return user_object(name, "judge.generate")
