"""The pages in a real browser: Chromium, where it and playwright are installed (``pip install playwright``)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tunesmith.api import Chat
from tunesmith.runtime.tiny import make_tiny

from .serving import furnish, shown

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
TALK = {"do_sample": False, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = furnish(tmp_path_factory.mktemp("browser"), "qwen3")
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


def test_a_model_answers_who_knows_the_password(browser: Any, root: Path) -> None:
    talker = make_tiny("llama", root / "talker")  # which says words, untrained as it is
    keys = ["model_name_or_path=talker", "max_new_tokens=12", "do_sample=false", "web_password=sesame"]
    with shown(["webchat", *keys], root) as address, Chat({**TALK, "model_name_or_path": str(talker)}) as chat:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        for password in ("open", "sesame"):
            assert page.get_by_placeholder("Say something").count() == 0
            page.locator("input").nth(0).fill("tunesmith")
            page.locator("input").nth(1).fill(password)
            page.get_by_role("button", name="Login").click()
            if password == "open":
                page.get_by_text("Incorrect").wait_for()
        page.get_by_placeholder("Say something").fill("Hello there")
        page.get_by_placeholder("Say something").press("Enter")
        answer = max(re.findall(r"[a-z]+", chat.ask("Hello there")), key=len)
        playwright.expect(page.locator(".bot.message, .message.bot").first).to_contain_text(answer, timeout=PATIENCE)
        page.close()
