"""Several processes learn from what servers sample: each asks for its own prompts, rank 0 sends the adapters."""

import threading

import pytest

from tests.launching import Launcher

REMOTE = ("fine_tune=lora", "lora.rank=4", "steps=4", "save_every=0", "learning_rate=0.01", "prompts_per_step=3")


@pytest.fixture
def launch(runs, tmp_path):
    launcher = Launcher(runs, tmp_path)
    yield launcher
    launcher.end()


def tasks(launch, name):
    return [[row["task"] for row in launch.rows(name, step)] for step in range(1, 5)]


@pytest.mark.slow
@pytest.mark.parametrize("max_staleness", [pytest.param(0, marks=pytest.mark.long), 1])
def test_two_processes_learn_from_a_server(launch, mlx_server, max_staleness):
    mlx_server.start()
    settings = (
        *REMOTE,
        f"max_staleness={max_staleness}",
        f"rollout.url={mlx_server.url}",
        "eval_every=2",
        "eval_tasks=4",
    )
    started = launch.train(2, *settings, name="several")
    assert started.wait() == [0, 0], started.said()
    assert launch.train(1, *REMOTE, name="engine").wait() == [0]
    assert tasks(launch, "several") == tasks(launch, "engine")  # all prompts, once, in their order
    metrics = launch.metrics("several")
    assert [line["sampling/staleness/max"] for line in metrics] == [0, *[max_staleness] * 3]
    fresh = metrics[: None if max_staleness == 0 else 1]  # the server's logprobs are those of the adapter rank 0 sent
    assert all(line["sampling/mismatch_k3"] < 0.05 for line in fresh)
    assert all(line["sampling/bytes_sent"] > 1000 for line in metrics)
    assert all(line["ranks/corrected"] == 0 for line in metrics)
    assert len(list((launch.folder_of("several") / "adapters_sent").iterdir())) <= max_staleness + 2


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_wait_for_a_server_that_is_killed(launch, mlx_server):
    mlx_server.start()
    started = launch.train(2, *REMOTE, f"rollout.url={mlx_server.url}", "steps=12")
    launch.wait_for_step("run", 3)
    mlx_server.kill()
    threading.Timer(2.0, mlx_server.start, kwargs={"wait": False}).start()
    assert started.wait() == [0, 0], started.said()
    assert "answers again after" in started.paths[0].read_text() and len(launch.metrics("run")) == 12


@pytest.mark.slow
def test_one_request_of_each_process_is_enough_to_load_an_adapter(launch, stand_in, vllm_replies):
    """vLLM's routes: both processes load an adapter by its name, which is refused the second time, and use it."""

    def reply(path, body):
        status, answer = vllm_replies(path, body)
        for choice in answer["choices"] if path == "/v1/completions" and status == 200 else ():
            choice["token_ids"] = choice["token_ids"][: body["max_tokens"]]
            choice["logprobs"]["token_logprobs"] = choice["logprobs"]["token_logprobs"][: body["max_tokens"]]
        return status, answer

    server = stand_in(reply)
    settings = (*REMOTE, f"rollout.url={server.url}", "rollout.server=vllm", "rollout.concurrency=2")
    started = launch.train(2, *settings)
    assert started.wait() == [0, 0], started.said()
    assert len(server.asked("/v1/completions")) == 4 * 3 * 4 + 2  # and each process tries one token
    assert [{row["version"] for row in launch.rows("run", step)} for step in range(1, 5)] == [{0}, {1}, {2}, {3}]
