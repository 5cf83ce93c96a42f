"""Datasets of the Hugging Face Hub, by huggingface_hub and in its cache."""

from __future__ import annotations

from pathlib import Path

from tunesmith.hub_errors import plain_words

from tunesmith_hubs.repository import Hub, Listing, Name, within


class HuggingFace(Hub):
    """The hub that ``HF_ENDPOINT`` names, huggingface.co by default."""

    title = "Hugging Face"

    def __init__(self, cache: Path | None, token: str | None) -> None:
        self._cache, self._token = cache, token

    def listing(self, name: Name) -> Listing:
        """As its page lists it, with the commit."""
        from huggingface_hub import HfApi

        with plain_words(name.name, name.revision, name.token_key):
            info = HfApi(token=self._token).repo_info(name.name, repo_type=name.kind, revision=name.revision)
        return Listing(str(info.sha), {one.rfilename: "" for one in info.siblings or ()})

    def place(self, name: Name, version: str, path: str) -> Path:
        """In the snapshot of the commit."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        root = self._cache or Path(constants.HF_HUB_CACHE)
        return within(root / repo_folder_name(repo_id=name.name, repo_type=name.kind) / "snapshots" / version, path)

    def fetch(self, name: Name, listing: Listing, path: str) -> None:
        """Into the cache; an interrupted download goes on."""
        from huggingface_hub import hf_hub_download

        with plain_words(name.name, name.revision, name.token_key):
            hf_hub_download(
                name.name,
                path,
                repo_type=name.kind,
                revision=listing.version,
                cache_dir=self._cache,
                token=self._token,
            )
