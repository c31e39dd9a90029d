"""Films of a battle: the whole map, one picture per decision."""

from mlagents_marl_plugin.player.canvas import INK, Canvas, Colour, mix, png
from mlagents_marl_plugin.player.film import Film
from mlagents_marl_plugin.player.scenes.battle_field import BLUE, RED, SIDES, BattleField

_WIDTH = 540
_GROUND: Colour = (246, 247, 242)
_WALL: Colour = (120, 126, 122)
_COLOUR: dict[int, Colour] = {RED: (206, 60, 46), BLUE: (42, 104, 178)}
_MARGIN = 4.0  # cells above the map, for the score


class BattleFilm(Film):
    """Soldiers are pale when their health is low."""

    seconds = 0.1

    def __init__(self, field: BattleField) -> None:
        self._field = field

    def drain(self) -> list[bytes]:
        size = self._field.map_size
        canvas = Canvas(_WIDTH, (0.0, 0.0, float(size), size + _MARGIN), _GROUND)
        for left, bottom, right, top in (
            (0, 0, size, 1),
            (0, size - 1, size, size),
            (0, 0, 1, size),
            (size - 1, 0, size, size),
        ):
            canvas.box(left, bottom, right, top, _WALL)
        for side in SIDES:
            cells, health = self._field.cells(side).tolist(), self._field.health(side).tolist()
            for (column, row), share in zip(cells, health, strict=True):
                x, y = column + 0.5, size - row - 0.5
                colour = mix(_COLOUR[side], 0.25 + 0.75 * share, _GROUND)
                canvas.box(x - 0.42, y - 0.42, x + 0.42, y + 0.42, colour)
        for side, name, x in ((RED, "red", 0.25), (BLUE, "blue", 0.75)):
            text = f"{name}  {self._field.num_living(side)}"
            canvas.text((x * size, size + _MARGIN / 2), text, 20, _COLOUR[side])
        canvas.text((0.5 * size, size + _MARGIN / 2), str(self._field.decisions), 15, INK)
        return [png(canvas.finished())]
