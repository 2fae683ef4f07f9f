"""The process in which a model's chat templates are rendered, with jinja2 as transformers sets it up.

A request is pickled, behind its length: (source, variables), or (source, None) for the names that the template reads.
The reply is a JSON line: {"text"}, {"names"}, {"raised": what the template raised} or {"beyond": the limit it broke}.
A rendering that never ends is ended by the limit of CPU time, also where nobody waits for it any more.
"""

import contextlib
import functools
import json
import math
import pickle
import resource
import sys
import time
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST_REASON = 500


class Generation(Extension):
    """`{% generation %}`, the block that marks an assistant's text: it is written like any other text."""

    tags = {"generation"}  # noqa: RUF012  as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """Return the block's content; what is set in it stays in it, as in transformers."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Return JSON; jinja2's own filter would escape `<`."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _environment() -> ImmutableSandboxedEnvironment:
    """Return the environment that transformers documents for writers of chat templates."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = _raise_exception
    made.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    return made


ENVIRONMENT = _environment()
compiled = functools.lru_cache(maxsize=8)(ENVIRONMENT.from_string)


def answer(request: bytes, most_characters: int) -> str:
    """Return the reply to a request, whatever the template does within the process's limits."""
    try:
        source, variables = pickle.loads(request)
        if variables is None:
            return json.dumps({"names": sorted(meta.find_undeclared_variables(ENVIRONMENT.parse(source)))})
        text = compiled(source).render(**variables)
        if len(text) > most_characters:
            return json.dumps({"beyond": f"writes more than {most_characters:,} characters"})
        return json.dumps({"text": text})
    except MemoryError:
        return json.dumps({"beyond": "takes more memory than it may"})
    except Exception as error:  # the boundary: a template raises what it likes
        kind = "" if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: "
        return json.dumps({"raised": f"{kind}{str(error)[:LONGEST_REASON]}"})


def _limit(kind: int, value: int) -> None:
    """Set a soft limit. One that the system refuses (macOS: memory) stays as it is: the parent looks at the memory."""
    hard = resource.getrlimit(kind)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def main(cpu_seconds: int, memory_bytes: int, most_characters: int) -> None:
    """Serve until the input ends."""
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    inbox = sys.stdin.buffer
    print("ready", flush=True)
    while len(length := inbox.read(8)) == 8:
        request = inbox.read(int.from_bytes(length, "big"))
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + cpu_seconds)
        print(answer(request, most_characters), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
