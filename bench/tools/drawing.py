"""What pictures with words on them share: margins and letters, in pixels."""

from PIL import ImageFont

MARGIN, GAP = 16, 4
TITLE, LABEL, SMALL = 26, 19, 16
"""Sizes of letters."""


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font; it has Latin letters, and lacks some signs (× and → among them)."""
    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> int:
    """Width of a line of text in pixels, rounded up."""
    return int(font(size).getlength(text)) + 1
