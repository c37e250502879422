"""The classic example: every FITS image becomes a PNG picture, and all pictures a contact sheet.

::

    photometry events run photometry.events.examples.fits2png_pipeline -d DIR

The primitives are plain functions ``(action, context)``, but for the reader, which shows the form of a class.
"""

import time
from pathlib import Path

from photometry.events import Arguments, BasePipeline, BasePrimitive
from photometry.events import pictures as draw

SHEET_INTERVAL = 2  # s between contact sheets while pictures keep coming


class Fits2pngPipeline(BasePipeline):
    """FITS to PNG, with and without the removal of noise."""

    event_table = {  # noqa: RUF012, this is how a pipeline is written
        "next_file": ("SimpleFitsReader", "file_ready", "file_ready"),
        "noisy_file": ("SimpleFitsReader", "file_ready", "file_ready_for_noise_removal"),
        "file_ready_for_noise_removal": ("noise_removal", "noise_removed", "noise_removed"),
        "noise_removed": ("hist_equal2d", "histeq_done", "histeq_done"),
        "file_ready": ("hist_equal2d", "histeq_done", "histeq_done"),
        "histeq_done": ("save_png", None, "picture_saved"),
        "picture_saved": ("contact_sheet", None, None),
        "contact_sheet": ("create_contact_sheet_html", None, None),
    }


class SimpleFitsReader(BasePrimitive):
    """Read the image of the file that the event names."""

    def _pre_condition(self):
        return Path(self.action.args.name).is_file()

    def _perform(self):
        image = draw.shrink(draw.read_image(self.action.args.name))
        return Arguments(name=self.action.args.name, image=image)


def noise_removal(action, context):
    """Replace every pixel by the median of 3 x 3."""
    from scipy.ndimage import median_filter

    action.args.image = median_filter(action.args.image, size=3)
    return action.args


def hist_equal2d(action, context):
    """Adaptive histogram equalisation."""
    action.args.image = draw.equalise(action.args.image)
    return action.args


def save_png(action, context):
    """Write the picture, named like the file, into the output directory."""
    path = picture_path(action.args.name, context)
    draw.write_picture(path, action.args.image)
    return Arguments(name=action.args.name, picture=str(path))


def contact_sheet(action, context):
    """Write the contact sheet, now and then while pictures keep coming, and after the last one."""
    page = Path(context.config.output_directory, "index.html")
    if (
        context.event_queue.head() is None
        or not page.is_file()
        or time.time() - page.stat().st_mtime > SHEET_INTERVAL
    ):
        draw.write_contact_sheet(page.parent, title=context.config.name)
    return action.args


def create_contact_sheet_html(action, context):
    """Write the contact sheet at once. Arguments, all optional: ``dir_name``, ``out_name``, ``pattern``."""
    given = vars(action.args)
    folder = given.get("dir_name", context.config.output_directory)
    patterns = (given["pattern"],) if "pattern" in given else draw.PICTURES
    draw.write_contact_sheet(
        folder, given.get("out_name", "index.html"), context.config.name, patterns
    )
    return action.args


def picture_path(filename, context):
    """Where the picture of a file goes: its name without ``.fits`` and ``.gz``, as ``.png``.

    Files in sub-directories of the data directory go to the same sub-directories of the output directory.
    """
    path, root = Path(filename).absolute(), context.config.data_directory
    below = path.parent.relative_to(root) if root and path.is_relative_to(root) else ""
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    return Path(context.config.output_directory, below, f"{stem}.png")
