"""A benchmark asked of an OpenAI-compatible server: a stand-in here."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from grpo.rollout.remote import fleet


class Handler(BaseHTTPRequestHandler):
    """Doubles the number it is asked about; those over 4 wrongly, and the number 6 is refused."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.said.append(body)
        number = int(re.search(r"What is (\d+)", body["messages"][-1]["content"])[1])
        answer = 2 * number + (number > 4)
        choice = {"message": {"content": f"It is \\boxed{{{answer}}}."}, "finish_reason": "stop"}
        reply = json.dumps({"choices": [choice], "usage": {"completion_tokens": 11}}).encode()
        self.send_response(400 if number == 6 else 200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


@pytest.fixture
def box(monkeypatch):
    monkeypatch.setattr(fleet, "FIRST_PAUSE_SECONDS", 0.01)
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads, made.said = True, []
    made.handle_error = lambda *_: None  # the client hangs up on what it no longer needs
    made.url = f"http://127.0.0.1:{made.server_port}/v1"
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_items_and_figures_are_those_of_the_server(bench, box):
    code, out, err = bench.run("--server", box.url, "--model", "theirs", "--seed", "3")
    assert code == 0, err
    results, items = bench.results(), bench.items()
    assert results["figures"]["pass@1"] == pytest.approx(5 / 7)  # 5 and 6 are wrong or refused
    assert {item["tokens"] for item in items} == {11, 0} and items[0]["thinking_tokens"] is None
    assert results["settings"]["server"] == box.url and results["model_sha256"] is None
    sent = box.said[0]
    assert (sent["model"], sent["temperature"], sent["top_p"], sent["max_tokens"]) == ("theirs", 0.6, 0.95, 16)
    assert len({body["seed"] for body in box.said}) == 21
    assert "pass@1" in out


def test_a_run_that_was_stopped_goes_on(bench, box):
    bench.run("--server", box.url, "--limit", "3")
    asked = len(box.said)
    bench.run("--server", box.url)
    assert asked == 9 and len(box.said) == 21


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--server", "nowhere"), "server must look like http://"),
        (("--server", "http://127.0.0.1:1/v1"), "refused"),
        (("--adapter", "x"), "the server has the model"),
        (("--template", "plain"), "the server has the template"),
        (("--top-k", "4"), "the server has the template and the sampler"),
    ],
)
def test_what_a_server_can_not_do_is_one_line(bench, box, more, said):
    code, _, err = bench.run("--server", box.url, *more)
    assert code == 2 and said in err and err.count("error: ") == 1 and "Traceback" not in err
