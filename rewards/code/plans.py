"""Turn the tests in a row's columns into a plan.

Calls with expected values, inputs with expected outputs, or tests to be run.

`assert f(ARGUMENTS) == LITERAL` is taken apart here, by ast and `literal_eval` only, so that most rows need one
process and no test of theirs is ever near the program. What can't be taken apart stays source, for `code_checker`.
"""

import ast
import builtins
import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewards.code.answer import code_in_prompt
from rewards.code.values import Opaque, encode

LONGEST_TESTS = 4_000_000  # characters
PRINTED, SOURCE, COROUTINES = "what the program prints", "the names and source of the program", "coroutines"
CHAINS = "what an exception of the program came from"
CHANGES, FILES = "what it changes in its own process", "files that it writes"
NOT_SENT = {"redirect_stdout": PRINTED, "redirect_stderr": PRINTED, "capsys": PRINTED,
            "inspect": SOURCE, "__doc__": SOURCE, "__dict__": SOURCE, "__annotations__": SOURCE,
            "asyncio": COROUTINES,
            **dict.fromkeys(("__code__", "__closure__", "__globals__", "__slots__", "__subclasses__"), SOURCE),
            **dict.fromkeys(("is_dataclass", "asdict", "astuple", "__dataclass_fields__"), SOURCE),
            **dict.fromkeys(("__cause__", "__context__", "__traceback__", "__notes__"), CHAINS)}  # fmt: skip
# Not sent either, where they are no attributes: `client.patch(...)` is the program's own.
BY_NAME = NOT_SENT | {"open": FILES, "tempfile": FILES, "NamedTemporaryFile": FILES, "TemporaryDirectory": FILES,
                      "mkstemp": FILES, "mkdtemp": FILES, "tmp_path": FILES, "patch": CHANGES, "mock": CHANGES,
                      "monkeypatch": CHANGES}  # fmt: skip
CHANGED = frozenset({"sys", "os", "builtins", "time", "datetime", "random"})  # modules that a program has copies of


class BadTests(ValueError):
    """Tests nobody could be judged by; the message says why."""


@dataclass(frozen=True)
class Call:
    """A call and what is expected of its value. `kind`: equal, unequal, is, true, false."""

    function: str
    arguments: Any  # encoded
    keywords: Any  # encoded
    kind: str
    expected: Any = None
    sequences_alike: bool = False  # JSON has no tuples


@dataclass(frozen=True, eq=False)  # told apart by identity
class Calls:
    """Tests that are calls."""

    tests: tuple[Call, ...]
    setup: str


@dataclass(frozen=True)
class Pair:
    """Standard input and the standard output expected for it."""

    given: str
    expected: str


@dataclass(frozen=True, eq=False)  # told apart by identity
class Pairs:
    """Tests of a whole program."""

    tests: tuple[Pair, ...]


@dataclass(frozen=True, eq=False)  # told apart by identity
class Checks:
    """Tests that have to be run: sources, each one test."""

    tests: tuple[str, ...]
    setup: str  # for both processes
    imports: str  # for the tests alone
    entry_point: str | None
    function: str | None  # to be called with the candidate after the source has run (HumanEval's `check`)


Plan = Calls | Pairs | Checks


@dataclass(frozen=True)
class Row:
    """The columns of a row; None where it has none."""

    tests: Any = None
    test: Any = None
    test_imports: Any = None
    setup: Any = None
    entry_point: Any = None
    inputs: Any = None
    outputs: Any = None


def plan_of(row: Row, prompt: str = "") -> Plan | None:
    """The plan of a row; None if it has no tests. Raises BadTests.

    Without a `setup` the code that the prompt asks to be completed is used (HumanEval's tests call its helpers).
    """
    entry_point = _text(row.entry_point, "entry_point") or None
    setup = _text(row.setup, "setup")
    imports = _text(row.test_imports, "test_imports")
    if row.test:
        return _function_plan(
            _text(row.test, "test"), imports, entry_point, setup or code_in_prompt(prompt, entry_point)
        )
    if row.tests:
        sources = [row.tests] if isinstance(row.tests, str) else list(row.tests)
        if not all(isinstance(source, str) for source in sources):
            raise BadTests(f"tests must be a list of assert statements, got {reprlib.repr(row.tests)}")
        return _assert_plan(sources, imports, entry_point, setup or code_in_prompt(prompt, entry_point))
    if not row.inputs and not row.outputs:
        return None
    return _pair_plan(row.inputs, row.outputs, entry_point, setup)


def _text(value: Any, column: str) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise BadTests(f"{column} must be a text, got {type(value).__name__}")
    return value


def _assert_plan(sources: Sequence[str], imports: str, entry_point: str | None, setup: str) -> Plan:
    aliases = {"candidate": entry_point} if entry_point is not None else {}
    calls = []
    for source in sources:
        body = _parsed(source, "tests").body
        if not any(isinstance(node, ast.Assert | ast.Raise) for statement in body for node in ast.walk(statement)):
            raise BadTests(f"a test without assert: {source[:80]!r}")
        calls.append(_simple_call(body[0], aliases) if len(body) == 1 else None)
    simple = [call for call in calls if call is not None]
    if len(simple) == len(calls):
        return Calls(tuple(simple), setup)
    for source in sources:
        tree = _parsed(source, "tests")
        _refuse_looks_at_arguments(tree)
        _refuse_what_is_not_sent(tree)
    return Checks(tuple(sources), setup, imports, entry_point, None)


def _function_plan(source: str, imports: str, entry_point: str | None, setup: str) -> Plan:
    """`def check(candidate)` with asserts, or any other source with asserts."""
    tree = _parsed(source, "test")
    checks = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"]
    if not checks:
        return _assert_plan([source], imports, entry_point, setup)
    if entry_point is None or not checks[-1].args.args:
        raise BadTests("a test function 'check' needs entry_point, and takes the candidate as its argument")
    names = {checks[-1].args.args[0].arg: entry_point}
    others = [node for node in tree.body if node is not checks[-1] and not _is_constant(node)]
    body = [node for node in checks[-1].body if not _is_constant(node)]
    calls = [_simple_call(node, names) for node in body]
    simple = [call for call in calls if call is not None]
    if not others and simple and len(simple) == len(calls):
        return Calls(tuple(simple), setup)
    _refuse_looks_at_arguments(tree)
    _refuse_what_is_not_sent(tree)
    return Checks((source,), setup, imports, entry_point, "check")


def _refuse_what_is_not_sent(tree: ast.Module) -> None:
    """Raise BadTests if a test asks for what stays in the program's process, or for what its own process alone has."""
    for node in ast.walk(tree):
        found: str | None = None
        if isinstance(node, ast.Await):
            found = COROUTINES
        elif isinstance(node, ast.Attribute):
            found = NOT_SENT.get(node.attr)
        elif isinstance(node, ast.Name) and not node.id.startswith("__"):
            found = BY_NAME.get(node.id)
        elif isinstance(node, ast.MatchClass) and not hasattr(builtins, getattr(node.cls, "id", "")):
            found = "what a class of the program matches"
        elif isinstance(node, ast.Assign) and any(_of_module(target) for target in node.targets):
            found = CHANGES
        if found is not None:
            raise BadTests(f"a test asks for {found}, which is not sent")


def _of_module(target: ast.expr) -> bool:
    """Return whether an assignment sets something of a module: `sys.stdin = ...`, `os.environ["A"] = ...`."""
    inner = target
    while isinstance(inner, ast.Attribute | ast.Subscript):
        inner = inner.value
    return inner is not target and isinstance(inner, ast.Name) and inner.id in CHANGED


def _refuse_looks_at_arguments(tree: ast.Module) -> None:
    """Raise BadTests if a test looks at an argument after a call: the program was sent a copy.

    Looked at is a list, set or dict that is passed by name to a call whose value is dropped, or that a later assert
    holds against something without any value of the program.
    """
    bodies = [tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))]
    for body in bodies:
        passed: set[str] = set()
        made: set[str] = set()  # names of values that a call gave
        for statement in (node for top in body for node in _own_statements(top)):
            loaded = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call) and _of_program(node)]
            if isinstance(statement, ast.Assign):
                names = {node.id for target in statement.targets for node in ast.walk(target) if type(node) is ast.Name}
                passed -= names
                made = made | names if calls or loaded & made else made - names
            looked = passed & loaded if isinstance(statement, ast.Assert | ast.Return) else set()
            if looked and not calls and not loaded & made:
                raise BadTests(f"a test looks at the argument {min(looked)} after a call, which only changes a copy")
            for call in calls:
                arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
                passed |= {node.id for node in arguments if isinstance(node, ast.Name)}


def _own_statements(statement: ast.stmt) -> list[ast.stmt]:
    """The statement and those in its blocks, but for functions and classes."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return []
    inner = [node for node in ast.iter_child_nodes(statement) if isinstance(node, ast.stmt)]
    return [one for node in inner for one in _own_statements(node)] if inner else [statement]


def _of_program(call: ast.Call) -> bool:
    """Return whether a call may be the program's: of a name that is not built in, or a method of such a call."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return isinstance(function.value, ast.Call) and _of_program(function.value)
    return isinstance(function, ast.Name) and not hasattr(builtins, function.id)


def _is_constant(node: ast.stmt) -> bool:
    """A docstring, `METADATA = {...}`, `assert True`: nothing a verdict depends on."""
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)] == ["METADATA"]
    if isinstance(node, ast.Assert):
        return isinstance(node.test, ast.Constant) and bool(node.test.value)
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.Name)
    )


def _parsed(source: str, column: str) -> ast.Module:
    if len(source) > LONGEST_TESTS:
        raise BadTests(f"{column} holds {len(source)} characters")
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadTests(f"{column} is not Python: {error}") from None


def _simple_call(statement: ast.stmt, names: Mapping[str, str]) -> Call | None:
    """`assert f(LITERALS) == LITERAL` and its relatives (!=, is, either side, bare, not); None for anything else."""
    if not isinstance(statement, ast.Assert):
        return None
    test = statement.test
    try:
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) and isinstance(test.operand, ast.Call):
            return _call(test.operand, names, "false", None)
        if isinstance(test, ast.Call):
            return _call(test, names, "true", None)
        if not isinstance(test, ast.Compare) or len(test.ops) != 1:
            return None
        kind = {ast.Eq: "equal", ast.NotEq: "unequal", ast.Is: "is"}.get(type(test.ops[0]))
        sides = [test.left, test.comparators[0]]
        called = [side for side in sides if isinstance(side, ast.Call)]
        if kind is None or len(called) != 1:
            return None
        expected = ast.literal_eval(sides[1 - sides.index(called[0])])
        if kind == "is" and not (expected is None or isinstance(expected, bool)):
            return None
        return _call(called[0], names, kind, expected)
    except (ValueError, TypeError, Opaque, RecursionError, MemoryError):  # not literals
        return None


def _call(node: ast.Call, names: Mapping[str, str], kind: str, expected: Any) -> Call | None:
    if not isinstance(node.func, ast.Name) or any(keyword.arg is None for keyword in node.keywords):
        return None
    arguments = [ast.literal_eval(argument) for argument in node.args]
    keywords = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    function = names.get(node.func.id, node.func.id)
    if function.rpartition(".")[2][:1].isupper():
        return None  # a class, whose objects have no value to be compared here
    return Call(function, encode(arguments), encode(keywords), kind, expected)


def _pair_plan(inputs: Any, outputs: Any, entry_point: str | None, setup: str) -> Plan:
    given, expected = _several(inputs, "inputs"), _several(outputs, "outputs")
    if len(given) != len(expected):
        raise BadTests(f"{len(given)} inputs but {len(expected)} outputs")
    if entry_point is None:
        return Pairs(tuple(Pair(_lines(one), _lines(other)) for one, other in zip(given, expected, strict=True)))
    return Calls(tuple(_json_call(entry_point, *pair) for pair in zip(given, expected, strict=True)), setup)


def _several(value: Any, column: str) -> list[Any]:
    if isinstance(value, str):
        try:
            read = json.loads(value)
        except (ValueError, RecursionError):
            read = None
        value = read if isinstance(read, list) else [value]
    if not isinstance(value, list | tuple):
        raise BadTests(f"{column} must be a list, got {type(value).__name__}")
    return list(value)


def _lines(value: Any) -> str:
    if isinstance(value, list | tuple) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise BadTests(f"without entry_point inputs and outputs are texts, got {type(value).__name__}")
    return value


def _json_call(function: str, given: Any, expected: Any) -> Call:
    """Read a call's arguments: a list, an object by name, or one alone.

    LiveCodeBench has them as a text of one JSON value a line; then the output is JSON as well.
    """
    keywords: dict[str, Any] = {}
    if isinstance(given, str):
        try:
            given = [json.loads(line) for line in given.splitlines() if line.strip()]
            expected = json.loads(expected) if isinstance(expected, str) else expected
        except (ValueError, RecursionError):
            raise BadTests("a text of arguments must hold one JSON value a line, and its output be JSON") from None
    if isinstance(given, dict):
        given, keywords = [], {str(name): value for name, value in given.items()}
    arguments = list(given) if isinstance(given, list | tuple) else [given]
    try:
        return Call(function, encode(arguments), encode(keywords), "equal", expected, sequences_alike=True)
    except (Opaque, RecursionError) as error:
        raise BadTests(f"an input can't be sent: {error}") from None
