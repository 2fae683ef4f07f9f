"""Use a trainer's model besides training: evaluate it on tasks, complete prompts."""

from collections.abc import Sequence
from typing import Any

from envs import Task
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.evaluate.measure import evaluate
from grpo.model.policy import Policy
from grpo.rollout.engine import Request, generate
from grpo.rollout.prompts import fitting, render
from grpo.rollout.sampler import Sampling
from grpo.rollout.stopping import stops
from grpo.scoring import Scorer
from rewards import RewardSet

TRL_NAMES = {"mean_length": "completions/mean_length", "truncated": "completions/clipped_ratio"}


def evaluated(
    policy: Policy, tasks: Sequence[Task], rewards: RewardSet, config: Config, *, step: int
) -> dict[str, float]:
    """Figures of held-out tasks by TRL's names: reward, rewards/NAME/mean, completions/mean_length, ..."""
    prompts, notes = fitting(tasks, policy.tokenizer, config, "held-out")
    if not prompts:
        raise ConfigError(f"none of {len(tasks)} held-out prompts can be used: {'; '.join(notes)}")
    scorer = Scorer(rewards, config.max_completion_length)
    try:
        figures = evaluate(policy, prompts[: config.eval_tasks], scorer, config, step=step).figures
    finally:
        scorer.close()
    return {
        f"rewards/{name}/mean" if name in config.reward_weights else TRL_NAMES.get(name, name): value
        for name, value in figures.items()
    }


def generated(policy: Policy, prompts: Any, config: Config, *, samples: int, greedy: bool) -> list[Any]:
    """Completions of prompts in their order: a string each, or a list of `samples` strings."""
    one = isinstance(prompts, str) or (bool(prompts) and isinstance(prompts[0], dict))
    given = [prompts] if one else list(prompts)
    tasks = [Task(str(place), prompt) for place, prompt in enumerate(given)]
    request = Request(
        samples=samples,
        max_tokens=config.max_completion_length,
        sampling=Sampling(0.0) if greedy else Sampling(config.eval_temperature, config.eval_top_p),
        seed=config.seed,
        stream="sample",
        max_rows=max(config.max_rows, samples),
        merge_adapter=config.merge_adapter,
        kv_bits=config.kv_bits,
        stops=stops(config, policy.tokenizer),
    )
    rendered = [render(task, policy.tokenizer, config) for task in tasks]
    groups = dict(generate(policy, rendered, request))
    texts = [[rollout.text for rollout in groups[place].rollouts] for place in range(len(given))]
    return [row[0] for row in texts] if samples == 1 else texts
