"""The YAML schema: the algorithms' pure configs, plus what our trainers add under ``hyperparameters``."""

from collections.abc import Callable
from enum import Enum
from typing import Any, Optional

import attr
from mlagents.trainers.exception import TrainerConfigError
from mlagents.trainers.settings import HyperparamSettings, RewardSignalType, TrainerSettings

from mlagents_marl_plugin.adapter.grouping import Grouping
from mlagents_marl_plugin.adapter.joint_settings import Joint, check_joint
from mlagents_marl_plugin.adapter.scene_limits import check_name
from mlagents_marl_plugin.adapter.strict import strict_fields
from mlagents_marl_plugin.algorithms import ALGORITHMS, Algorithm
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.recurrent_shape import Cell
from mlagents_marl_plugin.core.types import ActionLayout


class SlotsBy(Enum):
    """What tells the agents of a group apart, for actors of their own (``share_actor``)."""

    TEAM = "team"  # behaviour name and team id
    ORDER = "order"  # also the order of agent ids within the group


class Metric(Enum):
    """What `Criterion` looks at, per episode of a group."""

    SCORE = "score"  # the best member's reward
    SCORE_SUM = "score_sum"
    SCORE_MEAN = "score_mean"
    EPISODE_LENGTH = "episode_length"


@attr.s(auto_attribs=True)
class Criterion:
    """``{metric: score, window: 100, threshold: 0.5}``: a metric's mean over episodes reaches a value."""

    threshold: float
    metric: Metric = Metric.SCORE
    window: int = 100
    """Episodes in the mean, >= 1. Nothing is judged before that many have ended."""

    def __attrs_post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window: expected a whole number >= 1, got {self.window}; try 100 episodes")


@attr.s(auto_attribs=True)
class GroupSettings:
    """Fields of every trainer of ours that are not the algorithm's own."""

    grouping: Grouping = Grouping.AUTO
    """How agents that share a critic are found: auto, group_id, worker or consecutive."""

    group_size: Optional[int] = None
    """How many agents share a critic, >= 1. Needed where the scene does not say so with group ids."""

    max_group_size: int = 8
    """The most agents of one process that ``auto`` takes for one group without being told, >= 1."""

    slots_by: SlotsBy = SlotsBy.TEAM
    """Whether agents of one team get actors of their own by the order of their ids."""

    state_sensor: str = ""
    """Name of the sensor that carries the state: critics and mixing networks read it, actors do not; empty = none, and
    actors read all sensors."""

    act_device: str = "cpu"
    """Where the acting copy of the actor runs. A small network decides faster on the CPU."""

    torch_threads: int = 1
    """Processor threads that torch computes with, >= 1, where the learner runs on the CPU. More help only
    large networks on idle cores; beside a busy Unity process they wait for each other."""

    solved_when: Optional[Criterion] = None
    """When to announce "solved"; the run goes on."""

    stop_when: Optional[Criterion] = None
    """When to end the run."""

    console_episodes: int = 0
    """Print a line every so many episodes, >= 0; 0 = never."""

    joint: Optional[Joint] = None
    """Behaviors of different names whose agents share a critic, see docs/joint.md; {name: ..., members: [...]}."""

    def check_group(self) -> None:
        """Raises ValueError for a value out of range."""
        for name in ("group_size", "max_group_size", "torch_threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected a whole number >= 1, got {value}; try 2")
        if self.console_episodes < 0:
            raise ValueError(
                f"console_episodes: expected a whole number >= 0, got {self.console_episodes}; 0 prints "
                f"nothing"
            )


class _Checked:
    """Ranges are checked after all fields are set, and reported as the host reports its own."""

    def __attrs_post_init__(self) -> None:
        try:
            super().__attrs_post_init__()  # type: ignore[misc]
            self.check_group()  # type: ignore[attr-defined]
        except ValueError as error:
            raise TrainerConfigError(f"hyperparameters.{error}") from None


def _make_schema(trainer_type: str, config: type) -> type:
    """The schema of a trainer type: ``MaddpgConfig`` gives ``MaddpgSettings``, a name of this module."""
    name = config.__name__.removesuffix("Config") + "Settings"
    body = {"__doc__": f"``trainer_type: {trainer_type}``.", "__module__": __name__}
    schema: type = attr.s(auto_attribs=True, collect_by_mro=True, field_transformer=strict_fields)(
        type(name, (_Checked, config, GroupSettings, HyperparamSettings), body)
    )
    globals()[name] = schema  # the host pickles settings for its environment workers, by this name
    return schema


SCHEMAS = {name: _make_schema(name, algorithm.config) for name, algorithm in ALGORITHMS.items()}


def check_slots(behavior_name: str, hyperparameters: Any, members: tuple[int, ...]) -> None:
    """Refuse actors of their own for agents whom nothing tells apart.

    Args:
        members: slots per behaviour id.

    Raises:
        TrainerConfigError: naming the field.
    """
    sharing, slots_by = hyperparameters.share_actor, hyperparameters.slots_by
    if sharing is Sharing.SHARED or slots_by is SlotsBy.ORDER or max(members) == 1:
        return
    raise TrainerConfigError(
        f"behaviors.{behavior_name}.hyperparameters.share_actor: expected shared for agents that "
        f"differ in neither behavior name nor team id, got {sharing.value}; set slots_by: "
        f"order if the order of agent ids within a group always means the same, or give the agents "
        f"different team ids"
    )


def check_actions(
    behavior_name: str, algorithm: Algorithm, hyperparameters: Any, action: ActionLayout
) -> None:
    """Refuse what agents with these actions cannot be told: continuous ones where the algorithm values choices and
    nothing says how to cut values into them, and what the algorithm's own settings refuse.

    Raises:
        TrainerConfigError: naming the field.
    """
    if action.continuous and not algorithm.supports_continuous and not hyperparameters.discretise:
        raise TrainerConfigError(
            f"behaviors.{behavior_name}.hyperparameters.discretise: expected at least 2 for a behavior with "
            f"{action.continuous} continuous actions, got 0; set discretise: 3 to choose among 3 values of "
            f"each, or use maddpg, matd3 or mappo"
        )
    try:
        hyperparameters.check_layout(action)
    except ValueError as error:
        raise TrainerConfigError(f"behaviors.{behavior_name}.hyperparameters.{error}") from None


def check_supported(behavior_name: str, settings: TrainerSettings) -> None:
    """Refuse what the host offers and these trainers do not do, rather than ignore it.

    Raises:
        TrainerConfigError: naming the field.
    """

    check_name(behavior_name)

    def refuse(field: str, expected: str, got: object, remedy: str) -> None:
        raise TrainerConfigError(
            f"behaviors.{behavior_name}.{field}: expected {expected}, got {got}; {remedy}"
        )

    trainer = settings.trainer_type
    for signal in settings.reward_signals:
        if signal != RewardSignalType.EXTRINSIC:
            refuse(
                f"reward_signals.{signal.value}",
                f"only extrinsic for {trainer}",
                signal.value,
                "remove it, or use ppo or sac for this behavior",
            )
    if RewardSignalType.EXTRINSIC not in settings.reward_signals:
        refuse("reward_signals", "extrinsic", "none", "add extrinsic: {gamma: 0.99, strength: 1.0}")
    gamma = settings.reward_signals[RewardSignalType.EXTRINSIC].gamma
    if not 0 <= gamma <= 1:
        refuse("reward_signals.extrinsic.gamma", "0 <= gamma <= 1", gamma, "try 0.99")
    check_joint(behavior_name, settings, refuse)
    if settings.self_play is not None:
        _check_self_play(settings, refuse)
    if settings.behavioral_cloning is not None:
        refuse("behavioral_cloning", f"none for {trainer}", "behavioral_cloning", "remove it")
    _check_memory(settings, refuse)
    for field, value in (
        ("max_steps", settings.max_steps),
        ("time_horizon", settings.time_horizon),
        ("summary_freq", settings.summary_freq),
        ("checkpoint_interval", settings.checkpoint_interval),
        ("network_settings.hidden_units", settings.network_settings.hidden_units),
        ("network_settings.num_layers", settings.network_settings.num_layers),
    ):
        if value < 1:
            refuse(field, "a whole number >= 1", value, "see the examples in trainer_configs")


def _check_memory(settings: TrainerSettings, refuse: Callable[[str, str, object, str], None]) -> None:
    memory, hyperparameters = settings.network_settings.memory, settings.hyperparameters
    if memory is None:
        burn_in = getattr(hyperparameters, "burn_in", 0)
        if burn_in:
            remedy = "it warms up a memory; set network_settings.memory, or remove it"
            refuse("hyperparameters.burn_in", "0 without network_settings.memory", burn_in, remedy)
        if getattr(hyperparameters, "memory_cell", Cell.GRU) is not Cell.GRU:
            remedy = "it says what remembers; set network_settings.memory, or remove it"
            got = hyperparameters.memory_cell.value
            refuse("hyperparameters.memory_cell", "gru without network_settings.memory", got, remedy)
        return
    if not ALGORITHMS[settings.trainer_type].supports_memory:
        refuse(
            "network_settings.memory",
            f"none for {settings.trainer_type}",
            "memory",
            "remove it, stack observations in Unity (Stacked Vectors), or use mappo, ippo, coma or qmix",
        )
    if memory.sequence_length < 1:
        rule = "a whole number >= 1"
        refuse("network_settings.memory.sequence_length", rule, memory.sequence_length, "try 16")
    if getattr(hyperparameters, "layer_normalisation", None) is LayerNormalisation.BATCH:
        remedy = "steps that follow each other are no sample of what is seen"
        rule = "none or layer with network_settings.memory"
        refuse("hyperparameters.layer_normalisation", rule, "batch", remedy)


def _check_self_play(settings: TrainerSettings, refuse: Callable[[str, str, object, str], None]) -> None:
    play = settings.self_play
    assert play is not None
    if getattr(settings.hyperparameters, "stop_when", None) is not None:
        refuse(
            "hyperparameters.stop_when",
            "none in self-play",
            "stop_when",
            "the host ends such a run at max_steps and nowhere else; set that, and watch Self-play/ELO",
        )
    for field in ("save_steps", "team_change", "swap_steps", "window"):
        value = getattr(play, field)
        if not value >= 1:
            refuse(
                f"self_play.{field}",
                "a whole number >= 1",
                value,
                "see trainer_configs/tennis_versus_mappo.yaml",
            )
    ratio = play.play_against_latest_model_ratio
    if not 0 <= ratio <= 1:
        refuse("self_play.play_against_latest_model_ratio", "0 <= ratio <= 1", ratio, "try 0.5")
