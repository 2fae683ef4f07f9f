"""Use a trainer's model besides training: evaluate it on tasks, complete prompts."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from envs import Env, Task
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.evaluate.measure import evaluate
from grpo.model.policy import Policy
from grpo.rollout.dialogue import dialogues_of, tools_for
from grpo.rollout.engine import Request, generate
from grpo.rollout.prompts import fitting, render
from grpo.rollout.sampler import Sampling
from grpo.rollout.stopping import stops
from grpo.scoring import Scorer, as_messages
from grpo.types import Rollout
from rewards import RewardSet

TRL_NAMES = {"mean_length": "completions/mean_length", "truncated": "completions/clipped_ratio"}


def evaluated(
    policy: Policy, tasks: Sequence[Task], rewards: RewardSet, config: Config, *, env: Env, step: int
) -> dict[str, float]:
    """Figures of held-out tasks by TRL's names: reward, rewards/NAME/mean, completions/mean_length, ...

    Where `env` answers, every completion is a conversation with it.
    """
    dialogues = dialogues_of(env, policy.tokenizer, config, stops(config, policy.tokenizer).tokens)
    tools = None if dialogues is None else functools.partial(tools_for, env)
    prompts, notes = fitting(tasks, policy.tokenizer, config, "held-out", tools)
    if not prompts:
        raise ConfigError(f"none of {len(tasks)} held-out prompts can be used: {'; '.join(notes)}")
    scorer = Scorer(rewards, config.max_completion_length)
    try:
        chosen = prompts[: config.eval_tasks]
        figures = evaluate(policy, chosen, scorer, config, step=step, dialogues=dialogues).figures
    finally:
        scorer.close()
    return trl_figures(figures, config)


def trl_figures(figures: Mapping[str, Any], config: Config, prefix: str = "") -> dict[str, Any]:
    """Held-out figures under TRL's names, each after `prefix`."""
    return {
        prefix + (f"rewards/{name}/mean" if name in config.reward_weights else TRL_NAMES.get(name, name)): value
        for name, value in figures.items()
    }


def generated(policy: Policy, prompts: Any, config: Config, *, env: Env, samples: int, greedy: bool) -> list[Any]:
    """Completions of prompts in their order: a string each, or a list of `samples` strings.

    Where `env` answers, a completion is the list of messages of the conversation after its prompt.
    """
    one = isinstance(prompts, str) or (bool(prompts) and isinstance(prompts[0], dict))
    given = [prompts] if one else list(prompts)
    tasks = [Task(str(place), prompt) for place, prompt in enumerate(given)]
    ends = stops(config, policy.tokenizer)
    dialogues = dialogues_of(env, policy.tokenizer, config, ends.tokens)
    request = Request(
        samples=samples,
        max_tokens=config.max_completion_length,
        sampling=Sampling(0.0) if greedy else Sampling(config.eval_temperature, config.eval_top_p),
        seed=config.seed,
        stream="sample",
        max_rows=max(config.max_rows, samples),
        merge_adapter=config.merge_adapter,
        kv_bits=config.kv_bits,
        stops=ends,
        dialogues=dialogues,
    )
    tools = [() if dialogues is None else tools_for(env, task) for task in tasks]
    rendered = [render(task, policy.tokenizer, config, tools=own) for task, own in zip(tasks, tools, strict=True)]
    groups = dict(generate(policy, rendered, request))
    said = [[_said(rollout) for rollout in groups[place].rollouts] for place in range(len(given))]
    return [row[0] for row in said] if samples == 1 else said


def _said(rollout: Rollout) -> Any:
    return rollout.text if rollout.dialogue is None else as_messages(rollout)
