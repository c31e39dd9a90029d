"""What part of a run of ML-Agents' own PPO the player takes, by scene.

    uv run python benchmarks/player_share.py [SCENE ...]

Stock PPO through the real mlagents-learn, networks 2 x 128, batch 1,024, buffer 10,240, 3 epochs, one torch thread. The
share is the player's own processor time per agent step (as it wrote into its log) over the wall time per agent step (by
the host's clock, from the first summary to the last). Measure on a quiet machine: waiting makes the share look small.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from host_speed import ON_POLICY, ROOT, free_port, rate_of
from player_speed import BENCHES

PLAYED = re.compile(r"([0-9]+) agent-steps per CPU second")
# Areas with 32 agents in all, or the nearest; a battle has 81 that the trainer leads.
AREAS = {"Dispersion": 11, "SimpleSpread": 11, "Parallel": 11, "Battle": 1}


def configuration(steps: int) -> dict[str, Any]:
    """Stock PPO for whatever behaviours the scene has."""
    return {
        "default_settings": {
            "trainer_type": "ppo",
            "hyperparameters": ON_POLICY,
            "network_settings": {"hidden_units": 128, "num_layers": 2},
            "max_steps": steps,
            "time_horizon": 64,
            "summary_freq": steps // 8,
            "checkpoint_interval": 100_000_000,
        }
    }


def measure(name: str, steps: int, folder: Path) -> tuple[float, float]:
    """Agent steps per second of the whole run, and per second of the player's processor time."""
    scene, options, _ = BENCHES[name]
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(configuration(steps)))
    command = [str(Path(sys.executable).with_name("mlagents-learn")), str(path)]
    command += [f"--env={ROOT / 'unity_builds' / scene}", "--run-id=run", f"--results-dir={folder}"]
    command += [f"--base-port={free_port()}", "--torch-device=cpu", "--seed=1"]
    command += [f"--num-areas={AREAS.get(name, 16)}"]
    command += ["--env-args", *options] if options else []
    whole = rate_of(command)
    log = (folder / "run" / "run_logs" / "Player-0.log").read_text(encoding="utf-8")
    found = PLAYED.search(log)
    if found is None:
        raise RuntimeError(f"the player's log has no figure:\n{log}")
    return whole, float(found[1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", nargs="*", help=f"of {', '.join(BENCHES)} (default: all)")
    parser.add_argument("--steps", type=int, default=60_000, help="agent steps per run")
    options = parser.parse_args()
    unknown = set(options.scenes) - set(BENCHES)
    if unknown:
        parser.error(f"expected scenes of {', '.join(BENCHES)}, got {', '.join(sorted(unknown))}")
    print("| scene | areas | agent steps/s of the run | per CPU second of the player | the player's share |")
    print("| --- | --- | --- | --- | --- |")
    for name in options.scenes or BENCHES:
        with tempfile.TemporaryDirectory() as folder:
            whole, player = measure(name, options.steps, Path(folder))
        areas = AREAS.get(name, 16)
        print(f"| {name} | {areas} | {whole:,.0f} | {player:,.0f} | {whole / player:.0%} |", flush=True)


if __name__ == "__main__":
    main()
