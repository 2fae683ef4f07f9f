"""A calculator: sums, products and powers of numbers, read as a tree and never evaluated as code."""

import ast
import math
import operator
from collections.abc import Callable

MOST_CHARACTERS, MOST_DIGITS = 300, 300
OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
FUNCTIONS: dict[str, Callable[..., float]] = {"sqrt": math.sqrt, "abs": abs, "round": round, "min": min, "max": max}


def calculator(expression: str) -> str:
    """Work out an arithmetic expression, such as 12 * (3 + 4) / 2.

    Args:
        expression: numbers with + - * / // % ** and parentheses, or sqrt, abs, round, min, max of them
    """
    text = expression.strip().rstrip("=").replace("^", "**").replace("×", "*").replace("÷", "/")
    if not text or len(text) > MOST_CHARACTERS:
        raise ValueError(f"an expression of 1 to {MOST_CHARACTERS} characters, please")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{expression.strip()!r} is no arithmetic expression") from None
    value = _value(tree.body)
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return _bounded(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow) and abs(right) * math.log10(abs(left) + 1) > MOST_DIGITS:
            raise ValueError("the power is too large")
        return _bounded(OPERATIONS[type(node.op)](left, right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        function = FUNCTIONS.get(node.func.id)
        if function is not None:
            return _bounded(function(*map(_value, node.args)))
    raise ValueError(f"only numbers and + - * / // % ** and {', '.join(FUNCTIONS)} can be worked out")


def _bounded(value: float) -> float:
    if not isinstance(value, int | float):
        raise ValueError("the result is not a real number")
    if isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        raise ValueError("the number is too large")
    return value
