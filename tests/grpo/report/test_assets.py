"""The scripts of the page: one text out of modules, allowed by its hash and nothing else."""

import re
import shutil
import subprocess

import pytest

from grpo.report import assets


def test_no_import_or_export_is_left():
    assert not re.search(r"^(import|export) ", assets.script(), re.MULTILINE)


def test_every_module_is_in_the_page_and_after_those_it_uses():
    modules = {path.name for path in assets.STATIC.glob("*.js")}
    assert modules == set(assets.MODULES)
    for place, name in enumerate(assets.MODULES):
        used = re.findall(r'from "\./([\w.]+)";', (assets.STATIC / name).read_text(encoding="utf-8"))
        assert set(used) <= set(assets.MODULES[:place]), name


def test_top_level_names_differ():
    names = re.findall(r"^(?:async )?(?:function|class|const|let) (\w+)", assets.script(), re.MULTILINE)
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("text", [assets.script(), assets.katex()])
def test_a_script_does_not_close_its_own_tag(text):
    assert "</script" not in text.lower() and "<!--" not in text


def test_the_policy_allows_these_scripts_only():
    report, live = assets.policy(live=False, formulas=False), assets.policy(live=True, formulas=True)
    assert report.count("sha256-") == 1 and live.count("sha256-") == 2
    assert "connect-src" not in report and "connect-src 'self'" in live
    assert "unsafe-eval" not in live and "script-src 'self'" not in live


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_is_a_module(tmp_path):
    path = tmp_path / "page.mjs"
    path.write_text(assets.script(), encoding="utf-8")
    done = subprocess.run(["node", "--check", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
