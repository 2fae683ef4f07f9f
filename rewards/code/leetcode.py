"""LeetCode's conventions: its two classes of nodes, and lists where a signature asks for nodes.

A row with `inputs` writes linked lists and binary trees as lists, trees level by level with null where a child is
missing; the method's annotations say which argument is which, as in `def merge(self, a: Optional[ListNode])`.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LONGEST = 1_000_000  # nodes of a list that a program gave: it may be a circle


class ListNode:
    """A node of a linked list."""

    def __init__(self, val: Any = 0, next: "ListNode | None" = None) -> None:
        self.val = val
        self.next = next


class TreeNode:
    """A node of a binary tree."""

    def __init__(self, val: Any = 0, left: "TreeNode | None" = None, right: "TreeNode | None" = None) -> None:
        self.val = val
        self.left = left
        self.right = right


def called(
    function: Callable[..., Any], arguments: Sequence[Any], keywords: Mapping[str, Any], classes: Mapping[str, type]
) -> Any:
    """The value of a call; where the function's annotations ask for nodes, lists become nodes and nodes lists.

    A function annotated `-> None` that gives None changes its first argument in place, which is then the value.
    """
    import inspect  # slow, and few programs need it

    try:
        signature = inspect.signature(function)
        bound = signature.bind(*arguments, **keywords)
    except (TypeError, ValueError):  # not to be asked, or the wrong arguments, which the call itself says best
        return function(*arguments, **keywords)
    for name, value in bound.arguments.items():
        bound.arguments[name] = _as_nodes(value, str(signature.parameters[name].annotation), classes)
    value = function(*bound.args, **bound.kwargs)
    annotation = signature.return_annotation
    if value is None and annotation in (None, "None") and bound.arguments:
        name, value = next(iter(bound.arguments.items()))
        annotation = signature.parameters[name].annotation
    return _as_lists(value, str(annotation))


def _as_nodes(value: Any, annotation: str, classes: Mapping[str, type]) -> Any:
    for name, build in (("ListNode", linked_list), ("TreeNode", tree)):
        if name in annotation and isinstance(value, list):
            several = "ist[" in annotation.replace("ListNode", "") and all(isinstance(one, list) for one in value)
            return [build(one, classes[name]) for one in value] if several else build(value, classes[name])
    return value


def _as_lists(value: Any, annotation: str) -> Any:
    for name, read in (("ListNode", list_values), ("TreeNode", tree_values)):
        if name in annotation:
            return [read(one) for one in value] if isinstance(value, list) else read(value)
    return value


def linked_list(values: Sequence[Any], node: type = ListNode) -> Any:
    """The first node of a list of these values; None for none."""
    first = None
    for value in reversed(values):
        first = node(value, first)
    return first


def tree(values: Sequence[Any], node: type = TreeNode) -> Any:
    """The root of the tree that these values are level by level; None for none."""
    if not values or values[0] is None:
        return None
    root = node(values[0])
    open_nodes, rest = deque([root]), iter(values[1:])
    for value in rest:
        parent = open_nodes.popleft()
        for side in ("left", "right"):
            value = next(rest, None) if side == "right" else value
            if value is not None:
                child = node(value)
                setattr(parent, side, child)
                open_nodes.append(child)
        if not open_nodes:
            break
    return root


def list_values(node: Any) -> list[Any]:
    """The values of a linked list. ValueError for one without end."""
    values = []
    while node is not None:
        values.append(node.val)
        node = node.next
        if len(values) > LONGEST:
            raise ValueError(f"a linked list of more than {LONGEST} nodes, or a circle")
    return values


def tree_values(root: Any) -> list[Any]:
    """The values of a tree level by level, null where a child is missing, but not at the end."""
    values: list[Any] = []
    level = deque([root])
    while level:
        node = level.popleft()
        values.append(None if node is None else node.val)
        level.extend(() if node is None else (node.left, node.right))
        if len(values) > LONGEST:
            raise ValueError(f"a tree of more than {LONGEST} nodes, or one that holds itself")
    while values and values[-1] is None:
        values.pop()
    return values
