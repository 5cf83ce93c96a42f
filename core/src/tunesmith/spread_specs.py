"""What is declared about the processes of a run: who starts them, and how they share a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tunesmith.spec import Spec, Switch


@dataclass(frozen=True)
class LauncherSpec(Spec):
    """How one process becomes many. Of those that ``switch`` or ``when`` ask for, the one of the highest priority is picked.

    :param switch: the key, and its value, that asks for it.
    :param when: ``"module:function"``, called while planning with a :class:`Scene`: why this run needs it, or nothing. The
        one launcher with neither switch nor ``when`` is the default.
    :param processes: ``"module:function"``, called with the same: how many processes the whole run has. One where empty.
    :param spreads: it makes a process per device; where it does not, the one process sees one device only.
    """

    switch: Switch | None = None
    when: str = ""
    priority: int = 0
    processes: str = ""
    spreads: bool = False


@dataclass(frozen=True)
class Scene:
    """What launchers and strategies are chosen by, while planning.

    :param value: flat key → its value.
    :param environ: the environment variables.
    :param devices: how many devices of the backend are here.
    :param together: the picked strategy needs processes that talk, be it one.
    :param folder: where the configuration file lies.
    """

    value: Callable[[str], Any]
    environ: Mapping[str, str]
    devices: int = 1
    together: bool = False
    folder: str = "."


@dataclass(frozen=True)
class StrategySpec(Spec):
    """How the processes of a run share one model: each holds all of it, or they split it. Asked for as a launcher is.

    :param switch: the key, and its value, that asks for it.
    :param when: ``"module:function"``, called while planning with a :class:`Scene`: why this run needs it, or nothing. The
        one strategy with neither switch nor ``when`` is the default.
    :param shards: what no process holds all of: ``"nothing"``, the ``"optimizer"`` state, or the ``"weights"`` too; where that
        depends on settings, ``"module:function"``, called with the same. Quantizers and the plan's estimate go by it
        (:attr:`tunesmith.plan.Plan.spread`).
    :param together: it needs processes that talk, be it one.
    :param pickles: its checkpoints hold pickle, so that resuming needs ``trust_checkpoint: true``.
    :param resumes: ``"any"`` number of processes can go on from its checkpoints, only the ``"same"``, or ``"none"``.
    :param learns: which tuners can learn under it: ``"anything"``, or only those that save the whole ``"model"``.
    :param notices: ``"module:function"``, called with the same: what the plan should say aloud.
    """

    switch: Switch | None = None
    when: str = ""
    priority: int = 0
    shards: str = "nothing"
    together: bool = False
    pickles: bool = False
    resumes: Literal["any", "same", "none"] = "any"
    learns: Literal["anything", "model"] = "anything"
    notices: str = ""
