"""`Quicklook`: target pixel files become light curves, FITS images pictures, as they arrive. ``photometry watch`` runs it.

Its primitives are plain functions; the work is that of `photometry.target` and `photometry.events.pictures`.
"""

from importlib.util import find_spec
from pathlib import Path

from ..errors import BadInputError, NothingToDoError, TargetError
from ..status import STATUS
from . import Arguments
from .examples.fits2png_pipeline import Fits2pngPipeline

KEEP = ("mission", "sector", "camera", "ccd", "cadence", "starid")


class Quicklook(Fits2pngPipeline):
    """What is in a file decides on the chain of events."""

    event_table = {  # noqa: RUF012, this is how a pipeline is written
        **Fits2pngPipeline.event_table,
        "next_file": ("action_planner", None, None),
        "image": ("SimpleFitsReader", "file_ready", "file_ready"),
        "target_pixels": ("measure", "measured", "picture_saved"),
    }

    def bind(self, context):
        """Say at once that something is missing."""
        super().bind(context)
        if not can_plot():
            context.logger.warning(
                "light curves get no pictures without matplotlib: pip install 'photometry[plots]'"
            )


def can_plot():
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def action_planner(action, context):
    """Look into a file and push the first event of the chain for its kind."""
    context.push_hi_event(kind_of_file(action.args.name), action.args)
    return action.args


def kind_of_file(path):
    """'target_pixels' or 'image'.

    Raises
    ------
    NothingToDoError : it is FITS, but neither of them
    BadInputError : it is not FITS, or is cut off
    """
    from astropy.io import fits

    try:
        with fits.open(path) as hdus:
            headers = [hdu.header for hdu in hdus]
    except (OSError, ValueError, TypeError, fits.VerifyError) as error:
        raise BadInputError(f"{path}: cannot read this file as FITS: {error}") from error
    if any(header.get("EXTNAME", "").strip() in ("PIXELS", "TARGETTABLES") for header in headers):
        return "target_pixels"
    if any(
        header.get("XTENSION", "IMAGE").strip() == "IMAGE" and header.get("NAXIS", 0) >= 2
        for header in headers
    ):
        return "image"
    raise NothingToDoError(f"{path}: neither a target pixel file nor an image")


def measure(action, context):
    """The photometry of a target pixel file: its light curve, and the picture beside it, in the output directory."""
    from ..pixels.find import identify
    from ..target import photometry

    path = Path(action.args.name)
    found = identify(path)
    task = {key: found[key] for key in KEEP} | {"priority": 1, "datasource": "tpf", "method": None}
    output = context.config.output_directory
    settings = context.config.photometry  # the section [photometry] of the configuration, or None
    result = photometry(
        task, input_folder=path.parent, output_folder=output, settings=settings, plot=can_plot()
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
