"""A long run with faults: every step is made and logged, nothing is left behind, and the memory stays."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from grpo.runs.logger import RunLogger

STEPS = 2000
MOST_BYTES_A_STEP = 20_000
# once in 1,000 steps each: a reward raises, gives NaN, is slow, takes its process along
FAULTY = """
import os, time
def mine(completions, trainer_state, **_):
    at = trainer_state.global_step % 1000
    if at == 200: raise RuntimeError("made up")
    if at == 400: return [float("nan")] * len(completions)
    if at == 600: time.sleep(1)
    if at == 800: os._exit(1)
    return [len(set(text)) / 10 for text in completions]
"""


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process from /proc")
def test_two_thousand_steps_with_faults_keep_their_memory(runs, monkeypatch):
    runs.module("faulty", FAULTY)
    seen, plain = [], RunLogger.step

    def step(self, number, metrics):
        plain(self, number, metrics)
        seen.append(resident_bytes())

    monkeypatch.setattr(RunLogger, "step", step)
    run = runs.run(
        f"steps={STEPS}",
        "reward_weights.checked:evens=null",
        "reward_weights.faulty:mine=1",
        "reward_weights.format=0.1",
        "save_every=500",
        "keep_checkpoints=2",
        "completions_every=100",
        "eval_every=500",
    )
    assert run.code == 0, run.err
    assert [line["step"] for line in run.metrics] == list(range(1, STEPS + 1))
    failed = {name: sum(line.get(name, 0) for line in run.metrics) for name in set().union(*run.metrics)}
    for kind in ("raised", "not_finite", "died"):
        assert failed[f"rewards/failed/faulty:mine/{kind}"] > 0
    late = np.array(seen[STEPS // 2 :], dtype=float)
    slope = np.polyfit(np.arange(len(late)), late, 1)[0]
    assert slope < MOST_BYTES_A_STEP, f"{slope:.0f} bytes a step"
    left = sorted(path.name for path in run.folder.rglob("*") if path.name.startswith((".partial", ".replaced")))
    assert left == []
    assert len(list((run.folder / "checkpoints").glob("step_*"))) == 2
    json.dumps(run.summary)
