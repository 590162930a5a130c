"""All settings as a table, for people."""

from __future__ import annotations

from clipserve.settings import ModelSettings, Settings
from clipserve.settings.access import AccessSettings
from clipserve.settings.label_sets import LabelSetSettings
from clipserve.settings.model import default_by_device

_SHOWN = {"models": "demo", "cache_dir": "~/.cache/clipserve", "state_dir": "~/.local/state/clipserve"}


def as_markdown() -> str:
    """All settings as the table of docs/settings.md. Those that may differ between models come last."""
    rows = ["| variable | default | meaning | by model |", "| --- | --- | --- | --- |"]
    fields = Settings.model_fields
    parts = (LabelSetSettings.model_fields, AccessSettings.model_fields, ModelSettings.model_fields)
    for name in sorted(fields, key=lambda name: [name in part for part in reversed(parts)]):
        default = _default_text(name)
        by_model = "yes" if name in ModelSettings.model_fields else ""
        variable = f"CLIPSERVE_{name.upper()}"
        rows.append(f"| `{variable}` | `{default}` | {fields[name].description} | {by_model} |")
    return "\n".join(rows)


def _default_text(name: str) -> str:
    if shown := _SHOWN.get(name) or default_by_device(name):
        return shown
    value = Settings.model_fields[name].default
    if isinstance(value, tuple):
        return ",".join(value) or "None"
    return str(value).lower() if isinstance(value, bool) else str(value)
