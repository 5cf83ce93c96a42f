"""Look at one plugin in a process of its own, where nothing else has been imported yet.

``python -m tunesmith.testing.apart NAME MODULE`` switches the plugin off, then on, asks it every *collect* hook twice in
opposite orders, and prints what it saw as one JSON object. :func:`look_apart` runs that and reads it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint

from tunesmith import specs
from tunesmith.plugins import GROUP, Plugins
from tunesmith.values import from_plain

#: What the core itself requires, and may import late.
OF_THE_CORE = frozenset({"tunesmith", "click", "pluggy", "yaml", "_yaml"})


@dataclass(frozen=True)
class Sighting:
    """What a plugin did when it was alone.

    :param error: why it could not be imported or registered, or the empty string.
    :param imported_when_off: its module was imported although it was switched off.
    :param foreign: top-level modules that it imported and that are neither its own, the core's nor the standard library's.
    :param forward, backward: its answers, one line each and sorted, from calling the hooks in order and in reverse.
    """

    error: str = ""
    imported_when_off: bool = False
    foreign: tuple[str, ...] = ()
    forward: tuple[str, ...] = ()
    backward: tuple[str, ...] = ()


@cache
def look_apart(name: str, module: str) -> Sighting:
    """Look at the plugin ``name`` in ``module`` from a fresh process."""
    command = [sys.executable, "-m", "tunesmith.testing.apart", name, module]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return Sighting(error=f"the process that imports it died:\n{done.stderr}")
    seen: Sighting = from_plain(Sighting, json.loads(done.stdout.splitlines()[-1]))
    return seen


def observe(name: str, module: str) -> Sighting:
    """Import the plugin here and now and write down what happens."""
    entry = EntryPoint(name, module, GROUP)
    Plugins(found=[entry], without=[name])
    seen = Sighting(imported_when_off=module in sys.modules)
    before = set(sys.modules)
    plugins = Plugins(found=[entry])
    hooks = [axis.hook for axis in specs.AXES]
    forward, backward = _answers(plugins, name, hooks), _answers(Plugins(found=[entry]), name, hooks[::-1])
    if name in plugins.broken:
        return replace(seen, error=str(plugins.broken[name]))
    foreign = tuple(sorted(_foreign(set(sys.modules) - before, module)))
    return replace(seen, foreign=foreign, forward=forward, backward=backward)


def _answers(plugins: Plugins, name: str, hooks: list[str]) -> tuple[str, ...]:
    offers = [(hook, offer) for hook in hooks for offer in plugins.axis(hook) if offer.owner.plugin == name]
    return tuple(sorted(f"{hook}: {offer.spec!r}" for hook, offer in offers))


def _foreign(modules: set[str], own: str) -> set[str]:
    tops = {module.partition(".")[0] for module in modules}
    home = {own.partition(".")[0], *OF_THE_CORE, *sys.stdlib_module_names}
    return {top for top in tops - home if not top.startswith("__editable__")}


if __name__ == "__main__":
    print(json.dumps(asdict(observe(*sys.argv[1:3]))))
