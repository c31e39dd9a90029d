"""Is every scenario that the player serves what VMAS itself plays, to the last bit, for 1,000 steps?

    uv run python benchmarks/vmas_fidelity.py                   # those that have not been played yet
    uv run python benchmarks/vmas_fidelity.py wheel sampling    # these, again

Each is the slow test of ``tests/unit/test_player_vmas_scene.py`` in a process of its own, since the random numbers of
VMAS belong to the process: the scene's observations, rewards and ends against those of VMAS driven directly, with the
same seed and the same random actions. From seconds to seven minutes each. One JSON line per scenario is appended to
``benchmarks/results/vmas_fidelity.jsonl``; ``benchmarks/tables.py`` tells docs/vmas.md.
"""

import os
import subprocess
import sys
import time

from result_lines import FOLDER, ROOT, append, commit, read

from mlagents_marl_plugin.player.scenes.vmas_options import scenarios

RESULTS = FOLDER / "vmas_fidelity.jsonl"
TEST = "tests/unit/test_player_vmas_scene.py::test_a_scenario_is_what_vmas_plays_for_1000_steps"


def compare(scenario: str) -> dict:
    """One scenario's line. A comparison that could not be made at all ends the program."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "slow",
        "-p",
        "no:cacheprovider",
        "--timeout=0",
        f"{TEST}[{scenario}]",
    ]
    begin = time.monotonic()
    done = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{scenario}: the comparison did not run:\n{done.stdout}{done.stderr}")
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    return {
        "scenario": scenario,
        "same": done.returncode == 0,
        "seconds": round(time.monotonic() - begin, 1),
        "commit": commit(),
    }


def newest(lines: list[dict]) -> dict[str, dict]:
    """The last line of each scenario, by name."""
    return {line["scenario"]: line for line in lines}


def sentence(lines: list[dict]) -> list[str]:
    """What was found, for a page."""
    runs = newest(lines)
    served = sorted(scenarios())
    same = [name for name in served if name in runs and runs[name]["same"]]
    other = [name for name in served if name in runs and not runs[name]["same"]]
    missing = [name for name in served if name not in runs]
    parts = [f"The same for 1,000 steps: {len(same)} of {len(served)} ({', '.join(same)})."]
    parts += [f"Not the same: {', '.join(other)}."] if other else []
    parts += [f"Not played yet: {', '.join(missing)}."] if missing else []
    commits = ", ".join(sorted({line["commit"] for line in runs.values()}))
    return [" ".join(parts) + f" Commit {commits}."]


def main() -> None:
    """See the module's text."""
    done = newest(read(RESULTS))
    wanted = sys.argv[1:] or [name for name in sorted(scenarios()) if name not in done]
    for scenario in wanted:
        if scenario not in scenarios():
            raise SystemExit(
                f"no scenario {scenario!r} is served; there are {', '.join(sorted(scenarios()))}"
            )
        append(RESULTS, compare(scenario))


if __name__ == "__main__":
    main()
