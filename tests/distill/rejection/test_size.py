"""Rejection sampling over more prompts than memory holds: streamed, in shards on machines that share a store."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from distill import rejection
from distill.rejection import records, store
from distill.rejection.prompts import Prompts
from distill.rejection.records import Numbers, current_file, part_folder
from envs import DataError, Task
from grpo.config.sections import ConfigError
from tests.distill.scripted import Scripted, settings

ROOT = Path(__file__).parents[3]


@pytest.fixture
def sampler(monkeypatch):
    made = []

    def make(config, *_):
        made.append(Scripted(config))
        return made[-1]

    monkeypatch.setattr("distill.rejection.run._sampler", make)
    return made


def sums(path, count, start=0):
    lines = [
        json.dumps(
            {"question": f"{n % 10} + {n // 10 % 10} + {n // 100} =", "answer": n % 10 + n // 10 % 10 + n // 100}
        )
        for n in range(start, start + count)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_streamed_files_give_the_corpus_of_the_same_rows_read_at_once(tmp_path, sampler):
    sums(tmp_path / "in/a.jsonl", 20)
    sums(tmp_path / "in/b.jsonl.gz", 20, start=20)
    streamed = settings("data=stream", f"data_options.rows={tmp_path}/in/*", "max_prompts=null")
    with pytest.raises(DataError, match="cannot be streamed"):  # a pattern that says nothing of what it holds
        rejection.run_rejection(streamed, tmp_path / "no")
    streamed = settings("data=stream", f"data_options.rows={tmp_path}/in/*.jsonl*", "max_prompts=null")
    rejection.run_rejection(streamed, tmp_path / "streamed")
    sums(tmp_path / "whole.jsonl", 40)
    assert sorted(sampler[-1].asked) == list(range(40))
    rows = [json.loads(line) for line in (tmp_path / "streamed/corpus.jsonl").read_text().splitlines()]
    assert len(rows) > 20 and all(row["answer"] == row["reference"] for row in rows)


def test_shards_on_two_machines_meet_in_a_store_and_give_the_corpus_of_one_process(tmp_path, sampler, monkeypatch):
    monkeypatch.setattr(records, "PART_BYTES", 4000)  # several files a shard
    rejection.run_rejection(settings(), tmp_path / "one")
    shared = f"store=file://{tmp_path}/shared"
    assert rejection.run_rejection(settings(shared, "shard=1/2"), tmp_path / "a") is None
    summary = rejection.run_rejection(settings(shared, "shard=2/2"), tmp_path / "b")
    assert summary["rows"] and len(list((tmp_path / "shared/samples/1_of_2").iterdir())) > 1
    for name in ("corpus.jsonl", "rejected.jsonl", "funnel.md"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "b" / name).read_text()
    rejection.run_rejection(settings(shared, "shard=1/2"), tmp_path / "c")  # the first machine was lost
    assert len(sampler) == 3  # nothing was sampled again


def test_a_store_that_fsspec_does_not_know_is_one_line(tmp_path, sampler):
    with pytest.raises(ConfigError, match="store nosuch://x: Protocol not known"):
        rejection.run_rejection(settings("store=nosuch://x"), tmp_path)
    assert not store.Store(None, "1/1").push(tmp_path)


def test_a_shard_goes_on_in_a_new_file_when_one_is_large(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "PART_BYTES", 10)
    folder = part_folder(tmp_path, "1/1")
    folder.mkdir(parents=True)
    assert current_file(folder).name == "samples.jsonl"
    for name in ("samples.jsonl", "samples-1.jsonl", "samples-10.jsonl"):
        (folder / name).write_text("x" * 20)
    assert current_file(folder).name == "samples-11.jsonl"


def test_numbers_are_a_set():
    numbers = Numbers([5, 0, 900, 5])
    assert list(numbers) == [0, 5, 900] and len(numbers) == 3 and 5 in numbers and 6 not in numbers
    assert not Numbers() and 10**9 not in numbers


def test_prompts_that_repeat_go_and_the_others_keep_their_numbers():
    tasks = [Task(str(n), text) for n, text in enumerate(["a", "b", "a ", "c", "b"])]
    prompts = Prompts(tasks)
    assert [number for number, _ in prompts] == [0, 1, 3] and len(prompts) == 3 and 2 not in prompts
    assert list(prompts.numbers(2)) == [(0, 1), (3,)]
    assert [list(chunk) for chunk in prompts.chunks(2)] == [[0, 1], [3]]
    many = Prompts([Task(str(n), f"{n % 7000}") for n in range(9000)])
    assert len(many) == 7000  # the table has grown


SIZED = """
import json, re, resource, sys
from pathlib import Path
sys.path[:0] = {path!r}
from grpo.cpu.blas import load_blas
load_blas()
from distill.rejection import run
from distill.rejection.samplers import Completion, Drawn
class StandIn:
    def sample(self, tasks, on_tokens):
        for number, task in tasks.items():
            text = f"<think>\\n{{task.prompt}} {{number}}\\n</think>\\n<answer>{{number}}</answer>"
            yield Drawn(number, task.prompt, (Completion(text, 9, "stop"),))
run._sampler = lambda *_: StandIn()
from distill.rejection.config import RejectionConfig
from grpo.config.loading import load
count, folder = int(sys.argv[1]), Path(sys.argv[2])
with (folder / "d.jsonl").open("w") as file:
    for n in range(count):
        text = f"{{n % 10}} + {{n // 10 % 10}} + {{n // 100}} ="
        row = {{"question": text, "answer": n % 10 + n // 10 % 10 + n // 100, "more": "x" * 1000}}
        file.write(json.dumps(row) + "\\n")
settings = ["data=stream", f"data_options.rows={{folder}}/d.jsonl", "template=plain", "samples=1",
            "near_duplicates=null",
            "chunk_prompts=256", "max_copied=1", "rewards=[format]", "require={{format: 1}}", "may_lack=[]"]
def peak():  # of this program alone: ru_maxrss begins with what the process was before it became this program
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(re.search(r"VmHWM:\\s+([0-9]+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
summary = run.run_rejection(load(RejectionConfig, None, settings), folder / "out")
print(json.dumps([summary["prompts"], summary["rows"], peak()]))
"""


@pytest.mark.long
def test_memory_stays_flat_over_ten_times_the_prompts(tmp_path):
    """Ten times the prompts, 90 MB more of data, and what is added in memory is indices."""
    peaks = {}
    for count in (10_000, 100_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        code = SIZED.format(path=[str(ROOT)])
        done = subprocess.run(
            [sys.executable, "-c", code, str(count), str(folder)], capture_output=True, text=True, check=True, cwd=ROOT
        )
        prompts, rows, peaks[count] = json.loads(done.stdout.splitlines()[-1])
        assert prompts == count and rows > 0.5 * count
    grown = peaks[100_000] - peaks[10_000]
    assert grown < 25 << 20, f"{grown / 2**20:.0f} MB more"
