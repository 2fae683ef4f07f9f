"""Games that need no other package."""

import pytest

from envs import make
from envs.games.exercises import EXERCISES
from envs.games.twenty_questions import PROPERTIES, THINGS


def say(text):
    return {"role": "assistant", "content": text}


def test_every_thing_of_twenty_questions_can_be_told_from_the_others():
    traits = {thing: tuple(thing in things.split() for _, things in PROPERTIES.values()) for thing in THINGS}
    assert len(THINGS) == len(set(THINGS)) >= 20
    alike = [(a, b) for a in THINGS for b in THINGS if a < b and traits[a] == traits[b]]
    assert alike == [("cat", "dog")]  # a guess tells them apart


def game(thing, **options):
    env = make("twenty_questions", **options)
    task = next(t for split in ("train", "test") for t in env.tasks(split) if t.columns["answer"] == thing)
    return env.converse(task)


def test_twenty_questions_answers_and_judges():
    talk = game("bat")
    assert talk.reply(say("Is it an animal?")).messages[0]["content"] == "Yes. 19 left."
    assert talk.reply(say("Is it a bird?")).messages[0]["content"] == "No. 18 left."
    assert talk.reply(say("Hm.")).messages[0]["content"].startswith("I can't answer that")
    assert talk.reply(say("It is a whale.")).messages[0]["content"] == "No, it is not that. 16 left."
    last = talk.reply(say("It is a bat."))
    assert last.done and last.rewards == {"guess": pytest.approx(0.92)}


def test_naming_everything_is_no_guess_and_questions_run_out():
    talk = game("bat", questions=2)
    assert not talk.reply(say(" ".join(THINGS))).done
    last = talk.reply(say("Is it a mammal?"))
    assert last.done and last.rewards == {"guess": 0.0}


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda one: one.purpose[:20])
def test_every_exercise_passes_its_tests_and_every_fault_fails_one(exercise):
    def passes(code):
        names: dict = {}
        try:
            exec(code, names)
            for test in exercise.tests:
                exec(test, names)
        except Exception:
            return False
        return True

    assert passes(exercise.code)
    for sound, wrong in exercise.faults:
        assert exercise.code.count(sound) >= 1 and not passes(exercise.code.replace(sound, wrong, 1))


def test_debugging_says_what_fails_until_the_function_is_sound():
    env = make("debugging")
    task = env.tasks("train")[0]
    talk = env.converse(task)
    first = talk.reply(say("I don't know."))
    assert not first.done and first.messages[0]["content"].startswith("The tests fail: ")
    last = talk.reply(say(f"```python\n{task.columns['answer']}\n```"))
    talk.close()
    assert last.done and last.rewards == {"passed": pytest.approx(0.9)}
