"""`grpo watch`: what it answers, to whom, and that it follows a run that goes on."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from grpo.report.page import render
from grpo.report.table import PAGE
from grpo.watch.__main__ import _opened, main
from tests.grpo.report.made import EVIL, large_run, metrics_line, pipeline, row, write_rows

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path):
    return large_run(tmp_path / "run", steps=20, samples=4, words=12)


def test_the_page_is_the_report_with_a_server_behind_it(serve, run):
    status, headers, text = serve(run).get("/")
    assert status == 200 and '<h1 class="verdict">' in text and '"live":true' in text and '"rows":null' in text
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy and "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_completions_come_page_by_page(serve, run):
    server = serve(run)
    found = json.loads(server.get("/rollouts")[2])
    assert found["total"] == 80 and found["first"] == 0 and len(found["rows"]) == PAGE
    assert found["rows"][0]["step"] == 20 and found["indexing"] == ""
    last = json.loads(server.get("/rollouts", page=3)[2])
    assert last["first"] == 72 and len(last["rows"]) == 8
    assert json.loads(server.get("/rollouts", page=99)[2])["rows"] == []


def test_a_filter_and_one_completion_with_its_tokens(serve, run):
    server = serve(run)
    found = json.loads(server.get("/rollouts", first_step=3, last_step=3, part="accuracy", high=0.5)[2])
    assert {one["step"] for one in found["rows"]} == {3} and {one["rewards"]["accuracy"] for one in found["rows"]} == {
        0
    }
    whole = json.loads(server.get("/rollout", name=found["rows"][0]["name"])[2])
    assert len(whole["per_token"]["logprobs"]) == 19 and whole["text"] == found["rows"][0]["text"]


@pytest.mark.parametrize(
    ("path", "query", "status", "reason"),
    [
        ("/rollouts", {"page": "x"}, 400, "page must be a whole number"),
        ("/rollouts", {"part": "beauty", "low": "0"}, 400, "there is no reward 'beauty'"),
        ("/rollout", {"name": "0/../../etc/passwd/0"}, 404, "this completion is gone"),
        ("/rollout", {}, 404, "this completion is gone"),
    ],
)
def test_what_is_not_there_is_said(serve, run, path, query, status, reason):
    code, _, text = serve(run).get(path, **query)
    assert code == status and reason in json.loads(text)["error"]


def test_other_names_of_this_machine_are_refused(serve, run):
    assert serve(run).get("/rollouts", host="evil.example")[0] == 400  # a page elsewhere that rebinds its name


def test_model_text_stays_text(serve, tmp_path):
    folder = large_run(tmp_path / "run", steps=1, samples=2)
    write_rows(folder / "completions/step_000001.jsonl", [row(EVIL, 1.0, task=EVIL), row("a \ud83d b", 0.0)])
    server = serve(folder)
    page = server.get("/")[2]
    assert "<img src=x" not in page and "title='hacked'" not in page
    found = json.loads(server.get("/rollouts")[2])
    assert found["rows"][0]["text"] == EVIL and found["rows"][1]["text"] == "a ? b"
    assert server.get("/rollouts")[1].get_content_type() == "application/json"


def test_the_page_follows_a_run_that_goes_on(serve, run):
    server = serve(run)
    before = server.watched.version
    with (run / "metrics.jsonl").open("a") as file:
        file.write(metrics_line(21, reward=99.5))
    write_rows(run / "completions/step_000021.jsonl", [row("the newest", 1.0)])
    assert server.watched.refresh() and server.watched.version > before
    assert "99.5" in server.get("/parts")[2]
    assert json.loads(server.get("/rollouts")[2])["rows"][0]["text"] == "the newest"
    assert not server.watched.refresh()


def test_a_stage_that_begins_joins_the_page(serve, tmp_path):
    server = serve(pipeline(tmp_path / "p"))
    later = tmp_path / "p" / "later"
    later.mkdir()
    (later / "metrics.jsonl").write_text(metrics_line(1))
    assert server.watched.refresh()
    assert '<th scope="col">later' in server.get("/parts")[2]


def test_news_come_as_events(serve, run):
    server = serve(run)
    with urllib.request.urlopen(f"{server.address}/events", timeout=20) as stream:
        assert stream.headers.get_content_type() == "text/event-stream"
        first = json.loads(stream.readline().removeprefix(b"data: "))
        assert first["facets"]["parts"] == ["accuracy", "format", "language"] and stream.readline() == b"\n"
        write_rows(run / "completions/step_000021.jsonl", [row("new", 1.0, stop_reason="tired")])
        server.watched.refresh()
        news = json.loads(stream.readline().removeprefix(b"data: "))
    assert news["version"] > first["version"] and "tired" in news["facets"]["stops"]


@pytest.mark.parametrize("case", ["no directory", "no metrics", "port in use", "no port"])
def test_wrong_input_is_one_line_and_exit_2(run, tmp_path, capsys, case):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = {"port in use": str(taken.getsockname()[1]), "no port": "99999"}.get(case)
        where = {"no directory": tmp_path / "nowhere", "no metrics": tmp_path}.get(case, run)
        assert main([str(where), *(["--port", port] if port else [])]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1


def test_the_command_serves_until_it_is_interrupted(run):
    command = [sys.executable, "-m", "grpo", "watch", str(run)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline()
        assert said.startswith("watching on http://127.0.0.1:")
        host, port = said.split("//")[1].split("/")[0].split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        deadline = time.monotonic() + 20
        while True:
            try:
                connection.request("GET", "/events")  # held open: it must not keep the server alive
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                connection.close()
                time.sleep(0.1)
        connection.getresponse().readline()
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0 and "Traceback" not in errors


def test_a_run_that_has_just_begun_is_waited_for(tmp_path, capsys):
    (tmp_path / "log.txt").write_text("begun\n")
    later = threading.Timer(0.3, (tmp_path / "metrics.jsonl").write_text, [metrics_line(1)])
    later.start()
    assert _opened([tmp_path]).reading.runs[0].last_step == 1
    assert capsys.readouterr().out.startswith("waiting for the first step: ")


@pytest.mark.long
def test_many_completions_stay_usable(serve, tmp_path):
    """Three runs of 2,000 steps and 32,000 completions: the page in 2 s, a filter in 200 ms (both doubled here)."""
    runs = [
        large_run(tmp_path / f"seed-{seed}", steps=2000, samples=16, seed=seed, words=100, tokens=False)
        for seed in range(3)
    ]
    began = time.monotonic()
    server = serve(*runs, follow=True)
    server.get("/")
    assert time.monotonic() - began < 4
    while len(server.watched.index.table) < 96_000 or server.watched.news()["indexing"]:
        time.sleep(0.2)
    for query in ({"words": "wait eleven"}, {"task": "3 + "}, {"part": "language", "low": 0.9, "sort": "best"}, {}):
        began = time.monotonic()
        found = json.loads(server.get("/rollouts", **query)[2])
        assert time.monotonic() - began < 0.4 and found["total"] > 0
    assert len(render(runs)) < 5_000_000
