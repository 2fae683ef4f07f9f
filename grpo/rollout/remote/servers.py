"""How each kind of server is asked for a completion's token ids and logprobs, and given an adapter.

Written from the servers' sources: mlx_lm 0.32 `server.py`; vLLM `entrypoints/openai/completion/protocol.py` and
`models/serving.py`; SGLang `managers/io_struct.py` and `layers/sampler.py`. mlx_lm's is run in the tests, vLLM's and
SGLang's are tested against stand-ins that answer in the documented shape and have not been run here.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from grpo.rollout.remote.sending import Sent
from rewards.judge.endpoint import EndpointError

Kind = Literal["mlx_lm", "vllm", "sglang"]
Post = Callable[[str, Mapping[str, Any]], bytes]  # path under the server's address, body -> the reply's body


@dataclass(frozen=True)
class Ask:
    """One completion that is wanted."""

    model: str  # its name at the server
    adapter: Sent
    tokens: tuple[int, ...]  # of the prompt
    text: str  # the prompt as a text that the server's tokenizer reads as these tokens; "" where ids are sent
    max_tokens: int
    temperature: float
    stop_texts: tuple[str, ...] = ()
    stop_tokens: tuple[int, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One completion as a server made it."""

    tokens: tuple[int, ...]  # with the stop token, where there is one
    logprobs: tuple[float, ...]  # of the tokens
    stopped: bool  # ended before max_tokens
    prompt_tokens: int | None = None  # that the server counted


class Server(Protocol):
    """One kind of server; `lora` says in whose layout it reads adapters, `sends_ids` whether prompts go as token ids.

    `temperature_one` says why its logprobs are only right at temperature 1; None where they are at any.
    """

    lora: Literal["mlx_lm", "peft"]
    sends_ids: bool
    temperature_one: str | None

    def load(self, post: Post, adapter: Sent) -> None:
        """Make the server ready for an adapter; EndpointError if it refuses."""

    def unload(self, post: Post, adapter: Sent) -> None:
        """Have the server drop an adapter."""

    def ask(self, post: Post, ask: Ask) -> Answer:
        """Return a completion; EndpointError if there is none, or one without token ids."""


class MlxLm:
    """`python -m mlx_lm server`: text in, token ids out with `logprobs: true`; the adapter is a path in the request.

    Its logprobs are of the logits before the temperature. Requests without a seed are decoded together.
    """

    lora: Literal["mlx_lm", "peft"] = "mlx_lm"
    sends_ids = False
    temperature_one: str | None = "mlx_lm's server gives logprobs of the logits before the temperature"

    def load(self, post: Post, adapter: Sent) -> None:
        """Nothing: the server loads the adapter that a request names."""

    def unload(self, post: Post, adapter: Sent) -> None:
        """Nothing: the server keeps the last adapter alone."""

    def ask(self, post: Post, ask: Ask) -> Answer:
        """Return a completion of /v1/completions."""
        body: dict[str, Any] = {
            "model": ask.model,
            "adapters": ask.adapter.path,
            "prompt": ask.text,
            "max_tokens": ask.max_tokens,
            "temperature": ask.temperature,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "logprobs": True,
        }
        if ask.stop_texts:
            body["stop"] = list(ask.stop_texts)
        reply = read("/v1/completions", post("/v1/completions", body))
        choice = reply.first("choices")
        steps = choice.at("logprobs").list("content")
        if any("id" not in step for step in steps):
            raise EndpointError("mlx_lm's server gives no token ids: version 0.30 or later is needed", passing=False)
        return Answer(
            tuple(int(step["id"]) for step in steps),
            tuple(float(step["logprob"]) for step in steps),
            choice.value("finish_reason") != "length",
            reply.at("usage").value("prompt_tokens"),
        )


class VLLM:
    """`vllm serve MODEL --enable-lora`, with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True: ids in and out.

    Its logprobs are of the logits before the temperature, unless it runs with `--logprobs-mode processed_logprobs`.
    """

    lora: Literal["mlx_lm", "peft"] = "peft"
    sends_ids = True
    temperature_one: str | None = (
        "vLLM gives logprobs of the logits before the temperature, unless it is started with --logprobs-mode "
        "processed_logprobs; then set rollout.processed_logprobs=true"
    )

    def load(self, post: Post, adapter: Sent) -> None:
        """Load the adapter under its name; one that is loaded already is the same one, its name holds a digest."""
        try:
            post("/v1/load_lora_adapter", {"lora_name": adapter.name, "lora_path": adapter.path})
        except EndpointError as error:
            if "already been loaded" not in str(error):
                raise

    def unload(self, post: Post, adapter: Sent) -> None:
        """Drop the adapter."""
        post("/v1/unload_lora_adapter", {"lora_name": adapter.name})

    def ask(self, post: Post, ask: Ask) -> Answer:
        """Return a completion of /v1/completions."""
        body: dict[str, Any] = {
            "model": ask.adapter.name,
            "prompt": list(ask.tokens),
            "max_tokens": ask.max_tokens,
            "temperature": ask.temperature,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "logprobs": 0,  # of the sampled token alone
            "return_token_ids": True,
            "stop_token_ids": list(ask.stop_tokens),
            "include_stop_str_in_output": True,
        }
        if ask.stop_texts:
            body["stop"] = list(ask.stop_texts)
        reply = read("/v1/completions", post("/v1/completions", body))
        choice = reply.first("choices")
        if choice.value("token_ids") is None:
            raise EndpointError("vLLM gives no token ids (return_token_ids): 0.10.2 or later is needed", passing=False)
        if reply.value("model") != ask.adapter.name:
            raise EndpointError(
                f"vLLM answered with the model {reply.value('model')!r}, not the adapter {ask.adapter.name!r}",
                passing=False,
            )
        return Answer(
            tuple(map(int, choice.list("token_ids"))),
            tuple(map(float, choice.at("logprobs").list("token_logprobs"))),
            choice.value("finish_reason") != "length",
            reply.at("usage").value("prompt_tokens"),
        )


class SGLang:
    """`python -m sglang.launch_server --enable-lora --max-lora-rank R --lora-target-modules all`: ids in and out.

    Its logprobs are of the logits over the temperature, unless SGLANG_RETURN_ORIGINAL_LOGPROB is set there.
    """

    lora: Literal["mlx_lm", "peft"] = "peft"
    sends_ids = True
    temperature_one: str | None = None

    def load(self, post: Post, adapter: Sent) -> None:
        """Load the adapter under its name; one that is loaded already is the same one, its name holds a digest."""
        try:
            body = {"lora_name": adapter.name, "lora_path": adapter.path}
            reply = read("/load_lora_adapter", post("/load_lora_adapter", body))
        except EndpointError as error:
            if "already" not in str(error):
                raise
            return
        problem = reply.value("error_message") or ""
        if reply.value("success") is False and "already" not in problem:
            raise EndpointError(f"SGLang does not load the adapter {adapter.path}: {problem}", passing=False)

    def unload(self, post: Post, adapter: Sent) -> None:
        """Drop the adapter: without a limit of its own the server keeps every one."""
        post("/unload_lora_adapter", {"lora_name": adapter.name})

    def ask(self, post: Post, ask: Ask) -> Answer:
        """Return a completion of the native /generate."""
        sampling: dict[str, Any] = {
            "max_new_tokens": ask.max_tokens,
            "temperature": ask.temperature,
            "top_p": 1.0,
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "stop_token_ids": list(ask.stop_tokens),
            "no_stop_trim": True,
        }
        if ask.stop_texts:
            sampling["stop"] = list(ask.stop_texts)
        body = {
            "input_ids": list(ask.tokens),
            "sampling_params": sampling,
            "return_logprob": True,
            "lora_path": ask.adapter.name,
        }
        about = read("/generate", post("/generate", body)).at("meta_info")
        steps = about.list("output_token_logprobs")  # [[logprob, id, text or null], ...]
        return Answer(
            tuple(int(step[1]) for step in steps),
            tuple(float(step[0]) for step in steps),
            about.at("finish_reason").value("type") != "length",
            about.value("prompt_tokens"),
        )


SERVERS: dict[str, Callable[[], Server]] = {"mlx_lm": MlxLm, "vllm": VLLM, "sglang": SGLang}


@dataclass(frozen=True)
class Reply:
    """A JSON object of a reply, with errors that say what is missing in it."""

    path: str
    body: Mapping[str, Any] = field(default_factory=dict)

    def value(self, key: str) -> Any:
        """Return a value that may be missing."""
        return self.body.get(key)

    def list(self, key: str) -> list[Any]:
        """Return a list that must be there."""
        found = self.body.get(key)
        if not isinstance(found, list):
            raise EndpointError(f"{self.path}: the reply has no list {key}: {str(self.body)[:120]}", passing=False)
        return found

    def at(self, key: str) -> "Reply":
        """Return an object that must be there."""
        found = self.body.get(key)
        if not isinstance(found, Mapping):
            raise EndpointError(f"{self.path}: the reply has no {key}: {str(self.body)[:120]}", passing=False)
        return Reply(f"{self.path} {key}", found)

    def first(self, key: str) -> "Reply":
        """Return the first object of a list."""
        found = self.list(key)
        if not found or not isinstance(found[0], Mapping):
            raise EndpointError(f"{self.path}: {key} is empty", passing=False)
        return Reply(f"{self.path} {key}", found[0])


def read(path: str, raw: bytes) -> Reply:
    """Return a reply's JSON object; one that was cut off is worth another attempt."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise EndpointError(f"{path}: no JSON in the reply: {raw[:80]!r}", passing=True) from None
    if isinstance(body, list) and body:  # SGLang answers a list where it was asked one
        body = body[0]
    if not isinstance(body, Mapping):
        raise EndpointError(f"{path}: no JSON object in the reply: {raw[:80]!r}", passing=True)
    return Reply(path, body)
