"""How rows are made to stop early, and the arithmetic of the rollout table; speeds themselves are measured."""

import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import rollout_speed
from benchmarks.speed import process
from benchmarks.speed.decoders import Decoded, ours, stop_tokens, theirs
from benchmarks.speed.process import load, random_prompts, with_section


@pytest.fixture
def policy(byte_model):
    return load(str(byte_model), samples=4, tokens=12)[0]


def first_stop(row, stops):
    return next((place + 1 for place, token in enumerate(row) if token in stops), len(row))


def test_stop_tokens_end_twelve_rows_early_and_no_other():
    rows = np.random.default_rng(0).integers(0, 40000, (16, 128)).tolist()
    lengths = [first_stop(row, stop_tokens(rows)) for row in rows]
    assert Counter(length <= 32 for length in lengths) == {True: 12, False: 4}
    assert sorted(lengths)[-4:] == [128] * 4


def test_rows_that_are_alike_can_not_be_told_apart():
    with pytest.raises(ValueError, match="no tokens end 12 of 16 rows within 32"):
        stop_tokens([[1, 2, 3] * 40] * 16)


def test_ours_ends_rows_at_the_stop_tokens_of_an_untimed_decoding(policy):
    prompts = random_prompts([5], 260)
    free = ours(policy, prompts, samples=4, tokens=12)
    assert free.lengths == (12,) * 4
    policy.tokenizer.eos_token_ids = {free.tokens[0][3]}
    stopped = ours(policy, prompts, samples=4, tokens=12)
    assert stopped.lengths == tuple(first_stop(row, {free.tokens[0][3]}) for row in free.tokens)
    assert stopped.lengths[0] <= 4


@pytest.mark.parametrize("prompt_once", [False, True])
def test_mlx_lm_decodes_the_lengths_it_is_given(policy, prompt_once):
    decoded = theirs(policy.model, [9, 10, 11, 12], [3, 8, 5], prompt_once=prompt_once)
    assert decoded.lengths == (3, 8, 5)
    assert 0 < decoded.stepping_seconds < decoded.seconds


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [
        ([1.0, 0.5, 3.0, 9.0], 1.0),  # 4.5 seconds after three
        ([7.0, 1.0], 7.0),  # long enough at once
        ([0.1, 0.5, 0.2, 0.4, 0.3, 9.0], 0.3),  # five at most
    ],
)
def test_short_decodings_are_repeated_and_the_median_counts(seconds, counts):
    left = iter(seconds)
    assert rollout_speed.repeated(lambda: Decoded(next(left), 0.0, ())).seconds == counts


def test_the_bound_leaves_finished_rows_out():
    facts = SimpleNamespace(blocks=0, head_dim=0, heads=0, hidden=1, vocab=1, linears=(), parameters=1, stored_bytes=0)
    # no blocks, one weight of the vocabulary: 2 flops a row and step, 1 flop a second. Lengths 3 and 2: after the
    # first token both go on, then one: 4 + 2 seconds
    assert rollout_speed.bound_seconds(facts, [3, 2], 1e-9, 1.0) == pytest.approx(6.0)


def run(rate):
    common = {"lengths": [128] * 16, "share_of_bound": 0.25, "peak_bytes": 1e9, "resident_bytes": 2e9}
    common["cache_bytes"] = rate * 1e7
    return {"rate": rate, **common}


def test_ratios_are_of_medians_and_only_of_sides_that_ran():
    sides = {"ours": [run(30.0), run(10.0), run(20.0)], "theirs": [run(8.0), run(40.0), run(10.0)], "ours_many": []}
    assert rollout_speed.ratios(sides) == {"ours / theirs": 2.0}
    table = rollout_speed.table({"m": sides | {"ours_many": [run(50.0)]}})
    assert "| m | ours | 2048 | 20 | 25% | 1.00 GB | 2.00 GB |" in table
    assert "ours, 8 prompts against ours: 2.50x" in table
    # caches of 50e7 and, in the median, 20e7 bytes
    assert "the peak grows by 0.00 GB, keys and values by 0.30" in table


def test_a_section_of_the_page_is_replaced_and_others_stay():
    page = with_section(with_section("# Results\n", "a", "one"), "b", "two")
    again = with_section(page, "a", r"three \1")
    assert again == page.replace("one", r"three \1")
    assert page.count("<!-- a -->") == 1 and page.index("one") < page.index("two")


def test_a_ragged_group_of_mlx_lm_needs_ours_for_its_lengths(tmp_path, capsys):
    arguments = ["--model", "miniature", "--output", str(tmp_path), "--sides", "theirs_ragged"]
    with pytest.raises(SystemExit) as ended:
        rollout_speed.main(arguments)
    assert ended.value.code == 2
    assert "needs ours_ragged" in capsys.readouterr().err


def test_a_directory_that_is_no_model_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        rollout_speed.main(["--model", str(tmp_path), "--output", str(tmp_path)])
    assert ended.value.code == 2
    assert "no config.json there" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["rollout_speed", "step_speed", "scaling", "peers"])
def test_help_needs_no_mlx(name):
    code = (
        f"import sys; from benchmarks.{name} import main\ntry:\n    main(['--help'])\n"
        "except SystemExit:\n    sys.exit('mlx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python -m benchmarks.{name}" in done.stdout


def test_an_interruption_is_an_exit_code(capsys):
    def main():
        raise KeyboardInterrupt

    assert process.run(main) == 130
    assert capsys.readouterr().err == "interrupted\n"
