"""Pictures of images, and a page of pictures. No function here knows of events, and none needs a
display."""

import html
import os
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ..files import atomic_write

SHOWN = 256  # pixels, the height of a picture on the page: letters are to be read there
MIN_EQUALISED = 16  # pixels; of smaller images equalisation makes black and white
LARGEST = 1024
"""Pixels; longer images are made smaller before they are drawn."""

PICTURES = ("*.png", "*.jpg")

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font-family: sans-serif; }} figure {{ float: left; margin: 5px; }}
img {{ height: 256px; max-width: 95vw; object-fit: contain; }}
</style></head><body>
<h1>{title}: {number}</h1>
{figures}
</body></html>
"""


def shrink(image, largest=LARGEST):
    """The means over blocks of pixels, so that neither side is longer than ``largest`` pixels; NaN
    are left out.

    Parameters
    ----------
    image : (n_rows, n_columns) float array
    """
    step = -(-max(image.shape) // largest)
    if step == 1:
        return image
    rows, columns = (size // step for size in image.shape)
    blocks = image[: rows * step, : columns * step].reshape(rows, step, columns, step)
    counts = np.isfinite(blocks).sum(axis=(1, 3))
    return np.where(counts > 0, np.nansum(blocks, axis=(1, 3)) / np.maximum(counts, 1), np.nan)


def equalise(image, *, clip_limit=0.02):
    """Adaptive histogram equalisation (CLAHE; Zuiderveld 1994, Graphics Gems IV), after removing
    outliers.

    Parameters
    ----------
    image : (n_rows, n_columns) float array; NaN become the lowest value
    clip_limit : contrast limit, 0..1

    Returns
    -------
    (n_rows, n_columns) float array, 0..1
    """
    from skimage.exposure import equalize_adapthist

    low, high = np.nanpercentile(image, (0.5, 99.5)) if np.isfinite(image).any() else (0, 1)
    scaled = np.clip((np.nan_to_num(image, nan=low) - low) / ((high - low) or 1), 0, 1)
    if min(image.shape) < MIN_EQUALISED:
        return scaled
    return equalize_adapthist(scaled, clip_limit=clip_limit)


def write_picture(path, image, title="", *, frame=None):
    """Write an image of values 0..1 as a grey picture, row 0 at the bottom: the pixels alone, or
    with the title above and axes in pixels of the frame beside them.

    Parameters
    ----------
    path : path of the picture
    image : (n_rows, n_columns) array
    title : str, what it shows; a PNG file keeps it as its Title
    frame : (n_rows, n_columns) of the frame that the image shows, for axes; None: no axes
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    said = PngInfo()
    if title:
        said.add_text("Title", title.encode(errors="replace").decode())
    more = {"pnginfo": said} if path.suffix.lower() == ".png" else {}
    picture = Image.fromarray(np.uint8(np.flipud(image) * 255))
    if frame is not None:
        picture = _with_axes(picture, title, frame)
    with atomic_write(path, durable=False) as part:
        picture.save(part, **more)


def _with_axes(picture, title, frame):
    """A picture with its title above, and a row and a column axis with ticks."""
    from PIL import Image, ImageDraw, ImageFont

    if (larger := SHOWN // max(picture.size)) > 1:
        picture = picture.resize([larger * size for size in picture.size], Image.Resampling.NEAREST)
    width, height = picture.size
    letter = 11 * max(width, height) / SHOWN
    font, title = ImageFont.load_default(letter), " ".join(title.split())
    left, top, bottom = (round(n * letter) for n in (4, 1.8, 3))
    whole = Image.new("L", (1, 1))
    needed = round(ImageDraw.Draw(whole).textlength(title, font=font))
    whole = Image.new("L", (left + max(width, needed) + round(letter), top + height + bottom), 255)
    whole.paste(picture, (left, top))
    draw = ImageDraw.Draw(whole)
    draw.text((left, 0.2 * letter), title, fill=0, font=font)
    line = {"fill": 0, "width": max(round(letter / 10), 1)}
    tick = 0.4 * letter
    for value in range(0, frame[1], _tick_step(frame[1])):
        x, y = left + (value + 0.5) * width / frame[1], top + height
        draw.line([(x, y), (x, y + tick)], **line)
        draw.text((x, y + tick), str(value), fill=0, font=font, anchor="ma")
    for value in range(0, frame[0], _tick_step(frame[0])):
        y = top + height - (value + 0.5) * height / frame[0]
        draw.line([(left - tick, y), (left - 1, y)], **line)
        draw.text((left - 1.5 * tick, y), str(value), fill=0, font=font, anchor="rm")
    draw.text((left + width, top + height + bottom), "column", fill=0, font=font, anchor="rd")
    draw.text((0.2 * letter, 0.2 * letter), "row", fill=0, font=font)
    return whole


def _tick_step(size):
    """1, 2 or 5 times a power of ten, so that an axis has about five ticks."""
    unit = 10 ** max(int(np.log10(max(size / 5, 1))), 0)
    return next(unit * factor for factor in (1, 2, 5, 10) if size / (unit * factor) <= 6)


def write_contact_sheet(folder, name="index.html", title="Pictures", patterns=PICTURES):
    """Write a page with all pictures in and below a folder, newest first.

    Parameters
    ----------
    folder : path
    name : str, of the page
    title : str
    patterns : names of pictures

    Returns
    -------
    int : how many there are
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # another process may add a picture while the page is being written
    while True:
        pictures = _pictures(folder, patterns)
        page = _PAGE.format(
            title=html.escape(title),
            number=len(pictures),
            figures="\n".join(map(_figure_html, pictures)),
        )
        with atomic_write(folder / name, durable=False) as part:
            # names of files need not be UTF-8
            part.write_text(page, encoding="utf-8", errors="replace")
        if _pictures(folder, patterns) == pictures:
            return len(pictures)


def _pictures(folder, patterns):
    dated = [
        (path.stat().st_mtime, path.relative_to(folder))
        for pattern in patterns
        for path in folder.rglob(pattern)
    ]
    return [
        path.as_posix() for _, path in sorted(dated, reverse=True) if not path.name.startswith(".")
    ]


def _figure_html(name):
    link, text = html.escape(quote(os.fsencode(name)), quote=True), html.escape(name)
    image = f'<a href="{link}"><img src="{link}" alt=""></a>'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"
