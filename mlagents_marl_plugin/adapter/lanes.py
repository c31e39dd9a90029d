"""The lives of groups: for each the row that it is at, who is there, and what is not yet known of it."""

import numpy as np


class Lanes:
    """What is known of each lane, as arrays that grow by doubling; numbers of ended lanes are used again."""

    def __init__(self, num_slots: int, memory_size: int = 0):
        self.num_slots = num_slots
        self.memory_size = memory_size
        self._allocate(64)
        self.free = list(range(63, -1, -1))

    def _allocate(self, count: int) -> None:
        slots = self.num_slots
        self.row = np.full(count, -1, np.int64)  # the group's current row
        self.step = np.full(count, -1, np.int64)  # the clock at which it began
        self.present = np.zeros((count, slots), bool)
        self.valued = np.zeros((count, slots), bool)
        self.seated = np.zeros(count, np.int64)  # members that ever were
        self.settled = np.zeros(count, np.int64)  # members that left and whose last trajectories are in
        self.last_delivered = np.full((count, slots), -1, np.int64)
        self.worker = np.zeros(count, np.int64)
        self.pending: list[list[int]] = [[] for _ in range(count)]  # rows that are not yet stored, in order
        self.tail = np.full(count, -1, np.int64)  # the replay's row that waits for this lane's next outcome
        self.generation = np.zeros(count, np.int64)
        # What each member remembers after its last decision; of an empty slot 0.
        self.memory = np.zeros((count, slots, self.memory_size), np.float32)

    def new(self, worker: int, generation: int) -> int:
        """A lane without members; ``generation`` counts the worker's consecutive groupings."""
        if not self.free:
            self._grow()
        lane = self.free.pop()
        self.row[lane] = self.step[lane] = self.tail[lane] = -1
        self.present[lane] = self.valued[lane] = False
        self.seated[lane] = self.settled[lane] = 0
        self.last_delivered[lane] = -1
        self.worker[lane] = worker
        self.generation[lane] = generation
        self.memory[lane] = 0
        self.pending[lane] = []
        return lane

    def release(self, lane: int) -> None:
        """The lane's number may be used again."""
        self.row[lane] = -1
        self.free.append(lane)

    def gone(self, lane: int) -> bool:
        """Whether all members have left and nothing more can come of them."""
        return bool(self.seated[lane] == self.settled[lane])

    def _grow(self) -> None:
        old, count = self.__dict__.copy(), len(self.row)
        self._allocate(2 * count)
        for name, value in old.items():
            if isinstance(value, np.ndarray):
                getattr(self, name)[:count] = value
        self.pending[:count] = old["pending"]
        self.free = list(range(2 * count - 1, count - 1, -1))
