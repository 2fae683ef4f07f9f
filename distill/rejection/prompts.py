"""The prompts of a split with their numbers, gone through as often as needed without holding them."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice

from distill.rejection.records import Numbers
from envs import Task
from envs.base import prompt_key

FIRST_SLOTS = 1 << 12  # of the table of hashes; doubled when it is half full


class Prompts:
    """Number -> task for a split, the first of those with the same prompt; numbers are places in the split.

    `tasks` can be gone through again and again and gives the same each time. Of a prompt a hash of 64 bits is kept: of
    10^6 different prompts two are taken for the same with a chance of 3e-8.
    """

    def __init__(self, tasks: Iterable[Task], limit: int | None = None) -> None:
        """`limit`: how many of the split are looked at."""
        self.tasks, self.limit = tasks, limit
        self.repeats, self.total = Numbers(), 0
        seen, digest = _Hashes(), hashlib.sha256()
        for number, task in enumerate(self._all()):
            self.total += 1
            key = prompt_key(task.prompt)
            if not seen.add(int.from_bytes(hashlib.sha256(key.encode(errors="replace")).digest()[:8], "big")):
                self.repeats.add(number)
                continue
            digest.update(f"{number} {key}\n".encode(errors="replace"))
        self.fingerprint = digest.hexdigest()  # of the prompts and their numbers

    def __len__(self) -> int:
        """How many different ones there are."""
        return self.total - len(self.repeats)

    def __contains__(self, number: int) -> bool:
        return number < self.total and number not in self.repeats

    def __iter__(self) -> Iterator[tuple[int, Task]]:
        return ((number, task) for number, task in enumerate(self._all()) if number not in self.repeats)

    def chunks(self, size: int) -> Iterator[dict[int, Task]]:
        """Yield the prompts in groups of `size`, by number."""
        prompts = iter(self)
        while chunk := dict(islice(prompts, size)):
            yield chunk

    def numbers(self, size: int) -> Iterator[tuple[int, ...]]:
        """Yield the numbers of each group of `size`."""
        numbers = (number for number in range(self.total) if number not in self.repeats)
        while chunk := tuple(islice(numbers, size)):
            yield chunk

    def _all(self) -> Iterable[Task]:
        return islice(self.tasks, self.limit)


class _Hashes:
    """A set of numbers of 64 bits, at most 32 bytes each."""

    def __init__(self) -> None:
        self.slots, self.count = array("Q", bytes(8 * FIRST_SLOTS)), 0

    def add(self, key: int) -> bool:
        """Put a number in; return whether it is new. 0 stands for 1."""
        key = key or 1
        place = self._place(key)
        if self.slots[place] == key:
            return False
        self.slots[place] = key
        self.count += 1
        if 2 * self.count > len(self.slots):
            old, self.slots = self.slots, array("Q", bytes(16 * len(self.slots)))
            for one in old:
                if one:
                    self.slots[self._place(one)] = one
        return True

    def _place(self, key: int) -> int:
        last = len(self.slots) - 1
        place = key & last
        while self.slots[place] not in (0, key):
            place = (place + 1) & last
        return place
