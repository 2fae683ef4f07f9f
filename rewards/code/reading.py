"""Compile the source of a test: what it asks of a program's objects by built-in means is asked of the program.

`type(x)`, `x.__class__`, `isinstance`, `issubclass` and `is` look at an object itself, which a `Remote` can't change:
they become calls of functions that know it. Handlers of StopIteration also catch what stands for the program's.
"""

import ast
from types import CodeType

CALLS = {"type": "__type_of__", "isinstance": "__is_instance__", "issubclass": "__is_subclass__"}
SAME, STOPPED = "__is_same__", "__stopped__"
RAISES = ("raises", "assertRaises", "assertRaisesRegex")  # of pytest and unittest


def compiled(source: str) -> CodeType:
    """The code of a test."""
    tree = _Reader().visit(ast.parse(source, "test.py"))
    return compile(ast.fix_missing_locations(tree), "test.py", "exec")


def last_name(node: ast.AST) -> str:
    """Return the name, or the attribute's name, that an expression is; else ""."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


class _Reader(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in CALLS and not node.keywords and len(node.args) == (1 if name == "type" else 2):
            node.func = _name(CALLS[name])
        if last_name(node.func) in RAISES and node.args:
            node.args[0] = _widened(node.args[0])
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if node.attr != "__class__" or not isinstance(node.ctx, ast.Load):
            return node
        return ast.copy_location(ast.Call(_name(CALLS["type"]), [node.value], []), node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        sides = [node.left, *node.comparators]
        constant = any(isinstance(side, ast.Constant) for side in sides)
        if len(node.ops) != 1 or constant or not isinstance(node.ops[0], ast.Is | ast.IsNot):
            return node
        same = ast.copy_location(ast.Call(_name(SAME), sides, []), node)
        return same if isinstance(node.ops[0], ast.Is) else ast.copy_location(ast.UnaryOp(ast.Not(), same), node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        self.generic_visit(node)
        node.type = node.type and _widened(node.type)
        return node


def _widened(kinds: ast.expr) -> ast.expr:
    """The classes of a handler, with the one that stands for the program's StopIteration where that is among them."""
    each = kinds.elts if isinstance(kinds, ast.Tuple) else [kinds]
    if not any(isinstance(one, ast.Name) and one.id == "StopIteration" for one in each):
        return kinds
    return ast.copy_location(ast.Tuple([*each, _name(STOPPED)], ast.Load()), kinds)


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())
