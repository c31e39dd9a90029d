"""Replay memory that stores each group step once.

Next observations and n-step returns are looked up when a batch is drawn, so a step costs its own size and nothing is
copied ahead of time. A *lane* is a chain of rows: every row knows its successor, until a cut ends the chain.

Rows are numbered by a sequence that never repeats; number ``id`` lives in place ``id % capacity`` until the ring comes
round. A successor is always the younger of the two, so a row that is still there has its successor as well.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.core.memory import memory_bytes
from mlagents_marl_plugin.core.types import Batch, GroupSpec

_OPEN = -1  # in `_successor`: the row's outcome is not known (yet), so it cannot be sampled
_CANDIDATES = 4  # draws per sample; where 1 of 15 rows is open, all four are so once in 50,000 samples
_CANDIDATES_THINNED = 16
_HOST_BYTES_PER_STEP = 1


class _Columns(NamedTuple):
    """Where each part stands in a row.

    Observation and action are neighbours, so that ``row[:, :obs + action]`` is a critic's input; all that `complete`
    writes (action to cut) is one block.
    """

    obs: slice
    action: slice
    value_mask: slice
    reward: slice
    terminated: slice
    cut: slice
    agent_mask: slice
    allowed: slice

    @property
    def outcome(self) -> slice:
        return slice(self.action.start, self.cut.stop)

    @property
    def width(self) -> int:
        return int(self.allowed.stop)

    @classmethod
    def of(cls, spec: GroupSpec) -> "_Columns":
        slots = spec.num_slots
        widths = (spec.obs_size, spec.action_size, slots, slots, slots, 1, slots, spec.allowed_size)
        stops = [sum(widths[: i + 1]) for i in range(len(widths))]
        return cls(*(slice(stop - width, stop) for stop, width in zip(stops, widths)))


class Replay:
    """A ring of group steps on one device, sampled there without waiting for the host.

    Not thread-safe: whoever adds rows while another thread samples holds a lock around both.
    """

    def __init__(
        self,
        spec: GroupSpec,
        capacity: int,
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> None:
        """
        Args:
            spec: the group whose steps are kept.
            capacity: number of group steps, at least 2 (a step and its successor).
            device: where the rows live and batches are drawn.
            generator: draws the samples; on ``device``. Default: a new one with torch's default seed.

        Raises:
            ValueError: if the capacity is below 2.
            MemoryError: if the device cannot hold that many steps; says how many it can.
        """
        if capacity < 2:
            raise ValueError(
                f"Replay: expected a capacity of at least 2 steps, got {capacity}; raise buffer_size"
            )
        self.spec = spec
        self.capacity = capacity
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device) if generator is None else generator
        self._columns = _Columns.of(spec)
        self._rows, self._successor = self._allocate()
        # The same counts for the device and for the host, so that neither has to ask the other.
        self._filled = torch.zeros((), dtype=torch.int64, device=self.device)
        self._complete = torch.zeros(capacity, dtype=torch.bool, device="cpu")
        self._num_complete = 0
        self._next_id = 0
        self._dropped = 0

    @staticmethod
    def bytes_per_step(spec: GroupSpec) -> int:
        """Memory that one group step takes, in bytes."""
        return _Columns.of(spec).width * 4 + 8 + _HOST_BYTES_PER_STEP

    def __len__(self) -> int:
        """Number of rows that can be sampled."""
        return self._num_complete

    @property
    def next_id(self) -> int:
        """The number that the next appended row will get; also the count of all rows ever appended."""
        return self._next_id

    def append(self, obs: Tensor, agent_mask: Tensor, allowed: Tensor) -> int:
        """Add open rows: what is observed now, whose outcome `complete` will fill in.

        Args:
            obs: [M, joint]. What stands in it for absent slots is replaced by 0.
            agent_mask: [M, N] bool or 0/1.
            allowed: [M, joint choices] bool or 0/1, width 0 without discrete branches.

        Returns:
            The number of the first row; the others follow on.

        Raises:
            ValueError: if a shape is wrong or the rows are more than the capacity.
        """
        num_rows = obs.shape[0]
        if num_rows > self.capacity:
            raise ValueError(
                f"Replay.append: expected at most {self.capacity} rows (buffer_size), got {num_rows}; raise buffer_size"
            )
        columns = self._columns
        block = torch.zeros(num_rows, columns.width, device=obs.device)
        for name, value in (("obs", obs), ("agent_mask", agent_mask), ("allowed", allowed)):
            part = block[:, getattr(columns, name)]
            self._check("append", name, value, tuple(part.shape))
            part.copy_(value)
        self._zero_absent(block[:, columns.obs], block[:, columns.agent_mask], GroupSpec.role_obs)
        self._write(block.to(self.device))
        first_id = self._next_id
        self._next_id += num_rows
        self._filled.fill_(min(self._next_id, self.capacity))
        return first_id

    def complete(
        self,
        rows: Tensor,
        action: Tensor,
        reward: Tensor,
        value_mask: Tensor,
        terminated: Tensor,
        next_rows: Tensor,
        cut: Tensor,
    ) -> None:
        """Fill in what happened at open rows, which can be sampled from then on.

        Rows that the ring has overwritten meanwhile are counted (``dropped``) and left out.

        Args:
            rows: [M] int64 on the CPU, numbers from `append`.
            action: [M, joint] encoded. What stands in it for absent slots is replaced by 0.
            reward: [M, N]; replaced by 0 where ``value_mask`` is 0.
            value_mask: [M, N] bool or 0/1: the slot's return is to be learnt.
            terminated: [M, N] bool or 0/1: nothing follows for the slot, no bootstrap.
            next_rows: [M] int64 on the CPU, the row that shows what came of it.
            cut: [M] bool or 0/1: the successor is only the end of a lane (observation at an end or a time limit, or a
                member left), so an n-step return stops there and bootstraps from it.

        Raises:
            ValueError: if a shape is wrong, a row was completed before, is unknown, or is not older than its successor.
        """
        columns, num_rows = self._columns, rows.shape[0]
        block = torch.zeros(num_rows, columns.cut.stop - columns.action.start, device=action.device)
        given = {"action": action, "value_mask": value_mask, "reward": reward, "terminated": terminated}
        for name, value in {**given, "cut": cut.unsqueeze(-1)}.items():
            part = block[:, self._within_outcome(name)]
            self._check("complete", name, value, tuple(part.shape))
            part.copy_(value)
        self._check("complete", "next_rows", next_rows, (num_rows,))
        kept = self._accept(rows, next_rows)
        if kept.numel() < num_rows:
            rows, next_rows, block = rows[kept], next_rows[kept], block[kept.to(block.device)]
        slots = rows % self.capacity
        self._complete[slots] = True
        self._num_complete += slots.numel()

        block, place = block.to(self.device), slots.to(self.device)
        agent_mask = self._rows[:, columns.agent_mask][place]
        self._zero_absent(block[:, self._within_outcome("action")], agent_mask, GroupSpec.role_action)
        ignored = block[:, self._within_outcome("value_mask")] == 0
        block[:, self._within_outcome("reward")].masked_fill_(ignored, 0.0)
        self._rows[:, columns.outcome].index_copy_(0, place, block)
        self._successor.index_copy_(0, place, (next_rows % self.capacity).to(self.device))

    def sample(
        self, batch_size: int, n_step: int = 1, discount: float = 0.99, non_positive_share: float = 1.0
    ) -> Batch:
        """Transitions drawn uniformly, with replacement, over the rows that can be sampled.

        The reward is ``sum_{k<m} discount^k * reward_k`` and ``bootstrap`` is ``discount^m``, over ``m <= n_step`` rows:
        a lane ends at a cut or where the next outcome is not known yet. For a slot that terminated nothing counts
        afterwards. Shapes are static and nothing waits for the device. In the rare case that no candidate of a sample
        can be used, a row with all masks 0 takes its place and weighs nothing.

        Args:
            batch_size: number of samples B.
            n_step: largest number of steps m, at least 1.
            discount: gamma per step, in [0, 1].
            non_positive_share: in (0, 1]. Below 1, a row in which no slot was rewarded above 0 is taken with this
                probability relative to the others. For the time when rewards are rare.

        Raises:
            ValueError: if there is nothing to sample.
        """
        if not self._num_complete:
            raise ValueError(
                "Replay.sample: expected at least one complete row, got none; complete() rows first"
            )
        slot, last = self._draw(batch_size, non_positive_share)
        usable = (last >= 0).unsqueeze(-1)  # [B] -> [B, 1]
        last = last.clamp_min(0)
        columns = self._columns
        row = self._rows.index_select(0, slot)
        reward, alive = row[:, columns.reward], 1.0 - row[:, columns.terminated]
        if n_step == 1:
            bootstrap = alive * discount
        else:
            reward, bootstrap, last = self._look_ahead(row, last, n_step, discount)
        next_row = self._rows.index_select(0, last)
        return Batch(
            obs=row[:, columns.obs],
            action=row[:, columns.action],
            allowed=row[:, columns.allowed],
            agent_mask=row[:, columns.agent_mask] * usable,
            value_mask=row[:, columns.value_mask] * usable,
            reward=reward,
            bootstrap=bootstrap,
            next_obs=next_row[:, columns.obs],
            next_allowed=next_row[:, columns.allowed],
            next_agent_mask=next_row[:, columns.agent_mask],
        )

    def _draw(self, batch_size: int, non_positive_share: float) -> tuple[Tensor, Tensor]:
        """Places [B] of rows and of their successors; the latter is negative where no candidate was usable."""
        thinned = non_positive_share < 1.0
        shape = (_CANDIDATES_THINNED if thinned else _CANDIDATES, batch_size)
        drawn = torch.empty(shape, dtype=torch.int64, device=self.device).random_(generator=self.generator)
        drawn = drawn.remainder_(self._filled)
        successor = self._successor[drawn]
        preference = (successor >= 0).to(torch.uint8)
        if thinned:
            lucky = torch.rand(shape, generator=self.generator, device=self.device) < non_positive_share
            positive = (self._rows[:, self._columns.reward][drawn] > 0).any(-1)
            preference = preference + preference * (lucky | positive)
        first = preference.argmax(0, keepdim=True)  # the first of the largest
        return drawn.gather(0, first).squeeze(0), successor.gather(0, first).squeeze(0)

    def _look_ahead(
        self, row: Tensor, last: Tensor, n_step: int, discount: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reward [B, N] and bootstrap [B, N] over up to ``n_step`` rows, and the place [B] of the last successor."""
        columns = self._columns
        reward, alive = row[:, columns.reward], 1.0 - row[:, columns.terminated]
        power = torch.full_like(row[:, columns.cut], discount)
        going = row[:, columns.cut] == 0  # [B, 1]
        for _ in range(n_step - 1):
            successor = self._successor.index_select(0, last).unsqueeze(-1)
            going = going & (successor >= 0)
            step = self._rows.index_select(0, last)
            counts = going * alive
            reward = reward + power * counts * step[:, columns.reward]
            alive = alive - counts * step[:, columns.terminated]
            power = torch.where(going, power * discount, power)
            last = torch.where(going, successor, last.unsqueeze(-1)).squeeze(-1)
            going = going & (step[:, columns.cut] == 0)
        return reward, power * alive, last

    def metrics(self) -> dict[str, float]:
        """Rows that can be sampled, their age (group steps added since) and completions that came too late."""
        slots = self._complete.nonzero().squeeze(-1)
        age = (self._next_id - 1 - slots) % self.capacity
        return {
            "size": float(self._num_complete),
            "mean_age": float(age.double().mean()) if len(age) else 0.0,
            "oldest_age": float(age.max()) if len(age) else 0.0,
            "dropped": float(self._dropped),
        }

    def state_dict(self) -> dict[str, Any]:
        """All rows held, oldest first, with counts and random state, copied to the CPU.

        ``successor`` counts from the oldest row held, -1 for an open row.
        """
        num_rows = min(self._next_id, self.capacity)
        oldest = (self._next_id - num_rows) % self.capacity
        order = (torch.arange(num_rows, device=self.device) + oldest) % self.capacity
        successor = self._successor[order]
        relative = (successor - oldest) % self.capacity
        return {
            "rows": self._rows[order].cpu(),
            "successor": torch.where(successor < 0, successor, relative).cpu(),
            "capacity": self.capacity,
            "next_id": self._next_id,
            "dropped": self._dropped,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` stopped.

        A different capacity is accepted: the youngest rows that fit are kept and numbered from 0.

        Raises:
            ValueError: if an entry is missing or its shape does not fit; names the entry.
        """
        for name in ("rows", "successor", "capacity", "next_id", "dropped", "generator"):
            if name not in state:
                raise ValueError(
                    f"Replay.load_state_dict: expected entry '{name}', got none; the file is incomplete"
                )
        num_rows = min(state["next_id"], state["capacity"])
        self._check("load_state_dict", "rows", state["rows"], (num_rows, self._columns.width))
        self._check("load_state_dict", "successor", state["successor"], (num_rows,))
        kept = min(num_rows, self.capacity)
        same = state["capacity"] == self.capacity
        self._next_id = state["next_id"] if same else kept
        self._dropped = state["dropped"]
        oldest = self._next_id - kept
        order = (torch.arange(kept, device=self.device) + oldest) % self.capacity
        successor = state["successor"][num_rows - kept :].to(self.device)
        moved = (successor - (num_rows - kept) + oldest) % self.capacity
        self._rows.zero_()
        self._rows[order] = state["rows"][num_rows - kept :].to(self.device)
        self._successor.fill_(_OPEN)
        self._successor[order] = torch.where(successor < 0, successor, moved)
        self._complete = (self._successor >= 0).cpu()
        self._num_complete = int(self._complete.sum())
        self._filled.fill_(kept)
        self.generator.set_state(state["generator"])

    def _allocate(self) -> tuple[Tensor, Tensor]:
        per_step = self.bytes_per_step(self.spec)
        total = memory_bytes(self.device)
        if total is None or per_step * self.capacity <= total:
            try:
                rows = torch.zeros(self.capacity, self._columns.width, device=self.device)
                return rows, torch.full((self.capacity,), _OPEN, dtype=torch.int64, device=self.device)
            except RuntimeError as error:
                if "memory" not in str(error):
                    raise
        fitting = f"try buffer_size: {total * 4 // 5 // per_step}" if total else "lower buffer_size"
        raise MemoryError(
            f"Replay: expected room for {self.capacity} steps of {per_step} bytes on {self.device}, "
            f"got {'an unknown amount' if total is None else f'{total} bytes'}; {fitting}"
        )

    def _write(self, block: Tensor) -> None:
        """Put new rows in their places, in two pieces where the ring comes round."""
        start = self._next_id % self.capacity
        at_end = min(block.shape[0], self.capacity - start)
        pieces = (
            (slice(start, start + at_end), block[:at_end]),
            (slice(0, block.shape[0] - at_end), block[at_end:]),
        )
        for place, piece in pieces:
            self._rows[place] = piece
            self._successor[place] = _OPEN
            self._num_complete -= int(self._complete[place].sum())
            self._complete[place] = False

    def _accept(self, rows: Tensor, next_rows: Tensor) -> Tensor:
        """Indices of the completions whose rows are still here, after checking them all."""
        if bool(((next_rows <= rows) | (rows < 0) | (next_rows >= self._next_id)).any()):
            raise ValueError(
                f"Replay.complete: expected 0 <= row < next_row < {self._next_id}, "
                f"got rows {rows.tolist()} and next_rows {next_rows.tolist()}; append the successor first"
            )
        kept = (rows >= self._next_id - self.capacity).nonzero().squeeze(-1)
        slots = rows[kept] % self.capacity
        if bool(self._complete[slots].any()) or torch.unique(slots).numel() != slots.numel():
            raise ValueError(
                f"Replay.complete: expected every row to be completed once, got {rows.tolist()} "
                "with a row completed before; complete each row when its outcome is known, and only then"
            )
        self._dropped += rows.numel() - kept.numel()
        return kept

    def _within_outcome(self, name: str) -> slice:
        column: slice = getattr(self._columns, name)
        start = self._columns.action.start
        return slice(column.start - start, column.stop - start)

    def _zero_absent(self, joint: Tensor, agent_mask: Tensor, view: Any) -> None:
        """Replace by 0 what stands in a joint tensor [M, joint] for absent slots, NaN included."""
        for role in range(len(self.spec.roles)):
            absent = agent_mask[:, self.spec.slots(role)].unsqueeze(-1) == 0
            view(self.spec, joint, role).masked_fill_(absent, 0.0)

    @staticmethod
    def _check(method: str, name: str, value: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(value.shape) != shape:
            raise ValueError(
                f"Replay.{method}: expected {name} of shape {shape}, got {tuple(value.shape)}; "
                "the group's layout and these tensors must come from the same scene"
            )
