"""The Tennis court in numbers: metres, seconds, kilograms.

They are those of the Udacity build of Unity's Tennis scene (ML-Agents v0.4). Bodies are 2-D; x runs along
the court with the net at 0 (A plays on the left, B on the right), y points up.

"Canonical" coordinates mirror x for agent B, so that each racket sees its own side as negative and swings
towards +x. Agent order everywhere: index 0 is B, index 1 is A, as the Udacity build lists them.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

NUM_AGENTS = 2
AGENT_B, AGENT_A = 0, 1
# World x = MIRROR * canonical x, per agent.
MIRROR = np.array([-1.0, 1.0])

FIXED_STEP = 0.02
FIXED_STEPS_PER_DECISION = 5
GRAVITY = 9.81
# Bodies that meet more slowly than this do not bounce (Unity's bounce threshold).
BOUNCE_THRESHOLD = 2.0
# Unity reports two bodies as touching when the gap between them is below the sum of their contact offsets.
CONTACT_GAP = 0.02

BALL_RADIUS = 0.5
BALL_MASS = 0.75
BALL_MAX_SPEED = 9.0  # per axis, applied before gravity of the step

RACKET_MASS = 4.0
RACKET_HALF_SIZE = np.array([0.55, 0.9375])  # along the normal, along the face
RACKET_TILT = math.radians(55.0)
RACKET_NORMAL = np.array([math.cos(RACKET_TILT), math.sin(RACKET_TILT)])  # canonical: to the net and up
RACKET_FACE = np.array([-math.sin(RACKET_TILT), math.cos(RACKET_TILT)])
# Rows: normal, face. Turns canonical x-y into racket-local coordinates.
TO_RACKET = np.stack([RACKET_NORMAL, RACKET_FACE])
# The box hangs behind the transform that the observation reports.
RACKET_BOX_OFFSET = -0.5 * RACKET_NORMAL
RACKET_HALF_EXTENT = RACKET_HALF_SIZE @ np.abs(TO_RACKET)  # of its axis-aligned bounds

FLOOR_TOP = -3.25
WALL_INNER = 12.27
NET_HALF_WIDTH = 0.05
NET_TOP = -1.0
# The trigger above the net: a plane x = 0 between these heights.
OVER_BOTTOM, OVER_TOP = -1.0, 9.0

# Limits of a racket's transform, canonical.
RACKET_REST_Y = FLOOR_TOP + float(RACKET_HALF_EXTENT[1] - RACKET_BOX_OFFSET[1])
RACKET_BACK_X = -WALL_INNER + float(RACKET_HALF_EXTENT[0] - RACKET_BOX_OFFSET[0])
RACKET_NET_X = -1.0

RACKET_SPEED = 30.0
JUMP_SPEED = 7.0
JUMP_THRESHOLD = 0.5
JUMP_BELOW_Y = -1.5

SERVE_NEAREST, SERVE_FARTHEST = 6.0, 8.0
SERVE_BALL_Y = 6.0
SERVE_RACKET_Y = -1.5
