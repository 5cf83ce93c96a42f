"""What is declared about devices, and about what makes computing on them faster or smaller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tunesmith.spec import Spec, Switch


@dataclass(frozen=True)
class AcceleratorSpec(Spec):
    """Makes the same computation faster or smaller, turned on by ``switch``.

    :param order: when it acts among the picked ones, low first.
    :param backends: the backends it works on, all when empty.
    :param kernels: the kinds of kernel that it is made of (``triton``); the backend must run them.
    :param elsewhere: a sentence that says what to use on a backend that does not.
    :param excludes: accelerators that cannot be picked beside it.
    :param attention: transformers' name of the attention kernel that it brings, for those that ``flash_attn`` switches on.
    :param dtypes: the number formats it computes in, all when empty.
    :param loads: it reads the weights of the model that learns in a way of its own.
    :param answers: it works on models that only answer as well, and can be picked by commands that train nothing.
    :param preflight: as that of a backend, for what needs a certain machine; ``doctor --backend NAME`` prints it too.
    :param losses: the losses it computes in place of a stage, by name (see :meth:`tunesmith.contracts.Accelerator.losses`).
    """

    switch: Switch | None = None
    order: int = 50
    backends: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    elsewhere: str = ""
    excludes: tuple[str, ...] = ()
    attention: str = ""
    dtypes: tuple[str, ...] = ()
    loads: bool = False
    answers: bool = False
    preflight: str = ""
    losses: tuple[str, ...] = ()


@dataclass(frozen=True)
class BackendSpec(Spec):
    """The device a run uses (``backend``).

    :param probe: ``"module:function"`` that returns a :class:`~tunesmith.contracts.Probe` without importing torch.
    :param preflight: ``"module:function"``, each line of ``doctor --backend NAME`` as a :class:`~tunesmith.contracts.Finding`.
    :param guard: ``"module:function"`` that every process calls before torch is imported, whichever backend its run uses: for
        packages of this one that would act on that import. It must be quick and safe to call twice.
    :param priority: with ``backend: auto`` the highest priority among those that are here wins.
    :param device: torch's name of the device type.
    :param visible_devices: the environment variable that limits which devices a process sees.
    :param dtypes: what it computes in, the default first.
    :param attention: the attention kinds it can train with, the default first, by transformers' names.
    :param attention_to_infer: those that it can only answer with.
    :param kernels: the kinds of hand-written kernel it runs beyond torch's own (``triton``, ``cutlass``).
    :param process_group: torch.distributed's name of the backend processes talk over.
    :param carries: names of quantizers and accelerators that work on it; all when empty.
    :param environment: variables that must be set before torch is imported.
    :param engine_stacks: engine → the stack that it lives in on this device, where that is another than the engine's own.
    """

    probe: str = ""
    preflight: str = ""
    guard: str = ""
    priority: int = 0
    device: str = "cpu"
    visible_devices: str | None = None
    dtypes: tuple[str, ...] = ("float32",)
    attention: tuple[str, ...] = ("sdpa", "eager")
    attention_to_infer: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    process_group: str = "gloo"
    carries: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    engine_stacks: Mapping[str, str] = field(default_factory=dict)
