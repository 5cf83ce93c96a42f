"""What this package offers: the accelerator ``cross-entropy``."""

from __future__ import annotations

from tunesmith import AcceleratorSpec, Switch, hookimpl

TUNESMITH_API = (1, 0)

ACCELERATOR = AcceleratorSpec(
    "cross-entropy",
    "tunesmith_cross_entropy.accelerator:ChunkedCrossEntropy",
    "The loss in chunks of tokens: all logits are never there at once.",
    options="tunesmith_cross_entropy.options:CrossEntropyOptions",
    switch=Switch("chunked_cross_entropy"),
    order=90,
    losses=("token",),
)


@hookimpl
def tunesmith_accelerators() -> list[AcceleratorSpec]:
    """It is pure torch and works on every backend."""
    return [ACCELERATOR]
