"""The rollout source that asks servers: the policy's adapter goes out, completions with ids and logprobs come back.

Every completion is one request, so what has come is kept when a server dies. A server's random numbers are its own: two
runs of the same seed differ, as does a resumed one.
"""

import contextlib
import hashlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.metrics import staleness_metrics
from grpo.model.policy import Policy
from grpo.ranks import here
from grpo.rollout.remote.fleet import Fleet
from grpo.rollout.remote.sending import Sender, Sent
from grpo.rollout.remote.servers import SERVERS, Answer, Ask, Post, Server
from grpo.rollout.source import RolloutInputs
from grpo.rollout.stopping import Stops
from grpo.types import Group, Prompt, Rollout
from rewards.judge.endpoint import Endpoint, EndpointError

KEY_VARIABLE = "SERVER_API_KEY"
MINIATURE, ADAPTERS = "miniature", "adapters_sent"
BYTES_A_TOKEN = 1000  # of a reply, at the most
SAMPLE_LIMIT = 1 << 20  # bytes of a reply besides its tokens

Place = tuple[int, int]  # which prompt, which of its samples


class RemoteSource:
    """Samples at the servers of `config.rollout`, with the adapter that was sent last.

    `send` is for the thread that learns; calling the source, which sends nothing, may happen in another.
    """

    def __init__(self, config: Config, policy: Policy, output: Path, say: Callable[[str], None]) -> None:
        """Raises ConfigError where the run is not one that servers can sample for."""
        settings = config.rollout
        self.config, self.tokenizer, self.say = config, policy.tokenizer, say
        self.server: Server = SERVERS[settings.server]()
        _refuse(config, policy, self.server)
        self.addresses = [root(url) for url in settings.addresses]
        self.model = settings.model or here().from_first(lambda: _served_name(config, output))
        folder = Path(settings.sync).expanduser() / _own_name(output) if settings.sync else output / ADAPTERS
        folder = folder.resolve()
        there = f"{settings.sync_there.rstrip('/')}/{folder.name}" if settings.sync_there else str(folder)
        self.sender = Sender(folder, there, self.server.lora, self.model, keep=config.max_staleness + 2)
        self.endpoints = {one: Endpoint(one, self.model, 1, 1.0, key_variable=KEY_VARIABLE) for one in self.addresses}
        self.newest: Sent | None = None
        self.loaded: dict[str, dict[str, Sent]] = {address: {} for address in self.addresses}
        self.loading = {address: threading.Lock() for address in self.addresses}

    def open(self, policy: Policy, version: int, prompt: Prompt) -> None:
        """Send the first adapter and have every server write one token; ConfigError if none can."""
        self.send(policy, version)
        stops = Stops(frozenset(self.tokenizer.eos_token_ids))
        ask, problems = self._asked(prompt, 1, 1.0, stops), []
        for address in self.addresses:
            try:
                rollout_of(self._ask(address, ask), ask, stops, self.tokenizer)
            except EndpointError as error:
                problems.append(str(error))
        if len(problems) == len(self.addresses):
            raise ConfigError(f"rollout.url: no server answers, start one first (docs/scaling.md): {problems[0]}")
        for problem in problems:
            self.say(f"  warning: server {problem}")
        cap = self.config.importance_sampling_cap
        weights = "no importance weights" if cap is None else f"importance weights of at most {cap} correct for it"
        self.say(
            f"  rollouts from {', '.join(self.addresses)} ({self.config.rollout.server}, model {self.model}); adapters "
            f"go to {self.sender.folder}; {weights}, max_staleness {self.config.max_staleness}"
        )

    def metrics(self, groups: Sequence[Group], step: int, seconds: float) -> dict[str, float]:
        """Return how old a step's completions are, how long sampling took and the size of the adapter sent last."""
        size = float(self.newest.bytes if self.newest else 0)
        return {**staleness_metrics(groups, step), "sampling/bytes_sent": size, "time/sampling": seconds}

    def send(self, policy: Policy, version: int) -> None:
        """Have rank 0 write the adapter for completions asked for from now on, unless this version is out already."""
        if self.newest is None or self.newest.version != version:
            sent = here().from_first(lambda: vars(self.sender.send(policy, version)))
            self.newest = Sent(**sent)
            self.sender.keep_newest(self.newest)

    def __call__(self, inputs: RolloutInputs) -> Iterator[tuple[int, Group]]:
        """Yield (place of the prompt, its group) as groups are whole."""
        request = inputs.request
        stops = request.stops or Stops(frozenset(self.tokenizer.eos_token_ids))
        limits = request.max_tokens, request.sampling.temperature, stops
        asks = {place: self._asked(prompt, *limits) for place, prompt in enumerate(inputs.prompts)}
        fleet = Fleet[Place, Answer](
            self.addresses,
            lambda address, job: self._ask(address, asks[job[0]]),
            concurrency=max(1, self.config.rollout.concurrency // here().size),
            say=self.say,
            lost=self._forget,
        )
        jobs = [(place, sample) for sample in range(request.samples) for place in asks]
        got: dict[int, dict[int, Rollout]] = {place: {} for place in asks}
        for (place, sample), answer in fleet.results(jobs, lambda: inputs.on_tokens(0)):
            rollout = rollout_of(answer, asks[place], stops, self.tokenizer)
            got[place][sample] = rollout
            inputs.on_tokens(len(rollout.tokens))
            if len(got[place]) == request.samples:
                rollouts = tuple(one for _, one in sorted(got.pop(place).items()))
                yield place, Group(inputs.prompts[place], rollouts)

    def _asked(self, prompt: Prompt, max_tokens: int, temperature: float, stops: Stops) -> Ask:
        """Return the request for a completion by the newest adapter."""
        assert self.newest is not None  # the trainer sends before it asks
        text = "" if self.server.sends_ids else sendable(prompt, self.tokenizer)
        tokens = tuple(sorted(stops.tokens))
        return Ask(self.model, self.newest, prompt.tokens, text, max_tokens, temperature, stops.texts, tokens)

    def _ask(self, address: str, ask: Ask) -> Answer:
        """Have a server answer, once it has the adapter."""

        def post(path: str, body: Any) -> bytes:
            limit = SAMPLE_LIMIT + BYTES_A_TOKEN * ask.max_tokens
            seconds = self.config.rollout.timeout_seconds
            return self.endpoints[address].send(path, body, seconds, max_bytes=limit)

        with self.loading[address]:
            if ask.adapter.name not in self.loaded[address]:
                self.server.load(post, ask.adapter)
                self._unload(post, self.loaded[address])
                self.loaded[address][ask.adapter.name] = ask.adapter
        return self.server.ask(post, ask)

    def _unload(self, post: Post, loaded: dict[str, Sent]) -> None:
        """Have a server drop the adapters that no completion will be asked of any more."""
        kept = {sent.name for sent in self.sender.sent}
        for name in [name for name in loaded if name not in kept]:
            with contextlib.suppress(EndpointError):  # a server that has dropped it itself is as well
                self.server.unload(post, loaded[name])
            del loaded[name]

    def _forget(self, address: str) -> None:
        """A server that went away comes back without its adapters."""
        with self.loading[address]:
            self.loaded[address].clear()


def rollout_of(answer: Answer, ask: Ask, stops: Stops, tokenizer: Any) -> Rollout:
    """Return an answer as a rollout that ends where one of ours would.

    A server may go on after a token that ends a completion here; what follows is cut. `entropies` are the surprisals,
    -logprob, whose mean over samples is the entropy: servers do not give the distribution. Raises ConfigError for an
    answer that can't be learned from.
    """
    tokens, logprobs = answer.tokens, answer.logprobs
    if not tokens or len(tokens) != len(logprobs) or len(tokens) > ask.max_tokens:
        raise ConfigError(
            f"the server gave {len(tokens)} token ids and {len(logprobs)} logprobs for a completion of at most "
            f"{ask.max_tokens} tokens: 1 to {ask.max_tokens} of each are needed, as many ids as logprobs"
        )
    if not all(math.isfinite(value) for value in logprobs):
        raise ConfigError("the server gave logprobs that are not finite numbers")
    if answer.prompt_tokens not in (None, len(ask.tokens)):
        raise ConfigError(
            f"the server read the prompt as {answer.prompt_tokens} tokens, the trainer has {len(ask.tokens)}: the two "
            f"must have the same tokenizer; is {ask.model} the run's model?"
        )
    end = next((at + 1 for at in range(len(tokens)) if stops.ends(tokens[: at + 1], tokenizer)), None)
    stopped = answer.stopped if end is None else True
    tokens, logprobs = tokens[:end], logprobs[:end]
    shown = tokens[:-1] if tokens[-1] in stops.tokens else tokens
    text = tokenizer.decode(list(shown))
    surprisals = tuple(-value for value in logprobs)
    return Rollout(tokens, logprobs, surprisals, text, "stop" if stopped else "length", version=ask.adapter.version)


def sendable(prompt: Prompt, tokenizer: Any) -> str:
    """Return the text that a server's tokenizer reads as the prompt's tokens; ConfigError where there is none.

    A server that takes text alone adds a BOS where its tokenizer does: a template's own is left out then.
    """
    bos = getattr(tokenizer, "bos_token", None)
    texts = [prompt.text, *([prompt.text.removeprefix(bos)] if bos and prompt.text.startswith(bos) else [])]
    for text in texts:
        if tuple(tokenizer.encode(text)) == prompt.tokens:
            return text
    raise ConfigError(
        f"the prompt of task {prompt.task.id} can't be sent to mlx_lm's server, which takes texts: its tokenizer reads "
        "the text as other tokens"
    )


def root(url: str) -> str:
    """Return an address without /v1, which some servers' paths begin with and others' don't."""
    return url.rstrip("/").removesuffix("/v1")


def _own_name(output: Path) -> str:
    """Return a folder name for the run that no other run's is."""
    path = str(output.resolve())
    return f"{output.resolve().name}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def _served_name(config: Config, output: Path) -> str:
    """Return what the server is to call the run's model: an absolute path where it is a local directory."""
    path = output / MINIATURE if config.model == MINIATURE else Path(config.model).expanduser()
    return str(path.resolve()) if path.is_dir() else config.model


def _refuse(config: Config, policy: Policy, server: Server) -> None:
    """Raise ConfigError for a run that this server can't sample for."""
    if config.temperature != 1 and server.temperature_one and not config.rollout.processed_logprobs:
        raise ConfigError(
            f"temperature must be 1 with rollout.url, got {config.temperature:g}: {server.temperature_one}"
        )
    if policy.fine_tune not in (("lora", "dora") if server.lora == "mlx_lm" else ("lora",)):
        raise ConfigError(
            f"fine_tune {policy.fine_tune} can't be sampled by {config.rollout.server}: what goes over is an adapter"
        )
