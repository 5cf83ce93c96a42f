"""Rows of datasets that lie on a hub or in an object store: their files are fetched, and read by the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.contracts import Source
from tunesmith.defaults.local_files import rows_of
from tunesmith.errors import TunesmithError
from tunesmith.model_stores import value_in

from tunesmith_hubs import places
from tunesmith_hubs.repository import Hub, Name, Repository
from tunesmith_hubs.splits import CARD, Wanted, choose_files, one_type, readable

if TYPE_CHECKING:
    from tunesmith.plan import DatasetPlan, Plan


class HubRows(Source):
    """Rows of the files that an entry names, file by file: each is fetched when its rows are asked for.

    ``key`` is the key of the entry, ``token_key`` the flat key of the hub's token; ``whole``: every file at the place belongs
    to the dataset, whatever it is called.
    """

    hub: Callable[[places.Value], Hub]
    key: str
    token_key: str = ""
    whole: bool = False

    def __init__(self, dataset: DatasetPlan, plan: Plan) -> None:
        def value(key: str) -> Any:
            return value_in(plan, key)

        hub = type(self).hub(value)
        revision = str(dataset.entry.get("revision") or hub.branch)
        name = Name(str(dataset.entry[self.key]), "dataset", revision, self.token_key)
        self._dataset, self._repository = dataset, Repository(hub, name, places.memory_folder(value), dataset.version)

    def version(self) -> str:
        """The commit of the repository, or a hash over all its files."""
        with _about(self._dataset):
            return self._repository.version

    def files(self) -> Sequence[Path]:
        """The files of the dataset, fetched."""
        with _about(self._dataset):
            return [self._repository.file(path) for path in self._paths]

    def rows(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each row with the file of the repository that it is in."""
        with _about(self._dataset):
            paths = self._paths
        for path in paths:
            with _about(self._dataset):
                file = self._repository.file(path)
            shown = f"{self._repository.name.name}@{self._repository.version[:12]}/{path}"
            for place, row in rows_of(file):
                yield place.replace(str(file), shown, 1), row

    @cached_property
    def _paths(self) -> list[str]:
        paths = self._repository.listing.files
        if self.whole:
            return one_type(readable([path for path in sorted(paths) if not Path(path).name.startswith((".", "_"))]))
        card = self._repository.file(CARD).read_text(encoding="utf-8") if CARD in paths else ""
        return choose_files(paths, card, Wanted.of(self._dataset.entry))


@contextmanager
def _about(dataset: DatasetPlan) -> Iterator[None]:
    """Say in errors which dataset they are about."""
    try:
        yield
    except TunesmithError as error:
        raise TunesmithError(f"{dataset.name}: {error.message}", error.hint) from error


class HuggingFaceRows(HubRows):
    """``hf_hub_url``."""

    hub = places.hugging_face
    key, token_key = "hf_hub_url", "hf_hub_token"


class ModelScopeRows(HubRows):
    """``ms_hub_url``."""

    hub = places.modelscope
    key, token_key = "ms_hub_url", "ms_hub_token"


class ModelersRows(HubRows):
    """``om_hub_url``."""

    hub = places.modelers
    key, token_key = "om_hub_url", "om_hub_token"


class ObjectStoreRows(HubRows):
    """``cloud_file_name``."""

    hub = places.object_store
    key, whole = "cloud_file_name", True
