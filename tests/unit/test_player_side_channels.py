import logging
import uuid

import numpy as np
import pytest
from mlagents_envs.side_channel.engine_configuration_channel import EngineConfig, EngineConfigurationChannel
from mlagents_envs.side_channel.environment_parameters_channel import EnvironmentParametersChannel
from mlagents_envs.side_channel.raw_bytes_channel import RawBytesChannel
from mlagents_envs.side_channel.side_channel_manager import SideChannelManager
from mlagents_envs.side_channel.stats_side_channel import StatsAggregationMethod, StatsSideChannel

from mlagents_marl_plugin.player.side_channels import (
    Aggregation,
    SideChannelError,
    SideChannels,
    Statistic,
    pack_statistics,
)

LOG = logging.getLogger("test-player")


def sent(*channels):
    return bytes(SideChannelManager(list(channels)).generate_side_channel_messages())


@pytest.fixture
def parameters():
    return EnvironmentParametersChannel()


def received(channel):
    channels = SideChannels(LOG)
    channels.receive(sent(channel))
    return channels.parameters


def test_a_float_parameter_arrives_and_others_keep_their_default(parameters):
    parameters.set_float_parameter("gravity", 3.5)
    arrived = received(parameters)
    assert arrived.get("gravity", 9.81) == 3.5
    assert arrived.get("scale", 0.5) == 0.5


def test_a_uniform_sampler_draws_anew_within_its_range(parameters):
    parameters.set_uniform_sampler_parameters("size", 2.0, 3.0, seed=7)
    arrived = received(parameters)
    draws = [arrived.get("size", 0.0) for _ in range(200)]
    assert 2.0 <= min(draws) < 2.1
    assert 2.9 < max(draws) <= 3.0


def test_a_gaussian_sampler_has_its_mean_and_deviation(parameters):
    parameters.set_gaussian_sampler_parameters("size", 5.0, 0.5, seed=7)
    arrived = received(parameters)
    draws = [arrived.get("size", 0.0) for _ in range(2000)]
    assert np.mean(draws) == pytest.approx(5.0, abs=0.05)
    assert np.std(draws) == pytest.approx(0.5, abs=0.05)


def test_a_multirange_sampler_draws_from_all_ranges_by_their_width(parameters):
    parameters.set_multirangeuniform_sampler_parameters("size", [(0.0, 1.0), (10.0, 13.0)], seed=7)
    arrived = received(parameters)
    draws = np.array([arrived.get("size", 0.0) for _ in range(2000)])
    assert (((draws >= 0) & (draws <= 1)) | ((draws >= 10) & (draws <= 13))).all()
    assert (draws >= 10).mean() == pytest.approx(0.75, abs=0.05)


def test_a_sampler_repeats_with_its_seed(parameters):
    parameters.set_uniform_sampler_parameters("size", 0.0, 1.0, seed=-3)
    data = sent(parameters)
    first, second = SideChannels(LOG), SideChannels(LOG)
    first.receive(data)
    second.receive(data)
    assert [first.parameters.get("size", 0) for _ in range(5)] == [
        second.parameters.get("size", 0) for _ in range(5)
    ]


def test_an_unknown_sampler_is_refused(parameters):
    parameters.set_uniform_sampler_parameters("size", 0.0, 1.0, seed=0)
    data = bytearray(sent(parameters))
    data[-12:-8] = (9).to_bytes(4, "little")
    with pytest.raises(SideChannelError, match="size: expected sampler type 0, 1 or 2, got 9"):
        SideChannels(LOG).receive(bytes(data))


def test_the_time_scale_is_noted():
    engine = EngineConfigurationChannel()
    engine.set_configuration_parameters(time_scale=20.0)
    channels = SideChannels(LOG)
    channels.receive(sent(engine))
    assert channels.time_scale == 20.0


def test_statistics_go_to_whoever_configures_the_whole_engine_or_asks():
    whole, part = EngineConfigurationChannel(), EngineConfigurationChannel()
    whole.set_configuration(EngineConfig.default_config())
    part.set_configuration_parameters(time_scale=20.0, quality_level=1)
    by_learn, by_script = SideChannels(LOG), SideChannels(LOG)
    by_learn.receive(sent(whole))
    by_script.receive(sent(part))
    assert by_learn.wants_statistics
    assert not by_script.wants_statistics
    assert SideChannels(LOG, wants_statistics=True).wants_statistics


def test_a_channel_that_the_scene_does_not_have_is_ignored(parameters):
    stranger = RawBytesChannel(uuid.uuid4())
    stranger.send_raw_data(bytearray(b"hello"))
    parameters.set_float_parameter("gravity", 3.5)
    channels = SideChannels(LOG)
    channels.receive(sent(stranger, parameters))
    assert channels.parameters.get("gravity", 9.81) == 3.5


@pytest.mark.parametrize("missing", [1, 12])
def test_bytes_cut_short_are_refused(parameters, missing):
    parameters.set_float_parameter("gravity", 3.5)
    with pytest.raises(SideChannelError, match="side channel"):
        SideChannels(LOG).receive(sent(parameters)[:-missing])


def test_a_header_cut_short_is_refused():
    with pytest.raises(SideChannelError, match="expected a 20-byte header, got 5 bytes"):
        SideChannels(LOG).receive(b"12345")


def test_a_message_shorter_than_its_content_is_refused(parameters):
    parameters.set_float_parameter("gravity", 3.5)
    data = bytearray(sent(parameters))[:-4]
    data[16:20] = (len(data) - 20).to_bytes(4, "little")
    with pytest.raises(SideChannelError, match="534c891e-810f-11ea-a9d0-822485860400"):
        SideChannels(LOG).receive(bytes(data))


def test_statistics_arrive_at_the_official_channel():
    channel = StatsSideChannel()
    statistics = [Statistic("Tennis/Score", 0.1), Statistic("Count", 3.0, Aggregation.SUM)]
    SideChannelManager([channel]).process_side_channel_message(pack_statistics(statistics))
    assert dict(channel.get_and_reset_stats()) == {
        "Tennis/Score": [(pytest.approx(0.1), StatsAggregationMethod.AVERAGE)],
        "Count": [(3.0, StatsAggregationMethod.SUM)],
    }
