"""Sound functions, faults that can be put into them, and their tests."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exercise:
    """A sound function, faults that can be put into it, and its tests."""

    purpose: str
    code: str
    faults: tuple[tuple[str, str], ...]  # text in the code -> what stands there instead
    tests: tuple[str, ...]


def _exercise(purpose: str, code: str, faults: str, tests: str) -> Exercise:
    """An exercise written in lines; a fault reads TEXT => TEXT."""
    pairs = [line.split(" => ") for line in faults.strip().splitlines()]
    return Exercise(
        purpose,
        code.strip("\n"),
        tuple((sound.replace("|", ""), wrong.replace("|", "")) for sound, wrong in pairs),
        tuple(tests.strip().splitlines()),
    )


EXERCISES = (
    _exercise(
        "return the sum of the even numbers of a list",
        """
def even_sum(numbers):
    total = 0
    for n in numbers:
        if n % 2 == 0:
            total += n
    return total
""",
        """
total = 0 => total = 1
n % 2 == 0 => n % 2 == 1
total += n => total = n
|    return total => |        return total
""",
        """
assert even_sum([1, 2, 3, 4]) == 6
assert even_sum([]) == 0
assert even_sum([5, 7]) == 0
assert even_sum([-2, 2, 8]) == 8
""",
    ),
    _exercise(
        "say whether a text reads the same backwards, whatever its capitals",
        """
def palindrome(text):
    text = text.lower()
    return text == text[::-1]
""",
        """
text = text.lower() => text = text.strip()
text[::-1] => text[:-1]
== => !=
""",
        """
assert palindrome('Anna') == True
assert palindrome('ab') == False
assert palindrome('') == True
""",
    ),
    _exercise(
        "return the largest number of a list, None for an empty one",
        """
def largest(numbers):
    if not numbers:
        return None
    best = numbers[0]
    for n in numbers[1:]:
        if n > best:
            best = n
    return best
""",
        """
best = numbers[0] => best = 0
n > best => n < best
return None => return 0
numbers[1:] => numbers[2:]
""",
        """
assert largest([3, 9, 2]) == 9
assert largest([-5, -2]) == -2
assert largest([]) == None
assert largest([4]) == 4
""",
    ),
    _exercise(
        "count how often each word stands in a text",
        """
def word_counts(text):
    counts = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return counts
""",
        """
counts.get(word, 0) + 1 => counts.get(word, 1) + 1
text.split() => text
counts.get(word, 0) + 1 => 1
""",
        """
assert word_counts('a b a') == {'a': 2, 'b': 1}
assert word_counts('') == {}
assert word_counts('xy xy xy') == {'xy': 3}
""",
    ),
    _exercise(
        "return n! for n from 0 on",
        """
def factorial(n):
    result = 1
    for i in range(2, n + 1):
        result *= i
    return result
""",
        """
n + 1 => n
result = 1 => result = 0
result *= i => result += i
range(2, => range(3,
""",
        """
assert factorial(0) == 1
assert factorial(5) == 120
assert factorial(2) == 2
assert factorial(3) == 6
""",
    ),
    _exercise(
        "return a list without what stands in it twice, in the same order",
        """
def unique(items):
    seen = []
    for item in items:
        if item not in seen:
            seen.append(item)
    return seen
""",
        """
item not in seen => item in seen
seen.append(item) => seen.insert(0, item)
return seen => return sorted(seen)
""",
        """
assert unique([3, 1, 3, 2, 1]) == [3, 1, 2]
assert unique([]) == []
assert unique([1, 1]) == [1]
""",
    ),
)
