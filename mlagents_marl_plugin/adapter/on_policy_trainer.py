"""Trainers that learn from what was just played: collect a rollout, learn from all of it, forget it."""

from typing import Any

import torch
from mlagents_envs.timers import timed

from mlagents_marl_plugin.adapter.acting import SamplingActing
from mlagents_marl_plugin.adapter.marl_trainer import MarlTrainer
from mlagents_marl_plugin.adapter.roster import Departure
from mlagents_marl_plugin.adapter.store import Rewards, RolloutStore
from mlagents_marl_plugin.core.rollout import Rollout

SCHEDULED = {  # under the host's names
    "learning_rate": "Policy/Learning Rate",
    "critic_learning_rate": "Policy/Critic Learning Rate",
    "epsilon": "Policy/Epsilon",
    "beta": "Policy/Beta",
    "std": "Policy/Standard Deviation",
}


class OnPolicyMarlTrainer(MarlTrainer):
    """Updates whenever ``buffer_size`` agent steps are complete, or ``update_every_episodes`` episodes over."""

    acting: SamplingActing

    def __init__(self, *arguments: Any, **settings: Any):
        """See the host's TrainerFactory, which calls this."""
        super().__init__(*arguments, **settings)
        self.store: RolloutStore | None = None
        self._updated_at = self.board.episodes  # how many episodes were over at the last update

    def _make_acting(self, generator: torch.Generator) -> SamplingActing:
        greedy = not self.is_training or self.trainer_settings.network_settings.deterministic
        return SamplingActing(self.learner.actor, generator.device, generator, greedy)

    def _make_store(self, rewards: Rewards) -> RolloutStore:
        steps = -(-self.hyperparameters.buffer_size // self.spec.num_slots)
        # Trajectories arrive together, so a rollout is often half as large again when it is taken.
        rollout = Rollout(self.spec, 2 * steps, self.device, self.memory_size)
        self.store = RolloutStore(rollout, self.learner, rewards)
        return self.store

    def _collect(self, departed: list[Departure]) -> None:
        super()._collect(departed)
        if self.store is not None and self.store.rollout.num_complete and not self.should_still_train:
            self.store.take()  # nothing is learnt from it any more

    # --- updates ----------------------------------------------------------------------------------

    def _is_ready_update(self) -> bool:
        if self.store is None or not self.store.rollout.num_complete:
            return False
        if self.store.agent_steps >= self.hyperparameters.buffer_size:
            return True
        every = self.hyperparameters.update_every_episodes
        return every > 0 and self.board.episodes - self._updated_at >= every

    @timed
    def _update_policy(self) -> bool:
        assert self.store is not None
        self.cumulative_returns_since_policy_update.clear()
        self._updated_at = self.board.episodes
        batch = self.store.take()
        with self.learning_lock:
            self._set_progress()
            self.learner.update(batch)
            self.updates += 1
            with self.table.lock:
                self.acting.swap(self.learner.actor)
        return True

    def _set_progress(self) -> None:
        self.learner.set_progress(min(1.0, self._step / self.get_max_steps), self.board.episodes)

    # --- saving and reporting ---------------------------------------------------------------------

    def cadence(self) -> dict[str, Any]:
        """Empty: a rollout is not saved, so a resumed run begins a new one."""
        return {}

    def resume_cadence(self, saved: dict[str, Any]) -> None:
        self._updated_at = self.board.episodes
        self._set_progress()

    def figures(self) -> dict[str, float]:
        assert self.store is not None
        metrics, scheduled = self.store.rollout.metrics(), self.learner.scheduled()
        shown = {f"Rollout/{name.title()}": value for name, value in metrics.items()}
        return shown | {SCHEDULED[name]: value for name, value in scheduled.items()}
