"""What a run survives, for longer than tests can: faults at random moments, and sheer length.

    uv run python benchmarks/soak.py kills --count 200
    uv run python benchmarks/soak.py players --count 48
    uv run python benchmarks/soak.py editor --count 30
    uv run python benchmarks/soak.py settings --count 50
    uv run python benchmarks/soak.py memory --agent-steps 2000000

Each prints a line per fault and a row for docs/faults.md; the exit code is 1 if one was not survived. The files in
``benchmarks/soaks`` say what each does.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for what the tests compare rows with


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["kills", "players", "editor", "settings", "memory"])
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", help="of faults of players; default all")
    parser.add_argument("--agent-steps", type=int, default=2_000_000, help="of the long run")
    parser.add_argument(
        "--samples", type=Path, help="a file for what the long run held, a JSON line per look"
    )
    options = parser.parse_args()
    # Each is imported when it is asked for: they need the host, and it takes seconds to import.
    if options.what == "kills":
        from soaks import kills

        survived = kills.soak(options.count, options.seed)
    elif options.what == "players":
        from soaks import players

        survived = players.soak(options.count, options.seed, options.kinds or players.ALL)
    elif options.what == "editor":
        from soaks import editor

        survived = editor.soak(options.count)
    elif options.what == "settings":
        from soaks import settings

        survived = settings.soak(options.count, options.seed)
    else:
        from soaks import memory

        survived = memory.soak(options.agent_steps, options.samples)
    return int(not survived)


if __name__ == "__main__":
    sys.exit(main())
