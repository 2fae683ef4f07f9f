"""Every figure of the pages follows from a record, and one that does not is found."""

import json

import pytest

from benchmarks import claims

PAGES = {page: (claims.ROOT / page).read_text(encoding="utf-8") for page in claims.PAGES}


def test_every_figure_of_the_pages_follows_from_its_record():
    assert list(claims.faults(PAGES)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("| seed 11 | 0.", "| seed 11 | 1.", "learning_quickstart.json gives"),
        ("MIT licence", "It is 3.5 times faster. MIT licence", "no record gives 3.5"),
        ("MIT licence", "It takes 12 s. MIT licence", "no record gives 12"),
        ("MIT licence", "<!-- new -->\n0.5\n<!-- end of new -->\nMIT licence", "section new has no line in SECTIONS"),
    ],
)
def test_a_changed_or_new_figure_is_found(old, new, said):
    assert old in PAGES["README.md"]
    changed = PAGES | {"README.md": PAGES["README.md"].replace(old, new, 1)}
    assert any(said in line for line in claims.faults(changed))


def test_a_changed_section_is_found():
    row = next(line for line in PAGES["RESULTS.md"].splitlines() if line.startswith("| grpo-mlx |"))
    changed = PAGES | {"RESULTS.md": PAGES["RESULTS.md"].replace(row, row.replace("1.00x", "0.99x"))}
    assert list(claims.faults(changed)) == ["RESULTS.md: section peers is not what its record gives"]


def test_a_changed_record_is_found(tmp_path):
    for path in claims.RECORDS.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    record = json.loads((tmp_path / "learning_quickstart.json").read_text())
    before = record["runs"]["seed 11"]["before"]["accuracy"]
    record["runs"]["seed 11"]["after"]["accuracy"] = 0.123
    (tmp_path / "learning_quickstart.json").write_text(json.dumps(record))
    said = f"learning_quickstart.json gives '| seed 11 | {before:.3f} → 0.123"
    assert any(said in line for line in claims.faults(PAGES, tmp_path))


def test_a_missing_record_is_found(tmp_path):
    assert "README.md: the record learning_quickstart.json is missing" in list(claims.faults(PAGES, tmp_path))
