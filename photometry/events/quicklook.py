"""`Quicklook`: target pixel files become light curves, FITS images pictures, as they arrive.
``photometry watch`` runs it.

Its primitives are plain functions; the work is that of `photometry.target` and
`photometry.events.pictures`."""

import time
from importlib.util import find_spec
from pathlib import Path

from ..errors import NothingToDoError, TargetError
from ..fitsfile import Kind, kind_of_file, open_fits
from ..status import STATUS
from .event import Arguments
from .pictures import shrink, write_contact_sheet
from .pipeline import BasePipeline
from .primitives import HistEqual2d, SavePng, SimpleFitsReader

__all__ = ["HistEqual2d", "Quicklook", "SaveFrame", "SimpleFitsReader"]

KEEP = ("mission", "sector", "camera", "ccd", "cadence", "starid")

SHEET_INTERVAL = 2.0
"""s between contact sheets while pictures keep coming."""

FIRST_EVENT = {
    Kind.TARGET_PIXELS: "target_pixels",
    Kind.CUTOUT: "cutout",
    Kind.FULL_FRAME: "image",
    Kind.IMAGE: "image",
}
"""What is in a file decides on the chain of events; nothing is made of other kinds."""


class SaveFrame(SavePng):
    """The picture of a frame, with its name and axes."""

    axes = True


class Quicklook(BasePipeline):
    """Pictures are left out where the configuration says ``pictures = False``."""

    event_table = {  # noqa: RUF012, this is how a pipeline is written
        "next_file": ("action_planner", None, None),
        "target_pixels": ("measure", "measured", "picture_saved"),
        "cutout": ("mean_of_cutout", "file_ready", "file_ready"),
        "image": ("SimpleFitsReader", "file_ready", "file_ready"),
        "file_ready": ("HistEqual2d", "histeq_done", "histeq_done"),
        "histeq_done": ("SaveFrame", None, "picture_saved"),
        "picture_saved": ("contact_sheet", None, None),
    }

    new_pictures = False

    def bind(self, context):
        """Say at once that something is missing."""
        super().bind(context)
        if with_pictures(context) and not can_plot():
            context.logger.warning(
                "light curves get no pictures without matplotlib: pip install 'photometry[plots]'"
            )

    def contact_sheet(self, action, context):
        """Write the page with all pictures now and then while pictures keep coming."""
        self.new_pictures = with_pictures(context)
        page = Path(context.config.output_directory, "index.html")
        if not page.is_file() or time.time() - page.stat().st_mtime > SHEET_INTERVAL:
            self.while_idle(context)
        return action.args

    def while_idle(self, context):
        """Show all pictures on the page, whatever became of the last files."""
        if self.new_pictures:
            self.new_pictures = False
            write_contact_sheet(context.config.output_directory, title=context.config.name)

    finish_run = while_idle


def with_pictures(context):
    """Whether pictures are wanted."""
    return context.config.pictures is not False


def can_plot():
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def action_planner(action, context):
    """Look into a file and push the first event of the chain for its kind."""
    path = action.args.name
    kind = kind_of_file(path)
    event = FIRST_EVENT.get(kind)
    if event is None:
        raise NothingToDoError(
            f"{path}: {kind.value}; pictures are made of images, light curves of target pixel files"
        )
    if event != "target_pixels" and not with_pictures(context):
        raise NothingToDoError(f"{path}: {kind.value}, and no pictures are wanted")
    context.push_hi_event(event, action.args)
    return action.args


def measure(action, context):
    """The photometry of a target pixel file: its light curve, and the picture beside it, in the
    output directory."""
    from ..pixels.find import identify
    from ..target import photometry

    path = Path(action.args.name)
    header = identify(path)
    task = {key: header[key] for key in KEEP}
    output = context.config.output_directory
    result = photometry(
        task | {"priority": 1, "datasource": "tpf", "method": None},
        input_folder=path.parent,
        output_folder=output,
        # the section [photometry] of the configuration, or None
        settings=context.config.photometry,
        plot=with_pictures(context) and can_plot(),
    )
    _refuse_failure(path, result)
    lightcurve = str(Path(output, result["details"]["filepath_lightcurve"]))
    return Arguments(name=action.args.name, lightcurve=lightcurve, status=int(result["status"]))


def _refuse_failure(path, result):
    reasons = "; ".join(result.get("details", {}).get("errors", [])) or "no reason was given"
    if result["status"] == STATUS.SKIPPED:
        raise NothingToDoError(f"{path}: {reasons}")
    if result["status"] not in (STATUS.OK, STATUS.WARNING):
        raise TargetError(f"{path}: no light curve: {reasons}")


def mean_of_cutout(action, context):
    """The mean image of a TessCut cut-out."""
    import numpy as np

    with open_fits(action.args.name) as hdulist:
        flux = np.asarray(hdulist[1].data["FLUX"], dtype=float)
    count = np.isfinite(flux).sum(axis=0)
    img = np.where(count > 0, np.nansum(flux, axis=0) / np.maximum(count, 1), np.nan)
    return Arguments(name=action.args.name, img=shrink(img), frame=list(img.shape))
