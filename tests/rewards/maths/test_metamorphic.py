"""Every reference answer of MATH and GSM8K, rewritten and changed: what says the same is paid, nothing else is."""

import json
import random
from collections import Counter

import pytest

import rewards
from rewards.audit.rewritings import CHANGES, REWRITINGS

SETS = (("math500", "problem"), ("math_train", "problem"), ("gsm8k_test", "question"), ("gsm8k_train", "question"))
# Changes that happen to say the same: 0.50 for 0.5, 073 for 73, a digit under \phantom.
FORGIVEN = 0.0002


def jobs_of(rows, source):
    """(kind, gold, completion, question, expected) for the gold itself, its rewritings and its changes."""
    for gold, question in rows:
        yield "itself", gold, rf"\boxed{{{gold}}}", question, True
        for functions, expected in ((REWRITINGS, True), (CHANGES, False)):
            for function in functions:
                text = function(gold, source)
                if text is not None and text.strip() != gold.strip():
                    yield function.__name__, gold, rf"So it is \boxed{{{text}}}.", question, expected


def judged(name, jobs):
    reward, values = rewards.get(name), []
    for at in range(0, len(jobs), 4096):
        part = jobs[at : at + 4096]
        values += reward([job[3] for job in part], [job[2] for job in part], answer=[job[1] for job in part])
    reward.close()
    return values


def failures(jobs, values, expected):
    """The jobs that ought to have been paid, or not, and were judged otherwise."""
    return [
        (job[0], job[1], job[2], value)
        for job, value in zip(jobs, values, strict=True)
        if job[4] is expected and (value == 1.0) is not expected
    ]


def rows_of(shared_data, share):
    source, rows = random.Random(23), []
    for name, column in SETS:
        for line in (shared_data / f"{name}.jsonl").open(encoding="utf-8"):
            row = json.loads(line)
            if source.random() < share:
                rows.append((str(row["answer"]), row[column]))
    return rows


def check(shared_data, share):
    jobs = list(jobs_of(rows_of(shared_data, share), random.Random(5)))
    kinds = Counter(job[0] for job in jobs)
    assert len(kinds) == 1 + len(REWRITINGS) + len(CHANGES)
    strict, lenient = judged("accuracy", jobs), judged("accuracy_lenient", jobs)
    for values in (strict, lenient):
        refused, accepted = failures(jobs, values, True), failures(jobs, values, False)
        assert len(refused) <= 0.002 * sum(job[4] for job in jobs), refused[:20]
        assert len(accepted) <= FORGIVEN * sum(not job[4] for job in jobs), accepted[:20]
    only_strict = [job[:3] for job, one, other in zip(jobs, strict, lenient, strict=True) if one == 1.0 != other]
    assert only_strict == []


def test_a_sample_of_references(shared_data):
    check(shared_data, 0.08)


@pytest.mark.slow
def test_all_references(shared_data):
    check(shared_data, 1.0)
