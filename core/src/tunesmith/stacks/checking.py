"""Whether a stack is what it should be."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

from packaging.utils import canonicalize_name

from tunesmith.plugins import Plugins
from tunesmith.specs import StackSpec
from tunesmith.stacks import place
from tunesmith.stacks.locking import unmet
from tunesmith.stacks.making import demands, digests, ours
from tunesmith.stacks.pip import environment

ASK = """
import json
from importlib import metadata
print(json.dumps({d.name: d.version for d in metadata.distributions() if d.name}))
"""


def faults(spec: StackSpec, plugins: Plugins) -> Iterator[str]:
    """What is wrong with a stack: demands that changed, packages in other versions or gone, our packages out of date."""
    stack = place.made(spec.name)
    if stack is None:
        yield f"the stack {spec.name} has not been made"
        return
    yield from stale(stack, spec, plugins)
    asked = subprocess.run([str(stack.interpreter), "-c", ASK], capture_output=True, text=True, env=environment(), check=False)
    if asked.returncode:
        yield f"its Python does not start: {asked.stderr.strip()}"
        return
    held = {str(canonicalize_name(name)): version for name, version in json.loads(asked.stdout).items()}
    for name, version in stack.packages.items():
        if held.get(name) != version:
            yield f"{name} should be {version}, and is {held.get(name, 'not there')}"


def stale(stack: place.Stack, spec: StackSpec, plugins: Plugins) -> Iterator[str]:
    """What has changed here since the stack was made; quick, for every run."""
    new, old = unmet(stack.demands, demands(spec, plugins))
    told = [f"without {', '.join(sorted(new))}"] if new else []
    told += [f"for {', '.join(sorted(old))}"] if old else []
    if told:
        yield f"the stack {spec.name} was made {' and '.join(told)}"
    now = digests(ours(plugins, stack.kind))
    changed = sorted(name for name, found in now.items() if stack.ours.get(name) != found)
    if changed:
        yield f"the stack {spec.name} holds another state of {', '.join(changed)} than is here"
