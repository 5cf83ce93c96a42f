"""What a quantizer says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tunesmith.spec import Spec, Switch


@dataclass(frozen=True)
class QuantizerSpec(Spec):
    """Low-bit weights (``quantization_method``).

    :param bits: what ``quantization_bit`` may be; empty where it only reads models that are quantised already.
    :param aliases: other names that users know.
    :param reads: the models that are quantised already and that it loads, as ``quant_method`` in their ``config.json`` says.
    :param stores: what a quantised weight takes in memory, in bits with its share of the scales, by ``quantization_bit``.
    :param kernels: the kinds of kernel beyond torch's own that it is made of (``cutlass``), by bits, 0 for models that
        are quantised already; the backend must run them.
    :param packages: what some bits need beyond ``needs``, in the same words.
    :param shards: bits whose weights it can store in the format that is computed in, so that processes can share them out.
    :param trains: what can learn over its weights: ``"adapters"``, ``"anything"`` where a model is loaded into plain weights to
        be trained or merged (always, where there are no ``kernels`` for packed ones), or ``"nothing"``.
    :param layers: what holds the weights: ``"linear"``, kinds of torch's linear layer; ``"tensor"``, torch's own with weights
        that know few operations; or ``"own"``, layers that nobody knows who was not told.
    :param writes: the bits in which a model that it has quantised can be saved, to be shipped.
    :param unwritten: why it can save none, where users would expect it to.
    :param methods: other names of ``quantization_method`` by which it quantises a model that lies in a folder and saves it
        (:meth:`tunesmith.contracts.Quantizer.write`), with the bits of each.
    :param calibrated: those of them that look at data.
    :param writes_in: the stack that this is done in.
    :param plain_with: the switch with which weights stay plain while training and layers compute with what they will be
        (quantisation-aware training), so that they can learn themselves.
    """

    bits: tuple[int, ...] = ()
    aliases: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    stores: Mapping[int, float] = field(default_factory=dict)
    kernels: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    packages: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    shards: tuple[int, ...] = ()
    trains: Literal["adapters", "anything", "nothing"] = "adapters"
    layers: Literal["linear", "tensor", "own"] = "linear"
    writes: tuple[int, ...] = ()
    unwritten: str = ""
    methods: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    calibrated: tuple[str, ...] = ()
    writes_in: str = ""
    plain_with: Switch | None = None
