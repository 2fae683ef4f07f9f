"""The user's own modules that a reward's file imports are found from its text, also through one another."""

from pathlib import Path

import pytest

from grpo.runs import fingerprints
from grpo.runs.imported import helpers_of

FILES = {
    "main_rewards.py": "import json, numpy\nimport units_of_mine as u\nfrom kit import tables\nimport rewards.score\n",
    "units_of_mine.py": "def f():\n    import later_on\n",
    "later_on.py": "import main_rewards\nimport units_of_mine\n",
    "kit/__init__.py": "",
    "kit/tables.py": "from . import cells\nfrom .deep.down import bottom\n",
    "kit/cells.py": "raise SystemExit  # nothing is imported\n",
    "kit/deep/__init__.py": "",
    "kit/deep/down.py": "from ..cells import x\nfrom ...nowhere import y\nbottom = 1\n",
    "json.py": "",  # Python has imported its own before
    "unrelated.py": "",
    "broken.py": "def (",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_modules_are_followed_through_packages_and_one_another(project):
    found = helpers_of("main_rewards", project / "main_rewards.py")
    names = ["kit", "kit.cells", "kit.deep", "kit.deep.down", "kit.tables", "later_on", "units_of_mine"]
    assert list(found) == names
    assert found["kit.cells"] == project / "kit" / "cells.py"


def test_a_module_of_a_package_finds_what_lies_beside_it(project):
    assert "kit.cells" in helpers_of("kit.tables", project / "kit" / "tables.py")
    assert "kit.cells" in helpers_of("kit.deep.down", project / "kit" / "deep" / "down.py")  # by `..`


def test_a_file_that_is_no_python_imports_nothing(project):
    assert helpers_of("broken", project / "broken.py") == {}
    assert helpers_of("gone", Path("/nowhere/gone.py")) == {}


def test_a_changed_helper_changes_its_own_fingerprint_and_no_other(project):
    before = fingerprints.of_rewards(["main_rewards:f"])
    (project / "kit" / "cells.py").write_text("x = 2\n")
    (project / "unrelated.py").write_text("x = 2\n")
    after = fingerprints.of_rewards(["main_rewards:f"])
    changed = [name for name in before if before[name] != after[name]]
    assert changed == ["module kit.cells, which reward main_rewards:f imports"]
