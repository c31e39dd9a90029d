"""One PettingZoo ParallelEnv, of whatever version: its two ways to reset, to step and to name its spaces."""

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple


class AreaStep(NamedTuple):
    """What a step brought; of agents that are not in a mapping nothing is known."""

    obs: Mapping[str, Any]
    reward: Mapping[str, float]
    terminated: Mapping[str, bool]
    truncated: Mapping[str, bool]
    info: Mapping[str, Any]


class ParallelArea:
    """Speaks to one environment.

    Old versions return ``obs`` from ``reset`` and a single ``done`` from ``step``, which counts as an
    interruption where the info says ``TimeLimit.truncated``; new ones return infos and two flags. Agents may be
    named by anything, such as integers; here they go by their names' text.
    """

    def __init__(self, env: Any, source: str) -> None:
        missing = [name for name in ("possible_agents", "reset", "step") if not hasattr(env, name)]
        if missing:
            raise ValueError(
                f"--parallel-env {source}: expected a factory of a PettingZoo ParallelEnv, got "
                f"{type(env).__name__} without {', '.join(missing)}; wrap an AEC environment with PettingZoo's "
                "aec_to_parallel"
            )
        self.env = env
        self._seed: int | None = None
        self._own_name = {str(agent): agent for agent in env.possible_agents}
        self.possible_agents = list(self._own_name)

    @property
    def agents(self) -> list[str]:
        """Who lives."""
        return [str(agent) for agent in self.env.agents]

    def space(self, kind: str, agent: str) -> Any:
        """``kind`` is ``observation`` or ``action``."""
        method: Callable[[Any], Any] | None = getattr(self.env, f"{kind}_space", None)
        name = self._own_name[agent]
        return getattr(self.env, f"{kind}_spaces")[name] if method is None else method(name)

    def seed(self, seed: int) -> None:
        """Of the next ``reset``."""
        self._seed = seed

    def reset(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """First observations and infos."""
        if self._seed is None:
            answer = self.env.reset()
        elif takes(self.env.reset, "seed"):
            answer = self.env.reset(seed=self._seed)
        else:
            if hasattr(self.env, "seed"):
                self.env.seed(self._seed)
            answer = self.env.reset()
        self._seed = None
        obs, info = answer if isinstance(answer, tuple) else (answer, {})
        return _by_text(obs), _by_text(info)

    def step(self, actions: Mapping[str, Any]) -> AreaStep:
        answer = self.env.step({self._own_name[agent]: action for agent, action in actions.items()})
        if len(answer) == 5:
            return AreaStep(*map(_by_text, answer))
        obs, reward, done, info = map(_by_text, answer)
        late = {agent: bool(info.get(agent, {}).get("TimeLimit.truncated", False)) for agent in done}
        ended = {agent: bool(done[agent]) and not late[agent] for agent in done}
        return AreaStep(
            obs, reward, ended, {agent: bool(done[agent]) and late[agent] for agent in done}, info
        )

    def close(self) -> None:
        """Let the environment give back what it holds, such as a window or a process."""
        if hasattr(self.env, "close"):
            self.env.close()


def _by_text(by_agent: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(agent): value for agent, value in by_agent.items()}


def close_all(areas: Iterable[ParallelArea]) -> None:
    """Close every environment, whatever the others raise over it."""
    for number, area in enumerate(areas):
        try:
            area.close()
        except Exception:
            logging.getLogger("marl-player").warning(
                "The environment of area %d raised an error when it was closed.", number, exc_info=True
            )


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function can be given an argument by this name."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
