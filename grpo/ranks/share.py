"""Which rows of an update a rank learns from, so that all have about as much to do."""

from collections.abc import Sequence
from dataclasses import replace

from grpo.types import Credit, Group

Rows = tuple[list[Group], list[Sequence[Credit]]]


def own_rows(
    groups: Sequence[Group], credits: Sequence[Sequence[Credit]], *, rank: int, size: int, keep_zero: bool
) -> Rows:
    """Return the groups and credits that `rank` of `size` learns from; all ranks together have every row once.

    Either whole groups, the costliest first to whoever has the least, so that a prompt runs on one rank; or every rank
    has rows of each group. Whichever leaves the busiest rank less to do, prompts counted. A row of credit 0 costs
    nothing without `keep_zero`.
    """
    if size == 1:
        return list(groups), list(credits)
    pairs = list(zip(groups, credits, strict=True))
    costs = [_tokens(group, row, keep_zero) for group, row in pairs]
    places = shared_out(costs, size)
    cut = [
        [(replace(group, rollouts=group.rollouts[each::size]), row[each::size]) for group, row in pairs]
        for each in range(size)
    ]
    whole = max(sum(costs[place] for place in mine) for mine in places)
    if max(sum(_tokens(group, row, keep_zero) for group, row in own) for own in cut) < whole:
        own = [(group, row) for group, row in cut[rank] if group.rollouts]
    else:
        own = [pairs[place] for place in places[rank]]
    return [group for group, _ in own], [row for _, row in own]


def shared_out(costs: Sequence[float], size: int) -> list[list[int]]:
    """Return by rank the places of the items of these costs: the costliest go first to whoever has least."""
    loads = [0.0] * size
    places: list[list[int]] = [[] for _ in range(size)]
    for place in sorted(range(len(costs)), key=lambda place: -costs[place]):
        least = loads.index(min(loads))
        loads[least] += costs[place]
        places[least].append(place)
    return [sorted(mine) for mine in places]


def _tokens(group: Group, credits: Sequence[Credit], keep_zero: bool) -> int:
    """Return the tokens that run through the network for a group."""
    rows = [len(r.tokens) for r, credit in zip(group.rollouts, credits, strict=True) if keep_zero or credit != 0]
    return len(group.prompt.tokens) + sum(rows) if rows else 0
