"""Records what the released Python package of ML-Agents 0.4 says to the fake build, for the tests to replay.

    python3.6 -m venv old && old/bin/pip install grpcio==1.11.0 protobuf==3.5.2 numpy pillow
    old/bin/pip install --no-deps unityagents==0.4.0
    old/bin/python tests/udacity/record_sessions.py PYTHON GAME SESSION

runs in that old environment; PYTHON is the interpreter for the fake build (any that has grpcio), SESSION is the file
to write. One game per run: the package cannot open a second environment. Its own checks of what a build sends run
too: shapes, pictures, ids. The very last answer, status 400, gets lost at times, as the package stops at once.
"""

import os
import sys
import tempfile

from unityagents import UnityEnvironment

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS = 24
SEED = 3


def actions(brain, num_agents, step):
    """What the tests decide too: multiples of a quarter, or choices in turns."""
    size = brain.vector_action_space_size
    if brain.vector_action_space_type == "discrete":
        return [(step + agent) % size for agent in range(num_agents)]
    return [[((step + agent + i) % 9 - 4) / 4 for i in range(size)] for agent in range(num_agents)]


def record(python, game, session):
    """One session."""
    with tempfile.TemporaryDirectory() as place:
        program = os.path.join(place, "Fake.x86_64")
        with open(program, "w") as script:
            script.write(f"#!/bin/sh\nexec '{python}' '{HERE}/fake_build.py' ")
            script.write(f"--game {game} --session '{session}' \"$@\"\n")
        os.chmod(program, 0o755)
        env = UnityEnvironment(program, base_port=5105, seed=SEED, no_graphics=True)
        infos = env.reset(train_mode=True)
        for step in range(STEPS):
            chosen = {
                name: actions(env.brains[name], len(infos[name].agents), step)
                for name in env.external_brain_names
            }
            infos = env.step(chosen)
            if env.global_done:
                infos = env.reset(train_mode=True)
        env.close()


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2], os.path.abspath(sys.argv[3]))
