"""Predict the seconds of a step on other machines from those of a run: ranks, roles, a fleet of servers.

    python -m benchmarks.scaling_plan RUN --cores 2 --ranks 1 2 4
    python -m benchmarks.scaling_plan RUN --separate --ranks 1 2 4 --bandwidth 4e9 --roles 1:1 3:1 --servers 2 8

RUN is a directory of grpo.train made by one process: its metrics.jsonl gives the seconds of sampling, rewards and
learning, its completions how unequal the prompts are and which rows were learned from, its adapter what is sent.
Several RUNs of the same settings with other prompts_per_step also tell how much of the sampling does not shrink with
the batch.

    sampling = fixed + slope x completions, of the rank with the most to do
    learning = fixed + slope x tokens of rows whose advantage is not 0, of a step
    of n processes on a machine of c cores, each of which alone keeps b busy, all run n b / c times as slow, if above 1
    sending = 2 (n - 1) / n x bytes of the gradient / bandwidth + 2 (n - 1) x latency, a ring
    step = sampling + rewards + learning + sending; with samplers apart and a staleness of 1 or more the larger of
    the samplers' and the learners' part

What is not in it: other speeds of other devices (--server-speed is yours to know), memory, the start of a run.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewards.printable import say

WARM = 1  # steps at the beginning that are left out, where there are more than two
ADAPTERS = "adapters.safetensors"


@dataclass(frozen=True)
class Run:
    """Means of a run's steps."""

    rollout: float  # seconds
    rewards: float
    learn: float
    step: float  # all of it, what is between the parts included
    completions: int  # of a step
    tokens: list[list[list[int]]]  # [steps][prompts][samples] of the completions that were kept
    gradient_bytes: float  # of the trained leaves
    sending: float  # seconds in collectives
    learned: list[tuple[float, float]]  # of each step: tokens that were learned from, seconds of learning


@dataclass(frozen=True)
class Law:
    """Seconds of a part by the size of its work."""

    fixed: float
    slope: float

    def __call__(self, size: float) -> float:
        return self.fixed + self.slope * size


@dataclass(frozen=True)
class Machines:
    """What the processes run on and what is between them."""

    cores: int  # of a machine
    busy: float  # cores that a process alone keeps busy
    separate: bool  # each process has a machine of its own
    bandwidth: float  # bytes a second
    latency: float  # seconds of a message

    def slowdown(self, processes: int) -> float:
        """Return how much slower processes are side by side than one alone."""
        return 1.0 if self.separate else max(1.0, processes * self.busy / self.cores)

    def sending(self, ranks: int, size: float) -> float:
        """Return the seconds of summing `size` bytes over ranks in a ring."""
        return 2 * (ranks - 1) / ranks * size / self.bandwidth + 2 * (ranks - 1) * self.latency

    def handing(self, size: float) -> float:
        """Return the seconds of handing `size` bytes to one other machine."""
        return size / self.bandwidth + self.latency


@dataclass(frozen=True)
class Prediction:
    """The seconds of a step in one layout."""

    layout: str
    machines: int
    rollout: float
    rewards: float
    learn: float
    sending: float
    step: float
    speed: float  # steps of this layout in the time of one process's step
    efficiency: float  # that, over the machines


def read_run(folder: Path) -> Run:
    """Return a run's medians; ValueError, one line, where it has no steps."""
    try:
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    except FileNotFoundError:
        raise ValueError(f"{folder}: no metrics.jsonl there: is it the directory of a run?") from None
    if not lines:
        raise ValueError(f"{folder}: no step in metrics.jsonl")
    lines = lines[WARM:] if len(lines) > WARM + 1 else lines

    def average(name: str) -> float:
        return statistics.mean(line.get(name, 0.0) for line in lines)

    rows = [_rows(path) for path in sorted((folder / "completions").glob("*.jsonl"))][-len(lines) :]
    tokens = [_by_task(step) for step in rows]
    counts = [sum(map(len, step)) for step in tokens]
    if not counts:
        raise ValueError(f"{folder}: no completions are kept there (completions_every=1 keeps them)")
    adapter = folder / ADAPTERS
    return Run(
        rollout=average("time/rollout"),
        rewards=average("time/rewards_after_rollout"),
        learn=average("time/learn"),
        step=average("step_time"),
        completions=round(statistics.mean(counts)),
        tokens=tokens,
        gradient_bytes=float(adapter.stat().st_size) if adapter.exists() else 0.0,
        sending=average("ranks/seconds"),
        learned=[(_learned(step), line["time/learn"]) for step, line in zip(rows, lines[-len(rows) :], strict=True)],
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _by_task(rows: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Return the tokens of each completion of a step, by prompt."""
    groups: dict[str, list[int]] = {}
    for row in rows:
        groups.setdefault(str(row["task"]), []).append(int(row["tokens"]))
    return list(groups.values())


def _learned(rows: Sequence[dict[str, Any]]) -> float:
    """Return the tokens of a step's rows that have an advantage."""
    return float(sum(row["tokens"] for row in rows if row.get("advantage", 1.0) != 0))


def law(points: Sequence[tuple[float, float]]) -> Law:
    """Fit seconds to the size of the work, from (size, seconds); with one size alone nothing is fixed."""
    sizes, seconds = np.array(points, dtype=float).reshape(-1, 2).T
    if len(set(sizes.tolist())) > 1:
        slope, fixed = np.polyfit(sizes, seconds, 1)
        if fixed >= 0 and slope >= 0:
            return Law(float(fixed), float(slope))
    return Law(0.0, float(seconds.sum() / max(sizes.sum(), 1.0)))


def heaviest(run: Run, ranks: int) -> tuple[float, float]:
    """Return what the rank with the most to do has, over an equal share: its longest completion, its tokens.

    The first is a share of the step's longest, 1 at most, the second of the mean over ranks, 1 at least. Ranks have
    every n-th prompt, or of each prompt as many samples where there are fewer prompts than ranks.
    """
    longest, most = [], []
    for step in run.tokens:
        if len(step) >= ranks:
            shares = [[tokens for group in step[rank::ranks] for tokens in group] for rank in range(ranks)]
        else:
            shares = [[tokens for group in step for tokens in group[rank::ranks]] for rank in range(ranks)]
        shares = [share for share in shares if share]
        whole = max(max(share) for share in shares)
        longest.append(max(max(share) / whole for share in shares))
        most.append(max(map(sum, shares)) / (sum(map(sum, shares)) / ranks))
    return statistics.mean(longest), statistics.mean(most)


class Plan:
    """Predictions from one run, or several of other batches, of one process."""

    def __init__(self, runs: Sequence[Run], machines: Machines) -> None:
        self.run, self.machines = runs[0], machines
        self.sampling = law([(run.completions, run.rollout) for run in runs])
        self.learning = law([point for run in runs for point in run.learned if point[0]])
        # what a step does besides, such as writing completions, stays what it is
        self.rest = max(self.run.step - self.run.rollout - self.run.rewards - self.run.learn, 0.0)
        self.alone = self._rollout(1) + self.run.rewards + self._learn(1) + self.rest

    def ranks(self, ranks: int) -> Prediction:
        """All sample their share and learn from it, gradients are summed."""
        slow, sending = self.machines.slowdown(ranks), 0.0
        if ranks > 1:
            sending = self.machines.sending(ranks, self.run.gradient_bytes)
        rollout, learn = self._rollout(ranks) * slow, self._learn(ranks) * slow
        rewards = self.run.rewards / ranks * slow
        step = rollout + rewards + learn + sending + self.rest
        machines = ranks if self.machines.separate else 1
        return self._predicted(f"{ranks} ranks" if ranks > 1 else "1 process", machines, rollout, rewards, learn,
                               sending, step)  # fmt: skip

    def roles(self, samplers: int, learners: int, *, staleness: int) -> Prediction:
        """Some sample, others learn; the adapter goes from one to the other."""
        slow = self.machines.slowdown(samplers + learners if staleness else max(samplers, learners))
        rollout, learn = self._rollout(samplers) * slow, self._learn(learners) * slow
        sending = self.machines.handing(self.run.gradient_bytes) * samplers
        if learners > 1:
            sending += self.machines.sending(learners, self.run.gradient_bytes)
        parts = (rollout + self.run.rewards, learn + sending + self.rest)
        step = max(parts) if staleness else sum(parts)
        machines = samplers + learners if self.machines.separate else 1
        name = f"{samplers} samplers, {learners} learners"
        return self._predicted(name, machines, rollout, self.run.rewards, learn, sending, step)

    def fleet(self, servers: int, *, speed: float, staleness: int) -> Prediction:
        """Servers that sample `speed` times as fast as the run did, one learner; the adapter goes to each."""
        rollout = self._rollout(servers) / speed
        sending = self.machines.handing(self.run.gradient_bytes) * servers
        parts = (rollout + self.run.rewards, self._learn(1) + sending + self.rest)
        step = max(parts) if staleness else sum(parts)
        name = f"{servers} servers, 1 learner"
        return self._predicted(
            name, servers + 1, rollout, self.run.rewards, parts[1] - sending - self.rest, sending, step
        )

    def _rollout(self, ranks: int) -> float:
        """Return the seconds of sampling on the rank that takes longest, alone on its machine."""
        longest, most = heaviest(self.run, ranks)
        share = self.run.completions / ranks * most
        return self.sampling.fixed * longest + self.sampling.slope * share

    def _learn(self, ranks: int) -> float:
        """Return the mean seconds of learning on one of `ranks`, alone on its machine: tokens are shared out evenly."""
        return statistics.mean(self.learning(tokens / ranks) if tokens else 0.0 for tokens, _ in self.run.learned)

    def _predicted(
        self, layout: str, machines: int, rollout: float, rewards: float, learn: float, sending: float, step: float
    ) -> Prediction:
        speed = self.alone / step
        return Prediction(layout, machines, rollout, rewards, learn, sending, step, speed, speed / machines)


def table(predictions: Sequence[Prediction]) -> str:
    """The predictions as Markdown."""
    lines = [
        "| layout | machines | sampling | rewards | learning | sending | step, s | faster | efficiency |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.layout} | {one.machines} | {one.rollout:.2f} | {one.rewards:.2f} | {one.learn:.2f} | "
        f"{one.sending:.3f} | {one.step:.2f} | {one.speed:.2f} x | {one.efficiency:.0%} |"
        for one in predictions
    ]
    return "\n".join(lines)


def checked(plan: Plan, ranks: int, run: Run) -> dict[str, float]:
    """Compare a prediction with a run on that number of ranks; `error` is relative to what was measured."""
    predicted = plan.ranks(ranks).step
    return {"ranks": ranks, "predicted": predicted, "measured": run.step, "error": predicted / run.step - 1}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling_plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="directory of a run by one process")
    parser.add_argument("--cores", type=int, default=1, help="cores of a machine; 1 for a GPU (1)")
    parser.add_argument("--busy", type=float, help="cores that a process alone keeps busy, CPU over wall seconds (all)")
    parser.add_argument("--separate", action="store_true", help="every process has a machine of its own")
    parser.add_argument("--bandwidth", type=float, default=1e9, help="bytes a second between processes (1e9)")
    parser.add_argument("--latency", type=float, default=1e-4, help="seconds of a message (1e-4)")
    parser.add_argument("--ranks", type=int, nargs="*", default=[1, 2, 4], help="data parallel (1 2 4)")
    parser.add_argument("--roles", nargs="*", default=[], metavar="S:L", help="samplers and learners, e.g. 1:1 3:1")
    parser.add_argument("--servers", type=int, nargs="*", default=[], help="servers that sample, one learner")
    parser.add_argument("--server-speed", type=float, default=1.0, help="of a server, over the run's own sampling (1)")
    parser.add_argument(
        "--max-staleness", type=int, default=1, help="0: samplers and learners wait for one another (1)"
    )
    parser.add_argument("--check", nargs="*", default=[], metavar="N=RUN", help="compare with runs of N ranks")
    parser.add_argument("--output", type=Path, help="directory for scaling_plan.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; exit code 2 where a run can't be read."""
    options = parse(arguments)
    try:
        runs = [read_run(folder) for folder in options.runs]
        busy = options.cores if options.busy is None else options.busy
        machines = Machines(options.cores, busy, options.separate, options.bandwidth, options.latency)
        plan = Plan(runs, machines)
        predictions = [plan.ranks(count) for count in options.ranks]
        for text in options.roles:
            samplers, _, learners = text.partition(":")
            predictions.append(plan.roles(int(samplers), int(learners), staleness=options.max_staleness))
        predictions += [
            plan.fleet(count, speed=options.server_speed, staleness=options.max_staleness) for count in options.servers
        ]
        checks = []
        for text in options.check:
            count, _, folder = text.partition("=")
            checks.append(checked(plan, int(count), read_run(Path(folder))))
    except ValueError as error:
        say(f"error: {error}", sys.stderr)
        return 2
    print(table(predictions))
    if len({run.completions for run in runs}) < 2:
        print("one size of batch: nothing is taken to be fixed, more RUNs with other prompts_per_step would tell")
    for check in checks:
        print(
            f"{check['ranks']:.0f} ranks: {check['predicted']:.2f} s predicted, {check['measured']:.2f} s measured, "
            f"{check['error']:+.0%}"
        )
    if options.output is not None:
        record: dict[str, Any] = {
            "machines": asdict(machines),
            "sampling": asdict(plan.sampling),
            "learning": asdict(plan.learning),
            "predictions": [asdict(one) for one in predictions],
            "checks": checks,
        }
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "scaling_plan.json").write_text(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
