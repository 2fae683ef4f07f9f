"""Completions of tasks from OpenAI-compatible servers, see `grpo.rollout.server`."""

from collections.abc import Callable, Iterator, Mapping

from distill.rejection.config import RejectionConfig
from distill.rejection.samplers import Completion, Drawn, OnTokens
from envs import Task
from grpo.rollout.prompts import chat_messages
from grpo.rollout.server import Asking, completions
from rewards.base import prompt_text


class ServerSampler:
    """Draws completions over HTTP."""

    def __init__(self, config: RejectionConfig, say: Callable[[str], None] = lambda _: None) -> None:
        """`say` prints a line. ConfigError, one line, for an address that is none."""
        self.config, self.say = config, say
        self.asking = Asking(
            url=config.servers,
            model=config.server_model,
            samples=config.samples,
            max_tokens=config.max_completion_length,
            temperature=config.temperature,
            top_p=config.top_p,
            seed=config.seed if config.server_seeds else None,
            stop=config.stop,
            chat_template_kwargs=config.chat_template_kwargs,
            concurrency=config.concurrency,
            timeout_seconds=config.timeout_seconds,
        )

    def sample(self, tasks: Mapping[int, Task], on_tokens: OnTokens) -> Iterator[Drawn]:
        """Every task's completions as they are complete; ConfigError, one line, where no server can go on."""
        asked = {number: chat_messages(task, self.config.system_prompt, []) for number, task in tasks.items()}
        for number, said in completions(self.asking, asked, on_tokens, self.say):
            drawn = tuple(Completion(one.text, one.tokens, one.stop_reason) for one in said)
            yield Drawn(number, prompt_text(tasks[number].prompt), drawn)
