"""From a task to the tokens a benchmark shows the model: grpo's templates, and a `<think>` written for the model."""

from collections.abc import Sequence
from typing import Any

from benchmarks.harness.settings import Settings
from envs import Task, Tool
from grpo.config import Config
from grpo.rollout.prompts import render as render_as_trained
from grpo.types import Prompt
from rewards.sections import opened_by_prompt

OPENING = "<think>\n"  # the answer of every R1 evaluation begins with it (model card of DeepSeek-R1)


def as_trained(settings: Settings) -> Config:
    """The config of a run whose prompts and stops are these."""
    template: Any = "chat" if settings.template == "r1" else settings.template
    return Config(
        model=settings.model,
        template=template,
        system_prompt=settings.system_prompt,
        chat_template_kwargs=settings.chat_template_kwargs,
        max_turns=settings.max_turns,
    )


def render(task: Task, tokenizer: Any, settings: Settings, tools: Sequence[Tool] = ()) -> Prompt:
    """The prompt, ending with `<think>` and a line break where settings ask for it and the template has none."""
    config = as_trained(settings)
    prompt = render_as_trained(task, tokenizer, config, tools=tools)
    if not settings.opens_thinking or opened_by_prompt(prompt.text):
        return prompt
    text = prompt.text + (OPENING if prompt.text[-1:].isspace() or config.template == "chat" else " " + OPENING)
    tokens = tokenizer.encode(text, add_special_tokens=False) if config.template == "chat" else tokenizer.encode(text)
    return Prompt(task, tuple(tokens), text)
