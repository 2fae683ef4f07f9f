"""The embedded model: an ordinary model directory, made from nothing."""

import math

import pytest

import envs
from grpo.config import Config
from grpo.config.sections import ColdStart
from grpo.model import miniature
from grpo.model.loading import load_policy
from grpo.model.miniature import END, PAD, build, vocabulary
from grpo.rollout.prompts import render

SETTINGS = ColdStart(steps=6, batch=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "miniature"
    losses = []
    build(folder, SETTINGS, 1, lambda step, loss: losses.append((step, loss)))
    # at first every word is equally likely: log of the vocabulary
    assert [step for step, _ in losses] == [1, 2, 3, 4, 5, 6]
    assert losses[0][1] == pytest.approx(math.log(len(vocabulary())), rel=0.25)
    assert losses[-1][1] < losses[0][1]
    return folder


class Stopped(Exception):
    pass


def test_one_that_is_stopped_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(miniature, "SAVE_EVERY", 2)
    build(tmp_path / "whole", SETTINGS, 1)

    def stop_at(last):
        def on_step(step, loss):
            steps.append(step)
            if step == last:
                raise Stopped

        return on_step

    steps = []
    for last in (3, 5):  # the second goes on after step 2, and gets further
        with pytest.raises(Stopped):
            build(tmp_path / "cut", SETTINGS, 1, stop_at(last))
    build(tmp_path / "cut", SETTINGS, 1, stop_at(None))
    assert steps == [1, 2, 3, 3, 4, 5, 5, 6]
    whole, cut = (tmp_path / name / "model.safetensors" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()
    assert sorted(p.name for p in cut.parent.iterdir()) == sorted(p.name for p in whole.parent.iterdir())


def test_one_of_other_settings_begins_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(miniature, "SAVE_EVERY", 1)
    build(tmp_path / "whole", SETTINGS, 2)

    def stop(step, loss):
        raise Stopped

    with pytest.raises(Stopped):
        build(tmp_path / "cut", SETTINGS, 1, stop)
    build(tmp_path / "cut", SETTINGS, 2)
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


def test_it_loads_like_any_model(folder):
    policy = load_policy(Config(fine_tune="full"), str(folder))
    assert policy.shares_prefixes and policy.head is not None
    assert policy.stop_tokens == {vocabulary().index(END)}
    assert sum(leaf.size for leaf in policy.trainable().values()) < 1_000_000


def test_every_task_and_every_chain_is_in_its_vocabulary(folder):
    import random

    from envs.digit_sums import imperfect_chain

    tokenizer, words = load_policy(Config(fine_tune="full"), str(folder)).tokenizer, set(vocabulary())
    tasks = envs.make("digit_sums", seed=1)
    for task in [*tasks.tasks("train")[:50], *tasks.tasks("test")[:50]]:
        prompt = render(task, tokenizer, Config(template="plain"))
        assert tokenizer.decode(list(prompt.tokens)) == prompt.text == task.prompt
        assert set(imperfect_chain(task, random.Random(0), wrong=1, mixed=1, broken=1).split()) <= words


def test_the_stop_token_is_not_the_padding():
    assert vocabulary().index(END) != vocabulary().index(PAD)
    assert len(set(vocabulary())) == len(vocabulary())


def test_the_same_seed_makes_the_same_model(folder, tmp_path):
    build(tmp_path / "again", SETTINGS, 1)
    build(tmp_path / "other", SETTINGS, 2)
    same, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("again", "other"))
    assert same == (folder / "model.safetensors").read_bytes() != other


def test_what_is_held_out_is_never_in_a_batch_of_the_cold_start(monkeypatch, tmp_path):
    seen, batch = set(), miniature._batch
    monkeypatch.setattr(
        miniature, "_batch", lambda tasks, *rest: (seen.update(t.prompt for t in tasks), batch(tasks, *rest))[1]
    )
    build(tmp_path / "model", SETTINGS, 1)
    held_out = {task.prompt for task in envs.make("digit_sums", seed=1).tasks("test")}
    assert len(held_out) == 200 and len(seen) == 800 and not seen & held_out
