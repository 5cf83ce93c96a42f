"""The datasets of a run: found, and matched with what the stage wants, before a row is read."""

from __future__ import annotations

from tunesmith.data.dataset_info import Asked, describe
from tunesmith.planning.choose import check_packages, choose_named
from tunesmith.planning.draft import Draft
from tunesmith.planning.quantizing import method_of

#: Which key names the datasets of which split.
KEYS = {"dataset": "train", "eval_dataset": "eval"}


def find_datasets(draft: Draft) -> None:
    """Fill ``draft.datasets``; pick their formats and sources."""
    if "trainers" not in draft.command.picks and not draft.command.wants:
        return
    wants = tuple(dict.fromkeys(kind for spec in draft.picked("trainers") or [draft.command] for kind in spec.wants))
    for key, split in _keys(draft).items():
        names = draft.value(key) or ()
        if not names:
            continue
        folder = draft.value("dataset_dir")
        found = describe(
            names,
            split,
            dataset_dir=folder,
            wants=wants,
            plugins=draft.plugins,
            asked=Asked(draft.config.origin(key), tuple(spec.name for spec in draft.picked("sources"))),
        )
        draft.problems += found.problems
        draft.missing += found.missing
        draft.datasets += tuple(found.datasets)
        for dataset in found.datasets:
            choose_named(draft, "formats", key, dataset.format)
            choose_named(draft, "sources", key, dataset.source)
            for axis, offer in draft.offers:
                if axis == "sources" and offer.spec.name == dataset.source:
                    check_packages(draft, axis, offer, key)


def _keys(draft: Draft) -> dict[str, str]:
    """The keys that name datasets; what is calibrated on counts as what is learned from, where anybody looks at it."""
    key = draft.command.calibrates
    if not key:
        return KEYS
    return (
        {key: "train"} if method_of(draft) in {name for spec in draft.picked("quantizers") for name in spec.calibrated} else {}
    )
