"""The task of the on-policy comparison: one rollout of 64 lanes x 160 steps, 3 epochs of mini-batches."""

LANES, LENGTH, EPOCHS, BATCH = 64, 160, 3, 1024
FRAMES = LANES * LENGTH
