"""`python -m grpo.evaluate`: a run, an adapter or a bare model, on held-out tasks."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from grpo.evaluate.__main__ import main
from grpo.evaluate.run import figures
from grpo.rollout.engine import _Engine


@pytest.fixture
def evaluate(runs, capsys):
    """The command in this process; its exit code, what it said, and what its directory holds."""

    def run(*arguments, name="evaluated"):
        runs.monkeypatch.chdir(runs.modules)
        capsys.readouterr()
        code = main([*map(str, arguments), "--output", str(runs.folder(name))])
        captured = capsys.readouterr()
        results = runs.folder(name) / "results.json"
        rows = runs.folder(name) / "completions.jsonl"
        return (
            code,
            captured.out + captured.err,
            json.loads(results.read_text()) if results.exists() else None,
            [json.loads(line) for line in rows.read_text().split("\n") if line] if rows.exists() else None,
        )

    return run


def test_a_run_on_its_own_held_out_tasks_with_its_own_rewards(runs, evaluate):
    run = runs.run("steps=1", "reward_weights.format=0.5")
    code, said, found, rows = evaluate(run.folder, "--limit", 3, "--samples", 2)
    assert code == 0, said
    assert (found["tasks"], found["samples"], len(rows)) == (3, 2, 6)
    evens = [row["rewards"]["checked:evens"] for row in rows]
    figure = found["figures"]["checked:evens"]
    assert figure["mean"] == pytest.approx(sum(evens) / 6) and figure["low"] <= figure["mean"] <= figure["high"]
    assert found["figures"].keys() == {"checked:evens", "format", "reward"}
    assert "advantage" not in rows[0] and rows[0]["answer"] and "checked:evens" in said
    held_out = {task.id for task in __import__("envs").make("digit_sums", seed=0).tasks("test")}
    assert {row["task"] for row in rows} <= held_out


def test_a_dry_run_looks_at_everything_and_leaves_nothing(runs, evaluate):
    run = runs.run("steps=1")
    code, said, found, rows = evaluate(run.folder, "--limit", 3, "--samples", 2, "--dry-run", name="looked_at")
    assert code == 0 and found is None and rows is None and not runs.folder("looked_at").exists(), said
    assert "3 tasks x 2 samples" in said and f"ready: python -m grpo.evaluate {run.folder}" in said
    assert evaluate(run.folder, "--limit", 3, name="there")[0] == 0
    for changed, problem in (
        (("--limit", 4), "another limit"),
        (("--limit", 3, "--data", "none.jsonl"), "none.jsonl"),
        (("--limit", 3, "--reward", "acuracy"), "acuracy"),
    ):
        code, said, *_ = evaluate(run.folder, *changed, "--dry-run", name="there")
        assert code == 2 and problem in said.splitlines()[-1], said


def test_the_same_seed_gives_the_same_items_and_another_one_others(runs, evaluate):
    run = runs.run("steps=1")
    rows = {
        name: evaluate(run.folder, "--limit", 4, "--seed", seed, name=name)[3]
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    }
    assert rows["a"] == rows["b"] != rows["c"]


def test_a_full_run_and_an_adapter_are_what_is_measured(runs, evaluate, miniature_model):
    """A run whose weights moved answers otherwise than the bare model it began with."""
    data = ["--data", "digit_sums", "--reward", "checked:evens", "--limit", 4, "template=plain", "--max-tokens", 8]
    bare = evaluate("--model", miniature_model, *data, name="bare")[3]
    for kind in ("full", "lora"):
        run = runs.run("steps=3", f"fine_tune={kind}", "learning_rate=0.05", name=kind)
        adapter = evaluate("--model", miniature_model, "--adapter", run.folder, *data, name=f"{kind}-adapter")[3]
        of_run = evaluate(run.folder, *data[4:], name=f"{kind}-run")[3]
        assert [row["completion"] for row in adapter] == [row["completion"] for row in of_run]
        assert [row["completion"] for row in adapter] != [row["completion"] for row in bare]


def test_every_row_of_another_file_is_asked(runs, evaluate):
    run = runs.run("steps=1")
    data = runs.file("five.jsonl", "".join(f'{{"prompt": "{n} + 1 =", "answer": "{n + 1}"}}\n' for n in range(5)))
    code, said, found, rows = evaluate(run.folder, "--data", data, "--reward", "accuracy")
    assert code == 0 and len(rows) == 5 and found["figures"].keys() == {"accuracy", "reward"}, said


def test_one_that_is_stopped_goes_on_to_the_same_rows(runs, evaluate, monkeypatch):
    import signal

    from grpo.evaluate import run as module

    monkeypatch.setattr(module, "PART_ROWS", 2)
    run = runs.run("steps=1", "max_rows=4")
    whole = evaluate(run.folder, "--limit", 6, "--samples", 2, name="whole")[3]
    looks = []
    plain = _Engine._look_at

    def looked(engine, last):
        looks.append(engine.request.step)
        if looks.count(2) == 1:  # in the third part
            signal.raise_signal(signal.SIGINT)
        return plain(engine, last)

    with monkeypatch.context() as patch:
        patch.setattr(_Engine, "_look_at", looked)
        code, said, found, _ = evaluate(run.folder, "--limit", 6, "--samples", 2, name="cut")
    assert code == 130 and found is None and f"--output {runs.folder('cut')}" in said
    part = runs.folder("cut") / ".part_000000.jsonl"
    part.write_text(part.read_text().replace('"reward": 0.', '"reward": 5.'))  # changed: sampled again
    assert evaluate(run.folder, "--limit", 6, "--samples", 2, name="cut")[3] == whole


@pytest.mark.parametrize("name", ["own/settings.json", "own/completions.jsonl", "run/config.yaml"])
def test_a_pipe_in_the_place_of_a_file_is_one_line(runs, capsys, name):
    path = runs.run("steps=1").folder.parent / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    assert main([str(runs.folder("run")), "--limit", "1", "--output", str(runs.folder("own"))]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{path} is no regular file: take it away" in said


@pytest.mark.parametrize("name", ["settings.json", "results.json"])
@pytest.mark.parametrize("text", ["", "[1]", "[" * 100_000, '{"a": "'])
def test_a_damaged_record_of_an_evaluation_is_one_line(runs, evaluate, capsys, name, text):
    run = runs.run("steps=1")
    evaluate(run.folder, "--limit", 1, name="own")
    (runs.folder("own") / name).write_text(text)
    code = main([str(run.folder), "--limit", "1", "--output", str(runs.folder("own"))])
    said = capsys.readouterr().err
    assert code == 2 and said.count("\n") == 1 and name in said and "choose another --output" in said


def test_an_evaluation_is_not_mixed_with_another(runs, evaluate):
    run = runs.run("steps=1")
    first = evaluate(run.folder, "--limit", 2)
    assert evaluate(run.folder, "--limit", 2)[2] == first[2]  # done already
    code, said, *_ = evaluate(run.folder, "--limit", 3)
    assert code == 2 and "holds an evaluation with another limit (2, now 3)" in said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "what is to be evaluated?"),
        (["--model", "x", "run"], "what is to be evaluated?"),
        (["--model", "x"], "name some with --data"),
        (["nowhere"], "nowhere is no run directory"),
        (["--model", "./none", "--data", "digit_sums"], "model ./none: no such directory"),
        (["--model", "x", "--data", "digit_sums", "nonesuch=1"], "the command line: unknown key nonesuch"),
        (["--model", "x", "--data", "digit_sums", "--reward", "accuracyy"], "unknown reward 'accuracyy'"),
        (["--model", "x", "--data", "digit_sums", "--samples", "0"], "eval_samples"),
    ],
)
def test_a_wrong_command_is_one_line(evaluate, arguments, reason):
    code, said, *_ = evaluate(*arguments)
    assert code == 2 and reason in said and "Traceback" not in said


def test_an_adapter_by_itself_and_a_run_without_one_are_told_apart(runs, evaluate, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    assert "add --model MODEL --adapter" in evaluate(tmp_path / "adapter")[1]
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text("model: x\n")
    assert "stopped before its first checkpoint" in evaluate(tmp_path / "begun")[1]


def test_figures_are_over_tasks_and_count_what_is_missing():
    rows = [
        {"task": task, "rewards": {"a": value, "silent": None}, "reward": value}
        for task, value in (("x", 1.0), ("x", 0.0), ("y", 1.0), ("y", None))
    ]
    found = figures(rows)
    assert found["a"]["mean"] == 0.75 and found["a"]["missing"] == 1  # of the tasks' means 0.5 and 1.0
    assert found.keys() == {"a", "reward"}


def test_held_out_completions_are_saved_while_a_run_goes_on(runs):
    run = runs.run("steps=2", "eval_every=1", "eval_tasks=3", "eval_greedy=true")
    names = sorted(path.name for path in (run.folder / "evaluations").iterdir())
    assert names == [f"step_{step}.jsonl" for step in ("000000", "000000_greedy", "000001", "000002", "000002_greedy")]
    rows = [json.loads(line) for line in (run.folder / "evaluations" / names[0]).read_text().splitlines()]
    evens = [row["rewards"]["checked:evens"] for row in rows]
    assert run.summary["before"]["checked:evens"] == pytest.approx(sum(evens) / 3)


class Server(BaseHTTPRequestHandler):
    """Says "7" to everything, thinking apart."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.said.append(body)
        choice = {"message": {"content": "<answer>7</answer>", "reasoning": "so"}, "finish_reason": "stop"}
        reply = json.dumps({"choices": [choice], "usage": {"completion_tokens": 5}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    made.daemon_threads, made.said = True, []
    made.url = f"http://127.0.0.1:{made.server_port}/v1"
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_a_server_is_evaluated_on_the_same_tasks(runs, evaluate, server):
    data = runs.file("six.jsonl", "".join(f'{{"prompt": "{n} + 1 =", "answer": "{n + 1}"}}\n' for n in range(6, 12)))
    asked = ["--server", server.url, "--model", "theirs", "--data", data, "--reward", "accuracy", "--reward", "format"]
    code, said, found, rows = evaluate(*asked, "--samples", 2, "--max-tokens", 9, "--temperature", 0.5)
    assert code == 0, said
    assert found["figures"]["accuracy"]["mean"] == pytest.approx(1 / 6) and found["figures"]["format"]["mean"] == 1.0
    assert (found["server"], found["model"], found["mean_length"]) == (server.url, "theirs", 5)
    sent = server.said[0]
    assert (sent["model"], sent["max_tokens"], sent["temperature"]) == ("theirs", 9, 0.5)
    assert len({body["seed"] for body in server.said}) == len(rows) == 12
    assert {row["prompt"] for row in rows} == {f"{n} + 1 =" for n in range(6, 12)}
    assert all(row["completion"].startswith("<think>\nso\n</think>\n<answer>") for row in rows)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--server", "http://127.0.0.1:1/v1", "--data", "digit_sums"], "what is to be evaluated?"),
        (["--server", "http://127.0.0.1:1/v1", "run"], "with --server the server has the model"),
        (["--server", "x", "--model", "m", "--data", "digit_sums"], "server must look like http"),
        (["--server", "http://127.0.0.1:1/v1", "--model", "m", "--data", "twenty_questions"], "leave --server out"),
    ],
)
def test_what_a_server_can_not_do_is_one_line(runs, evaluate, arguments, reason):
    code, said, *_ = evaluate(*arguments)
    assert code == 2 and reason in said and said.count("error:") == 1


def test_the_same_seed_gives_the_same_rows_of_a_run_twice(runs, evaluate):
    run = runs.run("steps=1")
    first, second = (evaluate(run.folder, "--limit", 2, "--samples", 2, name=name)[2:] for name in ("one", "two"))
    assert first[1] == second[1] and first[0]["figures"] == second[0]["figures"]
