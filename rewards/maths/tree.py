"""The tree of an answer: what the grammar makes and the comparison reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from rewards.maths.exact import Exact

BOUND = "\N{BULLET}"  # the name of a variable that a sum, a limit or an integral binds


@dataclass(frozen=True)
class Node:
    """A part of an answer. `kind` says what the parts are; `name` holds a name, a sign, a unit or a text."""

    kind: str
    parts: tuple["Node", ...] = ()
    name: str = ""
    number: Exact | None = None

    def walk(self) -> Iterator["Node"]:
        """The node and all below it."""
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True)
class Reading:
    """An answer read: its tree and its tokens in one spelling."""

    tree: Node
    spelling: str
    known: bool  # whether the grammar knows all of it


def joined(kind: str, left: Node, right: Node) -> Node:
    """A sum, product, ratio or union with one member more."""
    members = left.parts if left.kind == kind else (left,)
    return Node(kind, (*members, right))


def both_signs(item: Node) -> list[Node]:
    r"""An item with `\pm` as the two it stands for; in a tuple every combination."""
    count = sum(node.kind in ("plusminus", "minusplus") for node in item.walk())
    if not count:
        return [item]
    if item.kind == "group" and 1 < count <= 3:
        made = [item]
        for _ in range(count):
            made = [signed for one in made for signed in (_signed(one, 1, [1]), _signed(one, -1, [1]))]
        return made
    return [_signed(item, 1, [count]), _signed(item, -1, [count])]


def _signed(node: Node, sign: int, left: list[int]) -> Node:
    """The node with its first `left[0]` double signs decided."""
    if node.kind in ("plusminus", "minusplus") and left[0] > 0:
        left[0] -= 1
        parts = [_signed(part, sign, left) for part in node.parts]
        right = parts[-1] if (sign > 0) == (node.kind == "plusminus") else Node("negative", (parts[-1],))
        return right if len(parts) == 1 else joined("sum", parts[0], right)
    if not node.parts:
        return node
    return Node(node.kind, tuple(_signed(part, sign, left) for part in node.parts), node.name, node.number)


def substituted(node: Node, old: str, new: str) -> Node:
    """The node with another name for one of its variables."""
    if old == new:
        return node
    if node.kind == "word" and old in node.name:
        node = Node("product", tuple(Node("symbol", (), letter) for letter in node.name))
    name = new if node.kind == "symbol" and node.name == old else node.name
    return Node(node.kind, tuple(substituted(part, old, new) for part in node.parts), name, node.number)


def is_infinite(node: Node, sign: int) -> bool:
    """Return whether a node is infinity with this sign."""
    return node.kind == "infty" if sign > 0 else node.kind == "negative" and node.parts[0].kind == "infty"


def is_minus_one(node: Node) -> bool:
    """Return whether an exponent marks an inverse function."""
    return node.kind == "negative" and node.parts[0].number is not None and node.parts[0].number.value == 1


def unused(node: Node) -> str:
    """A name for a variable that a sum, a limit or an integral binds, of which none in the node has been made."""
    name = BOUND
    while any(name in part.name for part in node.walk()):
        name += BOUND
    return name


def without_differential(term: Node) -> tuple[Node, str]:
    """A term without the dx at its end, and the x; "" where there is none."""
    if term.kind == "word" and term.name[-2:-1] == "d":
        rest = term.name[:-2]
        if not rest:
            return Node("number", number=Exact(Fraction(1))), term.name[-1]
        return Node("word" if len(rest) > 1 else "symbol", (), rest), term.name[-1]
    if term.kind in ("quotient", "function", "power"):  # dx / x, \sin x dx, \sin^2 x dx
        first, variable = without_differential(term.parts[0])
        return Node(term.kind, (first, *term.parts[1:]), term.name), variable
    if term.kind != "product":
        return term, ""
    *others, last = term.parts
    kept, variable = without_differential(last)
    if not variable and len(others) > 1 and others[-1] == Node("symbol", (), "d") and last.kind == "symbol":
        others.pop()
        variable = last.name
    elif variable and kept.number is None:
        others.append(kept)
    if not variable:
        return term, ""
    return (others[0] if len(others) == 1 else Node("product", tuple(others))), variable


def derivative_name(above: Node, below: Node) -> str:
    r"""The name of \frac{dy}{dx}, \frac{d}{dx}, \frac{\partial f}{\partial x}; "" for any other fraction."""
    names = ["".join(node.name for node in side.walk()) for side in (above, below)]
    for sign in ("d", "\\partial"):
        if all(name.startswith(sign) for name in names) and len(names[1]) > len(sign) and below.kind != "sum":
            return f"{names[0]}/{names[1]}"
    return ""


def without(kind: str, *nodes: Node) -> list[Node]:
    """The nodes, those of a kind (a unit, a percent sign) as what they are around."""
    return [node.parts[0] if node.kind == kind else node for node in nodes]
