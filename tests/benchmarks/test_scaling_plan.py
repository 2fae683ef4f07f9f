"""Predictions of a step's seconds, against numbers worked out by hand."""

import json

import pytest

from benchmarks.scaling_plan import Law, Machines, Plan, Run, checked, heaviest, law, main, read_run

ALONE = Machines(cores=1, busy=1, separate=True, bandwidth=1e6, latency=0.0)


def run(rollout=8.0, learn=4.0, *, completions=8, tokens=None, rewards=0.0, step=None, size=1e6):
    tokens = tokens or [[[10] * 4 for _ in range(completions // 4)]]
    learned = [(80.0, learn)]
    return Run(rollout, rewards, learn, step or rollout + rewards + learn, completions, tokens, size, 0.0, learned)


def test_ranks_on_machines_of_their_own_share_the_work_and_pay_for_the_ring():
    # 8 s and 4 s over 2 ranks: 6 s; the ring sends 2 * 1/2 * 1e6 bytes at 1e6 a second: 1 s
    found = Plan([run()], ALONE).ranks(2)
    assert (found.rollout, found.learn, found.sending, found.step) == pytest.approx((4, 2, 1, 7))
    assert found.speed == pytest.approx(12 / 7) and found.efficiency == pytest.approx(6 / 7)


def test_one_process_is_what_was_measured():
    assert Plan([run(step=13.0)], ALONE).ranks(1).step == pytest.approx(13.0)


@pytest.mark.parametrize(
    ("cores", "busy", "ranks", "step"),
    [
        (2, 2.0, 2, 12.0),  # one process had both cores already: half the work at half the speed
        (2, 1.0, 2, 6.0),  # it had one: the other was idle
        (2, 1.5, 2, 9.0),  # 2 * 1.5 / 2 = 1.5 times as slow: 6 * 1.5
        (2, 1.0, 4, 6.0),  # 3 s of work each, 4 / 2 times as slow
        (8, 1.0, 4, 3.0),
    ],
)
def test_processes_on_one_machine_share_its_cores(cores, busy, ranks, step):
    plan = Plan([run()], Machines(cores, busy, separate=False, bandwidth=1e12, latency=0.0))
    assert plan.ranks(ranks).step == pytest.approx(step, rel=1e-3)


def test_what_does_not_shrink_with_the_batch_is_fitted_from_two_sizes():
    # 2 + 0.5 * 8 = 6, 2 + 0.5 * 16 = 10
    runs = [run(6.0, completions=8), run(10.0, completions=16)]
    found = law([(one.completions, one.rollout) for one in runs])
    assert (found.fixed, found.slope) == pytest.approx((2.0, 0.5))
    assert Plan(runs, ALONE).ranks(2).rollout == pytest.approx(2 + 0.5 * 4)
    assert law([(8.0, 6.0)]) == Law(0.0, 6 / 8)
    assert law([(8.0, 1.0), (16.0, 5.0)]) == Law(0.0, 6 / 24)  # the line would begin below 0


def test_learning_follows_the_rows_that_have_an_advantage(tmp_path):
    folder = written(tmp_path, 4.0)
    for step, taught in ((2, 4), (3, 8), (4, 0)):  # 20, 40 and 0 of 40 tokens
        rows = [{"task": str(at // 4), "tokens": 5, "advantage": float(at < taught)} for at in range(8)]
        (folder / f"completions/step_{step:06d}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line, seconds in zip(lines, (9.0, 1.5, 2.5, 0.5), strict=True):  # 0.5 + 0.05 a token
        line["time/learn"] = seconds
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = read_run(folder)
    assert found.learned == [(20.0, 1.5), (40.0, 2.5), (0.0, 0.5)]
    plan = Plan([found], ALONE)
    assert (plan.learning.fixed, plan.learning.slope) == pytest.approx((0.5, 0.05))
    # two ranks: 0.5 + 0.05 * 10 and 0.5 + 0.05 * 20, nothing in a step that learns nothing
    assert plan.ranks(2).learn == pytest.approx((1.0 + 1.5 + 0.0) / 3)


def test_the_rank_with_the_longest_prompts_decides():
    # ranks have prompts 0 and 2, 1 and 3: 40 and 8 tokens of 48, the mean is 24; the longest is on the first rank
    tokens = [[[10, 10], [2, 2], [10, 10], [2, 2]]]
    assert heaviest(run(tokens=tokens), 2) == pytest.approx((1.0, 40 / 24))
    # fewer prompts than ranks: samples are shared out, 10 + 2 each
    assert heaviest(run(tokens=[[[10, 10, 2, 2]]]), 2) == pytest.approx((1.0, 1.0))


def test_samplers_and_learners_work_side_by_side_only_with_staleness():
    plan = Plan([run(rewards=1.0, size=0.0)], ALONE)
    assert plan.roles(1, 1, staleness=1).step == pytest.approx(9.0)  # max(8 + 1, 4)
    assert plan.roles(1, 1, staleness=0).step == pytest.approx(13.0)
    assert plan.roles(2, 1, staleness=1).step == pytest.approx(5.0)  # max(8 / 2 + 1, 4)


def test_a_fleet_is_as_fast_as_its_servers_until_learning_is_the_longer_part():
    plan = Plan([run(size=1e6)], ALONE)
    assert plan.fleet(1, speed=1.0, staleness=1).step == pytest.approx(8.0)
    assert plan.fleet(2, speed=4.0, staleness=1).step == pytest.approx(4 + 2)  # learning, the adapter sent twice
    assert plan.fleet(2, speed=4.0, staleness=1).rollout == pytest.approx(1.0)


def written(folder, seconds, *, steps=4, prompts=2):
    (folder / "completions").mkdir(parents=True)
    lines = []
    for step in range(1, steps + 1):
        slow = 10.0 if step == 1 else 1.0  # the first step warms up
        parts = {"time/rollout": 2.0, "time/rewards_after_rollout": 0.5, "time/learn": 1.0, "step_time": seconds}
        lines.append(json.dumps({"step": step, **{name: slow * value for name, value in parts.items()}}))
        rows = [{"task": str(task), "tokens": 5} for task in range(prompts) for _ in range(4)]
        (folder / f"completions/step_{step:06d}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    (folder / "adapters.safetensors").write_bytes(b"x" * 1000)
    return folder


def test_a_run_is_read_without_its_first_step(tmp_path):
    found = read_run(written(tmp_path, 4.0))
    assert (found.rollout, found.rewards, found.learn, found.step) == (2.0, 0.5, 1.0, 4.0)
    assert found.completions == 8 and found.gradient_bytes == 1000 and len(found.tokens) == 3


def test_the_command_prints_a_table_and_compares(tmp_path, capsys):
    one, two = written(tmp_path / "one", 4.0), written(tmp_path / "two", 2.0)
    arguments = [str(one), "--separate", "--ranks", "1", "2", "--roles", "1:1", "--servers", "2", "--check", f"2={two}"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "| 2 ranks | 2 | 1.00 |" in out and "1 samplers, 1 learners" in out and "2 servers, 1 learner" in out
    record = json.loads((tmp_path / "out/scaling_plan.json").read_text())
    # half of 3.5 s and the 0.5 s besides, 2.25 s
    assert record["checks"][0]["predicted"] == pytest.approx(2.25, rel=1e-3)
    assert record["checks"][0]["error"] == pytest.approx(2.25 / 2 - 1, rel=1e-2)


def test_what_is_no_run_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "no metrics.jsonl there" in capsys.readouterr().err


def test_a_check_is_relative_to_what_was_measured():
    assert checked(Plan([run()], ALONE), 1, run(step=10.0))["error"] == pytest.approx(0.2)
