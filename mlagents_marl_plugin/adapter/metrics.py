"""What TensorBoard and the console show: the host's figures under their known names, and the group's."""

import time
from typing import TYPE_CHECKING

import numpy as np
from mlagents_envs.logging_util import get_logger
from mlagents_envs.side_channel.stats_side_channel import StatsAggregationMethod

from mlagents_marl_plugin.adapter.assembler import Episode
from mlagents_marl_plugin.adapter.store import MeanRewards

if TYPE_CHECKING:
    from mlagents_marl_plugin.adapter.marl_trainer import MarlTrainer

logger = get_logger(__name__)

# A learner's figures under the host's names; the others appear as "Learner/<Name>".
HOST_NAMES = {
    "policy_loss": "Losses/Policy Loss",
    "critic_loss": "Losses/Value Loss",
    "entropy": "Policy/Entropy",
    "q_mean": "Policy/Extrinsic Value Estimate",
    "value_mean": "Policy/Extrinsic Value Estimate",
    "value_loss": "Losses/Value Loss",
}
MAX_SLOTS_SHOWN = 8
MANY_ENDS = 100  # of agents, after which one group at least should have ended too


class Reporter:
    """Collects what happens between summaries; what the learner measures is fetched once, at the summary."""

    def __init__(self, trainer: "MarlTrainer"):
        self.trainer = trainer
        self.stats = trainer.stats_reporter
        self._since = time.monotonic()
        self._steps = self._updates = 0
        self._started = False
        self._group_rewarded = False
        self._stop_announced = False
        self._agents_ended = 0
        self._is_told_of_groups = False

    def agent_ended(self, own: float, group: float) -> None:
        """One agent's episode, in the host's terms."""
        self._agents_ended += 1
        self.stats.add_stat(
            "Environment/Cumulative Reward", own, aggregation=StatsAggregationMethod.HISTOGRAM
        )
        self._group_rewarded |= group != 0
        if self._group_rewarded:
            self.stats.add_stat(
                "Environment/Group Cumulative Reward", group, aggregation=StatsAggregationMethod.HISTOGRAM
            )

    def group_ended(self, episode: Episode) -> None:
        """One group's episode."""
        self.stats.add_stat("Group/Score", float(episode.scores.max()))
        self.stats.add_stat("Group/Score Sum", float(episode.scores.sum()))
        self.stats.add_stat("Group/Episode Length", episode.length)
        self.stats.add_stat("Group/Discounted Return", float(episode.discounted.mean()))
        if len(episode.scores) <= MAX_SLOTS_SHOWN:
            for slot, score in enumerate(episode.scores):
                self.stats.add_stat(f"Group/Slot {slot} Score", float(score))
        board = self.trainer.board
        every = self.trainer.hyperparameters.console_episodes
        if every and board.episodes % every == 0:
            logger.info(
                f"{self.trainer.brain_name}. Episode {board.episodes}. Score {board.recent[-1]:.3f}. "
                f"Mean of the last {len(board.recent)}: {board.mean:.3f}. Length {episode.length}. "
                f"Step {self.trainer.get_step}. Updates {self.trainer.updates}."
            )
        if board.stopped_at is not None and not self._stop_announced:
            self._stop_announced = True
            logger.info(
                f"{self.trainer.brain_name}: stop_when reached at episode {board.episodes} "
                f"(step {self.trainer.get_step}); ending the run."
            )

    def announce_solved(self) -> None:
        """Say once that the criterion ``solved_when`` was met."""
        board, criterion = self.trainer.board, self.trainer.hyperparameters.solved_when
        logger.info(
            f"{self.trainer.brain_name}: solved at episode {board.solved_at} (step "
            f"{self.trainer.get_step}): mean {criterion.metric.value} of the last {criterion.window} "
            f"episodes is at least {criterion.threshold}."
        )

    def summarise(self) -> None:
        """Give the host everything that is measured once per summary."""
        trainer = self.trainer
        if not trainer.is_built:
            return
        if trainer.board.recent:
            self.stats.set_stat("Group/Score 100", trainer.board.mean)
        self.stats.set_stat("Group/Episodes", trainer.board.episodes)
        self._warn_of_endless_groups()
        self._speed()
        assembler = trainer.assembler
        self.stats.set_stat("Data/Accepted Rows", assembler.accepted)
        self.stats.set_stat("Data/Rejected Rows", assembler.rejected)
        self.stats.set_stat("Data/Dropped Group Steps", assembler.dropped)
        if not trainer.is_training:
            return
        for name, value in trainer.figures().items():
            self.stats.set_stat(name, value)
        self._rewards(trainer.rewards.take_means())
        if trainer.updates:
            self._learner()
            self._observations()

    def _warn_of_endless_groups(self) -> None:
        """Where members end one by one and others take their places, nothing that goes by episodes ever comes."""
        if self._is_told_of_groups or self._agents_ended < MANY_ENDS or self.trainer.board.episodes:
            return
        self._is_told_of_groups = True
        logger.warning(
            f"{self.trainer.brain_name}: {self._agents_ended} agents have ended, but no group as a whole, so there is "
            f"no score, no best model, and nothing comes of solved_when, stop_when, update_every_episodes or factors "
            f"per episode; if every agent plays for itself set hyperparameters.group_size: 1, else end all members "
            f"of a group together (EndGroupEpisode or GroupEpisodeInterrupted of a SimpleMultiAgentGroup)."
        )

    def _speed(self) -> None:
        now, trainer = time.monotonic(), self.trainer
        elapsed = max(now - self._since, 1e-9)
        if self._started:
            self.stats.set_stat("Speed/Agent Steps per Second", (trainer.get_step - self._steps) / elapsed)
            self.stats.set_stat("Speed/Updates per Second", (trainer.updates - self._updates) / elapsed)
        self._since, self._steps, self._updates = now, trainer.get_step, trainer.updates
        self._started = True

    def _rewards(self, means: MeanRewards) -> None:
        self.stats.set_stat("Policy/Extrinsic Reward", sum(means.shaped) / len(means.shaped))
        self.stats.set_stat("Reward/Raw", sum(means.raw) / len(means.raw))
        self.stats.set_stat("Reward/Shaped", sum(means.shaped) / len(means.shaped))
        if 1 < len(means.raw) <= MAX_SLOTS_SHOWN:
            for slot, (raw, shaped) in enumerate(zip(means.raw, means.shaped, strict=True)):
                self.stats.set_stat(f"Reward/Raw Slot {slot}", raw)
                self.stats.set_stat(f"Reward/Shaped Slot {slot}", shaped)

    def _learner(self) -> None:
        figures = self.trainer.learner.metrics()
        self.trainer.look_at(figures)
        for name, tensor in figures.items():
            values = tensor.detach().float().cpu()
            title = HOST_NAMES.get(name, f"Learner/{_title(name)}")
            self.stats.set_stat(title, float(values.mean()))
            if values.dim() == 1 and 1 < len(values) <= MAX_SLOTS_SHOWN:
                for slot, value in enumerate(values.tolist()):
                    self.stats.set_stat(f"{title} Slot {slot}", value)

    def _observations(self) -> None:
        """How observations differ between slots: a side that sees other numbers plays worse."""
        staging = self.trainer.assembler.staging
        filled = min(staging.head, staging.capacity)
        rows = np.unique(np.linspace(0, filled - 1, min(filled, 256)).astype(int))
        slots = [(obs, local) for obs in staging.obs for local in range(obs.shape[1])]
        for slot, (obs, local) in enumerate(slots[:MAX_SLOTS_SHOWN]):
            seen = obs[rows, local][staging.present[rows, slot]]
            if len(seen):
                self.stats.set_stat(f"Data/Observation Mean Slot {slot}", float(seen.mean()))
                self.stats.set_stat(f"Data/Observation Deviation Slot {slot}", float(seen.std()))


def _title(name: str) -> str:
    return name.replace("_", " ").title()
