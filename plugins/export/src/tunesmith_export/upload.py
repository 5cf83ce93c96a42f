"""An export's folder sent to the Hugging Face Hub, with the hub's own library."""

from __future__ import annotations

from pathlib import Path

from tunesmith import TunesmithError
from tunesmith.hub_errors import plain_words
from tunesmith.plan import Plan


def push(plan: Plan, folder: Path) -> str:
    """Make the repository if there is none and put the folder into it, in one commit.

    :return: where it is now.
    :raises TunesmithError: the hub takes it not; the folder stays as it is.
    """
    from huggingface_hub import HfApi

    name, branch = plan["export_hub_model_id"], plan["export_hub_revision"]
    api = HfApi(token=plan["hf_hub_token"])
    try:
        with plain_words(name, branch or "main", "hf_hub_token"):
            made = api.create_repo(name, private=plan["export_hub_private"], exist_ok=True)
            if branch:
                api.create_branch(made.repo_id, branch=branch, exist_ok=True)
            done = api.upload_folder(
                repo_id=made.repo_id, folder_path=folder, revision=branch, commit_message="Upload by Tunesmith"
            )
    except TunesmithError as error:
        hint = f"{error.hint} What was exported is in {folder}; hf upload {name} {folder} sends it later."
        raise TunesmithError(f"The export was not uploaded: {error.message}", hint.strip()) from error
    return f"{made.url} at {done.oid[:12]}"
