"""What can be asked of the battle."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

OPPONENTS = ("random", "scripted", "self-play", "shared")
GROUPS = ("side", "none")
_SMALLEST_MAP = 12  # MAgent2's own


@dataclass(frozen=True)
class BattleOptions:
    """What the scene shows. Rewards are those of MAgent2's ``battle_v4``, for each soldier by itself.

    Attributes:
        opponent: who leads the blue army (right): a ``random`` or a ``scripted`` player inside the scene, the
            trainer as team 1 (``self-play``), or the trainer's one policy that leads the red army too
            (``shared``).
        map_size: cells along each side; 45 gives 81 soldiers to each army.
        max_steps: decisions after which a battle is interrupted; 0 is never.
        groups: each army forms a multi-agent group (``side``), or there are none.
        visual: send the view as a camera would (channels, rows, columns) instead of one flat vector.
        minimap: two more channels that show where armies are on the whole map, and the soldier's own place.
        extra_features: tell each soldier its number, last action and last reward.
        step_reward: for every decision of a living soldier.
        dead_penalty: for dying.
        attack_penalty: for every attack, whomever it hits.
        attack_opponent_reward: for an attack that hits an opponent; whoever kills one earns 5 more.
    """

    opponent: str = OPPONENTS[0]
    map_size: int = 45
    max_steps: int = 500
    groups: str = GROUPS[0]
    visual: bool = False
    minimap: bool = False
    extra_features: bool = False
    step_reward: float = -0.005
    dead_penalty: float = -0.1
    attack_penalty: float = -0.1
    attack_opponent_reward: float = 0.2

    def __post_init__(self) -> None:
        if self.map_size < _SMALLEST_MAP:
            raise ValueError(
                f"Battle.map_size: expected a whole number >= {_SMALLEST_MAP}, got {self.map_size}; "
                "the armies need room"
            )
        if self.max_steps < 0:
            raise ValueError(
                f"Battle.max_steps: expected a whole number >= 0, got {self.max_steps}; 0 never interrupts"
            )


def add_options(parser: ArgumentParser, _arguments: Sequence[str]) -> None:
    """Declare what a user may change about the scene."""
    defaults = BattleOptions()
    options = parser.add_argument_group("options of Battle")
    options.add_argument(
        "--opponent",
        choices=OPPONENTS,
        default=defaults.opponent,
        help="who leads the blue army: random or scripted soldiers, Battle?team=1 (self-play), or the policy "
        "that leads the red one too (shared) (default %(default)s)",
    )
    options.add_argument(
        "--map-size",
        type=int,
        default=defaults.map_size,
        metavar="N",
        help="cells along each side (default %(default)s, with 81 soldiers to an army)",
    )
    options.add_argument(
        "--max-steps",
        type=int,
        default=defaults.max_steps,
        metavar="N",
        help="decisions after which a battle is cut short; 0 is never (default %(default)s)",
    )
    options.add_argument(
        "--groups",
        choices=GROUPS,
        default=defaults.groups,
        help="each army forms a SimpleMultiAgentGroup, or nobody does (default %(default)s)",
    )
    options.add_argument(
        "--visual", action="store_true", help="send the view as a camera's picture instead of one flat vector"
    )
    options.add_argument(
        "--minimap", action="store_true", help="show in two more channels where the armies are"
    )
    options.add_argument(
        "--extra-features", action="store_true", help="tell soldiers their number, last action and reward"
    )
    for name, meaning in (
        ("step_reward", "for every decision of a living soldier"),
        ("dead_penalty", "for dying"),
        ("attack_penalty", "for every attack"),
        ("attack_opponent_reward", "for an attack that hits an opponent"),
    ):
        options.add_argument(
            f"--{name.replace('_', '-')}",
            type=float,
            default=getattr(defaults, name),
            metavar="X",
            help=f"reward {meaning} (default %(default)s)",
        )


def options_from(arguments: Namespace) -> BattleOptions:
    """The scene's options from the command line.

    Raises:
        ValueError: if one is out of range, or MAgent2 is not installed.
    """
    if find_spec("magent2") is None:
        raise ValueError(
            "Battle: expected the package magent2 beside this one, got none; run "
            "'pip install --no-deps magent2==0.3.4' (what it depends on contradicts mlagents and is not needed)"
        )
    return BattleOptions(**{name: getattr(arguments, name) for name in BattleOptions.__dataclass_fields__})
