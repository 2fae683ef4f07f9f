"""Read chains of "=": tell names from values and match the variables of two answers."""

from collections.abc import Iterable

from rewards.maths.tree import Node
from rewards.maths.values import evaluated

NAMES = frozenset({"symbol", "word", "application"})


def before_approximation(chain: Node) -> Node:
    """The exact part of `x = a \\approx b`."""
    signs = chain.name.split()
    at = signs.index("~")
    return Node("relation", chain.parts[: at + 1], " ".join(signs[:at])) if at else chain.parts[0]


def assignable(node: Node) -> bool:
    """Return whether a value can be given to it: a name, f(x), |AB|, \\frac{NO}{BO}, A:B, (x, y)."""
    if node.kind in NAMES:
        return True
    return node.kind in ("absolute", "ratio", "quotient", "group", "degrees") and all(
        part.kind in NAMES for part in node.parts
    )


def numeric(chain: Iterable[Node]) -> bool:
    """Return whether no member has a variable: 10^3 = 1000, e^{i\\pi} = -1."""
    found = [evaluated(part) for part in chain]
    return all(one is not None and not one.symbols for one in found)


def renaming(gold: Node, answer: Node) -> tuple[str, str] | None:
    """Map the answer's variable to the gold's: f(n) and f(m) are one function; x and y are not the same."""
    if gold == answer:
        return "", ""
    if gold.kind == answer.kind == "application" and gold.name == answer.name:
        names = gold.parts[0], answer.parts[0]
        if len(gold.parts) == len(answer.parts) == 1 and names[0].kind == names[1].kind == "symbol":
            return names[1].name, names[0].name
    return None


def dependent(gold: tuple[Node, ...]) -> str:
    names = {node.name for side in gold for node in side.walk() if node.kind == "symbol"}
    return "rho" if "rho" in names else "y"


def solvable(gold: tuple[Node, ...], answer: Node) -> bool:
    """Return whether the gold is a curve's equation and the answer may be its solved form: y + 1 = 2x and 2x - 1."""
    if len(gold) != 2 or assignable(gold[0]):
        return False
    names = [{node.name for node in side.walk() if node.kind == "symbol"} for side in (Node("", gold), answer)]
    return bool({"y", "rho"} & names[0]) and not {"y", "rho"} & names[1] and bool(names[1])


# Values
