"""What a critic says of choices that were not taken, against asking it for each of them."""

from itertools import product

import pytest
import torch

from mlagents_marl_plugin.core.counterfactual import choice_values
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec
from tests.unit.groups import HYBRID, random_batch
from tests.unit.test_networks import make_critic

SPEC = GroupSpec((RoleSpec("a", 2, ((3,),), HYBRID), RoleSpec("b", 1, ((2,),), ActionLayout(0, (2,)))))


@pytest.mark.parametrize("sharing", list(Sharing))
@pytest.mark.parametrize("centralised", [True, False])
def test_every_choice_is_valued_as_if_it_had_been_taken(sharing: Sharing, centralised: bool) -> None:
    batch, other = random_batch(SPEC, 5), random_batch(SPEC, 5, seed=1)
    critic = make_critic(SPEC, sharing, centralised, num_twins=2, num_asked=2)
    joint = torch.cat([batch.obs, batch.action], 1)
    own = [SPEC.role_action(other.action, i) for i in range(2)]
    before = [action.clone() for action in own]
    values = choice_values(critic, SPEC, joint, own)
    assert all(torch.equal(action, old) for action, old in zip(own, before, strict=True))
    for i, role in enumerate(SPEC.roles):
        assert values[i].shape == (2, 5, role.num_slots, role.action.num_choices)
        start = 0
        for size in role.action.branches:
            for slot, choice in product(range(role.num_slots), range(size)):
                replaced = batch.action.clone()
                action = own[i][:, slot].clone()
                first = role.action.continuous + start
                action[:, first : first + size] = torch.eye(size)[choice]
                SPEC.role_action(replaced, i)[:, slot] = action
                q = critic(torch.cat([batch.obs, replaced], 1))[..., SPEC.slots(i).start + slot]
                torch.testing.assert_close(values[i][:, :, slot, start + choice], q, rtol=1e-4, atol=1e-5)
            start += size
