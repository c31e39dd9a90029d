"""The trainers of a joint run: the first member's learns for all, the others' only count and report.

All experience is taken in by the leader's `advance`, in one thread, whoever's it is; so nothing here depends on the
order in which the host makes, asks and saves trainers, nor on their threads.
"""

import time
from typing import Any

from mlagents_marl_plugin.adapter.acting import Acting
from mlagents_marl_plugin.adapter.grouping import FirstAgents, Layout
from mlagents_marl_plugin.adapter.joint import JointTable, join
from mlagents_marl_plugin.adapter.joint_saving import LeaderSaving, MemberSaving
from mlagents_marl_plugin.adapter.off_policy_trainer import OffPolicyMarlTrainer
from mlagents_marl_plugin.adapter.roster import Departure
from mlagents_marl_plugin.core.types import GroupSpec


class JointLeader(OffPolicyMarlTrainer):
    """Learns, saves and ends for all members. Its steps are the run's."""

    def __init__(self, *arguments: Any, **settings: Any):
        """See the host's TrainerFactory, which calls this."""
        super().__init__(*arguments, **settings)
        self.joint.leader = self

    def _make_table(self) -> JointTable:
        self.joint = join(self)
        self.joint.table.on_first_agents = self._build
        return self.joint.table

    def _make_saving(self) -> LeaderSaving:
        return LeaderSaving(self, self.joint)

    def _decide_group(self, first: list[FirstAgents]) -> tuple[Layout, GroupSpec]:
        return self.joint.decide_group(first)

    def _make_decide(self) -> dict[str, Acting]:
        """By behaviour id, who decides: an acting copy per role, which follow the learner together."""
        others = enumerate(self.joint.members[1:], start=1)
        of_role = [
            self.acting,
            *(self._make_acting(self._act_generator(name), role) for role, name in others),
        ]
        return {name: of_role[self.joint.table.role(name)] for name in self.table.behavior_ids}

    def _build(self, first: list[FirstAgents]) -> None:
        super()._build(first)
        for member in self.joint.others:
            member.assembler = self.assembler

    def _drain(self) -> None:
        with self.joint.draining:
            super()._drain()
            for member in self.joint.others:
                member._drain()

    def _collect(self, departed: list[Departure]) -> None:
        super()._collect(departed)
        for member in self.joint.others:
            member.forget(departed)

    def _update_policy(self) -> bool:
        for member in self.joint.others:
            member.cumulative_returns_since_policy_update.clear()
        return super()._update_policy()

    def _write_summary(self, step: int) -> None:
        self.joint.tell_who_is_missing(self)
        super()._write_summary(step)


class JointMember(OffPolicyMarlTrainer):
    """Hands its agents' experience to the leader."""

    def _make_table(self) -> JointTable:
        self.joint = join(self)
        self.role = self.joint.members.index(self.brain_name)
        return self.joint.table

    def _make_saving(self) -> MemberSaving:
        return MemberSaving(self, self.joint)

    @property
    def should_still_train(self) -> bool:
        """A joint run ends when the leader's does."""
        leader = self.joint.leader
        return super().should_still_train if leader is None else leader.should_still_train

    def _advance(self) -> None:
        """Only while there is no leader, so that nothing piles up."""
        with self.joint.draining:
            if self.joint.leader is None:
                self._drain()
        if self.threaded:
            time.sleep(0.01)

    def _write_summary(self, step: int) -> None:
        self.joint.tell_who_is_missing(self)
        super()._write_summary(step)
