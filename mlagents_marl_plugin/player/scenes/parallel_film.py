"""Films of a PettingZoo environment, by its own ``render``, of the old interface or the new."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlagents_marl_plugin.player.canvas import png
from mlagents_marl_plugin.player.film import Film
from mlagents_marl_plugin.player.scenes.parallel_area import takes

_MODE = "rgb_array"
_SECONDS = 0.1
_RATES = ("render_fps", "video.frames_per_second")
_REMEDY = (
    f"if its factory takes a render mode, give --set render_mode={_MODE} after --env-args; some draw only where "
    "there is a screen"
)


class ParallelFilm(Film):
    """One picture per step. An environment that cannot draw plays on, and says why once it was asked."""

    def __init__(self, env: Any) -> None:
        self._env = env
        metadata = getattr(env, "metadata", None) or {}
        rate = next((float(metadata[name]) for name in _RATES if metadata.get(name)), 0.0)
        self.seconds = 1.0 / rate if rate > 0.0 and math.isfinite(rate) else _SECONDS

    def drain(self) -> list[bytes]:
        if self.why_blind:
            return []
        try:
            return [png(Image.fromarray(_pixels(self._env)))]
        except Exception as error:  # whatever a stranger's drawing raises, for example without a screen
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            self.why_blind = f"the environment's render() gave none ({reason}); {_REMEDY}"
            return []


def _pixels(env: Any) -> NDArray[np.uint8]:
    """[height, width, 3]."""
    render = getattr(env, "render", None)
    if render is None:
        raise ValueError("it has none")
    mode = getattr(env, "render_mode", _MODE)
    if mode != _MODE:  # to call it could open a window
        raise ValueError(f"expected render_mode {_MODE}, got {mode}")
    old = not hasattr(env, "render_mode") and takes(render, "mode")
    drawn = np.asarray(render(mode=_MODE) if old else render())
    if drawn.dtype != np.uint8 or drawn.ndim != 3 or drawn.shape[2] not in (3, 4):
        raise ValueError(f"expected bytes of height x width x 3, got {drawn.dtype} of shape {drawn.shape}")
    return np.ascontiguousarray(drawn[..., :3])
