"""How agents of other libraries become Unity behaviours: same name but for the number, same sensors and actions."""

import re
from collections.abc import Hashable, Sequence

_NUMBER = re.compile(r"[ _-]*\d+$")
_NAMELESS = "Agent"


def sort_into_kinds(names: Sequence[str], traits: Sequence[Hashable]) -> list[tuple[str, list[int]]]:
    """Behaviour name and members (indices) of each kind, in the order of their first members.

    Args:
        names: of all agents, such as ``adversary_0``.
        traits: what agents of one behaviour have in common besides their name: sensors, actions.

    Returns:
        Names such as ``Adversary``. Kinds with the same name but other traits carry their first member's
        index: ``Agent0``, ``Agent2``. Agents whose name is only a number are ``Agent``.
    """
    members: dict[tuple[str, Hashable], list[int]] = {}
    for index, (name, trait) in enumerate(zip(names, traits, strict=True)):
        members.setdefault((camel(_NUMBER.sub("", name)) or _NAMELESS, trait), []).append(index)
    called = [name for name, _ in members]
    return [
        (f"{name}{agents[0]}" if called.count(name) > 1 else name, agents)
        for (name, _), agents in members.items()
    ]


def camel(name: str) -> str:
    """``simple_tag`` to ``SimpleTag``."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[ _-]+", name))
