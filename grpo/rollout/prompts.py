"""Turn a task into the tokens the model sees. Text is tokenised once, here; a template's own BOS is never doubled."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from envs import Message, Task, Tool
from envs.tools.conversation import INSTRUCTIONS
from grpo.config import Config
from grpo.rollout.template import ChatTemplate
from grpo.rollout.writing import call_format
from grpo.types import Prompt

# The prompt of DeepSeek-R1-Zero, arXiv 2501.12948, table 1.
R1_ZERO = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with the answer. "
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, "
    "i.e., <think> reasoning process here </think> <answer> answer here </answer>. User: {prompt} Assistant:"
)


def render(
    task: Task, tokenizer: Any, config: Config, *, tools: Sequence[Tool] = (), notes: list[str] | None = None
) -> Prompt:
    """Render the task as text and tokens with `config.template`.

    `tools` are shown by a chat template; what had to be changed for it is added to `notes`, once. Raises ConfigError
    where the model has no chat template and one is asked for, or where it can't render the messages.
    """
    if config.template == "chat":
        template = ChatTemplate(tokenizer, config.chat_template_kwargs)
        text = _with_tools(template, chat_messages(task, config.system_prompt, template.notes), tools)
        tokens = tokenizer.encode(text, add_special_tokens=False)
        if notes is not None:
            notes += [note for note in template.notes if note not in notes]
    else:
        text = _plain(task)
        if tools:
            text = f"{described([tool.schema for tool in tools])}\n\n{text}"
        if config.template == "r1_zero":
            text = R1_ZERO.format(prompt=text)
        tokens = tokenizer.encode(text)
    return Prompt(task, tuple(tokens), text)


def chat_messages(task: Task, system_prompt: str | None, notes: list[str]) -> list[Message]:
    """The task's messages; a system prompt of the config takes the place of the task's own."""
    messages = [{"role": "user", "content": task.prompt}] if isinstance(task.prompt, str) else list(task.prompt)
    if system_prompt is None:
        return messages
    if messages[0]["role"] in ("system", "developer"):
        notes.append("system_prompt takes the place of the tasks' own system message")
        messages = messages[1:]
    return [{"role": "system", "content": system_prompt}, *messages]


def _with_tools(template: ChatTemplate, messages: list[Message], tools: Sequence[Tool]) -> str:
    """The text the model goes on from; where the template shows no tools, they are described in the system message."""
    if not tools:
        return template.opening(messages)
    schemas = [tool.schema for tool in tools]
    if call_format(template.tokenizer).shown:
        text = template.opening(messages, schemas)
        if text != template.opening(messages):
            return text
    return template.opening(_with_system(messages, described(schemas)))


def described(schemas: Sequence[dict[str, Any]]) -> str:
    """Tools in words, for a model whose template shows none."""
    return INSTRUCTIONS.format(tools="\n".join(json.dumps(schema["function"]) for schema in schemas))


def _with_system(messages: list[Message], text: str) -> list[Message]:
    """Return the messages with a text at the end of their system message, or as one."""
    if messages[0]["role"] == "system":
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _plain(task: Task) -> str:
    if isinstance(task.prompt, str):
        return task.prompt
    return "\n\n".join(message["content"] for message in task.prompt)


def fitting(
    tasks: Sequence[Task],
    tokenizer: Any,
    config: Config,
    split: str,
    tools: Callable[[Task], Sequence[Tool]] | None = None,
) -> tuple[list[Prompt], list[str]]:
    """Return the rendered tasks within max_prompt_length, and what their reader should be told, a line each.

    `tools` says which a task is shown with.
    """
    notes: list[str] = []
    prompts = [
        render(task, tokenizer, config, tools=() if tools is None else tools(task), notes=notes) for task in tasks
    ]
    kept = [prompt for prompt in prompts if 0 < len(prompt.tokens) <= config.max_prompt_length]
    beyond = [prompt for prompt in prompts if len(prompt.tokens) > config.max_prompt_length]
    if beyond:
        longest = max(len(prompt.tokens) for prompt in beyond)
        notes.append(
            f"{len(beyond)} of {len(prompts)} {split} prompts are longer than max_prompt_length "
            f"{config.max_prompt_length} and are left out, the first {beyond[0].task.id}; the longest has {longest}"
        )
    if empty := len(prompts) - len(kept) - len(beyond):
        notes.append(f"{empty} of {len(prompts)} {split} prompts have no token and are left out")
    if split == "train" and kept:
        notes += misfits(kept, tokenizer, config)
    return kept, notes


def misfits(prompts: Sequence[Prompt], tokenizer: Any, config: Config) -> list[str]:
    """Say where prompts are not written as the model knows them: unknown tokens, a chat template that is not used."""
    notes = []
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is not None and unknown not in getattr(tokenizer, "eos_token_ids", ()):
        seen = prompts[:200]
        share = sum(prompt.tokens.count(unknown) for prompt in seen) / sum(len(prompt.tokens) for prompt in seen)
        if share >= 0.05:
            notes.append(
                f"{share:.0%} of the tokens of the train prompts are unknown to the model ({tokenizer.unk_token})"
            )
    if config.template == "plain" and getattr(tokenizer, "has_chat_template", False):
        notes.append("template: plain shows prompts as they are, and the model has a chat template (template: chat)")
    return notes
