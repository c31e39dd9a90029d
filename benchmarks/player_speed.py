"""How many agent-steps the player makes per second of its own CPU time, protocol included, by scene.

    python benchmarks/player_speed.py [SCENE ...] [--areas 32] [--steps 1000] [--repeats 3]

The other side is mlagents' own UnityEnvironment in this process, which sends random actions. The figure is
what the player itself counted (``time.process_time`` since the first reset) and wrote at the end of its log.
For scenarios of VMAS it also says what a step takes beside VMAS's own work (random actions, area by area begun anew).
Measure on a quiet machine: a busy one makes every step cost more, since caches are cold.
"""

import argparse
import re
import socket
import statistics
import tempfile
import time
from pathlib import Path

import torch
from mlagents_envs.environment import UnityEnvironment
from vmas_tasks import AGENTS, TASKS, Areas

from mlagents_marl_plugin.player.launchers import install

# Each line of the table: the scene, its options, and the rate to reach (None: no figure was set).
BENCHES: dict[str, tuple[str, list[str], int | None]] = {
    "Tennis": ("Tennis", [], 30_000),
    "TennisVersus": ("TennisVersus", [], None),
    "Dispersion": ("Vmas", ["--scenario", "dispersion", "--n-agents", "3"], None),
    "Parallel": ("Parallel", ["--parallel-env", "pettingzoo.mpe.simple_spread_v2:parallel_env"], None),
    "SimpleSpread": ("Vmas", ["--scenario", "simple_spread"], None),
    "Battle": ("Battle", [], 25_000),
}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# The same scenarios driven directly.
DIRECT = {"Dispersion": TASKS["dispersion_0.05"], "SimpleSpread": TASKS["simple_spread"]}


def direct(name: str, areas: int, steps: int) -> float:
    """CPU milliseconds of a step of VMAS itself."""
    torch.set_num_threads(1)
    driven = Areas(areas, 0, DIRECT[name])
    actions = torch.rand(steps, areas, AGENTS, 2) * 2 - 1
    begin = time.process_time()
    for action in actions:
        driven.step(action)
    return (time.process_time() - begin) / steps * 1000


def measure(folder: Path, scene: str, options: list[str], areas: int, steps: int) -> float:
    """Agent-steps per CPU second of one player, started anew."""
    environment = UnityEnvironment(
        str(folder / scene),
        base_port=free_port(),
        num_areas=areas,
        log_folder=str(folder),
        timeout_wait=60,
        additional_args=options,
    )
    try:
        environment.reset()
        for _ in range(steps):
            for behavior, spec in environment.behavior_specs.items():
                decisions, _ = environment.get_steps(behavior)
                environment.set_actions(behavior, spec.action_spec.random_action(len(decisions)))
            environment.step()
    finally:
        environment.close()
    log = (folder / "Player-0.log").read_text(encoding="utf-8")
    found = re.search(r"([0-9]+) agent-steps per CPU second", log)
    if found is None:
        raise RuntimeError(f"the player's log has no figure:\n{log}")
    return float(found.group(1))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", nargs="*", help=f"of {', '.join(BENCHES)} (default: all)")
    parser.add_argument("--areas", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    unknown = set(arguments.scenes) - set(BENCHES)
    if unknown:
        parser.error(f"expected scenes of {', '.join(BENCHES)}, got {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        for name in arguments.scenes or BENCHES:
            scene, options, target = BENCHES[name]
            rates = [
                measure(Path(folder), scene, options, arguments.areas, arguments.steps)
                for _ in range(arguments.repeats)
            ]
            listed = ", ".join(f"{rate:,.0f}" for rate in rates)
            aim = f"; target {target:,}" if target else ""
            print(
                f"{name}, {arguments.areas} areas, {arguments.steps} steps: {statistics.median(rates):,.0f} "
                f"agent-steps per CPU second of the player (runs: {listed}{aim})",
                flush=True,
            )
            if name in DIRECT:
                alone = direct(name, arguments.areas, arguments.steps)
                message = arguments.areas * AGENTS / statistics.median(rates) * 1000
                print(
                    f"  {message:.2f} ms a message of {arguments.areas * AGENTS} agents, {alone:.2f} of them VMAS's: "
                    f"the player adds {message - alone:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
