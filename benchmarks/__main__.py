"""`python -m benchmarks`: what there is, a line each, read from the files without importing them."""

import ast
import sys
from pathlib import Path


def commands() -> dict[str, str]:
    """Name -> first line of its docstring, for every file here that can be run."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        source = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in source:
            found[path.stem] = (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]
    return found


def main() -> int:
    """Print the list."""
    print("python -m benchmarks.NAME --help says more:\n")
    for name, line in commands().items():
        print(f"  {name:16} {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
