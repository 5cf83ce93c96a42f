"""Models that AQLM has quantised, read by transformers with aqlm."""

from __future__ import annotations

from typing import ClassVar

from tunesmith.runtime.packing import AlreadyPacked


class AqlmQuantizer(AlreadyPacked):
    """AQLM (Egiazarian et al. 2024, arXiv:2401.06118): layers of the package aqlm."""

    layers: ClassVar[frozenset[str]] = frozenset({"QuantizedLinear"})
