"""Medical questions answered in free text, judged by another model against the reference answer.

    mlx_lm.server --model JUDGE --port 8080
    python -m benchmarks.medical --model BASE --output runs/before
    python -m benchmarks.medical --model BASE --adapter runs/sft --output runs/after
    python -m benchmarks.compare runs/before runs/after

Right = the judge finds that the final answer says the same as the reference, which it sees and the model does not. The
judge is any OpenAI-compatible endpoint (--judge-url, --judge-model; its key in JUDGE_API_KEY); where it gives no
verdict the sample is unscored. A judge has tastes: compare runs under one judge, and read some items. Data: Question,
Response (medical-o1-reasoning-SFT).
"""

import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.harness.engine import run_command
from benchmarks.harness.settings import parser
from benchmarks.harness.spec import Benchmark, Source
from rewards.base import Completion, Judged, prompt_text
from rewards.judge.reward import JudgeReward
from rewards.judge.rubrics import RUBRICS, Rubric

JUDGE_URL, JUDGE_MODEL = "http://127.0.0.1:8080/v1", "default_model"  # of mlx_lm.server on this machine
RUBRIC = Rubric(
    "agrees_with_reference",
    "Does the text give the same answer as the reference answer, which stands before the task?",
    (
        "It names the same diagnosis, drug, mechanism, value or action as the reference answer.",
        "Nothing in it contradicts the reference answer in a way that would matter for a patient.",
        "It commits itself: a list of possibilities that holds the right one among others is not the same answer.",
        "Wording, length and further detail that is right do not matter.",
    ),
    sees="final",
)
RUBRICS.setdefault(RUBRIC.name, RUBRIC)


class AgainstReference:
    """1 where the judge lets a final answer pass against its reference, else 0; None without a verdict.

    Options are those of rewards.judge.reward.JudgeReward.
    """

    def __init__(self, url: str = JUDGE_URL, model: str = JUDGE_MODEL, **options: Any) -> None:
        self.judge = JudgeReward(rubric=RUBRIC.name, url=url, model=model, domain="medical", **options)

    def __call__(
        self, prompts: Sequence[Completion], completions: Sequence[Completion], answer: Sequence[str], **columns: Any
    ) -> list[float | None]:
        asked = [  # the prompt last: its end says whether the thinking was opened there
            f"Reference answer, which the text was written without seeing:\n{one}\n\nTask:\n{prompt_text(prompt)}"
            for prompt, one in zip(prompts, answer, strict=True)
        ]
        found = self.judge(asked, completions)
        passed = [None if value is None else float(value > 0.5) for value in found]
        if isinstance(found, Judged):
            return Judged(passed, outcomes=found.outcomes, messages=found.messages)
        return passed


def benchmark(judge_url: str = JUDGE_URL, judge_model: str = JUDGE_MODEL) -> Benchmark:
    """The questions under this judge."""
    reward = "benchmarks.medical:AgainstReference"
    return Benchmark(
        name="medical",
        source=Source(
            "FreedomIntelligence/medical-o1-reasoning-SFT",
            configs=("en",),
            split="train",
            revision="fc2c9e8a37b38f38da6d449564a8c350b244aef4",
        ),
        prompt_column="Question",
        answer_column="Response",
        suffix="",
        rewards=(reward, "language"),
        reward_options={reward: {"url": judge_url, "model": judge_model, "batch_seconds": 540.0}},
        votes=False,
        samples=1,
        max_tokens=2048,
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; --judge-url and --judge-model say who judges."""
    options = parser(benchmark(), __doc__ or "")
    options.add_argument("--judge-url", default=JUDGE_URL, metavar="URL")
    options.add_argument("--judge-model", default=JUDGE_MODEL, metavar="NAME")
    parsed = options.parse_args(arguments)
    return run_command(benchmark(parsed.judge_url, parsed.judge_model), parsed)


if __name__ == "__main__":
    sys.exit(main())
