"""Write the chat templates of `tunesmith tiny` from our own templates: `python tools/make_tiny_chat.py`.

The core names no template of a package, and its small models must have one without any package being installed. So the Jinja
texts are shipped with the core, and a test sees to it that they are what the templates export. A family whose template no
package has keeps the text that is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tunesmith.plugins import Plugins
from tunesmith.runtime.tiny.families import families
from tunesmith.templates import renderer_for

FOLDER = Path(__file__).parent.parent / "core" / "src" / "tunesmith" / "runtime" / "tiny" / "chat"


def exported() -> Iterator[tuple[str, str]]:
    """Template and its text, for every family's template that is installed."""
    offered = Plugins().templates
    for name in sorted({family.chat for family in families().values()}):
        if name in offered:
            yield name, renderer_for(offered.get(name).spec).chat_template()


def main() -> None:
    """Write every file."""
    for name, text in exported():
        (FOLDER / f"{name}.jinja").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
