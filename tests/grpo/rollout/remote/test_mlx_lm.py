"""Whole runs on mlx_lm's own server: what it samples is the policy's, a dead server is waited for."""

import threading

import mlx.core as mx
import pytest

from grpo.rollout.remote import fleet

REMOTE = ("fine_tune=lora", "lora.rank=4", "steps=3", "save_every=0", "learning_rate=0.01")


@pytest.fixture
def short_pauses(monkeypatch):
    monkeypatch.setattr(fleet, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(fleet, "LONGEST_PAUSE_SECONDS", 0.2)


def test_a_run_learns_from_what_the_server_samples(runs, mlx_server):
    mlx_server.start()
    run = runs.run(*REMOTE, f"rollout.url={mlx_server.url}")
    assert run.code == 0, run.err
    assert f"rollouts from {mlx_server.url}" in run.out and "importance weights of at most 2.0" in run.out
    for metrics in run.metrics:
        # the server's logprobs are those of the policy it was sent: float32 on both sides
        assert metrics["sampling/sampling_logp_difference/mean"] < 0.05 and metrics["sampling/bytes_sent"] > 1000
        assert metrics["sampling/staleness/mean"] == metrics["sampling/staleness/max"] == 0
        assert metrics["sampling/importance_weight"] == pytest.approx(1, abs=1e-3)
    first = run.metrics[0]["sampling/mismatch_k3"]
    assert first < 0.01
    rows = [row for rows in run.completions.values() for row in rows]
    assert {row["version"] for row in rows} == {0, 1, 2} and len(rows) == 24
    assert any(row["stop_reason"] == "stop" for row in rows)
    written = mx.load(str(run.folder / "adapters.safetensors"))
    assert any(leaf.any().item() for name, leaf in written.items() if name.endswith("lora_b"))


def test_the_logprobs_are_those_of_the_adapter_that_was_sent(runs, mlx_server):
    """With a rate at which each step moves the policy far, a server without the newest adapter would be found out."""
    mlx_server.start()
    run = runs.run(*REMOTE, f"rollout.url={mlx_server.url}", "learning_rate=0.1", "beta=0", "max_grad_norm=100")
    assert run.code == 0, run.err
    assert all(metrics["sampling/mismatch_k3"] < 1e-3 for metrics in run.metrics)
    assert run.metrics[-1]["grad_norm"] > 0


def test_one_step_ahead_is_learned_from_with_a_staleness_of_one(runs, mlx_server):
    mlx_server.start()
    run = runs.run(
        *REMOTE, f"rollout.url={mlx_server.url}", "max_staleness=1", "steps=5", "eval_every=2", "eval_tasks=4"
    )
    assert run.code == 0, run.err
    assert [metrics["sampling/staleness/max"] for metrics in run.metrics] == [0, 1, 1, 1, 1]
    assert all(metrics["time/sampling"] > 0 for metrics in run.metrics)
    versions = [{row["version"] for row in rows} for rows in run.completions.values()]
    assert versions == [{0}, {0}, {1}, {2}, {3}]
    assert any(metrics["sampling/importance_weight"] != pytest.approx(1, abs=1e-6) for metrics in run.metrics[1:])


def test_a_run_waits_for_a_server_that_is_killed_and_goes_on(runs, mlx_server, short_pauses, monkeypatch):
    mlx_server.start()
    answered = []
    ask = fleet.Fleet.results

    def results(self, jobs, tick):
        for found in ask(self, jobs, tick):
            answered.append(found)
            if len(answered) == 10:  # in the middle of the second step
                mlx_server.kill()
                threading.Timer(1.0, mlx_server.start, kwargs={"wait": False}).start()
            yield found

    monkeypatch.setattr(fleet.Fleet, "results", results)
    run = runs.run(*REMOTE, f"rollout.url={mlx_server.url}")
    assert run.code == 0, run.err
    assert "waiting until it is back" in run.out and "answers again after" in run.out
    assert len(answered) == 24 and len(run.metrics) == 3  # nothing that had come was asked for again


def test_a_run_stopped_while_it_samples_ahead_is_resumed_without_losing_a_prompt(runs, mlx_server):
    mlx_server.start()
    settings = (*REMOTE, f"rollout.url={mlx_server.url}", "max_staleness=1", "save_every=1", "prompts_per_step=2")
    whole = runs.run(*settings, "steps=4", name="whole")
    first = runs.run(*settings, "steps=2", name="parts")
    rest = runs.run(*settings, "steps=4", name="parts", resume=True)
    assert (whole.code, first.code, rest.code) == (0, 0, 0), rest.err
    tasks = {name: [row["task"] for row in rows] for name, rows in rest.completions.items()}
    assert tasks == {name: [row["task"] for row in rows] for name, rows in whole.completions.items()}
    assert [metrics["step"] for metrics in rest.metrics] == [1, 2, 3, 4]


def test_no_server_is_one_line_before_the_run_begins(runs, mlx_server):
    run = runs.run(*REMOTE, f"rollout.url={mlx_server.url}")
    assert run.code == 2 and run.err.count("\n") == 1 and "no server answers" in run.err
    assert not (run.folder / "config.yaml").exists()


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["rollout.url=ftp://x"], "must look like http"),
        (["rollout.url=[]"], "at least one server"),
        (["rollout.url=http://127.0.0.1:9", "temperature=0.7"], "temperature must be 1"),
        (["rollout.url=http://127.0.0.1:9", "fine_tune=full"], "fine_tune full"),
    ],
)
def test_settings_that_servers_can_not_follow_are_one_line(runs, overrides, reason):
    run = runs.run(*REMOTE, *overrides)
    assert run.code == 2 and reason in run.err and run.err.count("\n") == 1


def test_importance_weights_are_on_with_servers_alone(runs):
    from grpo.config import Config

    assert Config().importance_sampling_cap == "auto"
    assert Config(rollout={"url": "http://127.0.0.1:1"}).importance_sampling_cap == 2.0
    assert Config(rollout={"url": "http://127.0.0.1:1"}, importance_sampling_cap=5.0).importance_sampling_cap == 5.0
    assert Config(rollout={"url": "http://127.0.0.1:1"}, importance_sampling_cap=None).importance_sampling_cap is None
