"""Sampling groups: each prompt runs once, all its samples and those of other prompts are decoded together.

Finished rows leave the batch, waiting prompts join it. Every row draws from its own stream of random numbers,
derived from (seed, stream, step, prompt, sample), so a completion does not depend on what else is decoded, and
nothing has to be restored when a run is resumed.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np

from grpo.attention.layout import PrefixLayout, pad_rows, shared_length
from grpo.attention.trunk import arrays_of, each, has_states, prompt_parts, run_apart, run_trunk, trunk_caches
from grpo.config.sections import ConfigError
from grpo.cpu.fusion import without_gradient
from grpo.cpu.lanes import evaluate, lane, lanes
from grpo.model.experts import Ear, listening
from grpo.model.policy import Policy
from grpo.rollout import decoding, reading
from grpo.rollout.dialogue import Desk, Dialogues
from grpo.rollout.row import Row, Steer
from grpo.rollout.sampler import Draw, Sampling, draw
from grpo.rollout.stopping import Stops
from grpo.types import Group, Prompt, Rollout, StopReason

SHARED_FROM = 32  # tokens that all prompts must begin with for these to be run once for all
COMPACT_BELOW = 0.8  # rows are dropped from the batch when fewer than this share is still running
DIVIDED = 1 << 20  # logits from which on to draw from the rows in two halves: 16 rows of 49,152 gain nothing
STREAMS = {"train": 0, "eval": 1, "sample": 2}


@dataclass(frozen=True)
class Request:
    """A request to sample: number, length, sampling settings and seed.

    `numbers` are what the prompts' random numbers are drawn by, their places in the list if None: a part of a data
    set keeps the completions of the whole. `steer` makes, for every row, the function that may replace what it drew;
    the logprobs of such a rollout are those of the drawn tokens, so it is not one to train on.
    """

    samples: int
    max_tokens: int
    sampling: Sampling
    seed: int = 0
    stream: str = "train"
    step: int = 0
    max_rows: int = 64
    merge_adapter: bool = True
    kv_bits: int = 0  # of the completions' keys and values while they are decoded; 0 = whole
    numbers: Sequence[int] | None = None  # [prompts]
    steer: Callable[[], Steer] | None = None
    stops: Stops | None = None  # None = the model's end tokens
    dialogues: Dialogues | None = None  # None: one turn; else `max_tokens` are those of a turn

    @property
    def draws(self) -> int:
        """The most tokens that the model may write in a completion."""
        if self.dialogues is None:
            return self.max_tokens
        turns = self.dialogues.max_turns * self.max_tokens
        return turns if self.dialogues.max_tokens is None else min(turns, self.dialogues.max_tokens)

    def turn_limit(self, tokens: int, written: int) -> int:
        """Return the model's largest token count after a turn that begins at `tokens` (`written` its own)."""
        if self.dialogues is None or self.dialogues.max_tokens is None:
            return written + self.max_tokens
        return written + min(self.max_tokens, self.dialogues.max_tokens - tokens)


def seed_stream(request: Request, prompt: int, sample: int) -> np.ndarray:
    """Return the random numbers that decide one completion, a uint32 a token, [draws]."""
    number = prompt if request.numbers is None else request.numbers[prompt]
    key = (request.seed, STREAMS[request.stream], request.step, number, sample)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key))).integers(
        2**32, size=request.draws, dtype=np.uint32
    )


def generate(
    policy: Policy,
    prompts: Sequence[Prompt],
    request: Request,
    on_tokens: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, Group]]:
    """Yield (index of the prompt, its group) as groups finish; `on_tokens` hears how many tokens each step added."""
    engine = (
        _Engine(policy, prompts, request, on_tokens)
        if policy.shares_prefixes and (request.dialogues is None or reading.can_read(policy))
        else _PlainEngine(policy, prompts, request, on_tokens)
    )
    with policy.decoding(merge=request.merge_adapter):
        yield from engine.run()


class _Engine:
    """The batch being decoded: `rows` on the host, their caches and the tokens last drawn on the device.

    A row that waits for its environment stays in its place and draws what is thrown away, as a finished one does.
    """

    looks_ahead = True  # decode a step before the last is looked at

    def __init__(
        self, policy: Policy, prompts: Sequence[Prompt], request: Request, on_tokens: Callable[[int], None] | None
    ) -> None:
        self.policy, self.prompts, self.request, self.on_tokens = policy, prompts, request, on_tokens
        self.stops = request.stops or Stops(frozenset(policy.stop_tokens))
        self.waiting = deque((prompt, range(request.samples)) for prompt in range(len(prompts)))
        self.rows: list[Row] = []
        self.caches: list[Any] = []
        self.finished: dict[int, list[Row]] = {}
        shared = shared_length([prompt.tokens for prompt in prompts]) if len(prompts) > 1 else 0
        self.shared = shared if shared >= SHARED_FROM else 0  # tokens of a system prompt, of examples to follow
        self.shared_caches: list[Any] = []
        self.desk = None if request.dialogues is None else Desk(request.dialogues)

    def run(self) -> Iterator[tuple[int, Group]]:
        """Decode until every group is out."""
        last: Draw | None = None
        while self.rows or self.waiting:
            last = self._admit(last)
            assert last is not None
            if self.desk is not None:
                last = yield from self._hear(last, self.desk)
            if self.request.steer is not None:
                last = self._steered(last)
            # the next step is asked for before the last one is looked at, so the device never waits for the host
            upcoming = self._step(last) if self.looks_ahead and self._any_can_go_on() else None
            yield from self._look_at(last)
            if not self.looks_ahead and self._any_can_go_on():
                upcoming = self._step(last)
            last = self._leave(last if upcoming is None else upcoming)

    def _admit(self, last: Draw | None) -> Draw | None:
        """Let waiting prompts join while there is room for all their samples."""
        room = self.request.max_rows - len(self.rows)
        samples = len(self.waiting[0][1]) if self.waiting else self.request.samples
        count = min(len(self.waiting), max(room // samples, 0 if self.rows else 1))
        if count == 0:
            return last
        chosen = self._next(count)
        tokens = [self.prompts[index].tokens for index, _ in chosen]
        layout = PrefixLayout(tuple(map(len, tokens)), (samples,) * len(chosen))
        hidden, fresh = self._prefill(tokens, layout)
        rows = [
            Row(
                index,
                sample,
                seed_stream(self.request, index, sample),
                self.request.turn_limit(0, 0),
                talk=self.desk.rules.open(self.prompts[index].task) if self.desk else None,
                steer=self.request.steer and self.request.steer(),
            )
            for index, numbers in chosen
            for sample in numbers
        ]
        first = self._draw(hidden, rows)
        if self.rows and last is not None:
            self.caches = self._join(fresh, layout)
            first = last.joined(first)
        else:
            self.caches = self._open(fresh, layout)
        self.rows = [*self.rows, *rows]
        return first

    def _next(self, most: int) -> list[tuple[int, range]]:
        """Take prompts from those that wait."""
        return [self.waiting.popleft() for _ in range(most)]

    def _prefill(self, tokens: Sequence[Sequence[int]], layout: PrefixLayout) -> tuple[mx.array, Any]:
        """Return the hidden state at each row's last prompt token, [batch, hidden], and the prompt's caches."""
        rest = [row[self.shared :] for row in tokens]
        caches = self._fresh(len(tokens))
        if has_states(caches) and layout.ragged:
            with without_gradient():
                last, caches = run_apart(self.policy.trunk, rest, self._fresh)
        else:
            hidden = self._run(pad_rows(rest), caches)  # [prompts, time, hidden]
            last = hidden[mx.arange(len(tokens)), mx.array(layout.lengths) - self.shared - 1]  # [prompts, hidden]
        return mx.repeat(last, layout.samples, axis=0), caches

    def _fresh(self, prompts: int) -> list[Any]:
        """Return the caches of `prompts` prompts, filled with the tokens that all begin with."""
        caches = trunk_caches(self.policy.model)
        if not self.shared:
            return caches
        if not self.shared_caches:
            self._run(mx.array([list(self.prompts[0].tokens[: self.shared])]), caches)
            self.shared_caches = caches
        return each(lambda cache: cache.of(prompts), self.shared_caches)

    def _run(self, tokens: mx.array, caches: list[Any]) -> mx.array:
        """Run prompts after the cached tokens, -> [prompts, time, hidden]."""
        parts = prompt_parts(*tokens.shape)
        with without_gradient():
            hidden = run_trunk(self.policy.trunk, tokens, caches, parts=parts)
        if parts > 1:
            evaluate([hidden, *arrays_of(caches)], parts)
        return hidden

    def _open(self, fresh: Any, layout: PrefixLayout) -> list[Any]:
        return decoding.start(fresh, layout, kv_bits=self.request.kv_bits, kind=self.policy.rows_cache)

    def _join(self, fresh: Any, layout: PrefixLayout) -> list[Any]:
        return decoding.join(self.caches, fresh, layout)

    def _draw(self, hidden: mx.array, rows: Sequence[Row], ear: Ear | None = None) -> Draw:
        limit = self.request.draws - 1
        seeds = mx.array(np.array([row.seeds[min(row.drawn, limit)] for row in rows]))
        for row in rows:
            row.drawn += 1
        drawn = _draw_side_by_side(self.policy.project({}, hidden), seeds, self.request.sampling)
        if ear is not None and ear.heard:
            drawn = replace(drawn, experts=ear.choices())
            mx.async_eval(drawn.experts)
        mx.async_eval(*drawn.parts)
        return drawn

    def _step(self, last: Draw) -> Draw:
        ear = Ear() if self.policy.mixtures.sizes else None
        with without_gradient(), listening(ear):
            hidden = self.policy.trunk(last.tokens[:, None], self.caches)  # [batch, 1, hidden]
            return self._draw(hidden[:, 0], self.rows, ear)

    def _steered(self, last: Draw) -> Draw:
        """Replace drawn tokens where a row has forced tokens to write; waits for the device."""
        tokens = np.array(last.tokens).tolist()
        for place, row in enumerate(self.rows):
            if row.going and row.steer is not None:
                if not row.forced:
                    row.forced.extend(row.steer(tokens[place]))
                tokens[place] = row.forced.popleft()
        return replace(last, tokens=mx.array(tokens, dtype=last.tokens.dtype))

    def _any_can_go_on(self) -> bool:
        return any(row.going and row.drawn < row.limit for row in self.rows)

    def _look_at(self, last: Draw) -> Iterator[tuple[int, Group]]:
        """Read the drawn tokens, finish the rows that end and emit groups whose rows are all finished."""
        tokens, logprobs, entropies = (np.array(part).tolist() for part in last.parts)
        experts = [None] * len(tokens) if last.experts is None else np.array(last.experts, np.int16)
        added = 0
        for row, token, logprob, entropy, chosen in zip(self.rows, tokens, logprobs, entropies, experts, strict=True):
            if not row.going:
                continue
            row.hear(chosen)
            row.tokens.append(token)
            row.logprobs.append(logprob)
            row.entropies.append(entropy)
            row.written += 1
            added += 1
            stopped = self.stops.ends(row.tokens[row.begin :] if row.begin else row.tokens, self.policy.tokenizer)
            if not stopped and row.written < row.limit:
                continue
            row.turn_ended = "stop" if stopped else "length"
            if row.talk is None or self.desk is None:
                yield from self._finish(row, row.turn_ended)
            else:
                self.desk.ask(row.talk, row.tokens, row.begin, stopped=token in self.stops.tokens)
        self._heard_tokens(added)

    def _heard_tokens(self, added: int) -> None:
        if self.on_tokens is not None:
            self.on_tokens(added)

    def _finish(self, row: Row, reason: StopReason) -> Iterator[tuple[int, Group]]:
        """Finish a row and emit its group if that is whole."""
        row.stop_reason = reason
        self.finished.setdefault(row.prompt, []).append(row)
        if len(self.finished[row.prompt]) == self.request.samples:
            yield row.prompt, self._group(row.prompt)

    def _hear(self, last: Draw, desk: Desk) -> Generator[tuple[int, Group], None, Draw]:
        """Finish the rows whose conversation is over; the others that have a reply read it, all in one pass."""
        replies = desk.take(idle=not any(row.going for row in self.rows), tick=lambda: self._heard_tokens(0))
        places, known = [], []
        for place, row in enumerate(self.rows):
            if row.talk is None or row.talk not in replies:
                continue
            read = row.talk.hear(replies[row.talk], desk.rules, row.tokens, stopped=row.tokens[-1] in self.stops.tokens)
            if read is None:
                yield from self._finish(row, "length" if row.talk.ended == "length" else row.turn_ended)
                continue
            places.append(place)
            known.append(len(row.tokens))
            limit = self.request.turn_limit(len(row.tokens) + len(read), row.written)
            row.read(read, limit, self.request.steer and self.request.steer())
        if not places:
            return last
        rows = [self.rows[place] for place in places]
        with without_gradient():
            hidden = self._extend(places, [row.tokens for row in rows], known)  # [rows, hidden]
        return last.replaced(places, self._draw(hidden, rows))

    def _extend(self, places: Sequence[int], tokens: Sequence[Sequence[int]], known: Sequence[int]) -> mx.array:
        """Run what these rows have read; return their last hidden states, [rows, hidden]. Of each `known` have run."""
        return reading.extend(self.caches, places, tokens, known, self.policy.trunk)

    def _leave(self, upcoming: Draw) -> Draw | None:
        """Drop finished rows if that saves time.

        When none goes on, when many have finished, or when others wait for room.
        """
        going = [i for i, row in enumerate(self.rows) if row.stop_reason is None]
        if not going:
            self.rows, self.caches = [], []
            return None
        room = self.request.max_rows - len(going) >= self.request.samples and bool(self.waiting)
        if len(going) < len(self.rows) and (room or len(going) <= COMPACT_BELOW * len(self.rows)):
            self.rows = [self.rows[i] for i in going]
            self.caches = self._keep(going)
            return upcoming.at(going)
        return upcoming

    def _keep(self, rows: Sequence[int]) -> list[Any]:
        return decoding.keep(self.caches, rows)

    def _group(self, index: int) -> Group:
        rows = sorted(self.finished.pop(index), key=lambda row: row.sample)
        return Group(self.prompts[index], tuple(self._rollout(row) for row in rows))

    def _rollout(self, row: Row) -> Rollout:
        shown = row.tokens[:-1] if row.tokens[-1] in self.stops.tokens else row.tokens
        assert row.stop_reason is not None
        rollout = Rollout(
            tuple(row.tokens),
            tuple(row.logprobs),
            tuple(row.entropies),
            self.policy.tokenizer.decode(shown) if row.talk is None else row.talk.text,
            row.stop_reason,
            experts=row.heard(),
        )
        return (
            rollout
            if row.talk is None
            else replace(rollout, mask=row.talk.mask(len(row.tokens)), dialogue=row.talk.record())
        )


def _draw_side_by_side(logits: mx.array, seeds: mx.array, sampling: Sampling) -> Draw:
    """Draw each half of the rows on a lane of its own, if there are lanes and enough logits."""
    half = logits.shape[0] // 2
    if not half or logits.size < DIVIDED or lanes() == 1:
        return draw(logits, seeds, sampling)
    first = draw(logits[:half], seeds[:half], sampling)
    with lane(0):
        second = draw(logits[half:], seeds[half:], sampling)
    return first.joined(second)


class _PlainEngine(_Engine):
    """An engine for architectures whose rows can't share a prompt.

    The prompt in every row, mlx_lm's own caches; groups whose prompts are of one length together, which join and leave
    together. Where an environment answers one row at a time: the rows of these caches can't be at different turns.
    """

    def __init__(
        self, policy: Policy, prompts: Sequence[Prompt], request: Request, on_tokens: Callable[[int], None] | None
    ) -> None:
        if request.kv_bits:
            raise ConfigError("kv_bits needs a model whose prompts can be shared, and this one's can't: leave it 0")
        super().__init__(policy, prompts, request, on_tokens)
        if self.desk is not None:
            self.looks_ahead = False  # nothing may enter these caches that is not the row's
            self.request = replace(self.request, max_rows=1)
            self.waiting = deque(
                (prompt, range(sample, sample + 1)) for prompt, samples in self.waiting for sample in samples
            )

    def _admit(self, last: Draw | None) -> Draw | None:
        return last if self.rows else super()._admit(last)

    def _next(self, most: int) -> list[tuple[int, range]]:
        length = len(self.prompts[self.waiting[0][0]].tokens)
        alike = [one for one in self.waiting if len(self.prompts[one[0]].tokens) == length][:most]
        self.waiting = deque(one for one in self.waiting if one not in alike)
        return alike

    def _prefill(self, tokens: Sequence[Sequence[int]], layout: PrefixLayout) -> tuple[mx.array, Any]:
        from mlx_lm.models.cache import make_prompt_cache

        caches = make_prompt_cache(self.policy.model)
        return self.policy.trunk(mx.repeat(mx.array(list(tokens)), layout.samples, axis=0), caches)[:, -1], caches

    def _open(self, fresh: Any, layout: PrefixLayout) -> list[Any]:
        return fresh

    def _extend(self, places: Sequence[int], tokens: Sequence[Sequence[int]], known: Sequence[int]) -> mx.array:
        return self.policy.trunk(mx.array([tokens[0][known[0] - 1 :]]), self.caches)[:, -1]

    def _leave(self, upcoming: Draw) -> Draw | None:
        if all(row.stop_reason is not None for row in self.rows):
            self.rows, self.caches = [], []
            return None
        return upcoming
