"""The doctor's look at one prompt: a task as the model will see it, and what ends a completion."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.doctor.model import model_folder
from grpo.doctor.report import Report

if TYPE_CHECKING:
    from envs import Env

LOOKED_AT = 8  # tasks whose tokens are looked at; the first is shown
MOST_CHARACTERS = 800  # of the prompt that is shown; a longer one loses its middle


def prompt(report: Report, config: Config, env: "Env | None") -> None:
    """Render the first task as in training and show it; nothing for a model that is not here."""
    folder = model_folder(config.model, config.revision)
    if folder is None or env is None or report.wrong_input:
        return
    from grpo.rollout.prompts import misfits, render
    from grpo.rollout.stopping import stops

    notes: list[str] = []
    try:
        tokenizer = _tokenizer(folder, config.model)
        rendered = [render(task, tokenizer, config, notes=notes) for task in env.tasks("train")[:LOOKED_AT]]
        shown = rendered[0]
        ends = stops(config, tokenizer)
    except ConfigError as error:
        report.refuse("prompt", str(error))
        return
    said = [repr(tokenizer.decode([token])) for token in sorted(ends.tokens)] + [repr(text) for text in ends.texts]
    report.say("ok", "prompt", f"{len(shown.tokens)} tokens; a completion ends with {', '.join(said)}; the first is")
    report.quote(_shortened(shown.text))
    for note in dict.fromkeys([*notes, *misfits(rendered, tokenizer, config)]):
        report.say("warn", "prompt", note)
    if len(shown.tokens) > config.max_prompt_length:
        report.say("warn", "prompt", f"it is longer than max_prompt_length {config.max_prompt_length} and left out")


def _tokenizer(folder: Path, name: str) -> Any:
    from mlx_lm.utils import load_config, load_tokenizer

    from grpo.model.files import NO_CODE

    try:
        return load_tokenizer(folder, NO_CODE, eos_token_ids=load_config(folder).get("eos_token_id"))
    except Exception as error:  # whatever json, tokenizers and transformers raise on a bad file
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ConfigError(f"model {name}: its tokenizer can't be loaded: {reason}") from error


def _shortened(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]}\n[... {len(text) - MOST_CHARACTERS} characters ...]\n{text[-half:]}"
