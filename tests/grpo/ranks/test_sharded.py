"""A model that no rank holds whole trains as one that a process holds."""

import json
import signal

import pytest

CLOSE = 1e-5
LORA = ["steps=3", "fine_tune=lora", "lora.rank=4", "prompts_per_step=2"]


def test_two_halves_give_what_the_whole_model_gives(launch):
    assert launch.train(1, *LORA, name="whole").wait() == [0]
    halves = launch.train(2, *LORA, "tensor_parallel=true", name="halves")
    assert halves.wait() == [0, 0], halves.said()
    assert launch.farthest("whole", "halves") <= CLOSE
    for step in (1, 2, 3):
        texts = [[row["completion"] for row in launch.rows(name, step)] for name in ("whole", "halves")]
        assert texts[0] == texts[1]
    for mine, theirs in zip(launch.metrics("whole"), launch.metrics("halves"), strict=True):
        for name in ("reward", "loss", "grad_norm", "kl", "entropy"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-5)


@pytest.mark.slow
def test_what_was_trained_in_halves_goes_on_whole(launch):
    halves = launch.train(2, *LORA, "tensor_parallel=true")
    assert halves.wait() == [0, 0], halves.said()
    saved = json.loads((launch.folder_of("run") / "adapter_config.json").read_text())
    assert saved["lora_parameters"]["rank"] == 4
    arguments = [str(launch.folder_of("run")), "--output", str(launch.folder_of("of")), "--limit", "2"]
    assert launch.start(1, "grpo.evaluate", arguments).wait() == [0]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_lost_half_ends_the_other_and_leaves_the_newest_checkpoint(launch, rank):
    halves = launch.train(2, *LORA, "steps=400", "save_every=2", "tensor_parallel=true")
    launch.wait_for_step("run", 3)
    halves.kill(rank, signal.SIGKILL)
    assert halves.wait(30)[1 - rank] == 1, halves.said()
    saved = max(int(path.name[5:]) for path in (launch.folder_of("run") / "checkpoints").glob("step_*"))
    again = launch.train(2, *LORA, f"steps={saved + 1}", "save_every=2", "tensor_parallel=true", resume=True)
    assert again.wait() == [0, 0], again.said()


def test_one_process_can_hold_no_half(launch):
    alone = launch.train(1, *LORA, "tensor_parallel=true")
    assert alone.wait() == [2]
    assert "tensor_parallel needs several processes" in alone.said()
