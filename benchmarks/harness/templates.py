"""From a task to the tokens a benchmark shows the model: grpo's templates, and a `<think>` written for the model."""

from typing import Any

from benchmarks.harness.settings import Settings
from envs import Task
from grpo.config import Config
from grpo.rollout.prompts import render as render_as_trained
from grpo.types import Prompt
from rewards.sections import opened_by_prompt

OPENING = "<think>\n"  # the answer of every R1 evaluation begins with it (model card of DeepSeek-R1)


def render(task: Task, tokenizer: Any, settings: Settings) -> Prompt:
    """The prompt, ending with `<think>` and a line break where settings ask for it and the template has none."""
    template: Any = "chat" if settings.template == "r1" else settings.template
    prompt = render_as_trained(task, tokenizer, Config(template=template, system_prompt=settings.system_prompt))
    if not settings.opens_thinking or opened_by_prompt(prompt.text):
        return prompt
    text = prompt.text + (OPENING if prompt.text[-1:].isspace() or template == "chat" else " " + OPENING)
    tokens = tokenizer.encode(text, add_special_tokens=False) if template == "chat" else tokenizer.encode(text)
    return Prompt(task, tuple(tokens), text)
