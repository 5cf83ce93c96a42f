"""What a trained model's own run recorded of its template: served text is then the text that it was trained on."""

from __future__ import annotations

from typing import Any

from tunesmith.config import Setting
from tunesmith.errors import TunesmithError
from tunesmith.model_folder import read_json
from tunesmith.planning.choose import find_template_file
from tunesmith.planning.draft import Draft
from tunesmith.planning.models import find_in

#: Keys that decide how a conversation becomes text.
RECALLED = (
    "template", "default_system", "tool_format", "enable_thinking", "reasoning_effort", "preserve_thinking", "template_date",
)  # fmt: skip
FILE = "plan.json"


def recall(draft: Draft) -> None:
    """Take these keys from the plan that lies beside the adapter or model, unless the user names a template."""
    if draft.given("template") or draft.value("model_name_or_path") is None:
        return
    for name in (*reversed(draft.value("adapter_name_or_path") or ()), str(draft.value("model_name_or_path"))):
        settings = _recorded(draft, name)
        if template := settings.get("template", {}).get("value"):
            _take(draft, name, str(template), settings)
            return


def _recorded(draft: Draft, name: str) -> dict[str, Any]:
    folder = find_in(draft, name).folder
    try:
        settings = read_json(folder, FILE).get("settings", {}) if folder else {}
    except TunesmithError as error:
        draft.note_error("model_name_or_path", error)
        return {}
    return settings if isinstance(settings, dict) else {}


def _take(draft: Draft, name: str, template: str, settings: dict[str, Any]) -> None:
    file = template.partition(":")[0]
    if file.endswith(".toml") and find_template_file(file, draft.config.file) is None:
        draft.lacks(
            "template", f"{name} was trained with the template file {template}, which is not here", "Write template: FILE.toml"
        )
    for key in RECALLED:
        value = settings.get(key, {}).get("value")
        if value is not None and not draft.given(key) and key in draft.config.keys:
            draft.settings[key] = Setting(value, f"read from {name}/{FILE}", "host", given=True)
    draft.notices.append(f"{name} was trained with the template {template}, which is used here too")
