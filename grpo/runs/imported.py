"""Find the user's own modules that a Python file imports, from its text: nothing is imported or run.

Only modules of the user's count: not the standard library's, not installed packages, not this project's.
"""

import ast
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rewards.users.packing import BUILT_IN

INSTALLED = ("site-packages", "dist-packages")


class Module(NamedTuple):
    """A module of the user's: its dotted name and its file."""

    name: str
    path: Path

    @property
    def package(self) -> str:
        """The package that its relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def file_of(name: str) -> Path | None:
    """Return the file of a module by its dotted name; None where there is none."""
    module = Path(*name.split("."))
    for entry in [*sys.path, os.getcwd()]:
        for path in (Path(entry) / module.with_suffix(".py"), Path(entry) / module / "__init__.py"):
            if path.is_file():
                return path
    return None


def helpers_of(name: str, path: Path) -> dict[str, Path]:
    """Return the user's modules that a module imports, and those that they import, by name; not the module itself."""
    found: dict[str, Path] = {}
    left = [Module(name, path)]
    while left:
        for imported in _imports(left.pop()):
            if imported not in found and imported != name and (file := _own_file(imported)) is not None:
                found[imported] = file
                left.append(Module(imported, file))
    return dict(sorted(found.items()))


def _imports(module: Module) -> Iterator[str]:
    """The names that may be modules a file imports, packages before what is in them."""
    try:
        tree = ast.parse(module.path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return  # importing it will say so
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            start = _relative(module.package, node.level) if node.level else ""
            base = ".".join(filter(None, (start, node.module)))
            yield from _with_parents(base)
            for alias in node.names:
                yield ".".join(filter(None, (base, alias.name)))


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)] if name else []


def _relative(package: str, level: int) -> str:
    """Return the package that an import with `level` dots is from."""
    return package.rsplit(".", level - 1)[0] if level > 1 else package


def _own_file(name: str) -> Path | None:
    top = name.split(".")[0]
    if top in BUILT_IN or top in sys.stdlib_module_names or not all(map(str.isidentifier, name.split("."))):
        return None
    path = file_of(name)
    return path if path is not None and is_own(path) else None


def is_own(path: Path) -> bool:
    """Return whether a file is neither an installed package's nor the standard library's."""
    real = path.resolve()
    library = Path(sysconfig.get_path("stdlib")).resolve()
    return not real.is_relative_to(library) and not any(part in INSTALLED for part in real.parts)
