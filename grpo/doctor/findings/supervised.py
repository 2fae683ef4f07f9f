"""Findings about runs that minimise a loss on a corpus: SFT, and students of a teacher's text or logits."""

from collections.abc import Iterator
from itertools import pairwise
from math import log
from statistics import fmean, median

from grpo.doctor.findings.evidence import Evidence
from grpo.doctor.findings.kinds import Finding, found
from grpo.doctor.findings.rate import gradient_spikes

TINY = 1e-6  # a loss that is 0 for all purposes
EARLIEST = 8  # steps before which a loss says little
SURE = 4.0  # standard deviations of a step's loss
ROSE = 1.5  # times the best loss: batches of one corpus differ less
OVERFITTED = 1.1  # times the best held-out loss
NO_GRADIENT = 1e-6
SLOW = 5e-6  # a mean rate below which few corpora are learned
LEARNED = 0.02  # share of the loss at the start


def too_high(seen: Evidence) -> Iterator[Finding]:
    """The loss rose, or jumped and did not come back."""
    end, values = seen.end("loss"), seen.values("loss")
    if end is None or seen.count < EARLIEST:
        return
    first = values[0]  # of the model as it was: a first update may break it
    # How far a step's loss strays, as a share of it: half of normal differences of two are below 0.954 standard
    # deviations of one.
    logs = [log(max(value, TINY)) for value in values]
    one_step = median(abs(b - a) for a, b in pairwise(logs)) / 0.954
    best = min(fmean(values[i : i + seen.width]) for i in range(len(values) - seen.width + 1))
    rate = seen.number("learning_rate")
    dropped = sum(seen.values("updates/dropped"))
    if log(max(end, TINY)) - logs[0] > max(SURE * one_step, 0.1):
        said = f"the loss rose from {first:.3g} to {end:.3g}"
    elif log(max(end, TINY)) - log(max(best, TINY)) > SURE * one_step and end > max(ROSE * best, first / 2):
        said = f"the loss rose from {best:.3g}, its best, to {end:.3g}"
    elif dropped > 0.1 * seen.count:
        said = f"{dropped:.0f} updates were not finite"
    else:
        return
    yield found("learning rate too high", 0.9, f"{said} (rate {rate:g})", f"learning_rate={rate / 10:.2g}")


def too_low(seen: Evidence) -> Iterator[Finding]:
    """The loss stays where it began, at a rate that is tiny."""
    start, end, rates = seen.start("loss"), seen.end("loss"), seen.values("learning_rate")
    if start is None or end is None or not rates or seen.count < 8 or (seen.peak("grad_norm") or 0) < NO_GRADIENT:
        return
    usual = sum(rates) / len(rates)
    if usual < SLOW and start - end < max(2 * seen.noise("loss"), LEARNED * start):
        rate = seen.number("learning_rate")
        said = f"the loss is flat ({start:.3g} -> {end:.3g}) and the mean learning rate is {usual:.1g} (rate {rate:g})"
        yield found("learning rate too low", 0.8, said, f"learning_rate={rate * 10:.2g}")


def dead_adapters(seen: Evidence) -> Iterator[Finding]:
    """There is a loss and no gradient."""
    most, loss = seen.peak("grad_norm"), seen.end("loss")
    if most is not None and most < NO_GRADIENT and loss is not None and loss > 0.01 and seen.count >= 3:
        yield found("dead adapters", 0.95, f"the gradient is at most {most:.1g} at a loss of {loss:.3g}")


def overfitted(seen: Evidence) -> Iterator[Finding]:
    """The held-out loss rises while the training loss falls."""
    held, gain = seen.values("eval/loss"), seen.gain("loss")
    if len(held) < 3 or gain is None or gain > 0:
        return
    best, last = min(held), held[-1]
    if last > OVERFITTED * best and last - best > 0.02:
        said = f"the held-out loss rose from {best:.3g} to {last:.3g} while that of the training rows fell"
        yield found("memorised prompts", 0.85, said, "epochs=1")


RULES = (too_high, too_low, dead_adapters, overfitted, gradient_spikes)
