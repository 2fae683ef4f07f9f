"""Each finding has a made run that shows it, and a healthy run shows none."""

import json
import random

import pytest

from grpo.doctor.__main__ import main
from grpo.doctor.findings import KINDS, RunError, diagnose, verdict
from tests.grpo.doctor.made import OWN, STEPS, Made, said


def names(made: Made) -> list[str]:
    return [one.name for one in diagnose(made.write())]


CJK = "第一步我们先把两个数字加起来然后再看看结果是不是对的"
WRONG = {"accuracy": 0.0, "format": 1.0, "language": 1.0}


def never_right(run: Made) -> Made:
    run.all(rewards__accuracy__mean=0.0, rewards__accuracy__max=0.0)
    return run.each(
        lambda row, rng: {"rewards": WRONG, "reward": 0.5, "completion": said(rng, int(row["answer"]), False)}
    )


def too_high(run: Made) -> None:
    run.since(8, reward=0.1, rewards__accuracy__mean=0.0, rewards__format__mean=0.05, kl=3.0, entropy=2.5)
    run.since(8, completions__clipped_ratio=1.0)


def too_low(run: Made) -> None:
    for step in run.metrics:
        step.update({"reward": 0.8 + 0.02 * (step["step"] % 2), "rewards/accuracy/mean": 0.4, "kl": 1e-8})


def dead(run: Made) -> None:
    too_low(run)
    run.all(grad_norm=1e-9, kl=0.0)


def held_by_beta(run: Made) -> None:
    run.config["beta"] = 5.0
    for step in run.metrics:
        step.update({"reward": 0.8 + 0.02 * (step["step"] % 2), "rewards/accuracy/mean": 0.4, "kl": 1e-4})


def spikes(run: Made) -> None:
    run.metrics[9]["grad_norm"] = 60.0


def pushed_apart(run: Made) -> None:
    too_high(run)
    run.config["entropy_coef"] = 1.0


def hot(run: Made) -> None:
    run.config["temperature"] = 3.0
    never_right(run).all(entropy=4.0)


def cold(run: Made) -> None:
    run.config["temperature"] = 0.1
    run.all(frac_reward_zero_std=0.95, entropy=0.01)


def solved(run: Made) -> None:
    run.all(frac_reward_zero_std=1.0, rewards__accuracy__mean=0.99, rewards__accuracy__zero_std=1.0)


def fires_never(run: Made) -> None:
    run.config["reward_weights"] = {OWN: 1.0}
    run.all(**{f"rewards__{OWN}__min": 0.0, f"rewards__{OWN}__max": 0.0, f"rewards__{OWN}__mean": 0.0})


def same_for_all(run: Made) -> None:
    run.paid({OWN: 1.0}, lambda row: 1.0)
    run.all(**{f"rewards__{OWN}__min": 1.0, "frac_reward_zero_std": 1.0})


def failing(run: Made) -> None:
    run.all(rewards__failed__accuracy__raised=20.0)


def noisy(run: Made) -> None:
    rng = random.Random(2)
    run.each(lambda row, _: {"completion": "the same", "reward": float(rng.random() < 0.5)})


def other_gold(run: Made) -> None:
    never_right(run)
    run.each(lambda row, rng: {"completion": f"<think> it is </think> <answer> {int(row['answer']) + 3} </answer>"})


def unread(run: Made) -> None:
    never_right(run)
    run.each(lambda row, rng: {"completion": said(rng, int(row["answer"]), rng.random() < 0.6)})


def leaking(run: Made) -> None:
    solved(run)
    run.each(lambda row, rng: {"prompt": f"{row['prompt']} The answer is {row['answer']}."})


def farmed(run: Made) -> None:
    run.config["reward_weights"] = {"accuracy": 0.2, "format": 1.0}
    for step in run.metrics:
        step.update({"rewards/accuracy/mean": 0.4, "rewards/format/mean": 0.2 + 0.04 * step["step"]})


def long_paid(run: Made) -> None:
    run.paid({OWN: 1.0}, lambda row: row["tokens"] / 40)


def opposed(run: Made) -> None:
    run.config["reward_weights"] = {"accuracy": 1.0, OWN: 1.0}
    run.each(lambda row, rng: {"rewards": row["rewards"] | {OWN: 1.0 - row["rewards"]["accuracy"]}})


def by_heart(run: Made) -> None:
    run.summary = {"before": {"accuracy": 0.4, "tasks": 200}, "after": {"accuracy": 0.38, "tasks": 200}, "steps": STEPS}
    for step in run.metrics:
        step["rewards/accuracy/mean"] = min(1.0, 0.4 + 0.04 * step["step"])


def empty(run: Made) -> None:
    never_right(run).all(completions__mean_length=1.0)
    run.each(lambda row, rng: {"completion": "", "tokens": 1})


def loops(run: Made) -> None:
    run.each(lambda row, rng: {"completion": "so we add them " * 20 + str(rng.random())}, first=13)


def copying(run: Made) -> None:
    never_right(run).each(lambda row, rng: {"completion": row["prompt"]}, first=13)


def drifting(run: Made) -> None:
    run.each(
        lambda row, rng: {"completion": f"<think> {CJK} {rng.random()} </think> <answer> {row['answer']} </answer>"},
        first=13,
    )


def unknown_words(run: Made) -> None:
    run.config["template"] = "r1_zero"
    run.log = "12:00:00    note: 80% of the tokens of the train prompts are unknown to the model (<unk>)\n"
    never_right(run)


def both_sides(run: Made) -> None:
    run.config["template"] = "plain"
    run.log = "12:00:00    note: template: plain shows prompts as they are, and the model has a chat template\n"
    run.all(completions__clipped_ratio=1.0).each(
        lambda row, rng: {"completion": f"{row['completion']}\nUser: and then?"}
    )


def collapsed(run: Made) -> None:
    run.since(8, entropy=0.02)
    for step in run.metrics:
        step.update({"reward": 0.8, "rewards/accuracy/mean": 0.4, "clip_ratio/region_mean": 0.0})


def broken_tools(run: Made) -> None:
    run.all(tools__malformed=0.9)


SHOWN = {
    "learning rate too high": too_high,
    "learning rate too low": too_low,
    "dead adapters": dead,
    "KL penalty too strong": held_by_beta,
    "entropy bonus too strong": pushed_apart,
    "KL blow-up": lambda run: run.since(8, kl=12.0),
    "gradient spikes": spikes,
    "mismatch": lambda run: run.all(sampling__mismatch_k3=0.02),
    "entropy collapse": collapsed,
    "temperature too high": hot,
    "temperature too low": cold,
    "too easy": solved,
    "too hard": never_right,
    "no reward judges the task": same_for_all,
    "reward never fires": fires_never,
    "reward fails": failing,
    "reward has no value": lambda run: run.all(rewards__missing=100.0),
    "reward is random": noisy,
    "wrong gold answers": other_gold,
    "strict/lenient gap": unread,
    "answer in the prompt": leaking,
    "format farmed": farmed,
    "length without gain": long_paid,
    "rewards disagree": opposed,
    "memorised prompts": by_heart,
    "truncated": lambda run: run.all(completions__clipped_ratio=0.97),
    "stops at once": empty,
    "repetition": loops,
    "copies the prompt": copying,
    "language drift": drifting,
    "wrong template": unknown_words,
    "environment fails": broken_tools,
}


def test_a_healthy_run_has_no_finding(run):
    assert names(run) == []


def test_every_kind_has_a_run_that_shows_it():
    assert SHOWN.keys() == KINDS.keys()


@pytest.mark.parametrize("name", SHOWN)
def test_the_fault_comes_first(run, name):
    SHOWN[name](run)
    found = diagnose(run.write())
    assert found and found[0].name == name, [(one.name, one.confidence) for one in found]
    assert 0.5 < found[0].confidence <= 1 and found[0].remedy == KINDS[name].remedy
    assert all("\n" not in one.line for one in found)


def test_a_conversation_played_alone_is_the_template(run):
    both_sides(run)
    first, *rest = diagnose(run.write())
    assert first.name == "wrong template" and first.changes == ("template=chat",)
    assert "truncated" in [one.name for one in rest]  # a symptom, behind its cause


def test_a_broken_format_with_a_jump_of_the_kl_is_the_rate_and_not_the_tasks(run):
    too_high(run)
    run.since(8, frac_reward_zero_std=1.0)
    found = diagnose(run.write())
    assert found[0].name == "learning rate too high" and found[0].changes == ("learning_rate=1e-06",)
    assert "fell" in found[0].evidence and "KL" in found[0].evidence
    assert all(one.confidence < 0.55 for one in found[1:])


def test_findings_are_sorted(run):
    too_high(run)
    hot(run)
    shares = [one.confidence for one in diagnose(run.write())]
    assert len(shares) > 1 and shares == sorted(shares, reverse=True)


def test_a_run_that_ends_well_has_solved_its_tasks_and_they_were_not_too_easy(run):
    for step in run.metrics:
        step.update({"rewards/accuracy/mean": min(1.0, 0.4 + 0.05 * step["step"]), "rewards/accuracy/zero_std": 0.1})
    run.since(14, frac_reward_zero_std=1.0, rewards__accuracy__zero_std=1.0)
    assert names(run) == []


def test_torn_files_are_read_as_far_as_they_go(run):
    folder = run.write()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 21, "rew')
    with (folder / "completions" / "step_000020.jsonl").open("a") as file:
        file.write('{"task": ')
    (folder / "config.yaml").write_text("a: [")
    assert diagnose(folder) == []


# The verdict


def test_learned(run):
    run.summary = {"before": {"accuracy": 0.4, "tasks": 200}, "after": {"accuracy": 0.6, "tasks": 200}}
    found = verdict(run.write())
    assert found.word == "learned" and "0.40 -> 0.60" in found.evidence
    assert found.next_command == f"python -m grpo.evaluate {run.folder}"


def test_a_gain_within_its_noise_is_flat(run):
    # .40 -> .43 on 50 tasks: the standard error of the difference is (.24 / 50 + .245 / 50) ** .5 = .098
    run.summary = {"before": {"accuracy": 0.4, "tasks": 50}, "after": {"accuracy": 0.43, "tasks": 50}}
    assert verdict(run.write()).word == "flat"


def test_unstable_names_the_rate_and_the_command_that_lowers_it(run):
    too_high(run)
    found = verdict(run.write())
    assert found.word == "unstable" and "learning rate too high" in found.evidence
    assert found.next_command.endswith("-again learning_rate=1e-06")


def test_hacked(run):
    long_paid(run)
    assert verdict(run.write()).word == "hacked"


def test_failed(run):
    run.summary = None
    run.log = "12:00:00  Traceback (most recent call last):\n  ...\n"
    assert verdict(run.write()).word == "failed"


def test_a_run_under_way_is_gone_on_with(run):
    run.summary, run.config["steps"] = None, 100
    found = verdict(run.write())
    assert found.word == "learned" and found.next_command == f"python -m grpo.train --output {run.folder} --resume"


def test_a_change_that_the_noise_explains_is_called_so(run):
    # 0.9, 0.1, 0.9 at the start: 0.63; 0.1, 0.9, 0.1, 0.9, 0.1 at the end: 0.42
    for step in run.metrics:
        step["rewards/accuracy/mean"] = 0.9 if step["step"] % 2 else 0.1
    found = verdict(run.write())
    assert found.word == "flat" and "accuracy 0.63 -> 0.42 over 20 steps (within the noise of +-" in found.evidence


def test_two_steps_say_nothing(run):
    run.metrics = run.metrics[:2]
    assert verdict(run.write()).word == "too early"


def test_a_supervised_run_is_judged_by_its_loss(run):
    folder = run.write()
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": step, "loss": 3 / step, "grad_norm": 1.0}) + "\n" for step in range(1, 11))
    )
    assert diagnose(folder) == []
    assert verdict(folder).word == "learned"


# The command


def test_the_command_prints_verdict_findings_and_remedies(run, capsys):
    too_high(run)
    folder = run.write()
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"{folder}: unstable" in out and "1. learning rate too high (9" in out and "try:  learning_rate=1e-06" in out


def test_a_healthy_run_is_told_so(run, capsys):
    assert main([str(run.write())]) == 0
    assert "nothing is found to be wrong" in capsys.readouterr().out


def test_wrong_arguments_are_one_line(run, tmp_path, capsys):
    assert main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"error: no run directory {tmp_path / 'none'}\n"
    assert main([str(tmp_path)]) == 2
    assert "holds no metrics.jsonl" in capsys.readouterr().err
    assert main([str(run.write()), "steps=3"]) == 2
    with pytest.raises(RunError, match="no finished step"):
        (run.folder / "metrics.jsonl").write_text("")
        diagnose(run.folder)


def test_what_a_model_wrote_cannot_act_on_the_terminal(run, capsys):
    run.config["reward_weights"] = {OWN: 1.0}
    run.all(**{"rewards__failed__\x1b]0;title\x07__raised": 9.0})
    main([str(run.write())])
    assert "\x1b" not in capsys.readouterr().out
