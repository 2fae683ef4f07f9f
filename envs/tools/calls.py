"""Tool calls in a model's text, in the form of its family; what can't be read is a fault to be answered, not a crash.

mlx_lm reads the forms of many families; `grpo.rollout.writing` hands its parser over as a CallFormat. Those that it
leaves out (Llama's JSON, gpt-oss, DeepSeek) are read here, and any other model is shown TAGS.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envs.conversation import Message

Parse = Callable[[str, Any], Any]  # the text between the marks, schemas -> {"name", "arguments"} or a list of them
MOST_CALLS = 16  # of one message
FIRST_ID = "call00000"  # nine letters and digits: what Mistral's template asks of an id
OWN_ID = re.compile(r"[\w.:-]{1,64}")


@dataclass(frozen=True)
class CallFormat:
    """The marks around a call, and how to read what is between them.

    An empty `end` means that the rest of the message is the call; an empty `start` that the whole message may be one.
    """

    start: str
    end: str
    parse: Parse
    shown: bool = True  # whether the model's chat template can show tools


def parse_json(text: str, schemas: Any = None) -> Any:
    """Return the JSON object of a call, as Qwen and Hermes write it."""
    return json.loads(text.strip())


TAGS = CallFormat("<tool_call>", "</tool_call>", parse_json, shown=False)


def _llama(text: str, schemas: Any) -> Any:
    """`{"name": ..., "parameters": {...}}` as the whole message (Llama 3); other text is no call."""
    body = text.strip().removeprefix("<|python_tag|>").strip()
    if not (body.startswith("{") and '"name"' in body):
        return []
    return [json.loads(part) for part in re.split(r"(?<=\})\s*;\s*(?=\{)", body)]


def _harmony(text: str, schemas: Any) -> Any:
    """` to=functions.NAME ...<|message|>{...}` (gpt-oss)."""
    header, found, body = text.partition("<|message|>")
    if not found:
        raise ValueError("no <|message|> after to=functions.")
    name = re.split(r"[\s<]", header.strip(), maxsplit=1)[0]
    return {"name": name, "arguments": json.loads(re.split(r"<\|(?:call|end)\|>", body, maxsplit=1)[0])}


def _deepseek(text: str, schemas: Any) -> Any:
    """`function<|tool_sep|>NAME` and JSON in a fence (V3, R1), or `NAME<|tool_sep|>JSON` (V3.1)."""
    first, found, rest = text.partition("<｜tool▁sep｜>")
    if not found:
        raise ValueError("no <｜tool▁sep｜> between the name and the arguments")
    if first.strip() != "function":
        return {"name": first.strip(), "arguments": json.loads(rest)}
    name, _, body = rest.partition("\n")
    body = body.strip().removeprefix("```json").removesuffix("```")
    return {"name": name.strip(), "arguments": json.loads(body)}


HARMONY = CallFormat("to=functions.", "<|call|>", _harmony)
LLAMA = CallFormat("", "", _llama)
DEEPSEEK = CallFormat("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", _deepseek)


def format_of(template: str) -> CallFormat:
    """The form of calls that a chat template shows, of those not known to mlx_lm; TAGS where it shows none."""
    if "<|channel|>" in template and "functions." in template:
        return HARMONY
    if "<｜tool▁call▁begin｜>" in template:
        return DEEPSEEK
    if "<|python_tag|>" in template or ('"parameters"' in template and "<|eot_id|>" in template):
        return LLAMA
    return TAGS


def said(text: str, calls: CallFormat, schemas: Sequence[Mapping[str, Any]]) -> Message:
    """Return the model's message: its text, its `tool_calls` as OpenAI writes them, and `tool_faults`, a line each."""
    message: Message = {"role": "assistant", "content": text}
    found: list[dict[str, Any]] = []
    faults: list[str] = []
    for body in bodies(text, calls):
        try:
            parsed = calls.parse(body, list(schemas))
            for one in parsed if isinstance(parsed, list) else [parsed]:
                found.append(_call(one, len(found)))
        except Exception as error:  # a parser of mlx_lm may raise anything at what a model writes
            faults.append(" ".join(f"{type(error).__name__}: {error}".split())[:200])
        if len(found) + len(faults) >= MOST_CALLS:
            break
    if found:
        message["tool_calls"] = found[:MOST_CALLS]
    if faults:
        message["tool_faults"] = faults
    return message


def bodies(text: str, calls: CallFormat) -> Iterator[str]:
    """Return the texts between the marks, in one pass; a call that is never closed reaches to the end."""
    if not calls.start:
        if text.strip():
            yield text
        return
    place = text.find(calls.start)
    while place >= 0:
        begin = place + len(calls.start)
        end = text.find(calls.end, begin) if calls.end else len(text)
        yield text[begin : end if end >= 0 else len(text)]
        place = text.find(calls.start, max(end, begin)) if end >= 0 else -1


def _call(parsed: Any, number: int) -> dict[str, Any]:
    if not isinstance(parsed, Mapping) or not isinstance(parsed.get("name"), str):
        raise ValueError('a call must be an object with a "name" and "arguments"')
    arguments = parsed.get("arguments", parsed.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(arguments, Mapping):
        raise ValueError(f"the arguments of {parsed['name']} must be an object, got {type(arguments).__name__}")
    name = parsed["name"].removeprefix("functions.")
    own = parsed.get("id")  # Mistral's models write one, which the result names again
    return {
        "id": own if isinstance(own, str) and OWN_ID.fullmatch(own) else f"{FIRST_ID[:4]}{number:05d}",
        "type": "function",
        "function": {"name": name, "arguments": dict(arguments)},
    }
