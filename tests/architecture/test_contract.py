"""docs/contract.md says of every item what works, and names tests that exist and have seen its messages."""

import ast
import re
from pathlib import Path

import pytest
from mlagents.trainers.cli_utils import parser

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "contract.md"
ITEMS = range(1, 99)


def rows() -> dict[int, list[str]]:
    """The cells behind each item's number."""
    found: dict[int, list[str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        match = re.match(r"\| C(\d+) \|(.*)\|$", line)
        if match:
            assert int(match[1]) not in found, f"C{match[1]} has two rows"
            found[int(match[1])] = [cell.strip() for cell in match[2].split(" | ")]
    return found


def find_tests() -> dict[str, str]:
    """``file.py::test`` -> the source of its module."""
    found = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[f"{path.name}::{node.name}"] = source
    return found


ROWS, TESTS = rows(), find_tests()


def test_every_item_has_a_row() -> None:
    assert sorted(ROWS) == list(ITEMS)
    assert all(len(cells) == 4 and all(cells) for cells in ROWS.values())


@pytest.mark.parametrize("item", ITEMS)
def test_a_row_names_tests_that_exist_and_messages_that_they_have_seen(item: int) -> None:
    _, off_policy, on_policy, named = ROWS[item]
    names = re.findall(r"`([^`]+)`", named)
    assert names
    assert [name for name in names if name not in TESTS] == []
    sources = "".join(TESTS[name] for name in names).replace("\\", "")
    for cell in (off_policy, on_policy):
        if "refused" in cell:
            for message in re.findall(r"`([^`]+: [^`]+|got [^`]+|but [^`]+)`", cell):
                assert message in sources, f"no test named there has seen {message!r}"


def test_every_flag_of_mlagents_learn_stands_in_a_row() -> None:
    page = PAGE.read_text(encoding="utf-8")
    flags = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
    assert len(flags) > 25
    assert sorted(flag for flag in flags - {"--help"} if f"`{flag}`" not in page) == []


def test_a_test_that_is_named_after_an_item_stands_in_its_row() -> None:
    missing = []
    for name in TESTS:
        numbers = re.match(r"test_((?:c\d+_)+)", name.split("::")[1])
        for number in re.findall(r"\d+", numbers[1]) if numbers else []:
            if name not in ROWS[int(number)][3]:
                missing.append(f"C{number}: {name}")
    assert missing == []
