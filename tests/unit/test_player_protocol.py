import pytest

from mlagents_marl_plugin.player.protocol import TRAINER_LIMIT, MessageTooLarge, TrainerConnection


def test_a_message_that_the_host_would_refuse_is_not_sent():
    sent = []
    connection = TrainerConnection(5005)
    connection._exchange = lambda message, timeout: sent.append(message)
    connection.exchange(bytes(TRAINER_LIMIT))
    with pytest.raises(MessageTooLarge, match="expected at most 4194304 bytes, got 4194305; use fewer areas"):
        connection.exchange(bytes(TRAINER_LIMIT + 1))
    assert len(sent) == 1
