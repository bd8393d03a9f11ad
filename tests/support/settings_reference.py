"""Writes docs/reference/settings.md: `python -m tests.support.settings_reference`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from tidewire.server.settings import SECTIONS, SettingField, Settings, setting_fields

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"

_HEAD = """# Settings

<!-- Written by tests/support/settings_reference.py from the classes in server/settings.py. -->

Built-in defaults are overruled by a TOML file (`--config FILE`), that by the environment
(`TIDEWIRE_SECTION__KEY`), and that by flags. A key that is not listed here is refused with its
path. A file holds one table a section:

```toml
[server]
port = 4000

[log]
format = "json"
```

A server of [several tenants](../operating/tenants.md) has a table `[tenants.NAME]` for each, with
any of these sections below it except `server`, `log` and `demo`; the settings of `tenant` stand in
that table itself. In the environment: `TIDEWIRE_TENANTS__NAME__SECTION__KEY`.
"""


def render_settings_page() -> str:
    """The page's text."""
    parts = [_HEAD]
    fields = setting_fields()
    for section in msgspec.structs.fields(Settings):
        if section.name not in SECTIONS:
            continue
        parts.append(f"\n## {section.name}\n\n{section.type.__doc__.strip()}\n")
        parts.append("\n| setting | type | default | variable | meaning |\n|---|---|---|---|---|\n")
        parts += [
            _row(field) for path, field in fields.items() if path.startswith(f"{section.name}.")
        ]
    return "".join(parts)


def _row(field: SettingField) -> str:
    name = field.path.partition(".")[2]
    default = msgspec.json.encode(field.default).decode()
    return (
        f"| `{name}` | {_type_name(field.type)} | `{default}` | `{field.environment_name}` "
        f"| {field.description} |\n"
    )


def _type_name(annotated: Any) -> str:
    bare = get_args(annotated)[0]
    if get_origin(bare) is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in get_args(bare))
    if get_origin(bare) is list:
        return "list of text"
    if get_origin(bare) is dict:
        return "table"
    return {int: "whole number", float: "number", str: "text", bool: "switch"}[bare]


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render_settings_page())
