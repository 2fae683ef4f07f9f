"""Probe prompts: the same random numbers at every step, so that only the policy differs."""

import json


def rows(run, folder, step):
    path = run.folder / folder / f"step_{step:06d}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_policy_that_stays_the_same_says_the_same(runs):
    run = runs.run("steps=4", "probe_every=2", "probe_prompts=3", "learning_rate=1e-12")
    assert [path.name for path in sorted((run.folder / "probes").iterdir())] == [
        f"step_{step:06d}.jsonl" for step in (0, 2, 4)
    ]
    said = [[row["completion"] for row in rows(run, "probes", step)] for step in (0, 2, 4)]
    assert len(said[0]) == 3 and said[0] == said[1] == said[2]


def test_without_probe_every_nothing_is_probed(runs):
    assert not (runs.run("steps=1").folder / "probes").exists()


def test_rows_have_the_text_of_each_token(runs):
    for row in rows(runs.run("steps=1"), "completions", 1):
        assert len(row["token_texts"]) == len(row["logprobs"]) == row["tokens"]
        assert "".join(row["token_texts"]).strip().startswith(row["completion"].strip()[:5])
