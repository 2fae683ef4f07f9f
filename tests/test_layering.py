"""Imports point one way: rewards <- envs <- grpo <- distill <- benchmarks, in no circle. Read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ["rewards", "envs", "grpo", "distill", "benchmarks"]  # each may import itself and what stands left of it
MOST_FILES = {"rewards": 16, "envs": 22, "grpo": 20, "distill": 12, "benchmarks": 32}  # beside the rooms
MOST_LINES = 400
WITHOUT_MLX = ["rewards", "envs"]
MATHS = [
    "cpu.exponential",
    "attention.shared",
    "attention.causal",
    "logprobs",
    "advantages",
    "ratios",
    "kl",
    "losses",
    "reduce",
    "algorithms.surrogates",
    "algorithms.weights",
]
MATHS_MAY_IMPORT = {"mlx.core", "typing", "collections.abc", "functools", "dataclasses", "math"}
MATHS_MAY_IMPORT |= {f"grpo.{name}" for name in MATHS}
MATHS_MAY_IMPORT |= {"grpo.cpu.fusion", "grpo.cpu.switch"}  # compiles pieces of a maths function; its off switch

Import = tuple[int, str]  # line, dotted module


def imports_of(source: str) -> list[Import]:
    """Every import of a module, inside functions and under TYPE_CHECKING too. Relative ones come with their dots."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            # `from grpo import losses` imports grpo.losses, `from mlx import core` mlx.core
            names = [f"{module}.{alias.name}" for alias in node.names] if module in {*LAYERS, "mlx"} else [module]
            found += [(node.lineno, name) for name in names]
    return found


def layering_faults(package: str, source: str) -> list[str]:
    """What a file of `package` imports that it must not."""
    faults = []
    for line, module in imports_of(source):
        top = module.split(".")[0]
        if module.startswith("."):
            faults.append(f"line {line}: relative import {module}")
        elif top in LAYERS[LAYERS.index(package) + 1 :]:
            faults.append(f"line {line}: {package} imports {module}, which builds on it")
        elif package in WITHOUT_MLX and (top == "mlx" or top.startswith("mlx_")):
            faults.append(f"line {line}: {package} imports {module}")
    return faults


def maths_faults(source: str) -> list[str]:
    """What a maths module does that belongs in machinery."""
    tree = ast.parse(source)
    faults = [f"line {line}: imports {name}" for line, name in imports_of(source) if name not in MATHS_MAY_IMPORT]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"mx.eval", "mx.async_eval", "print", "open"}:
            faults.append(f"line {node.lineno}: calls {ast.unparse(node.func)}")
        if isinstance(node, ast.Attribute) and node.attr in {"item", "tolist"}:
            faults.append(f"line {node.lineno}: .{node.attr}() waits for the computation")
    return faults


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", LAYERS)
def test_imports_point_to_the_left(package):
    faults = {
        str(path.relative_to(ROOT)): layering_faults(package, path.read_text("utf-8")) for path in sources(package)
    }
    assert {path: found for path, found in faults.items() if found} == {}


@pytest.mark.parametrize("name", MATHS)
def test_maths_modules_are_maths_only(name):
    assert maths_faults((ROOT / "grpo" / f"{name.replace('.', '/')}.py").read_text("utf-8")) == []


# The check itself: it has to see what it forbids


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("rewards", "import envs"),
        ("envs", "def f():\n    from grpo.losses import policy_loss"),
        ("grpo", "from distill import sft"),
        ("distill", "import benchmarks.aime as aime"),
        ("rewards", "import mlx.core as mx"),
        ("envs", "from mlx_lm import load"),
        ("rewards", "from mlx import core"),
        ("grpo", "from . import losses"),
        ("grpo", "from ..distill import sft"),
    ],
)
def test_a_forbidden_import_is_seen(package, source):
    assert len(layering_faults(package, source)) == 1


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("rewards", "import mpmath, rewards.base"),
        ("envs", "from rewards import get"),
        ("grpo", "import mlx.core as mx\nfrom envs.base import Task"),
        ("benchmarks", "import distill.sft, grpo, envs, rewards, benchmarks.harness.metrics"),
    ],
)
def test_an_allowed_import_is_not(package, source):
    assert layering_faults(package, source) == []


@pytest.mark.parametrize(
    "source",
    [
        "import numpy",
        "from grpo.config import Config",
        "from grpo import config",
        "import mlx.nn",
        "from mlx import nn",
        "print(1)",
        "mx.eval(x)",
        "x.item()",
    ],
)
def test_what_is_not_maths_is_seen(source):
    assert len(maths_faults(source)) == 1


def test_every_layer_exists():
    assert [package for package in LAYERS if not sources(package)] == []


@pytest.mark.parametrize("package", LAYERS)
def test_folders_and_files_stay_small(package):
    assert len(list((ROOT / package).glob("*.py"))) <= MOST_FILES[package]
    long = [path for path in sources(package) if len(path.read_text("utf-8").splitlines()) > MOST_LINES]
    assert [str(path.relative_to(ROOT)) for path in long] == []


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import one another while they are loaded, each circle once."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append(path[path.index(module) :])
        elif module not in done:
            for other in sorted(imports[module]):
                visit(other, [*path, module])
            done.add(module)

    for module in sorted(imports):
        visit(module, [])
    return found


def test_no_module_is_imported_in_a_circle():
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in LAYERS
        for path in sources(package)
    }
    imports: dict[str, set[str]] = {}
    for name, path in files.items():
        named: set[str] = set()
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= inner if inner <= files.keys() else {node.module, *inner}
            elif isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
        imports[name] = (named & files.keys()) - {name}
    assert circles(imports) == []


def test_a_circle_is_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
