"""What the code must not say: plugins' names in the host, devices outside backends, unsafe calls, somebody's machine.

Names are looked for where they can change what happens: in identifiers and in strings, split into words. Docstrings and
comments may give examples.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from checkout import CORE, ROOT, Package, plugin_packages, written_files

PLUGINS = plugin_packages()

#: Plugins named by a word that the host uses for itself: the purpose of a plan, a method, a folder, a role, a kind of example,
#: its interface for Python.
VERBS = {"batch", "api", "chat", "evaluate", "export", "preference", "reward"}
#: Torch has this device whatever is installed.
EVERYWHERE = {"cpu"}
#: Plugins named by an English word. In a longer string or identifier it means the word ("a full disk"); as the whole of one
#: it would name the plugin.
ENGLISH = {"hubs", "full"}
#: Names of other people's things in which a plugin's name is a part.
FOREIGN = {"huggingface_hub", "huggingface.co", ".cache/huggingface", "*.gguf"}


@dataclass(frozen=True)
class Word:
    """A piece of code that can change what happens: an identifier or a string, with the line it stands on."""

    text: str
    line: int

    @property
    def parts(self) -> set[str]:
        """Its words: split at everything but letters and digits, and where camel case starts a new one."""
        text = self.text
        for name in FOREIGN:
            text = text.replace(name, " ")
        return {part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+", text)}


def words_of(source: str) -> Iterator[Word]:
    """Every identifier and string of a module, without its docstrings."""
    tree = ast.parse(source)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Constant(value=str(text)) if id(node) not in documentation:
                yield Word(text, line)
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text) | ast.keyword(arg=str(text)):
                yield Word(text, line)
            case ast.FunctionDef(name=text) | ast.ClassDef(name=text) | ast.AsyncFunctionDef(name=text):
                yield Word(text, line)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                module = getattr(node, "module", None) or ""
                yield from (Word(text, line) for text in (module, *(alias.name for alias in names)))


def find(package: Package, words: set[str], *, whole: set[str] = frozenset()) -> list[str]:
    """Places where one of ``words`` is a part of a word, or where one of ``whole`` is all of it."""
    found = []
    for module in package.modules():
        for word in words_of(module.read_text(encoding="utf-8")):
            if word.parts & words or word.text in whole:
                found.append(f"{module.relative_to(ROOT)}:{word.line}: {word.text[:80]!r}")
    return found


# -- the ruler -----------------------------------------------------------------------------------------------------------


def test_words_are_found_where_they_count_and_nowhere_else() -> None:
    source = '"""about lora"""\nfrom x import LoraConfig\n# lora\nif tuner == "lora":\n    is_lora = f"the lora {tuner}"\n'
    assert [word.line for word in words_of(source) if "lora" in word.parts] == [2, 4, 5, 5]


def test_words_in_other_peoples_names_do_not_count() -> None:
    assert Word("huggingface_hub.download", 1).parts == {"download"}
    assert "huggingface" in Word("tunesmith_huggingface", 1).parts


# -- the host knows nobody -----------------------------------------------------------------------------------------------


def test_the_host_names_no_plugin() -> None:
    names = {package.plugin for package in PLUGINS}
    assert {"lora", "alpaca", "sft", "huggingface"} <= names
    distinctive = {name for name in names if name.isalpha()} - ENGLISH - VERBS - EVERYWHERE
    packages = {name for package in PLUGINS for name in (package.import_name, package.distribution)}
    assert not find(CORE, distinctive, whole=ENGLISH | packages)


def test_the_host_mentions_no_package_even_in_passing() -> None:
    names = re.compile("|".join(rf"\b{name}\b" for p in PLUGINS for name in (p.import_name, p.distribution)))
    found = [
        f"{module.relative_to(ROOT)}: {match.group()}"
        for module in CORE.modules()
        for match in names.finditer(module.read_text(encoding="utf-8"))
    ]
    assert not found


# -- devices -------------------------------------------------------------------------------------------------------------

DEVICES = {"cuda", "npu", "nccl", "hccl", "rocm", "xpu", "mps", "hpu", "musa"}


@pytest.mark.parametrize("package", [CORE, *(p for p in PLUGINS if p.folder.parent.name != "backends")], ids=str)
def test_no_device_is_named_outside_the_backends(package: Package) -> None:
    assert not find(package, DEVICES)


# -- calls that run somebody else's code ---------------------------------------------------------------------------------

UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def unsafe_calls(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {(getattr(node, "module", None) or "").split(".")[0], *(alias.name.split(".")[0] for alias in node.names)}
            yield from (f"line {node.lineno}: imports {name}" for name in sorted(names & UNPICKLERS))
        elif isinstance(node, ast.Call) and (why := _unsafe(node)):
            yield f"line {node.lineno}: {why}"


def _unsafe(call: ast.Call) -> str:
    name = ast.unparse(call.func)
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in ("eval", "exec", "compile", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load"):
        return name
    if keywords.get("shell", "False") != "False":
        return f"{name} by a shell"
    if keywords.get("allow_pickle", "False") != "False":
        return f"{name} with pickle"
    if name == "torch.load" and keywords.get("weights_only") != "True":
        return "torch.load of anything"
    loader = keywords.get("Loader", ast.unparse(call.args[1]) if len(call.args) > 1 else "")
    if name == "yaml.load" and "Safe" not in loader:
        return "yaml.load without a safe loader"
    return ""


@pytest.mark.parametrize("package", [CORE, *PLUGINS], ids=str)
def test_nothing_that_came_from_outside_is_run(package: Package) -> None:
    found = {
        str(module.relative_to(ROOT)): list(unsafe_calls(module.read_text(encoding="utf-8"))) for module in package.modules()
    }
    assert not {name: calls for name, calls in found.items() if calls}


UNSAFE = """import pickle
from dill import loads
eval("1")
run(x, shell=True)
np.load(f, allow_pickle=True)
torch.load(f)
torch.load(f, weights_only=False)
yaml.load(f)
yaml.load(f, Loader=yaml.Loader)"""


@pytest.mark.parametrize("code", UNSAFE.splitlines())
def test_the_unsafe_is_recognised(code: str) -> None:
    assert list(unsafe_calls(code))


@pytest.mark.parametrize(
    "code", ["model.eval()", "torch.load(f, weights_only=True)", "yaml.load(f, SafeLoader)", "run(x, shell=False)"]
)
def test_the_safe_is_let_pass(code: str) -> None:
    assert not list(unsafe_calls(code))


# -- somebody's machine --------------------------------------------------------------------------------------------------

MACHINE = re.compile(r"(?<![\w.~/-])/(work|home|root|Users|opt)/\w+|\b(10|192\.168|172\.(1[6-9]|2\d|3[01]))(\.\d{1,3}){2,3}\b")
HOSTS = re.compile(
    r"(?<!\w)(files\.pythonhosted|(test\.)?pypi)\.org\b|\bdownload\.pytorch\b|://[\w.-]*(mirror|tuna|artifactory|nexus)\b"
)
TEXT = {".py", ".md", ".toml", ".cfg", ".yaml", ".yml", ".json", ".jsonl", ".txt", ".csv", ".tmpl", ".sh", ""}


def test_no_file_names_a_machine_or_a_package_index() -> None:
    found = []
    for path in written_files():
        if path.suffix in TEXT and path != Path(__file__):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if match := MACHINE.search(line) or HOSTS.search(line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()}")
    assert not found
