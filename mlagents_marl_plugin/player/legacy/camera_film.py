"""Films of a 0.4 build: what its first agent with a camera sees; the whole scene is in its own window only."""

from mlagents_marl_plugin.player.film import Blind, Film
from mlagents_marl_plugin.player.legacy.episodes import Episodes

_NO_CAMERAS = (
    "no agent of this build has a camera; to see the build's own window, add --watch after --env-args"
)


class CameraFilm(Film):
    """One picture per decision, as the build sent it."""

    seconds = 0.1

    def __init__(self, episodes: Episodes) -> None:
        self._episodes = episodes

    def drain(self) -> list[bytes]:
        picture = self._episodes.first_picture()
        return [] if picture is None else [picture]


def film_of(episodes: Episodes) -> Film:
    """The film, or the reason why there is none."""
    return CameraFilm(episodes) if episodes.have_cameras else Blind(_NO_CAMERAS)
