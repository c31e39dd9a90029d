"""The task of the comparison of mixed action values: choices per agent, and hidden units of the mixing networks."""

CHOICES, MIXING, HYPERNETWORK = 9, 32, 64
