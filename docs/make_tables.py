"""Writes the tables of settings in docs/algorithms from the classes that define them.

uv run python docs/make_tables.py           # rewrite
uv run python docs/make_tables.py --check   # exit 1 if a page is not up to date
"""

import ast
import inspect
import sys
from enum import Enum
from pathlib import Path

import attr

from mlagents_marl_plugin.adapter import settings
from mlagents_marl_plugin.algorithms import maddpg_config

DOCS = Path(__file__).resolve().parent
PRESETS = {
    "maddpg": settings.MaddpgSettings,
    "matd3": settings.Matd3Settings,
    "iddpg": settings.IddpgSettings,
    "maddpg_shared": settings.MaddpgSharedSettings,
    "matd3_shared": settings.Matd3SharedSettings,
}


def field_texts(cls: type) -> dict[str, str]:
    """The text under each field of a class, by field."""
    (body,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(body, ast.ClassDef)
    texts, field = {}, None
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            field = node.target.id
        elif field and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            texts[field] = " ".join(str(node.value.value).split())
            field = None
    return texts


def table(cls: type) -> list[str]:
    """Markdown rows: field, default (and where presets differ), meaning."""
    base = PRESETS["maddpg"]
    rows = ["| field | default | meaning |", "| --- | --- | --- |"]
    for field, text in field_texts(cls).items():
        default = _shown(base, field)
        others = {
            name: _shown(preset, field)
            for name, preset in PRESETS.items()
            if _shown(preset, field) != default
        }
        differing = "".join(f"; {name}: {value}" for name, value in others.items())
        rows.append(f"| `{field}` | {default}{differing} | {text} |")
    return rows


def _shown(cls: type, field: str) -> str:
    value = attr.fields_dict(cls)[field].default
    if isinstance(value, Enum):
        value = value.value
    if value is None or value == "":
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def fill(page: Path, tables: dict[str, list[str]]) -> str:
    """The page's text with the blocks between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->`` replaced."""
    text = page.read_text(encoding="utf-8")
    for name, rows in tables.items():
        before, _, rest = text.partition(f"<!-- {name}:begin -->\n")
        _, _, after = rest.partition(f"<!-- {name}:end -->")
        text = f"{before}<!-- {name}:begin -->\n" + "\n".join(rows) + f"\n<!-- {name}:end -->{after}"
    return text


def main() -> int:
    """See the module's text."""
    page = DOCS / "algorithms" / "maddpg.md"
    tables = {"config": table(maddpg_config.MaddpgConfig), "group": table(settings.GroupSettings)}
    new = fill(page, tables)
    if "--check" in sys.argv:
        return int(new != page.read_text(encoding="utf-8"))
    page.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
