"""The documentation is true: every example runs, every link leads somewhere, every generated page is current."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from checkout import CORE, ROOT, plugin_packages
from doc_pages import RUN, SHOWN, Page, missing_lines, outputs
from tunesmith import api
from tunesmith.plugins import Plugins

DOCS = [Page(path) for path in sorted((ROOT / "docs").rglob("*.md"))]
READMES = [Page(ROOT / "README.md"), *(Page(p.folder / "README.md") for p in (CORE, *plugin_packages()))]
GUIDES = [page for page in DOCS if page.runs]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))

#: One worker runs them all, so that pages which begin where another one ends find it done.
pytestmark = pytest.mark.xdist_group("docs")


def name(page: Page) -> str:
    return str(page.path.relative_to(ROOT))


# -- following a page ----------------------------------------------------------------------------------------------------

Follow = Callable[[Path], tuple[Path, str]]


def environment(folder: Path) -> dict[str, str]:
    """A virtual environment on top of the one that the tests run in: what a page installs there is seen there only."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "below.pth").write_text(f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n")
    modules = {"pip": "pip.__main__:main", "pytest": "pytest:console_main", "tunesmith": "tunesmith.cli.main:run"}
    modules |= dict.fromkeys(("llamafactory-cli", "lmf"), "tunesmith_compat.program:run")
    for program, target in modules.items():
        module, _, function = target.partition(":")
        run = f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        if program == "pip":
            run = "import runpy\nrunpy.run_module('pip', run_name='__main__')\n"
        script = folder / "bin" / program
        script.write_text(f"#!{folder / 'bin' / 'python'}\n{run}")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "NO_COLOR": "1"}
    # Nothing is fetched: what pages install is theirs, and everything else is there already. "0" is pip's way to say yes.
    pip = {"PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    unwanted = {"PYTHONPATH", "VIRTUAL_ENV"}
    kept = {key: value for key, value in os.environ.items() if key not in unwanted and not key.startswith("PYTEST_")}
    return {**kept, **quiet, **pip, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def follow(tmp_path_factory: pytest.TempPathFactory) -> Follow:
    """Follows a page once, from where the page before it ended; returns the folder and all that was printed."""
    done: dict[Path, tuple[Path, str]] = {}

    def once(path: Path) -> tuple[Path, str]:
        path = path.resolve()
        if path not in done:
            page, folder = Page(path), tmp_path_factory.mktemp(path.stem)
            if page.starts_after:
                shutil.copytree(once(page.starts_after)[0], folder, dirs_exist_ok=True)
            done[path] = folder, _run(page, folder, environment(tmp_path_factory.mktemp("environment")))
        return done[path]

    return once


def _run(page: Page, folder: Path, variables: dict[str, str]) -> str:
    command = ["bash", "-c", page.script()]
    ran = subprocess.run(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True, check=False, timeout=600)
    assert ran.returncode == 0, f"{name(page)} fails:\n{ran.stdout[-3000:]}"
    return ran.stdout


@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_a_reader_who_follows_the_page_gets_what_it_shows(page: Page, follow: Follow) -> None:
    printed = outputs(follow(page.path)[1])
    for ran, shown in page.expected():
        lacking = missing_lines(shown.code, printed[ran.marker])
        assert not lacking, f"{name(page)}:{shown.line}: not printed: {lacking}; but:\n{printed[ran.marker][-2000:]}"


# -- what every page keeps to --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*DOCS, *READMES], ids=name)
def test_every_block_of_code_says_what_it_is(page: Page) -> None:
    known = {*RUN, *SHOWN}
    assert not [f"{name(page)}:{f.line}: {f.language!r}" for f in page.fences if f.language not in known]


@pytest.mark.parametrize("page", [*DOCS, *READMES], ids=name)
def test_every_link_leads_somewhere(page: Page) -> None:
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)[^)]*\)", page.text)
    assert not [link for link in links if not (page.path.parent / link).exists()]


def test_pages_are_all_in_the_table_of_contents() -> None:
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {str(page.path.relative_to(ROOT / "docs")) for page in DOCS}
    assert not {page for page in pages if not re.search(rf"\b{re.escape(page)}$", contents, re.MULTILINE)}


@pytest.mark.parametrize("tool", ["generate_reference.py", "generate_catalogue.py"])
def test_what_is_generated_is_current(tool: str) -> None:
    ran = subprocess.run([sys.executable, ROOT / "tools" / tool, "--check"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


# -- configurations ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workplace(follow: Follow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the checkout to a configuration: its examples, and the small model they name."""
    from tunesmith.runtime.tiny import make_tiny

    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "examples", folder / "examples")
    started = follow(ROOT / "docs" / "getting-started.md")[0]
    shutil.copytree(started / "tiny-qwen3", folder / "tiny-qwen3")
    make_tiny("qwen3-moe", folder / "tiny-qwen3-moe")
    make_tiny("gpt-oss", folder / "tiny-gpt-oss")
    make_tiny("qwen2-vl", folder / "tiny-qwen2-vl")
    return folder


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_plans_without_a_complaint(example: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    command = re.search(r"^# tunesmith (\w+) ", example.read_text(encoding="utf-8"), re.MULTILINE)
    assert command, "the first comment must show the command, such as: # tunesmith train examples/NAME.yaml"
    made = api.plan(workplace / "examples" / example.name, command=command[1], plugins=Plugins())
    assert not made.unused
    # Made by other examples, gigabytes, kernels of a GPU, instructions of a large processor.
    may_lack = ("adapter", "saves/", "the stack", "triton", "fa2", "this processor has")
    assert not [problem for problem in made.missing if not any(word in problem.what for word in may_lack)]


@pytest.fixture(scope="module")
def large_model(workplace: Path) -> Path:
    """A model folder whose configuration says 32 layers: planning takes it at its word."""
    folder = shutil.copytree(workplace / "tiny-qwen3", workplace / "large-qwen3")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    layers = {"num_hidden_layers": 32, "layer_types": config["layer_types"][:1] * 32}
    (folder / "config.json").write_text(json.dumps({**config, **layers}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("page", READMES, ids=name)
def test_configurations_in_a_readme_are_understood(page: Page, large_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are pieces of a configuration, so they are laid over a complete one; some command must use every key of theirs."""
    monkeypatch.chdir(large_model.parent)
    base = yaml.safe_load(Path("examples/sft_lora.yaml").read_text(encoding="utf-8"))
    for fence in page.fences:
        if fence.language == "yaml":
            piece = {**yaml.safe_load(fence.code), "model_name_or_path": str(large_model)}
            ways = {"train": {**base, **piece}, "chat": {"template": base["template"], **piece}, "export": piece}
            unused: dict[str, set[str]] = {}
            for command, keys in ways.items():
                unused[command] = set(api.plan(keys, command=command).unused) & set(piece)
                if not unused[command]:
                    break
            assert not all(unused.values()), f"{name(page)}:{fence.line}: {unused}"
