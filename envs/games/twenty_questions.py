"""Twenty questions: the environment thinks of a thing; the model asks what yes or no can answer, and guesses."""

import random
import re
from collections.abc import Sequence

from envs.base import DataError, Env, Task
from envs.conversation import Conversation, Message, Reply
from envs.splits import cut, seeded

WORD = re.compile(r"[a-z]+")
# property -> words that ask for it, things that have it
PROPERTIES: dict[str, tuple[str, str]] = {
    "alive": (
        "alive living animal animals creature",
        "dog cat eagle shark bee frog snake elephant penguin salmon whale bat",
    ),
    "mammal": ("mammal mammals fur", "dog cat elephant whale bat"),
    "bird": ("bird birds feathers", "eagle penguin"),
    "fish": ("fish gills", "shark salmon"),
    "insect": ("insect insects six", "bee"),
    "reptile": ("reptile reptiles scales", "snake"),
    "amphibian": ("amphibian amphibians", "frog"),
    "flies": ("fly flies flying wings wing", "eagle bee bat airplane kite"),
    "swims": ("swim swims water sea ocean", "shark frog penguin salmon whale boat"),
    "pet": ("pet pets home", "dog cat"),
    "large": ("large big bigger huge", "elephant shark whale airplane boat car piano"),
    "vehicle": ("vehicle transport travel ride", "car bicycle airplane boat"),
    "wheels": ("wheel wheels", "car bicycle airplane"),
    "engine": ("engine motor fuel", "car airplane boat"),
    "music": ("music instrument musical sound", "piano guitar drum"),
    "strings": ("string strings", "guitar piano kite"),
    "food": ("food eat edible eaten", "apple bread carrot salmon"),
    "fruit": ("fruit sweet", "apple"),
    "vegetable": ("vegetable vegetables", "carrot"),
    "paper": ("paper pages read", "book kite"),
}  # fmt: skip
THINGS = sorted({thing for _, things in PROPERTIES.values() for thing in things.split()})
INSTRUCTION = (
    "I am thinking of one of these things: {things}.\nAsk me one question at a time that can be answered by yes or no, "
    "such as: Is it an animal? When you know it, say: It is a THING. You have {most} questions."
)


def twenty_questions(*, questions: int = 20, test_size: int = 6, seed: int = 0, limit: int | None = None) -> Env:
    """A game for each thing and order of the list; 1 for the right guess, less 0.02 for every question before it."""
    if questions < 1:
        raise DataError(f"twenty_questions: questions must be at least 1, got {questions}")
    if not 0 < test_size < len(THINGS):
        raise DataError(f"twenty_questions: test_size must be between 1 and {len(THINGS) - 1}, got {test_size}")
    things = seeded([_task(thing, questions, seed) for thing in THINGS], seed, "twenty questions")
    return TwentyQuestions(
        "twenty_questions",
        cut({"train": things[test_size:], "test": things[:test_size]}, limit),
        reward_names=("environment",),
    )


class TwentyQuestions(Env):
    """The game."""

    def converse(self, task: Task) -> Conversation:
        """A game about the task's thing."""
        return Answers(str(task.columns["answer"]), int(task.columns["questions"]))


class Answers:
    """Answers questions about a thing by the words in them."""

    tools: Sequence = ()

    def __init__(self, thing: str, most: int) -> None:
        self.thing, self.most, self.asked = thing, most, 0

    def reply(self, message: Message) -> Reply:
        """Answer a question, or judge a guess: a message that names things of the list."""
        found = WORD.findall(str(message["content"]).lower()[-2000:])
        named = [word for word in found if word in THINGS]
        self.asked += 1
        if named:
            right = set(named) == {self.thing}
            if right or self.asked >= self.most:
                return Reply(done=True, rewards={"guess": (1.0 - 0.02 * (self.asked - 1)) if right else 0.0})
            return self._say("No, it is not that.")
        if self.asked >= self.most:
            return Reply(done=True, rewards={"guess": 0.0})
        return self._say(self._answer(set(found)))

    def _say(self, text: str) -> Reply:
        left = self.most - self.asked
        return Reply([{"role": "user", "content": f"{text} {left} left."}])

    def _answer(self, asked: set[str]) -> str:
        meant = [things.split() for words, things in PROPERTIES.values() if asked & set(words.split())]
        if not meant:
            return "I can't answer that by yes or no."
        return "Yes." if all(self.thing in things for things in meant) else "No."


def _task(thing: str, questions: int, seed: int) -> Task:
    things = list(THINGS)
    random.Random(f"twenty questions {seed} {thing}").shuffle(things)
    prompt = INSTRUCTION.format(things=", ".join(things), most=questions)
    return Task(thing, prompt, {"answer": thing, "questions": questions})
