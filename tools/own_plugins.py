"""The plugins of this checkout and no others, all of them."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from checkout import plugin_packages
from tunesmith.plugins import Plugins


def own_plugins() -> Plugins:
    """What is installed of them. What is generated from less than all would be wrong, so then the generator ends."""
    names = {package.plugin: package.distribution for package in plugin_packages()}
    found = [entry for entry in entry_points(group="tunesmith") if entry.name in names]
    if absent := names.keys() - {entry.name for entry in found}:
        sys.exit(f"Not installed: {', '.join(sorted(names[name] for name in absent))}. Do first: make install")
    return Plugins(found=found)
