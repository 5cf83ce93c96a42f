"""Make and remove stacks."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

from tunesmith.data.cache import locked as alone
from tunesmith.errors import TunesmithError
from tunesmith.plugins import Plugins
from tunesmith.specs import StackSpec
from tunesmith.stacks import place, wheels
from tunesmith.stacks.locking import Lock, demands_of, resolve, unmet
from tunesmith.stacks.pip import environment, pip

HOST = "tunesmith-core"
Say = Callable[[str], None]


def ours(plugins: Plugins, kind: str = "run") -> tuple[str, ...]:
    """Our packages that go into a stack: the host and every plugin that is switched on; none where an engine serves."""
    if kind != "run":
        return ()
    installed = {owner.distribution for owner in plugins.owners.values()}
    return tuple(sorted(name for name in {HOST, *installed} if _is_installed(name)))


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False  # a plugin beside a configuration file, which is loaded from there
    return True


def digests(names: Sequence[str]) -> dict[str, str]:
    """What our packages are now."""
    return {name: wheels.digest(name) for name in names}


def find_python(wanted: str) -> Path:
    """A Python that a stack accepts: this one, else one on the path.

    :raises TunesmithError: there is none.
    """
    allowed = SpecifierSet(wanted)
    names = filter(None, (shutil.which(f"python3.{minor}") for minor in range(20, 8, -1)))
    for python in (Path(sys.executable), *map(Path, names)):
        version = _version(python)
        if version and allowed.contains(version):
            return python
    here = ".".join(map(str, sys.version_info[:3]))
    raise TunesmithError(f"The stack needs Python {wanted}, and here is {here} only.", "Install one, so that it is on PATH.")


def _version(python: Path) -> str:
    code = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()  # nothing, where it is a stub for a Python that is not there


# ---- making ----------------------------------------------------------------------------------------------------------


def create(spec: StackSpec, plugins: Plugins, lock: Path | None, say: Say) -> place.Stack:
    """Make a stack, or bring our own packages in it up to date where the rest of it is as demanded.

    :param lock: the lock to install by; without it the one that is kept, or a new one.
    :raises TunesmithError: pip could not; the stack is left unfinished, and the next attempt starts over.
    """
    folder = place.folder_of(spec.name)
    with alone(folder):
        stack = place.made(spec.name)
        if stack is not None and lock is None and not any(unmet(stack.demands, demands(spec, plugins))):
            say(f"The stack {spec.name} is there; its copy of our packages is brought up to date.")
        else:
            stack = _anew(spec, plugins, lock, say)
        return _with_ours(stack, plugins, say)


def _anew(spec: StackSpec, plugins: Plugins, given: Path | None, say: Say) -> place.Stack:
    folder = place.folder_of(spec.name)
    _make_environment(folder, find_python(spec.python), say)
    python = folder / "bin" / "python"
    lock = Lock.read(given) if given else kept_lock(spec, plugins)
    if lock is not None and lock.stack != spec.name:
        raise TunesmithError(f"{given} is the lock of the stack {lock.stack}, not of {spec.name}.", "Give its own.")
    lock = lock or _resolved(python, spec, plugins, say)
    place.lock_file(spec.name).write_text(lock.text(), encoding="utf-8")
    say(f"Installing {len(lock.packages)} packages by their hashes into {folder}")
    install_locked(python, lock)
    return place.Stack(spec.name, spec.kind, _version(python), lock.demands, lock.versions)


def _make_environment(folder: Path, python: Path, say: Say) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    say(f"Making a virtual environment with {python}")
    done = subprocess.run(
        [str(python), "-m", "venv", str(folder)], capture_output=True, text=True, env=environment(), check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise TunesmithError(f"No virtual environment can be made in {folder}: {said}", "On Debian: apt install python3-venv")


def demands(spec: StackSpec, plugins: Plugins) -> tuple[str, ...]:
    """What a stack has to hold, of its own and for our packages in it."""
    return demands_of(spec, ours(plugins, spec.kind))


def kept_lock(spec: StackSpec, plugins: Plugins) -> Lock | None:
    """The lock that was written before, where it answers today's demands."""
    file = place.lock_file(spec.name)
    lock = Lock.read(file) if file.is_file() else None
    return lock if lock is not None and not any(unmet(lock.demands, demands(spec, plugins))) else None


def _resolved(python: Path, spec: StackSpec, plugins: Plugins, say: Say) -> Lock:
    say("Looking for versions that fit together")
    with tempfile.TemporaryDirectory() as folder:
        packed = [wheels.pack(name, Path(folder)) for name in ours(plugins, spec.kind)]
        return resolve(python, spec, demands(spec, plugins), packed)


def relock(spec: StackSpec, plugins: Plugins, say: Say) -> Lock:
    """Decide on all versions anew, whatever is kept, without touching the stack."""
    with tempfile.TemporaryDirectory() as folder:
        _make_environment(Path(folder) / "try", find_python(spec.python), say)
        return _resolved(Path(folder) / "try" / "bin" / "python", spec, plugins, say)


def install_locked(python: Path, lock: Lock) -> None:
    """Install exactly what a lock lists; a file with another hash is refused."""
    if not lock.packages:
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lock.txt"
        file.write_text(lock.text(), encoding="utf-8")
        pip(python, ["install", "--no-deps", "--require-hashes", "-r", file], doing=f"install the stack {lock.stack}")


def _with_ours(stack: place.Stack, plugins: Plugins, say: Say) -> place.Stack:
    names = ours(plugins, stack.kind)
    stale = [name for name, found in digests(names).items() if stack.ours.get(name) != found]
    (stack.folder / place.MARK).unlink(missing_ok=True)
    if stale:
        say(f"Installing {len(stale)} of our packages from here")
        with tempfile.TemporaryDirectory() as folder:
            packed = [wheels.pack(name, Path(folder)) for name in stale]
            pip(
                stack.interpreter,
                ["install", "--no-deps", "--no-index", "--force-reinstall", *packed],
                doing="install our packages",
            )
    gone = sorted(set(stack.ours) - set(names))
    if gone:
        pip(stack.interpreter, ["uninstall", "--yes", *gone], doing=f"take out {', '.join(gone)}")
    done = place.Stack(stack.name, stack.kind, stack.python, stack.demands, dict(stack.packages), digests(names))
    done.write()
    return done


def remove(name: str) -> bool:
    """Remove a stack and its lock; whether there was one."""
    folder, lock = place.folder_of(name), place.lock_file(name)
    there = folder.is_dir() or lock.is_file()
    if folder.is_dir():
        shutil.rmtree(folder)
    lock.unlink(missing_ok=True)
    return there
