"""The launcher ``ray``: a placement group with a bundle for each worker, and a process of the run in each.

Every worker sees the devices that Ray gave it and no other, so that each counts as a machine of its own (``LOCAL_RANK`` 0).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from tunesmith import TunesmithError
from tunesmith.contracts import Launcher
from tunesmith.run_folder import End, RunFolder
from tunesmith.runtime.first_failure import INTERRUPTED, FailureReport, say

from tunesmith_ray.options import RayOptions
from tunesmith_ray.supervisor import Supervisor

if TYPE_CHECKING:
    from tunesmith.plan import Plan

SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Seconds between two looks at workers and signals.
LOOK = 0.5
#: What a worker that is gone with its machine counts as.
LOST = -int(signal.SIGKILL)


class RayLauncher(Launcher):
    """Starts ``python -m tunesmith.worker`` in each worker, and waits."""

    module = "tunesmith.worker"

    def __init__(self, plan: Plan) -> None:
        self._options = plan.options(RayOptions)
        self._output_dir = str(plan["output_dir"])
        self._signals: list[int] = []

    def spread(self, plan: Plan, work: Callable[[Plan], int]) -> int:
        """Start the workers, again after a failure as often as is allowed, and return when all have ended.

        :raises TunesmithError: the cluster has no room, or a user's mistake ended a worker.
        """
        with self._connected(), self._listening():
            for attempt in range(self._options.ray_max_failures + 1):
                status = self._attempt(plan, attempt, last=attempt == self._options.ray_max_failures)
                if status is not None:
                    return status
                say(f"A worker has failed: all are started again ({attempt + 1} of {self._options.ray_max_failures}).")
        raise AssertionError("the last attempt has a status")

    def _attempt(self, plan: Plan, attempt: int, *, last: bool) -> int | None:
        """One start of all workers: the exit status, or nothing where they may be started again."""
        group, folder = self._room(), RunFolder.new()
        try:
            workers = self._workers(group)
            exits = self._wait(workers, self._start(workers, plan, attempt), folder)
            if len(self._signals) > 0:
                return INTERRUPTED
            failed = {rank: status for rank, status in exits.items() if status}
            ends = folder.ends()
            if not failed:
                self._store(workers[0])
                return INTERRUPTED if any(end.status == INTERRUPTED for end in ends) else 0
            mistake = any(end.status == 2 for end in ends)  # it would be made again
            return FailureReport(folder).conclude(failed) if last or mistake else None
        finally:
            folder.remove()
            remove_placement_group(group)

    # -- the cluster ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _connected(self) -> Iterator[None]:
        if ray.is_initialized():
            yield
            return
        given = dict(self._options.ray_init_kwargs or {})
        if "address" not in given and not os.environ.get("RAY_ADDRESS"):
            given.setdefault("include_dashboard", False)  # a cluster of our own, for this run
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(**{"logging_level": logging.WARNING, **given})
        except (TypeError, ValueError, ConnectionError) as error:
            raise TunesmithError(f"Ray cannot be reached: {error}", "Look at ray_init_kwargs and RAY_ADDRESS.") from error
        try:
            yield
        finally:
            ray.shutdown()

    def _room(self) -> PlacementGroup:
        options = self._options
        here = ray.cluster_resources()
        wanted = dict(options.resources_per_worker or {"CPU": 1, **({"GPU": 1} if here.get("GPU") else {})})
        group = placement_group([wanted] * options.ray_num_workers, options.placement_strategy, name=self._name)
        if not group.wait(options.ray_wait):
            remove_placement_group(group)
            has = ", ".join(
                f"{amount:g} {name}" for name, amount in sorted(here.items()) if ":" not in name and "memory" not in name
            )
            what = (
                f"The Ray cluster has no room for {options.ray_num_workers} workers of {wanted} ({options.placement_strategy})."
            )
            raise TunesmithError(
                what, f"It has {has} on {len(ray.nodes())} machines: lower resources_per_worker, or wait longer."
            )
        return group

    @property
    def _name(self) -> str:
        return self._options.ray_run_name or Path(self._output_dir).name

    def _workers(self, group: PlacementGroup) -> list[Any]:
        kind = ray.remote(Supervisor)
        bundles: Sequence[dict[str, float]] = group.bundle_specs
        made = []
        for number, bundle in enumerate(bundles):
            own = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU", "memory")}
            where = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number)
            given = {"num_cpus": bundle.get("CPU", 0), "num_gpus": bundle.get("GPU", 0), "resources": own}
            made.append(kind.options(scheduling_strategy=where, max_concurrency=3, **given).remote())
        return made

    # -- the processes -------------------------------------------------------------------------------------------------

    def _start(self, workers: Sequence[Any], plan: Plan, attempt: int) -> list[Any]:
        _, address, port = ray.get(workers[0].place.remote())
        told = {"WORLD_SIZE": len(workers), "MASTER_ADDR": address, "MASTER_PORT": port, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
        told |= {"TORCHELASTIC_RESTART_COUNT": attempt, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        text, folder = plan.to_json(secrets=True), str(Path.cwd())
        return [
            worker.run.remote(text, self.module, {name: str(one) for name, one in {**told, "RANK": rank}.items()}, folder)
            for rank, worker in enumerate(workers)
        ]

    def _wait(self, workers: Sequence[Any], runs: Sequence[Any], folder: RunFolder) -> dict[int, int]:
        """The exit status of every process; once one has failed, the others are told to end."""
        pending, exits, passed_on = dict(zip(runs, range(len(runs)), strict=True)), dict[int, int](), 0
        while pending:
            ended, _ = ray.wait(list(pending), num_returns=1, timeout=LOOK)
            for one in ended:
                rank = pending.pop(one)
                exits[rank] = _outcome(one, folder)
                if exits[rank] and pending:
                    _pass_on([workers[other] for other in pending.values()], signal.SIGKILL)
            for number in self._signals[passed_on:]:
                passed_on += 1
                _pass_on([workers[rank] for rank in pending.values()], number if passed_on == 1 else signal.SIGKILL)
        return exits

    def _store(self, first: Any) -> None:
        if self._options.ray_storage_path:
            target = f"{self._options.ray_storage_path.rstrip('/')}/{self._name}"
            ray.get(first.store.remote(str(Path(self._output_dir).resolve()), target))
            say(f"Copied to {target}.")

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Within it, a first signal goes to every process, which then writes its share of a checkpoint; a second ends them."""

        def note(number: int, frame: FrameType | None) -> None:
            self._signals.append(number)

        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may install handlers
            return
        before = {number: signal.signal(number, note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _outcome(run: Any, folder: RunFolder) -> int:
    try:
        status, ends = ray.get(run)
    except RayActorError:  # its machine is gone
        return LOST
    for end in ends:
        folder.keep(End(**end))
        status = status or (end["status"] if end["status"] != INTERRUPTED else 0)
    return int(status)


def _pass_on(workers: Sequence[Any], number: int) -> None:
    for worker in workers:
        worker.signal.remote(int(number))
