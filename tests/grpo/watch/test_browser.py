"""The page in a browser: nothing is asked of the net, no error, hostile text stays text, and it can be used.

Needs Chromium and playwright (`pip install playwright`, `apt-get install chromium`). Where AXE names the file of
axe-core it is asked about accessibility; SCREENSHOTS names a directory for pictures.
"""

import json
import os
import shutil
import time

import pytest

from grpo.report.page import render
from tests.grpo.report.made import EVIL, large_run, pipeline, row, write_rows

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

MESSAGES = [
    {"role": "user", "content": "Add."},
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": '{"a": "<b>"}'}}]},
    {"role": "tool", "name": "add", "content": "<script>document.title='hacked'</script>"},
    {"role": "assistant", "content": "<answer> 5 </answer>"},
]
CLOSING = "</script><script>document.title='hacked'</script>"
TEX = r"so \(\frac{1}{2}\) and $x^2$, $$\sum_i i$$ \boxed{\sqrt{3}} \includegraphics{http://a.b/c.png}"
WORSE = (
    "<svg onload=document.title='hacked'></textarea></title><style>*{display:none}</style><base href=//a.b>"
    "![x](http://a.b/c.png) [b](JaVaScRiPt:document.title='hacked') {% raw %}{{ config }} ${7*7} #{7*7} <%= 7 %>\0 ]]>"
    " --> <!-- "
    "\x1b]8;;http://a.b\x07link\x1b]8;;\x07\x1b]0;title\x07\x9b2J\u200e\u061c\u2060\U000e0041 \ud83d half"
)
HOSTILE = [
    row(EVIL, 1.0, 0.5, task=CLOSING, answer="<b>3</b>"),
    row("مرحبا بالعالم\n你好，世界 <answer> ٣ </answer>", 0.5, 0.1, task=CLOSING),
    row("x" * 1_000_000, 0.0, -0.5, task="long"),
    row(TEX, 0.0, task="tex"),
    row(WORSE, 0.0, task=WORSE, answer=WORSE, problem=WORSE, ended=WORSE),
    row("\x1b" * 50_000 + "$x$ " * 20_000, 0.0, task="controls and formulas"),
    row("It is 5.", 1.0, task="instructed", answer="5", prompt="Think between <think> and </think>."),
    row("5", 1.0, 0.2, task="tools", messages=MESSAGES, turns=[{}, {}]),
    row("a b c", 1.0, 0.2, task="tokens", logprobs=[-0.1, -2.0, -5.0], entropies=[0.1, 1.0, 3.0],
        token_texts=["a", " <img src=x>", " c"], policy_logprobs=[-0.1, -1.0, -5.0], reference_logprobs=[0, -1, -4]),
]  # fmt: skip


ASK = """async question => {
    const form = document.querySelector("form");
    form.reset();
    await new Promise(resolve => setTimeout(resolve, 50));
    for (const [name, value] of Object.entries(question)) form.elements[name].value = value;
    form.dispatchEvent(new Event("input"));
    await new Promise(resolve => setTimeout(resolve, 900));
}"""
CUT = """() => [...document.querySelectorAll("svg text")].filter(text => {
    const [box, own] = [text.closest("svg").getBoundingClientRect(), text.getBoundingClientRect()];
    const sideways = own.left < box.left - 1 || own.right > box.right + 1;
    return sideways || own.top < box.top - 1 || own.bottom > box.bottom + 1;
}).map(text => text.textContent)"""

LANDMARKS = """() => [...document.querySelectorAll("[role=region], nav, form")].map(one => one.ariaLabel)"""


def until(page, selector, holds, seconds=30):
    """Wait until the text of an element is as it should be; the page's policy forbids playwright's own way."""
    deadline = time.monotonic() + seconds
    while not holds(page.inner_text(selector)):
        assert time.monotonic() < deadline, page.inner_text(selector)
        page.wait_for_timeout(50)


class Browser:
    """A page in Chromium that keeps what went wrong and what was asked for."""

    def __init__(self, chromium):
        self.chromium = chromium
        self.errors, self.requests = [], []

    def open(self, address, width=1280, **options):
        context = self.chromium.new_context(viewport={"width": width, "height": 900}, **options)
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(str(address))
        page.wait_for_selector("#list article, #list:empty", state="attached")
        until(page, "#status", lambda text: "completions" in text)
        return page


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browser(chromium):
    return Browser(chromium)


@pytest.fixture
def hostile(tmp_path):
    folder = large_run(tmp_path / "run", steps=3, samples=4)
    lines = "".join(json.dumps(one) + "\n" for one in HOSTILE)  # half a surrogate pair stays one
    (folder / "completions" / "step_000004.jsonl").write_text(lines)
    return folder


@pytest.fixture
def report(tmp_path):
    """Writes a report of runs; its address."""

    def write(*runs):
        path = tmp_path / "report.html"
        path.write_text(render(runs), encoding="utf-8", errors="replace")
        return path.as_uri()

    return write


def axe(page):
    """The faults that axe-core finds; none where it is not there."""
    if "AXE" not in os.environ:
        return []
    page.add_script_tag(path=os.environ["AXE"])
    found = page.evaluate("axe.run()")
    return [(one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in found["violations"]]


def test_hostile_completions_stay_text(browser, report, hostile):
    address = report(hostile)
    page = browser.open(address)
    page.select_option("[name=sort]", "oldest")
    page.fill("[name=first_step]", "4")
    until(page, "#status", lambda text: text.startswith(f"{len(HOSTILE)} "))
    said = page.inner_text("#list")
    assert "<img src=x onerror=document.title='hacked'>" in said and "U+202E" in said and "␛" in said
    assert page.title().startswith("GRPO") and page.locator("#list img, #list script, #list a").count() == 0
    for button in page.locator("#list .buttons button").all():
        button.click()
    assert page.title().startswith("GRPO") and page.locator("#list img, #list script, #list a").count() == 0
    assert browser.errors == [] and browser.requests == [address]


def test_what_is_said_is_shown_as_it_is_meant(browser, report, hostile):
    page = browser.open(report(hostile))
    page.fill("[name=first_step]", "4")
    until(page, "#status", lambda text: text.startswith(f"{len(HOSTILE)} "))
    assert page.locator("#list math").count() >= 4
    direction = "element => getComputedStyle(element).direction"
    arabic = page.locator("#list .said", has_text="مرحبا").first
    assert arabic.evaluate(direction) == "rtl" and "你好，世界" in arabic.inner_text()
    assert page.locator("#list .call", has_text='add({"a": "<b>"})').count() == 1
    tools = page.locator("#list article", has_text="tool add")
    assert "answer\n5" in tools.locator(".answers").inner_text()
    assert page.locator("#list .prompt", has_text="Think between <think> and </think>.").count() == 1
    untagged = page.locator("#list article", has_text="It is 5.")
    assert "answer\nnot in <answer> or \\boxed{}\ngold\n5" in untagged.locator(".answers").inner_text()


def test_tokens_are_coloured_by_what_the_rows_hold(browser, report, hostile):
    page = browser.open(report(hostile))
    page.fill("[name=task]", "tokens")
    until(page, "#status", lambda text: text.startswith("1 "))
    page.locator("#list button", has_text="tokens").click()
    options = page.locator(".token-view option").all_inner_texts()
    assert options == ["logprob", "entropy", "advantage × ratio", "KL"]
    page.locator(".token").nth(1).click()
    assert page.inner_text(".token-view output") == 'token 2 " <img src=x>": -2'
    page.select_option(".token-view select", "advantage × ratio")
    page.locator(".token").nth(1).click()
    # 0.2 * exp(-1 + 2) = 0.544
    assert page.inner_text(".token-view output").endswith("0.544")
    assert browser.errors == []


def test_two_completions_are_compared(browser, report, tmp_path):
    folder = large_run(tmp_path / "run", steps=1, samples=2)
    write_rows(
        folder / "completions/step_000001.jsonl", [row("two and two is four", 1.0), row("two and two is five", 0.0)]
    )
    page = browser.open(report(folder))
    for box in page.locator("#list input[type=checkbox]").all():
        box.check()
    page.click("#compare")
    assert page.inner_text("#difference .diff del") == "four" and page.inner_text("#difference .diff ins") == "five"
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()


def test_the_page_and_the_server_answer_alike(browser, report, serve, tmp_path):
    folder = large_run(tmp_path / "run", steps=12, samples=4, words=10)
    server = serve(folder)
    questions = [
        {"words": 'wait "then check"'},
        {"task": "1 +", "sort": "oldest"},
        {"low": "0.9", "part": "language", "sort": "best"},
        {"sort": "longest"},
        {"first_step": "3", "last_step": "5", "stop": "length"},
    ]
    answers = []
    for address in (report(folder), server.address):
        page = browser.open(address)
        answers.append([])
        for question in questions:
            page.evaluate(ASK, question)
            cards = page.locator("#list article .head").all_inner_texts()
            answers[-1].append((page.inner_text("#status"), cards))
    assert answers[0] == answers[1]
    assert browser.errors == [] and all(url.startswith(("file:", server.address)) for url in browser.requests)


def test_one_prompt_over_the_steps(browser, report, tmp_path):
    folder = large_run(tmp_path / "run", steps=1, samples=2)
    for step in (1, 2, 3):
        write_rows(
            folder / f"completions/step_{step:06d}.jsonl", [row(f"said at {step}", 1.0, task="same"), row("x", 0.0)]
        )
    page = browser.open(report(folder))
    page.locator(".group-head", has_text="What is same?").first.get_by_role("button").click()
    until(page, "#status", lambda text: text.startswith("3 "))
    texts = page.locator("#list .said").all_inner_texts()
    assert [text for text in texts if text.startswith("said")] == ["said at 1", "said at 2", "said at 3"]


def test_a_live_page_shows_what_is_new(browser, serve, tmp_path):
    folder = large_run(tmp_path / "run", steps=2, samples=2)
    server = serve(folder, follow=True)
    page = browser.open(server.address)
    until(page, "#live", lambda text: text == "live")
    write_rows(folder / "completions/step_000003.jsonl", [row("the newest", 1.0)])
    until(page, "#list", lambda text: "the newest" in text)
    assert browser.errors == []


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_axe_finds_no_fault(browser, report, serve, hostile, tmp_path, width, scheme, live):
    runs = [
        hostile,
        large_run(tmp_path / "other", steps=3, samples=4, seed=1),
        pipeline(tmp_path / "p"),
        pipeline(tmp_path / "q"),
    ]
    address = serve(*runs).address if live else report(*runs)
    page = browser.open(address, width=width, color_scheme=scheme, bypass_csp="AXE" in os.environ)
    page.wait_for_timeout(300)
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    assert page.evaluate(CUT) == []
    names = page.evaluate(LANDMARKS)
    assert len(names) > 8 and sorted(set(names)) == sorted(names)
    assert axe(page) == []
    if "SCREENSHOTS" in os.environ:
        page.screenshot(
            path=f"{os.environ['SCREENSHOTS']}/{'live' if live else 'report'}-{width}-{scheme}.png", full_page=True
        )


def test_curves_are_read_by_the_keyboard_and_by_touch(browser, report, hostile):
    page = browser.open(report(hostile), has_touch=True)
    drawing = page.locator("svg[data-readable]").first
    drawing.focus()
    page.keyboard.press("End")
    readout = page.locator("figure output").first
    assert readout.inner_text().startswith("step 3")
    page.keyboard.press("ArrowLeft")
    assert readout.inner_text().startswith("step 2")
    drawing.locator(".strip").first.tap()
    assert readout.inner_text().startswith("step 1")


def test_json_in_the_page_can_be_read_back(report, hostile):
    html = render([hostile])
    text = html.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert any(one["text"] == EVIL for one in json.loads(text)["rows"])
