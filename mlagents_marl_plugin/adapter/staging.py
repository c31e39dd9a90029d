"""What was seen and done, once per decision, until the host says what came of it.

A row is one decision of one group: every slot's observation and action. The policy writes rows and hands out
a *ticket* per agent (row, slot); the host carries the ticket, untouched, into the agent's trajectory; the
assembler finds the row again by it. Row ids count up for ever; a row lives in a ring at ``id % capacity``.
"""

import numpy as np

from mlagents_marl_plugin.core.types import GroupSpec

NOT_ENDED, TERMINATED, TRUNCATED = 0, 1, 2

_LOW_BITS = 22  # a float32 holds integers exactly up to 2**24
_MAX_ROWS = 1 << 17
_MAX_BYTES = 512 << 20


class StagingTable:
    """A bounded ring of group rows in host memory.

    Attributes, each with the ring's capacity as first axis ``R``:
        obs: per role, [R, N_role, O_role] float32
        action: per role, [R, N_role, A_role] float32, encoded
        allowed: per role, [R, N_role, choices] float32, 1 = permitted
        log_prob: [R, N] float32, of what was decided in this row, else 0; stays 0 where actors draw nothing
        memory: [R, N, M] float32, what each member remembered when the row began
        present, valued, decided, delivered: [R, N] bool. There; its return is to be learnt; decided in
            this row; its outcome has come.
        reward, group_reward: [R, N] float32, as the host delivered them
        end: [R, N] int8, NOT_ENDED, TERMINATED or TRUNCATED
        broken: [R] bool, its outcome is lost or cannot be trusted
        closed: [R] bool, passed on or given up; what comes later is too late
        lane: [R] int64, the life of a group that the row belongs to
        step: [R] int64, the worker's clock when the row began
        successor: [R] int64, the id of the group's next row, -1 if there is none yet
    """

    def __init__(self, spec: GroupSpec, capacity: int | None = None, memory_size: int = 0):
        bytes_per_slot = 21 + 4 * memory_size
        bytes_per_row = 4 * (spec.obs_size + spec.action_size + spec.allowed_size) + 16
        bytes_per_row += bytes_per_slot * spec.num_slots
        self.capacity = capacity or max(1024, min(_MAX_ROWS, _MAX_BYTES // bytes_per_row))
        self.spec = spec
        self.memory_size = memory_size
        rows, slots = self.capacity, spec.num_slots
        self.obs = [np.zeros((rows, role.num_slots, role.obs_size), np.float32) for role in spec.roles]
        self.action = [np.zeros((rows, role.num_slots, role.action.size), np.float32) for role in spec.roles]
        self.allowed = [
            np.zeros((rows, role.num_slots, role.action.num_choices), np.float32) for role in spec.roles
        ]
        self.log_prob = np.zeros((rows, slots), np.float32)
        self.memory = np.zeros((rows, slots, memory_size), np.float32)
        self.present = np.zeros((rows, slots), bool)
        self.valued = np.zeros((rows, slots), bool)
        self.decided = np.zeros((rows, slots), bool)
        self.delivered = np.zeros((rows, slots), bool)
        self.reward = np.zeros((rows, slots), np.float32)
        self.group_reward = np.zeros((rows, slots), np.float32)
        self.end = np.zeros((rows, slots), np.int8)
        self.broken = np.zeros(rows, bool)
        self.closed = np.zeros(rows, bool)
        self.lane = np.zeros(rows, np.int64)
        self.step = np.zeros(rows, np.int64)
        self.successor = np.full(rows, -1, np.int64)
        self.final_obs: dict[int, dict[int, np.ndarray]] = {}  # row -> slot -> last observation, [O]
        self.head = 0  # the id of the next row

    def alive(self, rows: np.ndarray) -> np.ndarray:
        """Whether rows are still in the ring: [M] bool."""
        return (rows >= 0) & (rows >= self.head - self.capacity) & (rows < self.head)

    def begin(
        self, lanes: np.ndarray, previous: np.ndarray, present: np.ndarray, valued: np.ndarray, step: int
    ) -> np.ndarray:
        """Begin one row for each of M groups; returns their ids, [M].

        A member that does not decide in this row keeps its last observation and action, as Unity keeps
        applying its last action between decisions.

        Args:
            lanes: [M] the groups' lives.
            previous: [M] ids of the groups' last rows, -1 where there is none.
            present, valued: [M, N] bool.
            step: the worker's clock.
        """
        ids = np.arange(self.head, self.head + len(previous))
        self.head += len(previous)
        at = ids % self.capacity
        has_previous = previous >= 0
        has_previous &= self.alive(previous)
        before = previous[has_previous] % self.capacity
        keep = (present[has_previous] & self.present[before])[..., None]
        for role in range(len(self.spec.roles)):
            slots = self.spec.slots(role)
            for table in (self.obs[role], self.action[role], self.allowed[role]):
                carried = np.where(keep[:, slots], table[before], np.float32(0))
                table[at] = 0
                table[at[has_previous]] = carried
        self.log_prob[at] = 0
        self.present[at] = present
        self.valued[at] = valued
        self.decided[at] = False
        self.delivered[at] = False
        self.reward[at] = 0
        self.group_reward[at] = 0
        self.end[at] = NOT_ENDED
        self.broken[at] = self.closed[at] = False
        self.lane[at] = lanes
        self.step[at] = step
        self.successor[at] = -1
        self.successor[before] = ids[has_previous]
        return ids

    def close(self, rows: list[int]) -> None:
        """Rows are done with."""
        for row in rows:
            self.final_obs.pop(row, None)
        ids = np.array(rows, np.int64)
        self.closed[ids[self.alive(ids)] % self.capacity] = True

    def write_decisions(
        self, role: int, rows: np.ndarray, slots: np.ndarray, obs: np.ndarray, allowed: np.ndarray
    ) -> None:
        """Store what M agents saw: rows and slots (of the group) [M], obs [M, O], allowed [M, choices]."""
        at = rows % self.capacity
        local = slots - self.spec.slots(role).start
        self.obs[role][at, local] = obs
        self.allowed[role][at, local] = allowed
        self.decided[at, slots] = True
        self.present[at, slots] = True
        self.valued[at, slots] = True

    def write_actions(
        self,
        role: int,
        rows: np.ndarray,
        slots: np.ndarray,
        action: np.ndarray,
        log_prob: np.ndarray | None = None,
    ) -> None:
        """Store what they chose: action [M, A], encoded as it was drawn, and its log-probability [M]."""
        at = rows % self.capacity
        self.action[role][at, slots - self.spec.slots(role).start] = action
        if log_prob is not None:
            self.log_prob[at, slots] = log_prob

    def joint(self, tables: list, rows: np.ndarray) -> np.ndarray:
        """Whole rows of ``obs``, ``action`` or ``allowed``, flat as the learner reads them: [M, joint]."""
        at = rows % self.capacity
        parts = [table[at].reshape(len(rows), -1) for table in tables]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def encode_tickets(rows: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Tickets as the host can carry them: [M, 3] float32, exact integers (row high, row low, slot)."""
    columns = (rows >> _LOW_BITS, rows & ((1 << _LOW_BITS) - 1), slots)
    return np.stack(columns, axis=1).astype(np.float32)


def decode_tickets(tickets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and slots of tickets [M, 3]; a row of -1 was never staged."""
    parts = tickets.astype(np.int64)
    return (parts[:, 0] << _LOW_BITS) | parts[:, 1], parts[:, 2]


def no_tickets(count: int) -> np.ndarray:
    """Tickets of decisions that are not followed: [count, 3]."""
    return np.tile(np.array([[-1.0, float((1 << _LOW_BITS) - 1), 0.0]], np.float32), (count, 1))
