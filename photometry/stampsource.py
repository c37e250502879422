"""Where the stamp of a task comes from: a target pixel file, or an image cube, from which a larger one can be had."""

import dataclasses
from dataclasses import dataclass

from .catalog.stars import catalog_for, with_stars, with_target
from .pixels.cubestamp import area_of, cube_of, grown_area, stamp_from_cube, target_of
from .pixels.find import CHECKED, find_target_pixel_file, refuse_other_target
from .pixels.quality import good_times, mean_image
from .pixels.targetpixelfile import read_target_pixel_file


@dataclass(frozen=True)
class StampSource:
    """Makes the stamps of one task.

    Parameters
    ----------
    task : dict, see "Task" in docs/architecture
    folder : the input folder
    settings : PhotometrySettings
    catalog : star catalogue of the CCD, if the caller has opened it already
    """

    task: dict
    folder: object
    settings: object
    catalog: object = None

    def make(self, area=None):
        """All that a method needs to know about the task.

        Parameters
        ----------
        area : cubestamp.Area; default: that of the target's magnitude (target pixel files are always used whole)

        Returns
        -------
        stamp : Stamp with its stars and its sum image
        good : (n_times,) bool array, times of good quality
        """
        stamp = self._from_cube(area) if self._is_cube else self._from_file()
        stamp = with_stars(
            stamp, self.catalog or catalog_for(stamp, self.folder), self.settings.faint_limit
        )
        good = good_times(stamp, self.settings.good_quality)
        return dataclasses.replace(stamp, sumimage=mean_image(stamp.flux, good)), good

    def larger(self, stamp, mask):
        """The area to make a larger stamp from, because a mask touches the edge; None where there are no more pixels."""
        if not self._is_cube:
            return None
        cube = cube_of(self.task, self.folder)
        area = area_of(stamp, cube)
        grown = grown_area(area, mask, cube.shape)
        return None if grown == area else grown

    @property
    def _is_cube(self):
        return self.task["datasource"] == "ffi"

    def _from_cube(self, area):
        cube = cube_of(self.task, self.folder)
        catalog = self.catalog or catalog_for(cube, self.folder)
        return stamp_from_cube(cube, target_of(self.task, catalog, self.folder), area)

    def _from_file(self):
        """The stamp from a target pixel file that is sure to be of the task."""
        path = find_target_pixel_file(self.folder, self.task)
        stamp = read_target_pixel_file(path, datasource=self.task["datasource"])
        found = {key: getattr(stamp, key) for key in CHECKED}
        refuse_other_target(path, self.task, {"starid": stamp.target.starid, **found})
        if self.task["starid"] == stamp.target.starid:
            return stamp
        return with_target(
            stamp, self.task["starid"], self.catalog or catalog_for(stamp, self.folder)
        )
