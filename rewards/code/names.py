"""The names that tests use and do not define: the program's, or the library's."""

import ast

from rewards.code.plans import Checks
from rewards.code.reading import RAISES, last_name


def free_names(plan: Checks) -> dict[str, bool]:
    """Names the tests use and do not define -> whether they are called (`f(...)`) rather than looked into (`m.x`)."""
    used: dict[str, bool] = {}
    bound: set[str] = set()
    for source in plan.tests:
        tree = ast.parse(source)
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                used[node.id] = used.get(node.id, False) or id(node) in called
            bound |= _bound_by(node)
    return {name: called for name, called in used.items() if name not in bound}


def caught_names(plan: Checks) -> list[str]:
    """Names that the tests catch exceptions by: `except NAME`, `raises(NAME)`."""
    caught: set[str] = set()
    for source in plan.tests:
        for node in ast.walk(ast.parse(source)):
            kinds: list[ast.AST | None] = []
            if isinstance(node, ast.ExceptHandler):
                kinds = [node.type]
            elif isinstance(node, ast.Call) and last_name(node.func) in RAISES:
                kinds = [*node.args[:1]]
            caught |= {one.id for kind in kinds if kind for one in ast.walk(kind) if isinstance(one, ast.Name)}
    return sorted(caught)


def _bound_by(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        return {node.id}
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    if isinstance(node, ast.arg):
        return {node.arg}
    if isinstance(node, ast.ExceptHandler) and node.name:
        return {node.name}
    return set()
