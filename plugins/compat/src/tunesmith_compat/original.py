"""Whether LLaMA-Factory itself is installed: then its names are its own."""

from __future__ import annotations

from importlib import metadata

from tunesmith import TunesmithError

DISTRIBUTION = "llamafactory"


def refuse_beside_it() -> None:
    """Both write the console scripts ``llamafactory-cli`` and ``lmf``: nobody could tell which program answers.

    :raises TunesmithError: it is installed in this environment.
    """
    try:
        version = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return
    raise TunesmithError(
        f"LLaMA-Factory itself ({DISTRIBUTION} {version}) is installed in this environment, and this is Tunesmith's command of "
        "the same name.",
        f"To use Tunesmith: write tunesmith in place of llamafactory-cli, or pip uninstall {DISTRIBUTION}\n"
        "  To use LLaMA-Factory: pip uninstall tunesmith-compat, then pip install --force-reinstall --no-deps "
        f"{DISTRIBUTION}=={version}",
    )
