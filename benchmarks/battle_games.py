"""How many battles a trained model wins: the red army is the model's, the blue one random or scripted.

    python benchmarks/battle_games.py results/battle_ippo/Battle.onnx [--games 200] [--decisions 500]

A battle is won by more survivors. The interval is Wilson's, of 95 %.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from mlagents_marl_plugin.player.scenes.battle_field import BLUE, RED, BattleField
from mlagents_marl_plugin.player.scenes.battle_opponents import opponent
from mlagents_marl_plugin.player.scenes.battle_options import BattleOptions
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy

AT_A_TIME = 10


def play(
    policy: OnnxPolicy, games: Sequence[int], options: BattleOptions, greedy: bool
) -> list[tuple[int, int]]:
    """Survivors (red, blue) of battles with these seeds, fought side by side."""
    fields = [BattleField(seed, options) for seed in games]
    players = [opponent(options.opponent, seed, 0) for seed in games]
    views = [field.army(RED).view for field in fields]
    for _ in range(options.max_steps):
        counts = np.cumsum([0, *map(len, views)])
        rows = np.concatenate(views).reshape(counts[-1], -1)
        _, choice = policy.act([rows], None, greedy)
        for index, (field, player) in enumerate(zip(fields, players, strict=True)):
            if field.over or player is None:
                continue
            own = choice[counts[index] : counts[index + 1], 0].astype(np.int64)
            red, _ = field.step((own, player.act(field, BLUE)))
            views[index] = red.view[red.alive & (not field.over)]
        if all(field.over for field in fields):
            break
    return [(field.num_living(RED), field.num_living(BLUE)) for field in fields]


def wilson(wins: int, games: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    z = 1.96
    share, spread = wins / games, z * z / games
    half = z * math.sqrt(share * (1 - share) / games + spread / (4 * games))
    return (share + spread / 2 - half) / (1 + spread), (share + spread / 2 + half) / (1 + spread)


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--games", type=int, default=200)
    parser.add_argument("--decisions", type=int, default=500)
    parser.add_argument("--opponent", choices=("random", "scripted"), default="random")
    parser.add_argument("--seed", type=int, default=1000, help="of the first battle")
    parser.add_argument("--stochastic", action="store_true", help="draw actions instead of the likeliest")
    arguments = parser.parse_args()
    onnxruntime.set_seed(arguments.seed)
    options = BattleOptions(arguments.opponent, max_steps=arguments.decisions)
    policy = OnnxPolicy(arguments.model)
    seeds = range(arguments.seed, arguments.seed + arguments.games)
    survivors = [
        result
        for first in range(0, arguments.games, AT_A_TIME)
        for result in play(policy, seeds[first : first + AT_A_TIME], options, not arguments.stochastic)
    ]
    wins = sum(red > blue for red, blue in survivors)
    draws = sum(red == blue for red, blue in survivors)
    low, high = wilson(wins, arguments.games)
    red, blue = np.mean(survivors, axis=0)
    print(
        f"{wins} of {arguments.games} battles won ({100 * wins / arguments.games:.1f} %, 95 % interval "
        f"{100 * low:.1f} to {100 * high:.1f}), {draws} drawn; survivors red {red:.1f}, blue {blue:.1f}"
    )


if __name__ == "__main__":
    main()
