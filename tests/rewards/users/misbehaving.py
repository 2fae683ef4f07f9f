"""Rewards as users write them, and as they should not."""

import asyncio
import ctypes
import os
import re
import signal
import sys
import time


def constant(completions, **_):
    return [1.0] * len(completions)


def length(completions, answer, **_):
    return [len(text) + float(gold) for text, gold in zip(completions, answer, strict=True)]


def by_alarm(completions, **_):
    """As open-r1 limits its time: works in a main thread alone."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        time.sleep(30)
    except TimeoutError:
        return [0.5] * len(completions)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def leaves_an_alarm(completions, **_):
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    return [1.0] * len(completions)


def hangs(completions, **_):
    time.sleep(600)


def catastrophic(completions, **_):
    found = re.match(r"(a+)+$", "a" * 60 + "b")
    return [float(bool(found))] * len(completions)


def holds_the_lock(completions, **_):
    return [10 ** (10**10)] * len(completions)


def segfaults(completions, **_):
    ctypes.string_at(0)


def exits(completions, **_):
    os._exit(0)


def exits_politely(completions, **_):
    sys.exit(3)


def kills_itself(completions, **_):
    os.kill(os.getpid(), signal.SIGKILL)


def forks(completions, **_):
    os.fork()
    return [float(os.getpid() > 0)] * len(completions)


def leaves_a_fork(completions, **_):
    if os.fork() == 0:
        time.sleep(600)
    return [1.0] * len(completions)


def prints(completions, **_):
    print('{"name": "prints", "values": [9, 9]}', flush=True)
    os.write(1, b"more\n")
    return [1.0] * len(completions)


def reads_input(completions, **_):
    return [float(len(sys.stdin.read()))] * len(completions)


def raises(completions, **_):
    raise RuntimeError("API down 4711")


async def waits(completions, **_):
    await asyncio.sleep(0.01)
    return [0.25] * len(completions)


def edits_its_arguments(completions, answer, **_):
    completions.clear()
    answer[0] = "99"
    return [1.0, 1.0]


def logs(completions, trainer_state, log_extra, log_metric, **_):
    log_extra("length", [len(text) for text in completions])
    log_metric("short", trainer_state.global_step / trainer_state.max_steps)
    return [1.0] * len(completions)


def which_process(completions, **_):
    return [float(os.getpid())] * len(completions)


class Scorer:
    """A reward that is an object, and whose methods are rewards."""

    def __init__(self, worth=2.0):
        self.worth = worth

    def __call__(self, completions, **_):
        return [self.worth] * len(completions)

    def method(self, completions, **_):
        return [self.worth + 1] * len(completions)

    @staticmethod
    def static(completions, **_):
        return [7.0] * len(completions)


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def raises_without_text(completions, **_):
    raise Mute
