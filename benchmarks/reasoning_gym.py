"""A procedural task of reasoning-gym (arXiv 2505.24760), judged by its own scorer in a process apart.

    python -m benchmarks.reasoning_gym --task leg_counting --model DIR_OR_HUB_ID --output runs/legs [--size 200]

`python -m envs list reasoning_gym` names the tasks. The problems are those of --problem-seed, whatever --seed samples
with. Asked to put the answer between <answer> and </answer>, under every template. Right = the scorer gives 1; the
mean of its scores, which may be partial, is shown as well.
"""

import sys

from benchmarks.harness.engine import run_command
from benchmarks.harness.settings import Settings, parser
from benchmarks.harness.spec import Benchmark
from envs import Task

REWARD = "envs.reasoning_gym:reasoning_gym_reward"


def benchmark(task: str, size: int = 100, problem_seed: int = 0) -> Benchmark:
    """`size` problems of a task, those of `problem_seed`."""

    def problems(settings: Settings) -> list[Task]:
        from envs.reasoning_gym import procedural

        made = procedural(task=task, size=size, seed=problem_seed, test_size=0).tasks("train")
        return sorted(made, key=lambda one: one.columns["entry"]["index"])

    return Benchmark(
        name="reasoning_gym",
        variant=task,
        source=None,
        make=problems,
        suffix="",
        rewards=(REWARD, "language"),
        votes=False,
        samples=4,
        max_tokens=4096,
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; --task names the task."""
    options = parser(benchmark("", 1, 0), __doc__ or "")
    options.add_argument("--task", required=True, help="python -m envs list reasoning_gym")
    options.add_argument("--size", type=int, default=100, help="problems that are made (default 100)")
    options.add_argument("--problem-seed", type=int, default=0, help="of the problems (default 0)")
    parsed = options.parse_args(arguments)
    return run_command(benchmark(parsed.task, parsed.size, parsed.problem_seed), parsed)


if __name__ == "__main__":
    sys.exit(main())
