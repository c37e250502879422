"""The classic example: every FITS image becomes a PNG picture, and all pictures a contact sheet.

::

    photometry events run photometry.events.fits2png_pipeline -d DIR
"""

from photometry.events import BasePipeline
from photometry.events.pictures import write_contact_sheet
from photometry.events.primitives import *  # noqa: F403, the table names them


class Fits2pngPipeline(BasePipeline):
    """FITS to PNG, with and without the removal of noise."""

    event_table = {  # noqa: RUF012, this is how a pipeline is written
        "next_file": ("SimpleFitsReader", "file_ready", "file_ready"),
        "noisy_file": ("SimpleFitsReader", "file_ready", "file_ready_for_noise_removal"),
        "file_ready_for_noise_removal": ("noise_removal", "noise_removed", "noise_removed"),
        "noise_removed": ("hist_equal2d", "histeq_done", "histeq_done"),
        "file_ready": ("hist_equal2d", "histeq_done", "histeq_done"),
        "histeq_done": ("save_png", None, None),
        "contact_sheet": ("create_contact_sheet_HTML", None, None),
    }

    def finish_run(self, context):
        """Write the contact sheet after the last file."""
        write_contact_sheet(context.config.output_directory, title=context.config.name)
