"""Gym's and Gymnasium's spaces as Unity's sensors and actions, told by what they have and not by their classes."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlagents_marl_plugin.player.scene import ActionSpec, SensorSpec

ACTION_MASK = "action_mask"
# ML-Agents' flags of an axis: none, translational equivariance.
_NONE, _MOVES = 1, 2
_CHANNELS = (1, 3)


class SpaceError(ValueError):
    """A space that cannot be shown in Unity's terms."""


@dataclass(frozen=True)
class Sensors:
    """An observation space as Unity shows it.

    Attributes:
        specs: the sensors.
        keys: their places in the observation; empty if it is not a dictionary.
        spaces: the space of each.
    """

    specs: tuple[SensorSpec, ...]
    keys: tuple[str, ...]
    spaces: tuple[Any, ...]

    @classmethod
    def of(cls, space: Any, where: str) -> "Sensors":
        """From an agent's observation space; of a dictionary each entry but the action mask is a sensor.

        Raises:
            SpaceError: if an entry is neither Box, Discrete, MultiDiscrete nor MultiBinary.
        """
        entries = _entries(space)
        if entries is None:
            return cls((_sensor(space, None, where),), (), (space,))
        shown = {key: entry for key, entry in entries.items() if key != ACTION_MASK}
        specs = tuple(_sensor(entry, key, f"{where}[{key!r}]") for key, entry in shown.items())
        return cls(specs, tuple(shown), tuple(shown.values()))

    def read(self, obs: Any, where: str) -> list[NDArray[np.float32] | bytes]:
        """One value per sensor: a float32 array of its shape, or a PNG file.

        Raises:
            SpaceError: if an entry is missing or has the wrong shape.
        """
        values = []
        for place, (spec, space) in enumerate(zip(self.specs, self.spaces, strict=True)):
            try:
                seen = obs[self.keys[place]] if self.keys else obs
                values.append(_value(np.asarray(seen), spec, space))
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise SpaceError(
                    f"observation of {where}: expected what its observation space says ({space}), "
                    f"got {type(obs).__name__} ({error}); mend the environment"
                ) from error
        return values


def action_spec(space: Any, where: str) -> ActionSpec:
    """An action space as Unity shows it.

    Raises:
        SpaceError: if it is neither Box, Discrete, MultiDiscrete nor MultiBinary.
    """
    kind = _kind(space)
    if kind == "box":
        return ActionSpec(continuous=int(np.prod(space.shape)))
    if kind == "discrete":
        return ActionSpec(branches=(int(space.n),))
    if kind == "multidiscrete":
        return ActionSpec(branches=tuple(np.ravel(space.nvec).tolist()))
    if kind == "multibinary":
        return ActionSpec(branches=(2,) * int(np.prod(space.shape)))
    raise SpaceError(
        f"action space of {where}: expected Box, Discrete, MultiDiscrete or MultiBinary, "
        f"got {space}; flatten it in a wrapper"
    )


def read_action(
    space: Any, continuous: NDArray[np.float32], discrete: NDArray[np.int64]
) -> NDArray[Any] | int:
    """What the environment takes, from what the trainer sent.

    [-1, 1] is stretched to a Box's finite bounds; a Box of integers takes the nearest one.
    """
    kind = _kind(space)
    if kind == "discrete":
        return int(discrete[0]) + int(_start(space))
    if kind != "box":
        return discrete.reshape(space.shape) + _start(space)
    low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)
    action = continuous.reshape(space.shape).astype(np.float64)
    bounded = np.isfinite(low) & np.isfinite(high)
    lowest, highest = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
    share = (np.clip(action, -1.0, 1.0) + 1.0) / 2.0
    stretched = np.clip(lowest + share * (highest - lowest), lowest, highest)
    chosen = np.where(bounded, stretched, action)
    return (np.rint(chosen) if np.issubdtype(space.dtype, np.integer) else chosen).astype(space.dtype)


def read_mask(space: Any, obs: Any, info: Any, where: str) -> NDArray[np.bool_] | None:
    """[sum of branches] bool, True where a choice of an action is forbidden, if the environment says so.

    The environment's mask has a flag per choice, for MultiDiscrete one choice after the other: as one array, or as
    a tuple with an array for each, as Gymnasium samples with.

    Raises:
        SpaceError: if it has another size.
    """
    if _kind(space) not in ("discrete", "multidiscrete"):
        return None
    for source in (obs, info):
        if isinstance(source, dict) and source.get(ACTION_MASK) is not None:
            return ~_flags(source[ACTION_MASK], action_spec(space, where).branches, where)
    return None


def _flags(mask: Any, branches: tuple[int, ...], where: str) -> NDArray[np.bool_]:
    parts = _arrays(mask)
    sizes = tuple(part.size for part in parts)
    if sizes not in (branches, (sum(branches),)):
        each = f", or one mask each of {list(branches)}" if len(branches) > 1 else ""
        raise SpaceError(
            f"{ACTION_MASK} of {where}: expected {sum(branches)} flags{each}, got {list(sizes)}; mend the environment"
        )
    return np.concatenate(parts).astype(bool)


def _arrays(mask: Any) -> list[NDArray[Any]]:
    """The flat arrays of a tuple, which may hold tuples, or a mask as the only one."""
    if isinstance(mask, tuple):
        return [part for one in mask for part in _arrays(one)]
    return [np.ravel(mask)]


def _entries(space: Any) -> dict[str, Any] | None:
    entries = getattr(space, "spaces", None)
    return dict(entries) if entries is not None and hasattr(entries, "items") else None


def _kind(space: Any) -> str:
    if hasattr(space, "low") and hasattr(space, "high"):
        return "box"
    if hasattr(space, "nvec"):
        return "multidiscrete"
    if hasattr(space, "n"):
        return "multibinary" if getattr(space, "shape", ()) else "discrete"
    return "other"


def _start(space: Any) -> Any:
    """The number of the first choice; an array for MultiDiscrete."""
    return getattr(space, "start", 0)


def _one_hot(choice: int, size: int) -> NDArray[np.float32]:
    if not 0 <= choice < size:
        raise ValueError(f"choice {choice} of {size}, counted from 0")
    return np.eye(size, dtype=np.float32)[choice]


def _sensor(space: Any, key: str | None, where: str) -> SensorSpec:
    kind = _kind(space)
    if kind == "box" and (len(space.shape) == 3 or _is_picture(space)):
        height, width, channels = (*space.shape, 1)[:3]
        png = _is_picture(space) and channels in _CHANNELS
        shape, flags = (channels, height, width), (_NONE, _MOVES, _MOVES)
        return SensorSpec(key or "CameraSensor", shape, flags, png=png)
    if kind in ("box", "multibinary"):
        size = int(np.prod(space.shape))
    elif kind == "discrete":
        size = int(space.n)
    elif kind == "multidiscrete":
        size = int(np.sum(space.nvec))
    else:
        raise SpaceError(
            f"observation space of {where}: expected Box, Discrete, MultiDiscrete, MultiBinary or a "
            f"dictionary of these, got {space}; flatten it in a wrapper"
        )
    return SensorSpec(key or f"VectorSensor_size{size}", (size,), (_NONE,))


def _value(seen: NDArray[Any], spec: SensorSpec, space: Any) -> NDArray[np.float32] | bytes:
    kind = _kind(space)
    if kind == "discrete":
        return _one_hot(int(seen) - int(_start(space)), int(space.n))
    if kind == "multidiscrete":
        choices = zip(np.ravel(seen - _start(space)).tolist(), np.ravel(space.nvec).tolist(), strict=True)
        return np.concatenate([_one_hot(int(choice), size) for choice, size in choices])
    if seen.shape != tuple(space.shape):
        raise ValueError(f"shape {seen.shape}")
    if _is_picture(space):
        seen = _bytes(seen).reshape(*space.shape[:2], -1)
        return _png(seen) if spec.png else np.moveaxis(seen, -1, 0).astype(np.float32) / 255.0
    if len(spec.shape) == 3:
        return np.moveaxis(seen, -1, 0).astype(np.float32)
    return seen.reshape(spec.shape).astype(np.float32)


def _is_picture(space: Any) -> bool:
    """A Box of bytes up to 255; bytes with a lower bound are codes or counts."""
    if _kind(space) != "box" or np.dtype(space.dtype) != np.uint8:
        return False
    return len(space.shape) in (2, 3) and bool(np.max(space.high) == 255)


def _bytes(picture: NDArray[Any]) -> NDArray[np.uint8]:
    with np.errstate(invalid="ignore"):  # what does not fit is told below
        converted = picture.astype(np.uint8)
    if not np.array_equal(converted, picture):
        raise ValueError(
            f"{picture.dtype} from {np.min(picture):g} to {np.max(picture):g}, where bytes belong"
        )
    return converted


def _png(picture: NDArray[np.uint8]) -> bytes:
    """From [height, width, 1 or 3]."""
    file = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(file, "PNG")
    return file.getvalue()
