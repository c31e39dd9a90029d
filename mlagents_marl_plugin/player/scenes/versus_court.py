"""The court of competitive Tennis in numbers: metres, seconds, kilograms.

They are those of the last Tennis scene that ML-Agents shipped (about Release 13). What is not here is as in
``tennis_court``: masses, gravity, time step, bounce threshold, jump and serve.

Bodies are 2-D; x runs along the court with the net at 0, y points up. "Canonical" coordinates mirror x for
agent B, so that each racket sees its own side as negative. Agent order everywhere: index 0 is A (left, team
0), index 1 is B (right, team 1).
"""

import math

import numpy as np

from mlagents_marl_plugin.player.scenes.tennis_court import Floats

AGENT_A, AGENT_B = 0, 1
# World x = MIRROR * canonical x, per agent.
MIRROR = np.array([1.0, -1.0])

BALL_SCALE = 0.5  # of a sphere of diameter 1

RACKET_HALF_SIZE = np.array([0.0635, 0.494])  # along the normal, along the face
RACKET_REACH = float(np.hypot(*RACKET_HALF_SIZE))
MAX_TILT = math.radians(55.0)

FLOOR_TOP = -6.9
WALL_INNER = 11.88
NET_HALF_WIDTH = 0.061
NET_TOP, NET_BOTTOM = -6.433, -7.5
NET_CENTRE_Y = (NET_TOP + NET_BOTTOM) / 2.0
NET_HALF_SIZE = np.array([NET_HALF_WIDTH, (NET_TOP - NET_BOTTOM) / 2.0])


def racket_axes(tilt: Floats) -> tuple[Floats, Floats]:
    """Canonical normal and face direction, each [2 (x, y), ...], of rackets tilted by ``tilt`` radians.

    At 0 the plate stands upright and faces the net; negative tilts look up, positive ones down.
    """
    cos, sin = np.cos(tilt), np.sin(tilt)
    return np.stack([cos, -sin]), np.stack([sin, cos])
