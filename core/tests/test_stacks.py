"""Stacks, for real and without a network: a small one is locked, made, checked, run in, brought up to date and removed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from tunesmith import StackSpec, planning, settings
from tunesmith.cli.clashes import adding, stacks
from tunesmith.errors import TunesmithError
from tunesmith.installation import foreign_requirements
from tunesmith.plugins import Plugins
from tunesmith.stacks import making, place, wheels
from tunesmith.stacks.checking import faults, stale
from tunesmith.stacks.locking import Lock, demands_of, resolve
from tunesmith.stacks.pip import pip
from tunesmith.stacks.rerunning import Request, differences

#: What the host itself stands on.
LIGHT = ("click", "packaging", "pluggy", "PyYAML", "tunesmith-core")
#: A plugin whose launcher, instead of training, tells where it is and then does as it is told.
PLUGIN = """
import os, signal, sys, time

from tunesmith import (AcceleratorSpec, BackendSpec, FormatSpec, LauncherSpec, StackSpec, Switch, TrainerSpec,
                       TunerSpec, hookimpl)
from tunesmith.contracts import Probe
from tunesmith.acme_options import AcmeOptions

TUNESMITH_API = (1, 0)
STACK = StackSpec("acme", "For tests.", ("acme-kernels==1.0",), without_dependencies=("acme-odd==2.0",), pins=("pluggy<1",))


def probe():
    return Probe(True)


class Echo:
    def __init__(self, plan):
        self.plan = plan

    def spread(self, plan, work):
        import acme_kernels
        told = [plan[key] for key in ("acme_word", "hf_hub_token", "num_train_epochs")]
        print("in", sys.prefix, acme_kernels.VERSION, *told, flush=True)
        print("argv", sys.argv[0], len(sys.orig_argv), flush=True)
        def stop(number, frame):
            print("got", number, flush=True)
            sys.exit(41)
        signal.signal(signal.SIGTERM, stop)
        if plan["acme_word"] == "wait":
            print("ready", flush=True)
            time.sleep(60)
        return 7


@hookimpl
def tunesmith_launchers():
    return [LauncherSpec("echo", "PACKAGE:Echo", "Tells.", switch=Switch("use_acme"))]

@hookimpl
def tunesmith_accelerators():
    return [AcceleratorSpec("acme", "PACKAGE:Echo", "Acme.", options=AcmeOptions, switch=Switch("use_acme"), stack="acme",
                            needs=("acme_kernels",))]

@hookimpl
def tunesmith_stacks():
    return [STACK]

@hookimpl
def tunesmith_backends():
    return [BackendSpec("acme-cpu", "PACKAGE:Echo", "Any.", probe="PACKAGE:probe", dtypes=("float32",))]

@hookimpl
def tunesmith_trainers():
    return [TrainerSpec("acme-stage", "PACKAGE:Echo", "None.", wants=("document",))]

@hookimpl
def tunesmith_formats():
    return [FormatSpec("acme-format", "PACKAGE:Echo", "None.", yields=("document",))]

@hookimpl
def tunesmith_tuners():
    return [TunerSpec("acme-tuner", "PACKAGE:Echo", "None.")]
"""
OPTIONS = """
from dataclasses import dataclass
from typing import Annotated

@dataclass(frozen=True)
class AcmeOptions:
    use_acme: Annotated[bool, "Acme."] = False
    acme_word: Annotated[str, "A word."] = "go"
"""


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str], extra: str = "") -> None:
    """A small distribution, installed into ``folder`` as pip would leave it."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    texts = {f"{info.name}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{extra}"}
    texts |= {f"{info.name}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n", **files}
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in [*texts, f"{info.name}/RECORD"]))


def plugin_files() -> dict[str, str]:
    text = PLUGIN.replace("tunesmith.acme_options", "acme_plugin.options").replace("PACKAGE", "acme_plugin.plugin")
    return {
        "acme_plugin/__init__.py": "",
        "acme_plugin/plugin.py": text,
        "acme_plugin/options.py": OPTIONS,
        "acme_plugin-1.0.dist-info/entry_points.txt": "[tunesmith]\nacme = acme_plugin.plugin\n",
    }


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is installed outside: the plugin that describes the stack, on top of this environment."""
    folder = tmp_path_factory.mktemp("outside")
    write_wheel(folder, "acme-plugin", "1.0", plugin_files(), extra="Requires-Dist: pluggy>=1\n")
    return folder


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels that stands for an index."""
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("links")
    kernels = {"acme_kernels/__init__.py": "VERSION = '1.0'\n"}
    write_wheel(site, "acme-kernels", "1.0", kernels, extra="Requires-Dist: pluggy>=1\n")
    write_wheel(site, "acme-odd", "2.0", {"acme_odd/__init__.py": ""}, extra="Requires-Dist: nothing-has-this==9\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        for name in ("acme-kernels", "acme-odd", *LIGHT[:-1]):
            wheels.pack(name, folder)
    return folder


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory, links: Path) -> dict[str, str]:
    home = tmp_path_factory.mktemp("stacks")
    offline = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links), "PIP_CONSTRAINT": ""}
    return {**offline, "TUNESMITH_STACKS": str(home), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(autouse=True)
def here(variables: dict[str, str], outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(outside))


@pytest.fixture(scope="module")
def plugins(outside: Path) -> Iterator[Plugins]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(outside))
        yield Plugins(only=["acme"])


def command(outside: Path, *words: str, **options: Any) -> subprocess.Popen[str]:
    """``tunesmith`` outside, in a process of its own, with nothing but the host and the plugin."""
    line = [sys.executable, "-m", "tunesmith.cli.main", "--only", "acme", *words]
    environ = {**os.environ, "PYTHONPATH": str(outside)}
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, **options)


def done(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def stack(plugins: Plugins, outside: Path, variables: dict[str, str]) -> Iterator[place.Stack]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.syspath_prepend(str(outside))
        yield making.create(plugins.stacks.get("acme").spec, plugins, None, lambda text: None)


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "data.txt").write_text("words\n")
    (tmp_path / "dataset_info.json").write_text(json.dumps({"d": {"file_name": "data.txt", "formatting": "acme-format"}}))
    keys = {"stage": "acme-stage", "finetuning_type": "acme-tuner", "use_acme": True, "model_name_or_path": str(model)}
    keys |= {"train_from_scratch": True, "output_dir": str(tmp_path / "out"), "dataset": "d", "dataset_dir": str(tmp_path)}
    keys |= {"hf_hub_token": "secret-token"}
    file = tmp_path / "run.yaml"
    file.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items()))
    return file


# ---- making ----------------------------------------------------------------------------------------------------------


def test_a_stack_holds_what_was_demanded_and_our_packages(stack: place.Stack, plugins: Plugins) -> None:
    assert stack.packages["acme-kernels"] == "1.0"
    assert stack.packages["acme-odd"] == "2.0"  # its own requirement, which nothing meets, was not asked for
    assert set(stack.ours) == {"tunesmith-core", "acme-plugin"}
    assert "pluggy" in stack.packages
    code = "import acme_kernels, tunesmith, acme_plugin; print(tunesmith.__file__)"
    found = subprocess.run([stack.interpreter, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(stack.folder))
    assert not list(faults(plugins.stacks.get("acme").spec, plugins))


def test_its_lock_has_every_version_with_its_hash(stack: place.Stack, links: Path) -> None:
    lock = Lock.read(place.lock_file("acme"))
    assert lock.versions == dict(stack.packages)
    import hashlib

    (wheel,) = links.glob("acme_kernels-*.whl")
    (kernels,) = (one for one in lock.packages if one.name == "acme-kernels")
    assert kernels.hash == f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    assert "tunesmith-core" not in lock.versions


def test_a_file_with_another_hash_is_refused(stack: place.Stack, plugins: Plugins, tmp_path: Path) -> None:
    text = place.lock_file("acme").read_text()
    line = next(line for line in text.splitlines() if line.startswith("acme-kernels=="))
    wrong = tmp_path / "wrong.txt"
    wrong.write_text(text.replace(line, line[:-4] + "0000"))
    pip(stack.interpreter, ["uninstall", "--yes", "acme-kernels"], doing="take it out")
    with pytest.raises(TunesmithError) as caught:
        making.install_locked(stack.interpreter, Lock.read(wrong))
    making.install_locked(stack.interpreter, Lock.read(place.lock_file("acme")))
    assert "pip could not install the stack acme" in caught.value.message
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in caught.value.hint


def test_versions_that_do_not_fit_are_told_in_pips_words(stack: place.Stack, plugins: Plugins) -> None:
    from dataclasses import replace

    spec = replace(plugins.stacks.get("acme").spec, name="bad", requirements=("acme-kernels==1.0", "pluggy<1"))
    with pytest.raises(TunesmithError) as caught:
        resolve(stack.interpreter, spec, (), [])
    assert "pip could not find versions for the stack bad" in caught.value.message
    assert "pluggy<1" in caught.value.hint
    assert place.made("bad") is None


def test_changed_code_of_ours_is_noticed_and_brought_over(
    stack: place.Stack, plugins: Plugins, outside: Path, run_file: Path
) -> None:
    spec = plugins.stacks.get("acme").spec
    file = outside / "acme_plugin" / "options.py"
    before = file.read_text()
    try:
        file.write_text(before + "CHANGED = True\n")
        assert list(stale(stack, spec, plugins)) == ["the stack acme holds another state of acme-plugin than is here"]
        plan = planning.make(settings.read(plugins, run_file, environ={}), plugins, "train")
        assert [problem.instead for problem in plan.missing if "stack" in problem.what] == ["tunesmith stack create acme"]
        said: list[str] = []
        again = making.create(spec, plugins, None, said.append)
        assert said[-1] == "Installing 1 of our packages from here"
        assert not list(stale(again, spec, plugins))
        code = "import acme_plugin.options as o; print(o.CHANGED)"
        assert (
            subprocess.run([stack.interpreter, "-I", "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
        )
    finally:
        file.write_text(before)
        making.create(spec, plugins, None, lambda text: None)


def test_what_was_taken_out_of_a_stack_is_noticed(stack: place.Stack, plugins: Plugins) -> None:
    from dataclasses import replace

    spec = plugins.stacks.get("acme").spec
    other = replace(spec, requirements=("acme-kernels==2.0",))
    assert list(stale(stack, other, plugins)) == ["the stack acme was made without acme-kernels==2.0 and for acme-kernels==1.0"]
    (info,) = stack.folder.glob("lib/python*/site-packages/acme_odd-*.dist-info")
    info.rename(info.with_suffix(".gone"))
    try:
        assert list(faults(spec, plugins)) == ["acme-odd should be 2.0, and is not there"]
    finally:
        info.with_suffix(".gone").rename(info)


def test_a_stack_without_its_mark_is_not_made(stack: place.Stack) -> None:
    mark = stack.folder / place.MARK
    text = mark.read_text()
    mark.unlink()
    try:
        assert place.made("acme") is None
        with pytest.raises(TunesmithError, match="has not been made"):
            place.interpreter("acme")
    finally:
        mark.write_text(text)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".."])
def test_no_stack_lies_outside_the_folder_of_stacks(name: str) -> None:
    with pytest.raises(TunesmithError, match="cannot be the name of a stack"):
        place.folder_of(name)


def test_a_file_that_is_no_lock_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "lock.txt"
    file.write_text("# stack: acme\nacme-kernels>=1.0\n")
    with pytest.raises(TunesmithError, match=r"lock.txt:2: 'acme-kernels>=1.0' is no locked package"):
        Lock.read(file)


@pytest.mark.long
def test_a_server_stack_holds_none_of_our_packages(plugins: Plugins) -> None:
    spec = StackSpec("served", "An engine.", ("acme-kernels==1.0",), kind="server")
    made = making.create(spec, plugins, None, lambda text: None)
    try:
        assert made.ours == {}
        assert set(made.packages) == {"acme-kernels", "pluggy"}
        assert place.interpreter("served").is_file()
    finally:
        assert making.remove("served")
    assert place.made("served") is None


def test_another_python_is_looked_for() -> None:
    assert making.find_python(">=3.11") == Path(sys.executable)
    with pytest.raises(TunesmithError, match="The stack needs Python <3"):
        making.find_python("<3")


# ---- wheels ----------------------------------------------------------------------------------------------------------


def test_a_checkout_is_packed_with_all_its_files(tmp_path: Path) -> None:
    import zipfile

    wheel = wheels.pack("tunesmith-core", tmp_path)
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"tunesmith/specs.py", "tunesmith/keys.csv", "tunesmith/scaffolds/shared/README.md.tmpl"} <= names or (
        "tunesmith/keys.csv" in names
    )
    assert not any("__pycache__" in name or name.endswith("direct_url.json") for name in names)
    version = metadata.version("tunesmith-core")
    assert wheel.name == f"tunesmith_core-{version}-py3-none-any.whl"


def test_demands_name_what_our_packages_require() -> None:
    spec = StackSpec("s", "S.", ("a==1",), without_dependencies=("b==2",))
    found = demands_of(spec, ["tunesmith-core"])
    assert found[:3] == ("python >=3.11", "a==1", "b==2 (without its dependencies)")
    assert set(found[3:]) == {f"{one} (for us)" for one in foreign_requirements(["tunesmith-core"])}
    assert any(one.startswith("pluggy") for one in found)


# ---- running in one --------------------------------------------------------------------------------------------------


def test_a_run_goes_on_in_its_stack_with_its_settings_output_and_status(
    stack: place.Stack, outside: Path, run_file: Path
) -> None:
    status, out, err = done(command(outside, "train", str(run_file), "acme_word=hello", "num_train_epochs=2"))
    assert status == 7, err
    where, *rest = out.splitlines()
    assert where == f"in {stack.folder} 1.0 hello secret-token 2.0"
    assert rest[0].startswith("argv ")
    assert "note: running in the stack acme" in err
    assert "note: torch is not installed here" in err
    assert "secret-token" not in err
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob("tunesmith-*.json"))


def test_a_signal_reaches_the_run_and_its_status_comes_back(stack: place.Stack, outside: Path, run_file: Path) -> None:
    process = command(outside, "train", str(run_file), "--acme_word", "wait", "--quiet")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("in ")
    assert process.stdout.readline().startswith("argv ")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    status, out, err = done(process)
    assert (status, out, err) == (41, f"got {int(signal.SIGTERM)}\n", "")


def test_a_mistake_is_told_once_and_before_anything_starts(stack: place.Stack, outside: Path, run_file: Path) -> None:
    status, out, err = done(command(outside, "train", str(run_file), "acme_wort=hello"))
    assert (status, out) == (2, "")
    assert err.count("acme_wort") == 1


def test_what_only_the_stack_knows_is_told_with_its_origin(stack: place.Stack, plugins: Plugins, run_file: Path) -> None:
    config = settings.read(plugins, run_file, environ={})
    plan = planning.make(config, plugins, "train")
    assert plan.stack == "acme"
    assert not any("acme_kernels" in problem.what for problem in plan.missing), "that is the stack's business"
    request = Request.take(Request.of(plan, config, quiet=True, strict=False).write())
    assert request.settings[0] == ("stage", "acme-stage", f"{run_file}:1")
    assert list(differences(request, plan)) == []


def test_a_request_can_be_read_by_nobody_else_and_is_gone_when_it_was_taken(plugins: Plugins, run_file: Path) -> None:
    config = settings.read(plugins, run_file, environ={})
    file = Request.of(planning.make(config, plugins, "train"), config, quiet=True, strict=False).write()
    assert file.stat().st_mode & 0o077 == 0
    Request.take(file)
    assert not file.exists()


def test_differences_are_told(plugins: Plugins, run_file: Path) -> None:
    from dataclasses import replace

    config = settings.read(plugins, run_file, environ={})
    plan = planning.make(config, plugins, "train")
    request = replace(Request.of(plan, config, quiet=True, strict=False), versions={"torch": "0.1"})
    found = list(
        differences(request, replace(plan, settings={**plan.settings, "seed": replace(plan.settings["seed"], value=9)}))
    )
    assert f"torch {metadata.version('torch')} here, 0.1 outside" in found
    assert "seed: 9 here, 42 outside" in found


def test_a_run_from_python_says_where_it_belongs(stack: place.Stack, plugins: Plugins, run_file: Path) -> None:
    from tunesmith import launch

    plan = planning.make(settings.read(plugins, run_file, environ={}), plugins, "train")
    with pytest.raises(TunesmithError, match="belongs into the stack acme") as caught:
        launch.prepare_environment(plan, plugins)
    assert str(stack.interpreter) in caught.value.hint


def test_a_stack_that_is_not_made_is_missing_and_the_command_that_makes_it_named(
    plugins: Plugins, run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_STACKS", str(tmp_path / "none"))
    plan = planning.make(settings.read(plugins, run_file, environ={}), plugins, "train")
    (problem,) = (one for one in plan.missing if "stack" in one.what)
    assert (problem.what, problem.instead) == ("the stack acme has not been made", "tunesmith stack create acme")


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_lists_checks_locks_and_removes(stack: place.Stack, outside: Path, tmp_path: Path) -> None:
    status, out, err = done(command(outside, "stack", "list", "--json"))
    (row,) = json.loads(out)
    assert (status, row["name"], row["state"], row["faults"]) == (0, "acme", "made", []), err
    assert done(command(outside, "stack", "check", "acme"))[:2] == (0, "The stack acme is as it should be.\n")
    status, out, err = done(command(outside, "stack", "lock", "acme", "--output", str(tmp_path / "lock.txt")))
    assert status == 0, err
    assert Lock.read(tmp_path / "lock.txt").versions == dict(stack.packages)
    status, out, err = done(command(outside, "stack", "remove", "nothing"))
    assert (status, out) == (0, "There is no stack nothing.\n")
    assert done(command(outside, "stack", "check", "nothing"))[0] == 2


# ---- the doctor ------------------------------------------------------------------------------------------------------


def test_the_doctor_explains_why_it_is_a_stack(stack: place.Stack, plugins: Plugins) -> None:
    found = {one.what: one.fix for one in stacks(plugins)}
    here = metadata.version("pluggy")
    assert found["the stack acme is ready"] == f"It cannot be installed here: it wants pluggy<1, and {here} is installed."


def test_the_doctor_says_what_a_package_would_break_before_it_is_installed(
    plugins: Plugins, links: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path / "site", "click", "7.0", {"click/__init__.py": ""})
    write_wheel(tmp_path / "site", "acme-old", "1.0", {"acme_old/__init__.py": ""}, extra="Requires-Dist: click<8\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    for name in ("click", "acme-old"):
        wheels.pack(name, tmp_path / "links")
    monkeypatch.setattr(sys, "path", sys.path[1:])
    monkeypatch.setenv("PIP_FIND_LINKS", f"{links} {tmp_path / 'links'}")
    found = [(one.level, one.what) for one in adding(plugins, ["acme-old"])]
    version = metadata.version("click")
    assert ("warn", f"acme-old would bring click 7.0 in place of {version}") in found
    assert any(level == "fail" and what.startswith("tunesmith-core ") and "needs click" in what for level, what in found)
    (fine,) = adding(plugins, ["acme-kernels"])
    assert fine.what == "acme-kernels can be installed: 1 new packages, 0 others, nothing that is here breaks"
    (none,) = adding(plugins, ["acme-odd"])
    assert none.level == "fail"
    assert "nothing-has-this" in none.fix
    assert "tunesmith stack create acme" in none.fix
