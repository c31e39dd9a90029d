"""Updates per second of the QMIX learner alone, beside the machine's matrix products and TorchRL.

    uv run python benchmarks/value_speed.py [--peer torchrl=PYTHON] [--device cuda]

Batches of 256 joint steps, drawing them included; separate networks of 2 x 128, observation 24, 9 choices, a mixing
network of 32 units over the joint observation. Ours with its defaults, clipping and double Q among them; TorchRL's loss
has no double Q, and so a pass less per update. How it is measured and how the peer's environment is made: see
learner_speed.py.

The table is printed and written to benchmarks/results/value_speed_<device>.md.
"""

import learner_speed

AGENTS, BATCH = (2, 8, 32), 256
PROGRAMS = {"ours": "ours_qmix.py", learner_speed.BOUND: "products_qmix.py", "torchrl": "torchrl_qmix.py"}


def main() -> None:
    """See the module's text."""
    options, peers = learner_speed.options_of(__doc__, ("torchrl",), seconds=1.5, agents="2, 8 and 32")
    learner_speed.PROGRAMS.update(PROGRAMS)  # its programs, its turns, but this task
    rows = []
    for agents in options.agents or AGENTS:
        rates = learner_speed.measure(agents, BATCH, peers, options)
        rows.append(learner_speed.row(agents, BATCH, rates))
        begin = [] if len(rows) > 1 else learner_speed.head(peers, options)
        print("\n".join([*begin, rows[-1]]), flush=True)
    output = options.output or learner_speed.FOLDER / "results" / f"value_speed_{options.device}.md"
    output.write_text("\n".join([*learner_speed.head(peers, options), *rows, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
