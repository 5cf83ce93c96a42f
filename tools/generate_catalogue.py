"""Write what the packages of this checkout offer into the core, so that it can say what to install.

Also copies the tested versions to where ``tunesmith doctor`` reads them. With ``--check``: change nothing, and fail when
something would.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from checkout import CORE, ROOT, plugin_packages
from own_plugins import own_plugins
from tunesmith.spec import options_of

CATALOGUE = CORE.source / "catalogue.json"
TESTED = CORE.source / "tested_versions.txt"


def catalogue() -> str:
    """Axis → name → distribution, and flat key → distribution, of every plugin in this checkout."""
    plugins = own_plugins()
    names = {package.plugin for package in plugin_packages()}
    axes: dict[str, dict[str, str]] = {}
    keys: dict[str, str] = {}
    for axis, offer in plugins.offers():
        if offer.owner.plugin in names:
            axes.setdefault(axis.hook, {}).update(dict.fromkeys(_names(offer.spec), offer.owner.distribution))
            keys.update(dict.fromkeys(_keys(offer.spec), offer.owner.distribution))
    if plugins.broken:
        sys.exit("\n".join(map(str, plugins.broken.values())))
    return json.dumps({"axes": axes, "keys": dict(sorted(keys.items()))}, indent=1) + "\n"


def _names(spec: Any) -> list[str]:
    """Every word that a user may write, or a model's files may hold, for what the spec describes."""
    return [spec.name, *getattr(spec, "aliases", ()), *getattr(spec, "reads", ())]


def _keys(spec: Any) -> list[str]:
    return list(getattr(options_of(spec), "__dataclass_fields__", ()))


def generated() -> dict[Path, str]:
    """Every generated file of the core with the text it should have."""
    return {CATALOGUE: catalogue(), TESTED: (ROOT / "constraints.txt").read_text(encoding="utf-8")}


def main() -> None:
    """Write the files, or with ``--check`` name those that are not current."""
    stale = {path: text for path, text in generated().items() if path.read_text(encoding="utf-8") != text}
    if "--check" in sys.argv[1:]:
        sys.exit("\n".join(f"{path.relative_to(ROOT)} is not current: make catalogue" for path in stale) or 0)
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
