"""Turn a task into the tokens the model sees. Text is tokenised once, here; a template's own BOS is never doubled."""

from typing import Any

from envs import Task
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.types import Prompt

# The prompt of DeepSeek-R1-Zero, arXiv 2501.12948, table 1.
R1_ZERO = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with the answer. "
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, "
    "i.e., <think> reasoning process here </think> <answer> answer here </answer>. User: {prompt} Assistant:"
)


def render(task: Task, tokenizer: Any, config: Config) -> Prompt:
    """Render the task as text and tokens with `config.template`.

    Raises ConfigError where the model has no chat template and one is asked for.
    """
    if config.template == "chat":
        text = _chat(task, tokenizer, config.system_prompt)
        tokens = tokenizer.encode(text, add_special_tokens=False)
    else:
        text = _plain(task)
        if config.template == "r1_zero":
            text = R1_ZERO.format(prompt=text)
        tokens = tokenizer.encode(text)
    return Prompt(task, tuple(tokens), text)


def _chat(task: Task, tokenizer: Any, system_prompt: str | None) -> str:
    if not tokenizer.has_chat_template:
        raise ConfigError(
            "template: chat needs a model with a chat template, this one has none: use template: plain or r1_zero"
        )
    messages = [{"role": "user", "content": task.prompt}] if isinstance(task.prompt, str) else list(task.prompt)
    if system_prompt is not None:
        messages = [{"role": "system", "content": system_prompt}, *messages]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def _plain(task: Task) -> str:
    if isinstance(task.prompt, str):
        return task.prompt
    return "\n\n".join(message["content"] for message in task.prompt)


def fitting(prompts: list[Prompt], config: Config) -> tuple[list[Prompt], int]:
    """Return the prompts within max_prompt_length, and the number of those beyond it."""
    kept = [prompt for prompt in prompts if 0 < len(prompt.tokens) <= config.max_prompt_length]
    return kept, len(prompts) - len(kept)
