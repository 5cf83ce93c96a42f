"""A plan in the making: what has been decided so far, and everything found wrong or missing on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from tunesmith.config import RunConfig, Setting
from tunesmith.errors import ConfigError, Problem, TunesmithError
from tunesmith.plan import Chosen, DatasetPlan, Estimate, ModelPlace, ModelWish, Spread
from tunesmith.plugins import Plugins
from tunesmith.registry import Offer
from tunesmith.specs import POLICY, CommandSpec, Role


@dataclass
class Draft:
    """Filled by the steps of :func:`tunesmith.planning.make`, in order; each step reads what earlier ones decided."""

    config: RunConfig
    plugins: Plugins
    command: CommandSpec
    settings: dict[str, Setting] = field(default_factory=dict)
    unused: dict[str, Setting] = field(default_factory=dict)
    chosen: list[Chosen] = field(default_factory=list)
    offers: list[tuple[str, Offer[Any]]] = field(default_factory=list)
    models: dict[str, ModelWish] = field(default_factory=dict)
    places: dict[str, ModelPlace] = field(default_factory=dict)
    datasets: tuple[DatasetPlan, ...] = ()
    estimate: Estimate | None = None
    stack: str | None = None
    server_stack: str | None = None
    devices: int = 1
    spread: Spread = field(default_factory=Spread)
    notices: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    missing: list[Problem] = field(default_factory=list)

    def value(self, key: str) -> Any:
        """The value a key has so far: given, or decided, or its default; ``None`` for a key that nobody declares."""
        if key in self.settings:
            return self.settings[key].value
        return self.config.value(key) if key in self.config.keys else None

    def given(self, key: str) -> bool:
        """Whether the user wrote the key."""
        return key in self.config.settings

    def origin(self, key: str) -> str:
        """Where the value of a key comes from so far."""
        return self.settings[key].origin if key in self.settings else self.config.origin(key)

    def pick(self, axis: str, offer: Offer[Any], why: str) -> None:
        """Decide for a spec."""
        if not any(a == axis and o is offer for a, o in self.offers):
            self.offers.append((axis, offer))
            self.chosen.append(Chosen(axis, offer.spec.name, offer.owner, why))

    def picked(self, axis: str) -> list[Any]:
        """The specs decided for so far on one axis."""
        return [offer.spec for a, offer in self.offers if a == axis]

    def where(self, key: str) -> str:
        """The place to name in a message about ``key``: where it was written, else the configuration as a whole."""
        if self.given(key):
            return self.config.settings[key].origin
        return str(self.config.file or "")

    def problem(self, key: str, what: str, instead: str = "") -> None:
        """Note a mistake in the value of ``key``."""
        self.problems.append(Problem(self.where(key), what, instead))

    def lacks(self, key: str, what: str, instead: str = "") -> None:
        """Note something that ``key`` asks for and that is not here."""
        self.missing.append(Problem(self.where(key), what, instead))

    def note_error(self, key: str, error: TunesmithError) -> None:
        """Note an error raised while looking at ``key``."""
        if isinstance(error, ConfigError):
            self.problems.extend(error.problems)
        else:
            self.problem(key, error.message, error.hint)


def roles_of(draft: Draft) -> tuple[Role, ...]:
    """The models that this run works with: as its stage says, else as its command does.

    A command about a model that a stage has trained has it with the head that the stage gave it.
    """
    stages = draft.picked("trainers")
    roles: tuple[Role, ...] = stages[0].roles if stages else draft.command.roles
    name = draft.value("stage")
    if not stages and roles == (POLICY,) and draft.given("stage") and name in draft.plugins.trainers:
        roles = draft.plugins.trainers.get(name).spec.roles[:1]
    return tuple(role for role in roles if not role.needed or _ask(role.needed, draft))


def _ask(function: str, draft: Draft) -> bool:
    module, _, name = function.partition(":")
    return bool(getattr(import_module(module), name)(draft.value))
