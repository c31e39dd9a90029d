"""The algorithms and what can be asked of them, by trainer type."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlagents_marl_plugin.algorithms.coma import ComaConfig, ComaLearner
from mlagents_marl_plugin.algorithms.maddpg import (
    IddpgConfig,
    MaddpgConfig,
    MaddpgLearner,
    MaddpgSharedConfig,
    Matd3Config,
    Matd3SharedConfig,
)
from mlagents_marl_plugin.algorithms.mappo import (
    Ia2cConfig,
    Ia2cSharedConfig,
    IppoConfig,
    IppoSharedConfig,
    Maa2cConfig,
    Maa2cSharedConfig,
    MappoConfig,
    MappoLearner,
    MappoSharedConfig,
)
from mlagents_marl_plugin.algorithms.masac import (
    IsacConfig,
    IsacSharedConfig,
    MasacConfig,
    MasacLearner,
    MasacSharedConfig,
)
from mlagents_marl_plugin.algorithms.qmix import (
    IqlConfig,
    IqlSharedConfig,
    QmixConfig,
    QmixLearner,
    VdnConfig,
)


@dataclass(frozen=True)
class Algorithm:
    """An entry of `ALGORITHMS`."""

    config: type  # attrs class with a default for every field
    learner: Callable[
        ..., Any
    ]  # (spec, config, *, hidden_units, num_layers, normalize, discount, device, seed)
    data_regime: str  # "off_policy": batches from a replay; "on_policy": what was just played
    supports_continuous: bool  # without being told to cut values into choices (``discretise``)
    supports_discrete: bool
    paper: str
    supports_memory: bool = False  # whether agents may remember (the learner's ``memory``)
    supports_roles: bool = False  # whether a group may have several behaviour names

    @property
    def supports_both(self) -> bool:
        """Whether one agent may have continuous and discrete actions at once."""
        return self.supports_continuous and self.supports_discrete


def _maddpg(config: type, paper: str) -> Algorithm:
    return Algorithm(config, MaddpgLearner, "off_policy", True, True, paper, supports_roles=True)


def _mappo(config: type, paper: str) -> Algorithm:
    return Algorithm(config, MappoLearner, "on_policy", True, True, paper, supports_memory=True)


def _coma(config: type, paper: str) -> Algorithm:
    return Algorithm(config, ComaLearner, "on_policy", False, True, paper, supports_memory=True)


def _qmix(config: type, paper: str) -> Algorithm:
    return Algorithm(config, QmixLearner, "off_policy", False, True, paper, supports_memory=True)


def _masac(config: type, paper: str) -> Algorithm:
    return Algorithm(config, MasacLearner, "off_policy", True, True, paper, supports_roles=True)


_MADDPG = "https://arxiv.org/abs/1706.02275"
_MATD3 = "https://arxiv.org/abs/1910.01465"
_MAPPO = "https://arxiv.org/abs/2103.01955"
_IPPO = "https://arxiv.org/abs/2011.09533"
_MAA2C = "https://arxiv.org/abs/2006.07869"
_IA2C = "https://arxiv.org/abs/1602.01783"
_SAC = "https://arxiv.org/abs/1801.01290"
_IQL = "https://arxiv.org/abs/1511.08779"

ALGORITHMS: dict[str, Algorithm] = {
    "maddpg": _maddpg(MaddpgConfig, _MADDPG),
    "maddpg_shared": _maddpg(MaddpgSharedConfig, _MADDPG),
    "matd3": _maddpg(Matd3Config, _MATD3),
    "matd3_shared": _maddpg(Matd3SharedConfig, _MATD3),
    "iddpg": _maddpg(IddpgConfig, "https://arxiv.org/abs/1509.02971"),
    "mappo": _mappo(MappoConfig, _MAPPO),
    "mappo_shared": _mappo(MappoSharedConfig, _MAPPO),
    "ippo": _mappo(IppoConfig, _IPPO),
    "ippo_shared": _mappo(IppoSharedConfig, _IPPO),
    "maa2c": _mappo(Maa2cConfig, _MAA2C),
    "maa2c_shared": _mappo(Maa2cSharedConfig, _MAA2C),
    "ia2c": _mappo(Ia2cConfig, _IA2C),
    "ia2c_shared": _mappo(Ia2cSharedConfig, _IA2C),
    "coma": _coma(ComaConfig, "https://arxiv.org/abs/1705.08926"),
    "masac": _masac(MasacConfig, _SAC),
    "masac_shared": _masac(MasacSharedConfig, _SAC),
    "isac": _masac(IsacConfig, _SAC),
    "isac_shared": _masac(IsacSharedConfig, _SAC),
    "qmix": _qmix(QmixConfig, "https://arxiv.org/abs/1803.11485"),
    "vdn": _qmix(VdnConfig, "https://arxiv.org/abs/1706.05296"),
    "iql": _qmix(IqlConfig, _IQL),
    "iql_shared": _qmix(IqlSharedConfig, _IQL),
}
