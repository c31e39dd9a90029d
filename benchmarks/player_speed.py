"""How many Tennis agent-steps the player makes per second of its own CPU time, protocol included.

    python benchmarks/player_speed.py [--areas 32] [--steps 2000] [--repeats 3]

The other side is mlagents' own UnityEnvironment in this process, which sends random actions. The figure is
what the player itself counted (``time.process_time`` since the first reset) and wrote at the end of its log.
Measure on a quiet machine: a busy one makes every step cost more, since caches are cold.
"""

import argparse
import re
import socket
import statistics
import tempfile
from pathlib import Path

from mlagents_envs.environment import UnityEnvironment

from mlagents_marl_plugin.player.launchers import install

TARGET = 30_000


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(folder: Path, areas: int, steps: int) -> float:
    """Agent-steps per CPU second of one player, started anew."""
    environment = UnityEnvironment(
        str(folder / "Tennis"),
        base_port=free_port(),
        num_areas=areas,
        log_folder=str(folder),
        timeout_wait=30,
    )
    try:
        environment.reset()
        (behavior,) = environment.behavior_specs
        action_spec = environment.behavior_specs[behavior].action_spec
        for _ in range(steps):
            decisions, _ = environment.get_steps(behavior)
            environment.set_actions(behavior, action_spec.random_action(len(decisions)))
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
    parser.add_argument("--areas", type=int, default=32)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        rates = [measure(Path(folder), arguments.areas, arguments.steps) for _ in range(arguments.repeats)]
    listed = ", ".join(f"{rate:,.0f}" for rate in rates)
    print(
        f"Tennis, {arguments.areas} areas, {arguments.steps} steps: {statistics.median(rates):,.0f} "
        f"agent-steps per CPU second of the player (runs: {listed}; target at 32 areas {TARGET:,})"
    )


if __name__ == "__main__":
    main()
