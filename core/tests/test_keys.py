"""The table of keys: owners, clashes, and whether keys.csv tells the truth about what is installed."""

from __future__ import annotations

import csv
import re
import sys
import time
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tunesmith import settings
from tunesmith.errors import ConfigError
from tunesmith.keys import HOST, TRANSFORMERS, Key, KeyTable
from tunesmith.kinds import read_kind, write_kind
from tunesmith.known_keys import Row, rows, training_arguments
from tunesmith.plugins import Plugins
from tunesmith.values import Word, convert
from tunesmith.yaml_lines import read_file

INSTALLED = Plugins()
TABLE = KeyTable.of(INSTALLED)
COMPAT = Path(__file__).parent / "compat"
#: Distributions of this project whose keys are really here.
PACKAGES = {owner.distribution for owner in INSTALLED.owners.values()} | {HOST}


def owned(row: Row) -> bool:
    return row.status == "owned" and row.owner in PACKAGES


def default_of(row: Row) -> Any:
    return convert(read_kind(row.type), Word(row.default))


def same(one: Any, other: Any) -> bool:
    """Nothing given, for a list, is the empty list."""
    return one == other or {repr(one), repr(other)} == {"None", "()"}


# -- keys.csv tells the truth --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", list(filter(owned, rows().values())), ids=lambda row: row.name)
def test_an_owned_key_is_declared_by_its_owner_with_the_same_type_and_default(row: Row) -> None:
    key = TABLE[row.name]
    assert (key.status, HOST if key.owner == HOST else key.package) == ("owned", row.owner), "run tools/update_keys.py"
    assert write_kind(key.type) == row.type
    assert same(default_of(row), key.default) or row.reason not in ("", "new here")


def test_nothing_that_our_packages_declare_is_missing() -> None:
    ours = {key.name for key in TABLE.values() if key.status == "owned" and key.package.startswith("tunesmith-")}
    assert ours - set(rows()) == set(), "run tools/update_keys.py"
    assert {name for name in ours if rows()[name].status != "owned"} == set(), "run tools/update_keys.py"


@pytest.mark.parametrize("row", [row for row in rows().values() if row.status != "owned"], ids=lambda row: row.name)
def test_a_key_that_nobody_owns_is_known_with_type_default_and_reason(row: Row) -> None:
    key = TABLE[row.name]
    assert key.status == row.status
    assert write_kind(read_kind(row.type)) == row.type
    assert same(convert(key.type, key.default), key.default)
    assert row.area
    if row.status in ("later", "refused"):
        assert row.reason.endswith((".", "…", ".toml", "NAME"))
        assert key.help or key.reason


def test_the_table_is_sorted_and_names_each_key_once() -> None:
    with (Path(settings.__file__).parent / "keys.csv").open(encoding="utf-8", newline="") as lines:
        names = [row["name"] for row in csv.DictReader(lines)]
    assert names == sorted(set(names))


def test_what_gives_a_key_its_effect_is_known_too() -> None:
    conditions = {row.only_with.partition("=")[0] for row in rows().values() if row.only_with}
    assert conditions <= {*TABLE, "command", "media"}


with (COMPAT / "known_keys.csv").open(encoding="utf-8", newline="") as lines:
    KNOWN = [(row["name"], row["default"]) for row in csv.DictReader(lines)]


@pytest.mark.parametrize(("name", "default"), KNOWN)
def test_every_key_that_users_know_is_known_here_with_its_default(name: str, default: str) -> None:
    assert name in TABLE
    key = TABLE[name]
    known = None if default in ("", "None") else convert(key.type, Word(default))
    assert key.owner == TRANSFORMERS or not default or same(known, key.default) or name in DIFFERENT


#: Keys whose default is another one here, with the reason.
DIFFERENT = {
    "api_host": "an open port without a key is unsafe",
    "crop_to_patches": "a model's own processor knows what it was trained with",
    "image_do_pan_and_scan": "a model's own processor knows what it was trained with",
    "max_concurrent": "engines here answer many requests at once",
    "model": "a run names its model",
    "swanlab_project": "named after this program, not another",
}


@pytest.mark.parametrize("file", sorted(COMPAT.rglob("configs/**/*.yaml")), ids=lambda path: path.stem)
def test_every_key_of_the_configurations_that_users_have_is_known(file: Path) -> None:
    entries, problems = read_file(file)
    assert not problems
    assert [entry.key for entry in entries if entry.key not in TABLE] == []


def test_every_key_of_the_host_is_read_by_somebody() -> None:
    """A key that is declared and read nowhere would be silently ignored."""
    modules = {HOST: settings.__name__} | {entry.name: entry.value for entry in entry_points(group="tunesmith")}
    folders = [Path(found.origin).parent for module in modules.values() if (found := find_spec(module)) and found.origin]
    files = {file for folder in folders for file in folder.rglob("*.py") if file.name != "host_options.py"}
    words = set(re.findall(r"\w+", "\n".join(file.read_text(encoding="utf-8") for file in files)))
    unread = {key.name for key in TABLE.values() if key.owner == HOST and key.status == "owned"} - words
    assert unread == set(), "read it, or make it `later` in keys.csv"


# -- the table -----------------------------------------------------------------------------------------------------------


def test_the_host_transformers_and_later_packages_own_keys() -> None:
    table = KeyTable.of(Plugins(found=[]))
    owners = {
        name: (table[name].owner, table[name].status) for name in ("stage", "learning_rate", "downsample_mode", "use_mca")
    }
    assert owners == {
        "stage": ("host", "owned"),
        "learning_rate": ("transformers", "owned"),
        "downsample_mode": ("tunesmith-multimodal", "later"),
        "use_mca": ("host", "refused"),
    }
    assert table["cutoff_len"].help
    assert table["cutoff_len"].bounds


def test_training_arguments_come_from_their_file() -> None:
    assert len(training_arguments()) > 100
    assert training_arguments()["label_smoothing_factor"].bounds is not None


def test_making_the_table_costs_next_to_nothing() -> None:
    def once() -> float:
        start = time.perf_counter()
        KeyTable.of(INSTALLED)
        return time.perf_counter() - start

    assert min(once() for _ in range(5)) < 0.05


# -- plugins -------------------------------------------------------------------------------------------------------------

HEAD = """
from dataclasses import dataclass
from typing import Annotated
from tunesmith import *
from tunesmith.options import Range

TUNESMITH_API = (1, 0)

@dataclass(frozen=True)
class Options:
    {field}

@hookimpl
def tunesmith_tuners():
    return [TunerSpec("{name}", "x:y", "Shrinks.", options=Options)]
"""
MakePlugin = Callable[..., EntryPoint]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePlugin:
    """Writes a plugin with one key to disk and returns an entry point to it."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, field: str = "", source: str = HEAD) -> EntryPoint:
        module = f"keys_plugin_{name}"
        (tmp_path / f"{module}.py").write_text(
            source.format(field=field or f'{name}_size: Annotated[int, "Size."] = 4', name=name)
        )
        sys.modules.pop(module, None)
        return EntryPoint(name, module, "tunesmith")

    return make


def refused(plugins: Plugins, **given: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        settings.read(plugins, given, environ={})
    return str(caught.value)


def test_a_plugin_owns_the_fields_of_its_options(plugin: MakePlugin) -> None:
    key = KeyTable.of(Plugins(found=[plugin("acme", 'acme_size: Annotated[int | None, "Size.", Range(least=1)] = None')]))[
        "acme_size"
    ]
    assert (key.type, key.default, key.help, key.owner, key.group) == (int | None, None, "Size.", "acme", "tuner acme")
    assert str(key.bounds) == "at least 1"


def test_two_plugins_with_one_key_hurt_only_who_gives_it(plugin: MakePlugin) -> None:
    field = 'size: Annotated[int, "Size."] = 4'
    plugins = Plugins(found=[plugin("acme", field), plugin("zeta", field)])
    assert settings.read(plugins, {"seed": 1}, environ={}).value("seed") == 1
    text = refused(plugins, size=3)
    assert "size is declared by acme and zeta" in text
    assert "tunesmith --without acme or --without zeta" in text
    assert settings.read(Plugins(found=[plugin("acme", field)]), {"size": 3}, environ={}).settings["size"].owner == "acme"


@pytest.mark.parametrize(("name", "owner"), [("cutoff_len", "host"), ("learning_rate", "transformers")])
def test_a_plugin_cannot_take_a_key_of_somebody_else(plugin: MakePlugin, name: str, owner: str) -> None:
    plugins = Plugins(found=[plugin("acme", f"{name}: float = 0.0")])
    text = refused(plugins, **{name: 1})
    assert f"{name} is declared by" in text
    assert {owner, "acme"} <= set(text.replace("\n", " ").split())
    assert "--without acme …" in text


def test_the_very_same_class_may_be_shared(plugin: MakePlugin, tmp_path: Path) -> None:
    (tmp_path / "keys_shared.py").write_text(
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Shared:\n    shared_size: int = 4\n"
    )
    source = HEAD.replace("class Options:\n    {field}", "class Options(keys_shared.Shared):\n    {field}").replace(
        "from tunesmith import", "import keys_shared\nfrom tunesmith import", 1
    )
    plugins = Plugins(found=[plugin("acme", "", source), plugin("zeta", "", source)])
    table = KeyTable.of(plugins)
    assert table.clashes == {}
    assert (table["shared_size"].owner, table["shared_size"].shared_with) == ("acme", ("zeta",))
    assert settings.read(plugins, {"shared_size": 5, "zeta_size": 6}, environ={}).value("shared_size") == 5


def test_a_plugin_takes_over_a_key_that_was_only_known(plugin: MakePlugin) -> None:
    table = KeyTable.of(Plugins(found=[plugin("acme", "downsample_mode: bool = False")]))
    assert (table["downsample_mode"].owner, table["downsample_mode"].status) == ("acme", "owned")


def test_options_that_cannot_be_read_break_their_plugin_and_no_other(plugin: MakePlugin) -> None:
    plugins = Plugins(found=[plugin("acme", 'acme_size: "Nonsense" = 4'), plugin("zeta")])
    assert "zeta_size" in KeyTable.of(plugins)
    assert "Nonsense" in str(plugins.broken["acme"])
    assert "It may belong to a plugin that cannot be loaded: acme" in refused(plugins, qqqqqq=1)


def test_a_key_of_a_plugin_that_is_switched_off_says_so(plugin: MakePlugin) -> None:
    plugins = Plugins(without=["lora"])
    if not any(owner.plugin == "lora" for owner in plugins.off):
        pytest.skip("the package tunesmith-lora is not installed")
    assert "It belongs to the plugin lora, which is switched off." in refused(plugins, lora_rank=4)


SWITCHED = """
from tunesmith import *
TUNESMITH_API = (1, 0)

@hookimpl
def tunesmith_accelerators():
    return [AcceleratorSpec("{name}", "x:y", "Faster.", switch=Switch("flash_attn", "{name}"))]

@hookimpl
def tunesmith_optimizers():
    return [OptimizerSpec("{name}", "x:y", "Steps.", switch=Switch("optim", "{name}"))]
"""


def test_a_plugins_switch_is_a_value_of_a_closed_choice(plugin: MakePlugin) -> None:
    plugins = Plugins(found=[plugin("acme", source=SWITCHED)])
    config = settings.read(plugins, {"flash_attn": "acme", "optim": "acme"}, environ={})
    assert (config.value("flash_attn"), config.value("optim")) == ("acme", "acme")
    text = refused(plugins, optim="adamw_trch")
    assert "Did you mean 'adamw_torch'?" in text
    assert "acme" in text


@pytest.mark.parametrize(
    ("key", "given", "command", "matters"),
    [
        ("fp8_enable_fsdp_float8_all_gather", {"fp8": True}, "train", True),
        ("fp8_enable_fsdp_float8_all_gather", {"fp8": False}, "train", False),
        ("use_mca", {}, "train", True),
        ("demo_model", {}, "train", False),
        ("demo_model", {}, "webui", True),
        ("video_fps", {}, "train", False),
    ],
)
def test_a_known_key_matters_only_beside_what_it_belongs_to(
    key: str, given: dict[str, Any], command: str, matters: bool
) -> None:
    found: Key = KeyTable.of(Plugins(found=[]))[key]
    assert found.matters(given.get, command) is matters
