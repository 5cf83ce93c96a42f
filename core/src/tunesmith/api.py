"""Tunesmith from Python: plan, train, and a chat object, each taking what a YAML file would hold.

>>> from tunesmith import api
>>> api.plan({"model_name_or_path": "saves/tiny", "dataset": "identity", "template": "chatml", "output_dir": "saves/a"})
... # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tunesmith import launch, planning, settings
from tunesmith.config import RunConfig
from tunesmith.contracts import Engine, Outcome
from tunesmith.data.conversation import Media
from tunesmith.dialogue import Dialogue, sampling_of
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins, switched_off

Config = Mapping[str, Any] | str | Path


def _read(config: Config, plugins: Plugins | None) -> tuple[RunConfig, Plugins]:
    source = Path(config) if isinstance(config, str) else config
    folder = source.parent if isinstance(source, Path) else None
    plugins = plugins or Plugins(without=switched_off(), local=folder)
    return settings.gather(plugins, source), plugins


def plan(config: Config, *, command: str = "train", plugins: Plugins | None = None) -> Plan:
    """Everything ``command`` would do with ``config``, a mapping of flat keys or the path of a YAML or JSON file.

    :raises ConfigError: the configuration is wrong; lists every problem.
    """
    read, plugins = _read(config, plugins)
    return planning.make(read, plugins, command)


def train(config: Config, *, plugins: Plugins | None = None) -> Outcome:
    """Train in this process and return what came of it.

    :raises ConfigError: the configuration is wrong, or something that it needs is not here.
    """
    read, plugins = _read(config, plugins)
    made = planning.make(read, plugins, "train")
    made.check_ready()
    launch.prepare_environment(made, plugins)
    return launch.train(made, plugins)


class Chat:
    """A model to talk to; keeps the conversation. Use it as a context manager, or call :meth:`close`.

    >>> with Chat({"model_name_or_path": "saves/a"}) as chat:
    ...     print(chat.ask("Who are you?"))  # doctest: +SKIP
    """

    def __init__(self, config: Config, *, system: str = "", plugins: Plugins | None = None) -> None:
        read, plugins = _read(config, plugins)
        self.plan = planning.make(read, plugins, "chat")
        self.plan.check_ready()
        launch.prepare_environment(self.plan, plugins)
        self.plan = launch.fetch(self.plan, plugins)
        self._engine: Engine = plugins.engines.get(self.plan.the("engines").wanted).load()(self.plan)
        self._engine.start(self.plan)
        self._dialogue = Dialogue(self._engine, sampling_of(self.plan), system)

    def ask(self, text: str, media: Sequence[Media] = ()) -> str:
        """Say something and return the whole answer as plain text. ``media`` is shown before the words."""
        return "".join(self.stream(text, media))

    def stream(self, text: str, media: Sequence[Media] = ()) -> Iterator[str]:
        """Say something and yield the answer as it comes. ``media`` is shown before the words."""
        return self._dialogue.say(text, media)

    def clear(self) -> None:
        """Forget the conversation; the system prompt stays."""
        self._dialogue.clear()

    def close(self) -> None:
        """Give the model back."""
        self._engine.stop()

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
