"""Pictures of scenes: shapes in the scene's own units, drawn with Pillow."""

import io
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
INK: Colour = (44, 52, 58)
_SUPERSAMPLE = 2  # drawn larger, then shrunk: smooth edges
_PALETTE = 48


class Canvas:
    """A picture ``width`` pixels wide of the world within ``bounds`` (left, bottom, right, top), y upwards."""

    def __init__(self, width: int, bounds: tuple[float, float, float, float], ground: Colour = WHITE) -> None:
        self._left, bottom, right, self._top = bounds
        self._scale = width * _SUPERSAMPLE / (right - self._left)
        height = round((self._top - bottom) * self._scale / _SUPERSAMPLE)
        self._image = Image.new("RGB", (width * _SUPERSAMPLE, height * _SUPERSAMPLE), ground)
        self._draw = ImageDraw.Draw(self._image)

    def finished(self) -> Image.Image:
        """The picture; its sides are even, as films in common formats must be."""
        return _even(self._image.reduce(_SUPERSAMPLE))

    def box(self, left: float, bottom: float, right: float, top: float, colour: Colour) -> None:
        """A filled rectangle along the axes."""
        self._draw.rectangle([*self._at((left, top)), *self._at((right, bottom))], fill=colour)

    def disc(
        self, centre: Sequence[float], radius: float, colour: Colour, edge: Colour | None = None
    ) -> None:
        """A filled circle, with an outline if asked."""
        x, y = self._at(centre)
        reach = radius * self._scale
        self._draw.ellipse(
            [x - reach, y - reach, x + reach, y + reach], fill=colour, outline=edge, width=_SUPERSAMPLE
        )

    def polygon(self, corners: Iterable[Sequence[float]], colour: Colour) -> None:
        """A filled polygon."""
        self._draw.polygon([self._at(corner) for corner in corners], fill=colour)

    def line(self, start: Sequence[float], end: Sequence[float], colour: Colour, pixels: int = 2) -> None:
        """A straight line, ``pixels`` wide."""
        self._draw.line([self._at(start), self._at(end)], fill=colour, width=pixels * _SUPERSAMPLE)

    def text(
        self, point: Sequence[float], text: str, size: int, colour: Colour = INK, anchor: str = "mm"
    ) -> None:
        """A line of text, ``size`` pixels high, by Pillow's ``anchor``."""
        self._draw.text(self._at(point), text, fill=colour, font=_font(size * _SUPERSAMPLE), anchor=anchor)

    def _at(self, point: Sequence[float]) -> tuple[float, float]:
        return (point[0] - self._left) * self._scale, (self._top - point[1]) * self._scale


def mix(colour: Colour, share: float, ground: Colour) -> Colour:
    """``share`` of one colour, the rest of the other."""
    red, green, blue = (round(share * c + (1.0 - share) * g) for c, g in zip(colour, ground, strict=True))
    return red, green, blue


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def write_gif(pictures: Sequence[Image.Image], path: Path, seconds: float) -> None:
    """An endless animation that shows each picture for ``seconds``, rounded to hundredths as GIF has it."""
    # One palette for all, or colours would flicker from frame to frame.
    width, height = pictures[0].size
    sample = Image.new("RGB", (width, height * 3))
    for place, picture in enumerate((pictures[0], pictures[len(pictures) // 2], pictures[-1])):
        sample.paste(picture, (0, place * height))
    palette = sample.quantize(_PALETTE, dither=Image.Dither.NONE)
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    indexed[0].save(
        path,
        save_all=True,
        append_images=indexed[1:],
        duration=max(10, 10 * round(100 * seconds)),
        loop=0,
        optimize=True,
    )


def _even(picture: Image.Image) -> Image.Image:
    """The picture, its last row and column twice where their number is odd."""
    width, height = picture.size
    right, down = width % 2, height % 2
    grown = Image.new("RGB", (width + right, height + down))
    for place in ((right, down), (0, down), (right, 0), (0, 0)):
        grown.paste(picture, place)
    return grown


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
