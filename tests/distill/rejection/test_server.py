"""Sampling over HTTP: a stand-in server here, mlx_lm.server where there is a model."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from distill import rejection
from distill.rejection import __main__ as command
from distill.rejection.server import ServerSampler
from envs import Task
from grpo.config.sections import ConfigError
from grpo.rollout.remote import fleet
from grpo.rollout.server import read_reply, request_seed
from grpo.runs.interrupt import Interrupted
from rewards.judge.endpoint import EndpointError
from tests.distill.scripted import settings

MODEL = os.environ.get("GRPO_TEST_MODEL", "")


class StandIn(ThreadingHTTPServer):
    """Answers digit sums; `faults` are statuses it gives first, `said` what it was sent."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.said, self.keys, self.faults, self.refuse, self.delay = [], [], [], "", 0.0
        self.at_once, self.most = 0, 0
        self.guard = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        box = self.server
        with box.guard:
            box.said.append(body)
            box.keys.append(self.headers.get("Authorization"))
            box.at_once += 1
            box.most = max(box.most, box.at_once)
            status = box.faults.pop(0) if box.faults else 200
        time.sleep(box.delay)
        asked = body["messages"][-1]["content"]
        status = 400 if box.refuse and box.refuse in asked else status
        a, b, c = asked.replace("=", "").split(" + ")
        wrong = body["seed"] % 3 == 0
        text = f"<think>the sum of them is what we need</think><answer>{int(a) + int(b) + int(c) + wrong}</answer>"
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        reply = json.dumps({"choices": [choice], "usage": {"completion_tokens": 9}}).encode()
        with box.guard:
            box.at_once -= 1
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


def serving():
    box = StandIn()
    threading.Thread(target=box.serve_forever, daemon=True).start()
    yield box
    box.shutdown()
    box.server_close()


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(fleet, "FIRST_PAUSE_SECONDS", 0.01)
    yield from serving()


@pytest.fixture
def other():
    yield from serving()


def config(stand_in, *overrides):
    return settings("template=chat", "max_prompts=6", f"server={stand_in.url}", *overrides)


def tasks(count=3):
    return {n: Task(str(n), f"{n} + 1 + 2 =") for n in range(count)}


def drawn(stand_in, *overrides, count=3):
    return list(ServerSampler(config(stand_in, *overrides)).sample(tasks(count), lambda _: None))


def test_a_corpus_from_a_server(tmp_path, stand_in):
    summary = rejection.run_rejection(config(stand_in), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "corpus.jsonl").read_text().splitlines()]
    wrong = sum(request_seed(0, n, k) % 3 == 0 for n in range(6) for k in range(4))
    assert summary["pass_rate"] == pytest.approx(1 - wrong / 24) and 0 < wrong < 24
    assert rows and all(row["answer"] == row["reference"] for row in rows)
    assert {row["provenance"]["model"] for row in rows} == {stand_in.url}


def test_every_sample_has_its_own_seed_and_the_settings_are_sent(stand_in):
    drawn(stand_in, "temperature=0.7", "top_p=0.9", "max_completion_length=33", "server_model=m")
    assert len({body["seed"] for body in stand_in.said}) == 12
    for body in stand_in.said:
        assert (body["temperature"], body["top_p"], body["max_tokens"], body["model"]) == (0.7, 0.9, 33, "m")


def test_a_prompt_is_sent_with_its_system_message(stand_in):
    drawn(stand_in, "system_prompt=add", count=1)
    assert stand_in.said[0]["messages"] == [
        {"role": "system", "content": "add"},
        {"role": "user", "content": "0 + 1 + 2 ="},
    ]


def test_the_key_is_sent_as_a_bearer_token(stand_in, monkeypatch):
    monkeypatch.setenv("SERVER_API_KEY", "k")
    drawn(stand_in, count=1)
    assert set(stand_in.keys) == {"Bearer k"}


def test_a_busy_server_is_asked_again(stand_in):
    stand_in.faults = [503, 429, 500]
    assert all(one.stop_reason == "stop" for each in drawn(stand_in) for one in each.completions)
    assert len(stand_in.said) == 12 + 3


def test_several_servers_share_the_requests(stand_in, other):
    stand_in.delay = other.delay = 0.02
    found = drawn(stand_in, f'server=["{stand_in.url}", "{other.url}"]', "concurrency=2")
    assert {each.number: len(each.completions) for each in found} == {0: 4, 1: 4, 2: 4}
    assert stand_in.said and other.said and len(stand_in.said) + len(other.said) == 12
    assert stand_in.most <= 2 and other.most <= 2


def test_the_requests_of_a_server_that_is_gone_go_to_the_other(stand_in, other):
    other.shutdown()
    other.server_close()
    said, stand_in.delay = [], 0.03  # long enough for the other to fail every request that it is given five times
    sampler = ServerSampler(config(stand_in, f'server=["{other.url}", "{stand_in.url}"]', "concurrency=1"), said.append)
    found = list(sampler.sample(tasks(4), lambda _: None))
    assert all(one.stop_reason == "stop" for each in found for one in each.completions) and len(stand_in.said) == 16
    assert any(other.url in line and "go to the 1 others" in line for line in said)


def test_a_corpus_names_all_its_servers(tmp_path, stand_in, other):
    rejection.run_rejection(config(stand_in, f'server=["{stand_in.url}", "{other.url}"]'), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "corpus.jsonl").read_text().splitlines()]
    assert {row["provenance"]["model"] for row in rows} == {f"{stand_in.url}, {other.url}"}


def test_a_prompt_the_server_refuses_has_no_samples_and_stops_nothing(stand_in):
    stand_in.refuse = "1 + 1 + 2"
    stops = {each.number: Counter(one.stop_reason for one in each.completions) for each in drawn(stand_in)}
    assert stops == {0: {"stop": 4}, 1: {"error": 4}, 2: {"stop": 4}}


@pytest.mark.parametrize("status", [401, 404])
def test_a_server_that_refuses_altogether_stops_the_run(stand_in, status):
    stand_in.faults = [status] * 99
    with pytest.raises(ConfigError, match=f"answers {status}"):
        drawn(stand_in)


def test_no_server_is_one_line_and_what_was_sampled_stays(tmp_path, stand_in, capsys):
    stand_in.shutdown()
    stand_in.server_close()
    arguments = ["--output", str(tmp_path), f"server={stand_in.url}", "max_prompts=2", "samples=2"]
    assert command.main(arguments) == 2
    err = capsys.readouterr().err
    assert stand_in.url in err and err.count("\n") == 1


def test_requests_go_out_together_but_no_more_than_asked(stand_in):
    stand_in.delay = 0.05
    drawn(stand_in, "concurrency=3")
    assert stand_in.most == 3


def test_a_signal_does_not_wait_for_a_slow_server(stand_in):
    stand_in.delay = 5.0

    def stop(_):
        raise Interrupted(15)

    start = time.monotonic()
    with pytest.raises(Interrupted):
        list(ServerSampler(config(stand_in)).sample(tasks(), stop))
    assert time.monotonic() - start < 3


def reply(message, finish="stop"):
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()


@pytest.mark.parametrize(
    ("message", "finish", "text", "stop"),
    [
        ({"content": "a b"}, "stop", "a b", "stop"),
        ({"content": "a"}, "length", "a", "length"),
        ({"content": "b", "reasoning": "a"}, "stop", "<think>\na\n</think>\nb", "stop"),
        ({"content": "\n\nb", "reasoning_content": " a\n"}, "stop", "<think>\na\n</think>\nb", "stop"),
        ({"content": None, "reasoning": "a"}, "length", "<think>\na", "length"),  # cut while reasoning
    ],
)
def test_what_a_reply_says(message, finish, text, stop):
    found = read_reply(reply(message, finish))
    assert (found.text, found.stop_reason) == (text, stop)


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"choices": []}', b"[1]", b'{"choices": [{"message": "x"}]}'])
def test_a_reply_that_is_none_is_asked_for_again(raw):
    with pytest.raises(EndpointError) as caught:
        read_reply(raw)
    assert caught.value.passing


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.skipif(not MODEL, reason="GRPO_TEST_MODEL names no MLX directory of SmolLM2")
def test_mlx_lm_server_answers(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "from grpo.cpu.blas import load_blas; load_blas(); from mlx_lm.server import main; main()"
    command = [sys.executable, "-c", code, "--model", MODEL, "--port", str(port), "--host", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(f"http://127.0.0.1:{port}/v1/models", process)
        made = settings("template=chat", f"server=http://127.0.0.1:{port}/v1", "samples=2", "max_completion_length=12",
                        "data=arithmetic", "max_prompts=2", "rewards=[accuracy]", "require={accuracy: 0}",
                        "reward_options={accuracy: {extract: last_number}}", "choose=all")  # fmt: skip
        summary = rejection.run_rejection(made, tmp_path)
        assert summary["sampled"] == 4
        samples = [json.loads(line) for path in tmp_path.glob("samples/*/*.jsonl") for line in path.open()]
        assert all(0 < one["tokens"] <= 12 and one["text"] for record in samples for one in record["samples"])
    finally:
        process.terminate()
        process.wait(30)


def _wait(url, process):
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server did not start")
