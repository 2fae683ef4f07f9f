"""The documentation builds, its generated pages are those of the code, and the notebook is whole."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def generated() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


def test_generated_pages_are_those_of_the_code():
    for name, text in generated().items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, f"{name}: run python docs/generate.py"


def pages_of(nav) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages_of(part)]


def test_every_page_is_in_the_navigation():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    pages = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert sorted(pages_of(nav)) == pages, "add the page to nav in mkdocs.yml"


def test_the_site_builds_with_strict_links(tmp_path):
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        pytest.skip("needs the extra docs: pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]  # --quiet would hide broken links from --strict


def test_links_between_pages_lead_somewhere():
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http", "mailto")):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def test_the_notebook_was_executed_and_its_code_compiles():
    path = DOCS / "quickstart.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert notebook["nbformat"] == 4 and len(cells) >= 5 and path.stat().st_size < 200_000
    outputs = ""
    for cell in cells:
        compile("".join(cell["source"]), "cell", "exec")
        assert cell["execution_count"], "not executed"
        assert all(output["output_type"] != "error" for output in cell["outputs"])
        outputs += json.dumps(cell["outputs"])
    assert "verdict: learned" in outputs
    assert "/tmp" not in outputs and "/home" not in outputs


def test_the_readme_fits_on_a_screen_and_a_half_with_the_picture_first():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert any(line.startswith("![") for line in lines[:12])
