"""The pages in a real browser: Chromium, where it and playwright are installed (``pip install playwright``)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tunesmith.runtime.tiny import make_tiny

from .serving import shown

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed, with which a browser is driven")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")

RUN = """\
# mine
model_name_or_path: model
dataset: few
dataset_dir: data
template: chatml
output_dir: saves/one
max_steps: 2000
logging_steps: 1
report_to: none
"""
PATIENCE = 60_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browser")
    make_tiny("qwen3", root / "model")
    (root / "data").mkdir()
    rows = [{"instruction": f"Count to {n}", "input": "", "output": " ".join(map(str, range(n)))} for n in range(3, 9)]
    (root / "data/few.json").write_text(json.dumps(rows))
    (root / "data/dataset_info.json").write_text(json.dumps({"few": {"file_name": "few.json"}}))
    (root / "run.yaml").write_text(RUN)
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def pressed(page: Any, name: str, *, opens: bool = False) -> None:
    page.get_by_role("button", name=name, exact=not opens).click()  # what opens has an arrow beside its name


def field(page: Any, key: str) -> Any:
    return page.locator(f"#key-{key} textarea, #key-{key} input").first


def test_a_run_is_set_up_started_watched_and_stopped(browser: Any, root: Path) -> None:
    with shown(["webui"], root) as address:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        elsewhere: list[str] = []
        page.on("request", lambda request: request.url.startswith((address, "data:", "blob:")) or elsewhere.append(request.url))
        page.goto(address)
        pressed(page, "Load")
        playwright.expect(field(page, "model_name_or_path")).to_have_value("model", timeout=PATIENCE)
        assert "[object" not in page.inner_text("body")
        pressed(page, "Training", opens=True)
        field(page, "learning_rate").fill("3e-4")
        field(page, "learning_rate").press("Tab")
        page.get_by_text("learning_rate: 3e-4").wait_for()
        pressed(page, "Plan")
        page.get_by_text("plan of tunesmith train").wait_for()
        assert "\x1b" not in page.inner_text("body")
        assert (root / "run.yaml").read_text() == RUN + "learning_rate: 3e-4\n"
        pressed(page, "First rows of the data", opens=True)
        pressed(page, "Show them")
        page.get_by_text("Count to 3").first.wait_for()
        pressed(page, "Start")
        page.get_by_text("step 3/2000").first.wait_for()
        pressed(page, "Stop")
        page.get_by_text("ended with").wait_for()
        page.close()
        assert not elsewhere, "the page loads something from elsewhere"


def test_a_model_answers(browser: Any, root: Path) -> None:
    keys = ["model_name_or_path=model", "template=chatml", "max_new_tokens=12"]
    with shown(["webchat", *keys], root) as address:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.get_by_placeholder("Say something").fill("Hello there")
        page.get_by_placeholder("Say something").press("Enter")
        page.locator(".bot.message, .message.bot").first.wait_for()
        page.get_by_text("Hello there").first.wait_for()
        page.close()
