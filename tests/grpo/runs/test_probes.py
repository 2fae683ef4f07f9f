"""Probe prompts: the same random numbers at every step, so that only the policy differs."""

import json


def rows(run, folder, step):
    path = run / folder / f"step_{step:06d}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_policy_that_stays_the_same_says_the_same(runs):
    run = runs.run("steps=4", "probe_every=2", "probe_prompts=3", "learning_rate=1e-12")
    assert [path.name for path in sorted((run.folder / "probes").iterdir())] == [
        f"step_{step:06d}.jsonl" for step in (0, 2, 4)
    ]
    said = [[row["completion"] for row in rows(run.folder, "probes", step)] for step in (0, 2, 4)]
    assert len(said[0]) == 3 and said[0] == said[1] == said[2]


def test_without_probe_every_nothing_is_probed(runs):
    assert not (runs.run("steps=1").folder / "probes").exists()


def test_rows_have_the_text_of_each_token(runs):
    for row in rows(runs.run("steps=1").folder, "completions", 1):
        assert len(row["token_texts"]) == len(row["logprobs"]) == row["tokens"]
        assert "".join(row["token_texts"]).strip().startswith(row["completion"].strip()[:5])


def test_the_first_groups_have_what_policy_and_reference_think_of_them(runs):
    settings = ["steps=2", "beta=0.1", "learning_rate=1e-3"]
    asked = runs.run(*settings, "completions_logprobs=1", name="asked")
    plain = runs.run(*settings, name="plain")
    found = rows(asked.folder, "completions", 2)
    has = ["policy_logprobs" in row for row in found]
    samples = has.count(True)
    assert 0 < samples < len(found) and all(has[:samples])
    for row in found[:samples]:
        assert len(row["policy_logprobs"]) == len(row["reference_logprobs"]) == row["tokens"]
        assert row["policy_logprobs"] != row["reference_logprobs"]  # two steps have moved the policy
        assert max(abs(a - b) for a, b in zip(row["policy_logprobs"], row["logprobs"], strict=True)) < 1.0
    clocks = ("time", "second", "memory")
    for one, other in zip(asked.metrics, plain.metrics, strict=True):  # looking changes nothing
        assert {k: v for k, v in one.items() if not any(word in k for word in clocks)} == {
            k: v for k, v in other.items() if not any(word in k for word in clocks)
        }
