"""Render chat templates in a process of their own: those of a downloaded model may never end, or fill the memory.

By itself transformers compiles and renders in the caller's process, in a sandbox of jinja2 that bounds neither time
nor memory: `'x' * 10**10` takes 10 GB where it is compiled. `bound_templates` puts a stand-in in the place of the
compiled template: transformers prepares messages and variables as ever, and only jinja2's work moves.
"""

import atexit
import functools
import json
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from grpo.config.sections import ConfigError
from rewards.process import ChildProcess, Died, Late, TooMuchMemory, Unsolicited

CPU_SECONDS = 5  # of one rendering; a million characters take a tenth of a second
WALL_SECONDS = 60.0  # decides only where the machine is overloaded
MEMORY_BYTES = 1 << 30
MOST_CHARACTERS = 16 << 20  # of a rendered text
LONGEST_LINE = 256 << 20  # bytes of such a text in JSON


class TemplateBeyond(ConfigError):
    """A chat template that takes more time, memory or text than an honest one does."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the model's chat template is refused: rendering it {reason}. Use template: plain, or another model"
        )


class Renderer:
    """The process in which templates are rendered; calls from several threads wait for each other.

    It starts with the first request, and again after one for which it had to be ended.
    """

    def __init__(self) -> None:
        self._child: ChildProcess | None = None
        self._lock = threading.Lock()
        self._refused: dict[str, str] = {}  # source -> reason
        atexit.register(self.close)

    def render(self, source: str, variables: Mapping[str, Any]) -> str:
        """Return the text. Raises jinja2.TemplateError for what the template raises, and TemplateBeyond."""
        text: str = self._asked(source, dict(variables))["text"]
        return text

    def names(self, source: str) -> frozenset[str]:
        """Return the variables that a template reads. Raises as `render` does."""
        return frozenset(self._asked(source, None)["names"])

    def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def _asked(self, source: str, variables: dict[str, Any] | None) -> dict[str, Any]:
        from jinja2 import TemplateError

        with self._lock:
            reason = self._refused.get(source)
            reply = {} if reason else self._exchanged(pickle.dumps((source, variables)))
            if reason := reason or reply.get("beyond"):
                self._refused[source] = reason
                raise TemplateBeyond(reason)
        if "raised" in reply:
            raise TemplateError(reply["raised"])
        return reply

    def _exchanged(self, request: bytes) -> dict[str, Any]:
        """Return the reply; {"beyond": reason} where the process gives none."""
        child = self._child = self._child or _start()
        deadline = time.monotonic() + WALL_SECONDS
        try:
            child.send_bytes(len(request).to_bytes(8, "big") + request, deadline)
            reply: dict[str, Any] = json.loads(child.line(deadline))
            return reply
        except Died as error:
            reason = f"ends its process ({error})"
            if error.signal == signal.SIGXCPU:
                reason = f"takes more than {CPU_SECONDS} s of CPU time"
        except TooMuchMemory:
            reason = "takes more memory than it may"
        except Late:
            reason = f"takes more than {WALL_SECONDS:g} s"
        except Unsolicited:
            reason = f"writes more than {LONGEST_LINE:,} bytes"
        except BaseException:  # KeyboardInterrupt: the reply to come would be taken for the next one's
            self.close()
            raise
        self.close()
        return {"beyond": reason}


@functools.cache
def renderer() -> Renderer:
    """Return the one renderer of this process."""
    return Renderer()


class BoundedTemplate:
    """What transformers takes for the compiled template; `render` is done in the renderer's process."""

    def __init__(self, source: str, plain: Any) -> None:
        self._source, self._plain = source, plain

    def render(self, **variables: Any) -> str:
        """Return the text. Raises as `Renderer.render` does."""
        return renderer().render(self._source, variables)

    def __getattr__(self, name: str) -> Any:
        """Return what else its caller asks for, such as the environment that marks the assistant's tokens."""
        return getattr(self._plain(self._source), name)


def bound_templates() -> None:
    """Have transformers render every chat template of this process in bounded time and memory.

    Raises ConfigError where transformers has no such place for it: an unbounded template is never rendered.
    """
    import transformers
    from transformers.utils import chat_template_utils as theirs

    plain = getattr(theirs, "_compile_jinja_template", None)
    if plain is None:
        raise ConfigError(
            f"transformers {transformers.__version__} compiles chat templates where this release can't bound them: "
            "use template: plain, or install transformers 5.24"
        )
    if not hasattr(plain, "bounded"):
        bounded: Any = functools.partial(BoundedTemplate, plain=plain)
        bounded.bounded = True
        theirs._compile_jinja_template = bounded


def rendered(tokenizer: Any, messages: list[Any], **options: Any) -> str:
    """Return a conversation as the tokenizer's chat template writes it; `options` as of `apply_chat_template`.

    Raises TemplateBeyond, jinja2's errors, and whatever a tokenizer with a program of its own raises.
    """
    bound_templates()
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    return text


def _start() -> ChildProcess:
    child = ChildProcess(
        [
            *(sys.executable, "-m", "grpo.rollout.template_worker"),
            *map(str, (CPU_SECONDS, MEMORY_BYTES, MOST_CHARACTERS)),
        ],
        environment={**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path)},
        watched_bytes=MEMORY_BYTES,
        longest_line=LONGEST_LINE,
    )
    try:
        child.line(time.monotonic() + WALL_SECONDS)
    except (Died, Late) as error:
        child.close()
        raise RuntimeError(
            f"the process that renders chat templates does not start ({error}): "
            "see what `python -m grpo.rollout.template_worker 5 1000000000 1000` says"
        ) from error
    return child
