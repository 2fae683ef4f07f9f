"""Tasks of LeetCode's kind: `class Solution`, nodes, preludes in the prompt, tests of both public data sets' forms."""

import json
import textwrap
from pathlib import Path

import pytest

from rewards.code.leetcode import linked_list, list_values, tree, tree_values
from rewards.code.reward import CodeReward

FILE = Path(__file__).with_name("leetcode.txt")
# What the LeetCodeDataset puts before its tests, in our words.
PRELUDE = """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next

class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right

def list_node(values):
    head = None
    for value in reversed(values):
        head = ListNode(value, head)
    return head

def is_same_list(a, b):
    while a and b and a.val == b.val:
        a, b = a.next, b.next
    return a is None and b is None

def tree_node(values):
    nodes = [None if v is None else TreeNode(v) for v in values]
    rest = nodes[::-1]
    root = rest.pop() if rest else None
    for node in nodes:
        if node:
            node.left = rest.pop() if rest else None
            node.right = rest.pop() if rest else None
    return root

def is_same_tree(a, b):
    if not a or not b:
        return a is b
    return a.val == b.val and is_same_tree(a.left, b.left) and is_same_tree(a.right, b.right)
"""


def tasks():
    """(signature, body, cases) of each reference solution."""
    found = []
    for line in FILE.read_text().splitlines():
        if line.startswith("> "):
            given, _, expected = line[2:].rpartition(" -> ")
            found[-1][2].append((json.loads(f"[{given}]"), json.loads(expected)))
        elif line.startswith("    "):
            found[-1][1].append(line)
        else:
            found.append((line, [], []))
    return [(signature, "\n".join(body), cases) for signature, body, cases in found]


def answer(signature, body, wrong=False):
    """A completion; a wrong one returns what no case expects."""
    name, _, rest = signature.partition("(")
    head = f"class Solution:\n    def {name}(self, {rest}:\n"
    change = "        return ['wrong']\n" if wrong else ""
    return f"```python\n{head}{change}{textwrap.indent(body, '    ')}\n```"


def as_lines(signature, cases):
    """The form of LiveCodeBench: an argument a line, JSON."""
    return {
        "entry_point": signature.partition("(")[0],
        "inputs": ["\n".join(map(json.dumps, given)) for given, _ in cases],
        "outputs": [json.dumps(expected) for _, expected in cases],
    }


def run(chosen, wrong=False):
    rows = [as_lines(signature, cases) for signature, _, cases in chosen]
    completions = [answer(signature, body, wrong) for signature, body, _ in chosen]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    values = CodeReward(deadline_seconds=900)(prompts=[""] * len(rows), completions=completions, **columns)
    return {signature: value for (signature, _, _), value in zip(chosen, values, strict=True)}


def test_the_reference_solutions_pass():
    assert set(run(tasks()[::10]).values()) == {1.0}


@pytest.mark.slow
def test_all_reference_solutions_pass_and_wrong_ones_do_not():
    assert len(tasks()) == 200
    assert [name for name, value in run(tasks()).items() if value != 1.0] == []
    assert [name for name, value in run(tasks(), wrong=True).items() if value != 0.0] == []


ADD = next(task for task in tasks() if task[0].startswith("addTwoNumbers"))
INVERT = next(task for task in tasks() if task[0].startswith("invertTree"))
ADD_CHECK = """def check(candidate):
    assert is_same_list(candidate(a = list_node([2,4,3]), b = list_node([5,6,4])), list_node([7,0,8]))
    assert is_same_list(candidate(list_node([9] * 300), list_node([1])), list_node([0] * 300 + [1]))
"""
INVERT_CHECK = """def check(candidate):
    assert is_same_tree(candidate(root = tree_node([4,2,7,1,3,6,9])), tree_node([4,7,2,9,6,3,1]))
    assert candidate(None) is None
"""
CASES = [(ADD, ADD_CHECK), (INVERT, INVERT_CHECK)]
STARTER = """Solve it. Begin with this:
```python
{before}class Solution:
    def {signature}:
        
```
"""


def judged(code, prompt="", **columns):
    result = CodeReward()(prompts=[prompt], completions=[code], **{name: [value] for name, value in columns.items()})
    return result[0], result.messages


@pytest.mark.parametrize(("task", "check"), CASES)
def test_nodes_of_a_prelude_travel_whole(task, check):
    signature, body, _ = task
    row = {"test": check, "entry_point": f"Solution().{signature.partition('(')[0]}"}
    for columns in (
        {"setup": PRELUDE},
        {"prompt": PRELUDE},
        {"prompt": STARTER.format(before=PRELUDE, signature=signature)},
    ):
        assert judged(answer(signature, body), **row, **columns)[0] == 1.0
        own = answer(signature, body).replace("class Solution", f"{PRELUDE}\nclass Solution")
        assert judged(own, **row, **columns)[0] == 1.0  # the answer defines the classes again
        assert judged(answer(signature, body, wrong=True), **row, **columns)[0] == 0.0


def test_the_definitions_that_a_prompt_writes_as_comments_count():
    before = "# Definition for a Node.\n# class Node:\n#     def __init__(self, x, next=None):\n"
    before += "#         self.val, self.next = x, next\n"
    prompt = STARTER.format(before=before, signature="second(self, head: Node) -> Node")
    code = "```python\nclass Solution:\n    def second(self, head: 'Node') -> 'Node':\n        return {}\n```"
    test = "def check(candidate):\n    assert candidate(Node(1, Node(2))).val == 2\n"
    row = {"test": test, "entry_point": "Solution().second"}
    assert judged(code.format("head.next"), prompt, **row)[0] == 1.0
    assert judged(code.format("head"), prompt, **row)[0] == 0.0
    assert judged(code.format("Node(2)"), prompt, **row)[0] == 1.0


def test_lists_that_meet_and_circles_keep_their_shape():
    test = """def check(candidate):
    a = ListNode(1)
    a.next = ListNode(2, a)
    assert candidate(a) is True
    assert candidate(ListNode(1, ListNode(2))) is False
"""
    code = "```python\nclass Solution:\n    def circle(self, a):\n        slow = a\n        while a and a.next:\n"
    code += "            slow, a = slow.next, a.next.next\n            if slow is a:\n                return {}\n"
    code += "        return False\n```"
    row = {"test": test, "entry_point": "Solution().circle"}  # ListNode is LeetCode's, without any prelude
    assert judged(code.format("True"), **row)[0] == 1.0
    assert judged(code.format("False"), **row)[0] == 0.0


@pytest.mark.parametrize("values", [[], [1], [1, 2, 3]])
def test_a_linked_list_is_its_values(values):
    assert list_values(linked_list(values)) == values


@pytest.mark.parametrize("values", [[], [1], [1, 2], [1, None, 2, 3], [5, 4, 8, 11, None, 13, 4, 7, 2]])
def test_a_tree_is_its_levels(values):
    assert tree_values(tree(values)) == values


def test_a_circle_is_no_list(monkeypatch):
    monkeypatch.setattr("rewards.code.leetcode.LONGEST", 100)
    node = linked_list([1, 2])
    node.next.next = node
    with pytest.raises(ValueError, match="a circle"):
        list_values(node)


def test_a_node_can_not_bring_its_own_methods():
    prelude = (
        "class Node:\n    def __init__(self, x): self.x = x\n    def same(self, other): return self.x == other.x\n"
    )
    row = {
        "test": "def check(candidate):\n    assert candidate(2).same(Node(4))\n",
        "entry_point": "f",
        "setup": prelude,
    }
    forged = "def f(x):\n    n = Node(0)\n    n.same = lambda other: True\n    return n"
    assert judged(f"```python\n{forged}\n```", **row)[0] == 0.0
    assert judged("```python\ndef f(x):\n    return Node(x * x)\n```", **row)[0] == 1.0
