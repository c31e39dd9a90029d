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
from mlagents_marl_plugin.algorithms import (
    ALGORITHMS,
    coma_config,
    maddpg_config,
    mappo_config,
    masac_config,
    qmix_config,
)

DOCS = Path(__file__).resolve().parent
PAGES = {
    "maddpg": maddpg_config.MaddpgConfig,
    "mappo": mappo_config.MappoConfig,
    "masac": masac_config.MasacConfig,
    "coma": coma_config.ComaConfig,
    "qmix": qmix_config.QmixConfig,
}
COMMON_PAGE = "maddpg"  # where the fields of every trainer type stand; the other pages point to it


def field_texts(cls: type) -> dict[str, str]:
    """The text under each field of a class, by field; where a class gives none, that of its bases.

    How much data comes first (the first base), then what is the class's own, then what its other bases add.
    """
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if attr.has(base):
            texts |= _own_texts(base)
    inherited = [list(attr.fields_dict(base)) for base in cls.__bases__ if attr.has(base)]
    order = [*inherited[:1], list(_own_texts(cls)), *inherited[1:]]
    return {field: texts[field] for fields in order for field in fields}


def _own_texts(cls: type) -> dict[str, str]:
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


def table(cls: type, family: str) -> list[str]:
    """Markdown rows: field, default (and where the family's presets differ), meaning."""
    learner, base = ALGORITHMS[family].learner, settings.SCHEMAS[family]
    presets = [name for name, algorithm in ALGORITHMS.items() if algorithm.learner is learner]
    rows = ["| field | default | meaning |", "| --- | --- | --- |"]
    for field, text in field_texts(cls).items():
        default = _shown(base, field)
        shown = {name: _shown(settings.SCHEMAS[name], field) for name in presets}
        others = {name: value for name, value in shown.items() if value != default}
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
        before, begin, rest = text.partition(f"<!-- {name}:begin -->\n")
        _, end, after = rest.partition(f"<!-- {name}:end -->")
        if not begin or not end:
            raise ValueError(
                f"{page}: expected <!-- {name}:begin --> and <!-- {name}:end -->, got neither or one"
            )
        text = f"{before}<!-- {name}:begin -->\n" + "\n".join(rows) + f"\n<!-- {name}:end -->{after}"
    return text


def main() -> int:
    """See the module's text."""
    differing = False
    for family, config in PAGES.items():
        page = DOCS / "algorithms" / f"{family}.md"
        tables = {"config": table(config, family)}
        if family == COMMON_PAGE:
            tables["group"] = table(settings.GroupSettings, family)
        new = fill(page, tables)
        differing |= new != page.read_text(encoding="utf-8")
        if "--check" not in sys.argv:
            page.write_text(new, encoding="utf-8")
    return int(differing and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
