"""Find, check, load and switch off plugins; the typed way to everything that they offer."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from tunesmith import API_VERSION, __version__, hookspecs, specs
from tunesmith.catalogue import read_catalogue
from tunesmith.errors import Notice, Problem, TunesmithError
from tunesmith.registry import Owner, Registry

GROUP = "tunesmith"
LOCAL_FILE = "tunesmith_local.py"
#: The host's own plugins go through the same hooks as everybody else's.
BUILT_IN = ("tunesmith.defaults.plugin",)


@dataclass(frozen=True)
class Broken:
    """A plugin that is installed and cannot be used, with the exception that says why."""

    owner: Owner
    error: BaseException

    def __str__(self) -> str:
        return f"{self.owner}: {type(self.error).__name__}: {self.error}"


class Plugins:
    """The plugins of one process. Made in ``main()`` and handed on; tests make their own.

    :param without: names of plugins that are not even imported.
    :param only: when given, every other plugin is treated as if it were in ``without``.
    :param found: entry points to use instead of those that are installed.
    :param local: a folder whose ``tunesmith_local.py`` is loaded last: the one the configuration file lies in.
    """

    def __init__(
        self,
        *,
        without: Collection[str] = (),
        only: Collection[str] | None = None,
        found: Iterable[EntryPoint] | None = None,
        local: Path | None = None,
    ) -> None:
        self._manager = pluggy.PluginManager("tunesmith")
        self._manager.add_hookspecs(hookspecs)
        self.without = tuple(sorted(set(without)))
        self.only = None if only is None else tuple(sorted(set(only)))
        self.local = None if local is None else str(local)
        self.owners: dict[str, Owner] = {}
        self.broken: dict[str, Broken] = {}
        self.off: list[Owner] = []
        for module in BUILT_IN:
            self._add(importlib.import_module(module), Owner("defaults", "tunesmith-core", __version__))
        entries = entry_points(group=GROUP) if found is None else found
        for entry in sorted(entries, key=lambda entry: (entry.name, entry.value)):
            self._load(entry)
        if local is not None:
            self._load_local(local)

    # -- finding and loading -------------------------------------------------------------------------------------------

    def _load(self, entry: EntryPoint) -> None:
        owner = _owner(entry)
        if self._is_off(owner):
            return
        if entry.name in self.owners:
            taken = self.owners[entry.name]
            error = TunesmithError(f"{taken.distribution} already has a plugin named {entry.name!r}.")
            self.broken[f"{entry.name}@{owner.distribution}"] = Broken(owner, error)
            return
        self._try(owner, entry.load)

    def _load_local(self, folder: Path) -> None:
        file = folder / LOCAL_FILE
        owner = Owner("local", str(file), "unversioned")
        if file.is_file() and not self._is_off(owner):
            self._try(owner, lambda: _import_file(file))

    def _is_off(self, owner: Owner) -> bool:
        off = owner.plugin in self.without or (self.only is not None and owner.plugin not in self.only)
        if off:
            self.off.append(owner)
        return off

    def _try(self, owner: Owner, load: Any) -> None:
        try:
            module = load()
            _check_api(module, owner)
            self._add(module, owner)
        except Exception as error:  # one plugin's fault must not take the others down; it is kept and shown
            self.broken[owner.plugin] = Broken(owner, error)

    def _add(self, module: ModuleType, owner: Owner) -> None:
        self._manager.register(module, name=owner.plugin)
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError:
            self._manager.unregister(name=owner.plugin)
            raise
        self.owners[owner.plugin] = owner

    # -- what they offer -----------------------------------------------------------------------------------------------

    def _collect(self, axis: str) -> Registry[Any]:
        facts = next(a for a in specs.AXES if a.hook == axis)
        registry: Registry[Any] = Registry(facts.word, self.catalogue.names(axis), self.broken)
        for impl in getattr(self._manager.hook, f"tunesmith_{axis}").get_hookimpls():
            owner = self.owners[impl.plugin_name]
            try:
                offered = list(impl.function())
                _check_specs(offered, facts, owner)
            except Exception as error:  # as above: kept, shown, and fatal to those who need it
                self.broken[owner.plugin] = Broken(owner, error)
                continue
            for spec in offered:
                registry.add(spec, owner)
        return registry

    @cached_property
    def catalogue(self) -> Any:
        """What packages of this project offer, installed or not."""
        return read_catalogue()

    @cached_property
    def commands(self) -> Registry[specs.CommandSpec]:
        """Subcommands."""
        return self._collect("commands")

    @cached_property
    def sources(self) -> Registry[specs.SourceSpec]:
        """Where rows come from."""
        return self._collect("sources")

    @cached_property
    def formats(self) -> Registry[specs.FormatSpec]:
        """Dataset formats."""
        return self._collect("formats")

    @cached_property
    def templates(self) -> Registry[specs.TemplateSpec]:
        """Model templates."""
        return self._collect("templates")

    @cached_property
    def tool_syntaxes(self) -> Registry[specs.ToolSyntaxSpec]:
        """Tool syntaxes."""
        return self._collect("tool_syntaxes")

    @cached_property
    def models(self) -> Registry[specs.ModelCatalogueSpec]:
        """Catalogues of published models."""
        return self._collect("models")

    @cached_property
    def media(self) -> Registry[specs.MediaSpec]:
        """Readers of images, videos and audio."""
        return self._collect("media")

    @cached_property
    def tuners(self) -> Registry[specs.TunerSpec]:
        """Tuners."""
        return self._collect("tuners")

    @cached_property
    def trainers(self) -> Registry[specs.TrainerSpec]:
        """Stages."""
        return self._collect("trainers")

    @cached_property
    def rewards(self) -> Registry[specs.RewardSpec]:
        """Reward functions."""
        return self._collect("rewards")

    @cached_property
    def tools(self) -> Registry[specs.ToolSpec]:
        """Tools that a model may call."""
        return self._collect("tools")

    @cached_property
    def optimizers(self) -> Registry[specs.OptimizerSpec]:
        """Optimizers."""
        return self._collect("optimizers")

    @cached_property
    def quantizers(self) -> Registry[specs.QuantizerSpec]:
        """Quantizers."""
        return self._collect("quantizers")

    @cached_property
    def accelerators(self) -> Registry[specs.AcceleratorSpec]:
        """Accelerators."""
        return self._collect("accelerators")

    @cached_property
    def backends(self) -> Registry[specs.BackendSpec]:
        """Device backends."""
        return self._collect("backends")

    @cached_property
    def launchers(self) -> Registry[specs.LauncherSpec]:
        """Launchers."""
        return self._collect("launchers")

    @cached_property
    def strategies(self) -> Registry[specs.StrategySpec]:
        """Strategies."""
        return self._collect("strategies")

    @cached_property
    def engines(self) -> Registry[specs.EngineSpec]:
        """Inference engines."""
        return self._collect("engines")

    @cached_property
    def stacks(self) -> Registry[specs.StackSpec]:
        """Stacks."""
        return self._collect("stacks")

    @cached_property
    def trackers(self) -> Registry[specs.TrackerSpec]:
        """Trackers."""
        return self._collect("trackers")

    @cached_property
    def callbacks(self) -> Registry[specs.CallbackSpec]:
        """Callbacks."""
        return self._collect("callbacks")

    @cached_property
    def metrics(self) -> Registry[specs.MetricSpec]:
        """Metrics."""
        return self._collect("metrics")

    @cached_property
    def evaluators(self) -> Registry[specs.EvaluatorSpec]:
        """Benchmarks."""
        return self._collect("evaluators")

    @cached_property
    def exporters(self) -> Registry[specs.ExporterSpec]:
        """Export forms."""
        return self._collect("exporters")

    def axis(self, hook: str) -> Registry[Any]:
        """The registry of one axis by the name of its hook."""
        registry: Registry[Any] = getattr(self, hook)
        return registry

    def offers(self) -> Iterator[tuple[specs.Axis, Any]]:
        """Everything on offer: axis and :class:`~tunesmith.registry.Offer`."""
        for axis in specs.AXES:
            for offer in self.axis(axis.hook):
                yield axis, offer

    # -- veto and tell -------------------------------------------------------------------------------------------------

    def check_plan(self, plan: Any) -> list[Problem | Notice]:
        """Ask every plugin what speaks against the plan, and what is to be said of it."""
        answers = self._manager.hook.tunesmith_check_plan(plan=plan)
        return [found for answer in answers for found in answer or ()]

    def run_started(self, session: Any) -> None:
        """Tell every plugin."""
        self._manager.hook.tunesmith_run_started(session=session)

    def step_ended(self, session: Any, step: int) -> None:
        """Tell every plugin."""
        self._manager.hook.tunesmith_step_ended(session=session, step=step)

    def run_ended(self, session: Any, outcome: Any) -> None:
        """Tell every plugin."""
        self._manager.hook.tunesmith_run_ended(session=session, outcome=outcome)


def switched_off(environ: os._Environ[str] | dict[str, str] = os.environ) -> list[str]:
    """Plugin names in ``TUNESMITH_WITHOUT``, separated by commas or spaces."""
    return environ.get("TUNESMITH_WITHOUT", "").replace(",", " ").split()


def _owner(entry: EntryPoint) -> Owner:
    if entry.dist is None:
        return Owner(entry.name, "?", "?")
    read = entry.dist.metadata  # the properties name and version of a distribution would read it once each
    return Owner(entry.name, read["Name"], read["Version"])


def _check_api(module: ModuleType, owner: Owner) -> None:
    needs = getattr(module, "TUNESMITH_API", None)
    if needs is None:
        raise TunesmithError(
            f"{owner} does not say which plugin interface it was written for.",
            f"Its plugin module needs the line TUNESMITH_API = {API_VERSION}.",
        )
    if needs[0] != API_VERSION[0] or needs[1] > API_VERSION[1]:
        raise TunesmithError(
            f"{owner} was written for plugin interface {needs[0]}.{needs[1]}; this is {API_VERSION[0]}.{API_VERSION[1]}.",
            "Install a version of it that fits, or upgrade tunesmith-core.",
        )


def _check_specs(offered: list[Any], axis: specs.Axis, owner: Owner) -> None:
    for spec in offered:
        if not isinstance(spec, axis.spec):
            raise TunesmithError(f"{owner} answered tunesmith_{axis.hook} with {spec!r}, which is no {axis.spec.__name__}.")
    twice = [name for name, count in Counter(spec.name for spec in offered).items() if count > 1]
    if twice:
        raise TunesmithError(f"{owner} offers the {axis.word} {twice[0]!r} twice.")


def _import_file(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("tunesmith_local", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module
