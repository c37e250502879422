"""Settings of a job (``job_params.cfg``) and of a project (``pipeline.cfg``): sections, names and
defaults of the LOFAR Transients Pipeline, and our own.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from ..settings import Section


def _as_text(value):
    """What reads as a number or a list, where text is wanted."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else str(value)


def _no_text(value):
    """Numbers only: pydantic would read text as numbers, and True as 1."""
    if isinstance(value, (bool, str)):
        raise ValueError(f"expected a number, not {type(value).__name__}")
    return value


Text = Annotated[str, BeforeValidator(_as_text)]
Number = Annotated[float, BeforeValidator(_no_text), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_no_text)]
Flag = Annotated[bool, Field(strict=True)]
Positive, NotNegative = Annotated[Number, Field(gt=0)], Annotated[Number, Field(ge=0)]
PositiveWhole, Count = Annotated[Whole, Field(gt=0)], Annotated[Whole, Field(ge=0)]


class Persistence(Section):
    """The dataset."""

    description: Text = "TRAP dataset"
    dataset_id: Whole = Field(
        -1, description="-1: a new dataset, or the job's unfinished one; else continue that one"
    )
    rms_est_sigma: Positive = Field(
        4.0, description="clip level of the noise in the middle of an image"
    )
    rms_est_fraction: Annotated[Whole, Field(ge=2)] = Field(
        8, description="the middle has a width of 2/fraction of the image"
    )
    bandwidth_max: NotNegative = Field(
        0.0, description="Hz; not 0: replaces the bandwidth of images where bands are matched"
    )


class Quality(Section):
    """Which images are good."""

    rms_est_history: PositiveWhole = Field(
        100, description="images of a band that the noise is compared with"
    )
    rms_est_max: Number = Field(100.0, description="Jy")
    rms_est_min: Number = Field(0.0, description="Jy")
    rms_rej_sigma: Number = Field(3.0, description="standard deviations of the noise of these")
    oversampled_x: Positive = Field(30.0, description="px, largest half width of the beam")
    elliptical_x: Positive = Field(2.0, description="largest ratio of the beam's axes")


class QualityLofar(Section):
    """Which images of LOFAR are good."""

    low_bound: Number = Field(1.0, description="times the theoretical noise")
    high_bound: Number = Field(80.0, description="times the theoretical noise")
    min_separation: Number = Field(10.0, description="deg to a bright source")


class SourceExtraction(Section):
    """How sources are found and measured."""

    detection_threshold: Positive = Field(8.0, description="local noises, peak of a source")
    analysis_threshold: Positive = Field(3.0, description="local noises, edge of a source")
    back_size_x: PositiveWhole = Field(50, description="px, cells of background and noise")
    back_size_y: PositiveWhole = 50
    margin: Count = Field(10, description="px, left out at the edges")
    deblend_nthresh: Count = Field(
        0, description="levels at which islands are taken apart when shapes are free; 0: not at all"
    )
    extraction_radius_pix: Positive = Field(250.0, description="px, circle around the middle")
    force_beam: Flag = Field(True, description="all sources have the shape of the beam")
    box_in_beampix: Positive = Field(
        10.0, description="half widths of the beam, side of the box of a forced fit"
    )
    ew_sys_err: NotNegative = Field(10.0, description="arcsec, systematic error of positions")
    ns_sys_err: NotNegative = 10.0
    expiration: Count = Field(10, description="forced fits after the last blind detection")
    flux_error_model: Literal["", "beam", "white", "reference"] = Field(
        "", description="beam, white or reference; empty: beam, white for optical images"
    )
    background: Literal["sep", "clipped"] = Field("sep", description="sep or clipped")


class Association(Section):
    """Which extraction belongs to which source."""

    deruiter_radius: Positive = Field(
        5.68, description="largest de Ruiter radius of source and extraction"
    )
    beamwidths_limit: Positive = Field(
        3.0, description="largest distance, in semi-major axes of the beam"
    )
    use_axis_errors: Flag = Field(
        False, description="errors of positions east and north in place of the error radius"
    )
    ties: Literal["pair", "lowest_id"] = Field(
        "pair", description="pair: two and two that tie become two pairs; lowest_id"
    )
    own_source_first: Flag = Field(
        True,
        description=(
            "an extraction whose nearest source has no other candidate is no side of the split of "
            "another"
        ),
    )
    many_to_one: Literal["both", "nearest"] = Field(
        "both", description="an extraction with several sources counts for both, or for the nearest"
    )
    fork_other_bands: Flag = Field(
        True, description="a source that splits passes on the fluxes of its other bands"
    )


class TransientSearch(Section):
    """Which sources are new."""

    new_source_sigma_margin: NotNegative = Field(
        1.0, description="noises above the detection threshold of earlier images"
    )


class Optical(Section):
    """Frames of telescopes."""

    match_stars: Flag = Field(
        False,
        description=(
            "frames get their coordinates from the pattern of their stars; True where headers have "
            "none"
        ),
    )
    reference: Text = Field(
        "",
        description=(
            "path of the frame that the others are matched to; empty: chosen, and kept with the "
            "dataset"
        ),
    )
    calibrate: Flag = Field(
        True,
        description=(
            "fluxes of optical frames are brought to those of the running catalogue: clouds and "
            "seeing cancel"
        ),
    )


class Pipeline(Section):
    """Where images come from."""

    mode: Literal["batch", "stream"] = Field(
        "batch", description="batch: images_to_process.txt; stream: from hosts and ports"
    )
    hosts: Text = Field(",,,,,", description="of the stream; an empty one is this machine")
    ports: Text = "6666,6667,6668,6669,6670,6671"
    pixel_order: Literal["rows", "columns"] = Field(
        "rows",
        description=(
            "of the stream: rows as in FITS, or columns as the original's emulator sends them"
        ),
    )
    stream_timeout: Positive = Field(
        60.0, description="s without an image after which a group is taken as complete"
    )


class JobSettings(Section):
    """``job_params.cfg``."""

    persistence: Persistence = Persistence()
    quality: Quality = Quality()
    quality_lofar: QualityLofar = QualityLofar()
    source_extraction: SourceExtraction = SourceExtraction()
    association: Association = Association()
    transient_search: TransientSearch = TransientSearch()
    optical: Optical = Optical()
    pipeline: Pipeline = Pipeline()


class Logging(Section):
    """Log files."""

    log_dir: Text = "%(job_directory)s/logs/%(start_time)s"
    debug: Flag = False
    colorlog: Flag = True


class DatabaseSettings(Section):
    """Where the tables are."""

    engine: Literal["sqlite", "postgresql"] = Field("sqlite", description="sqlite or postgresql")
    database: Text = Field(
        "",
        description=(
            "a path, a name or a URL; empty: transients.sqlite in the job's folder, or your login "
            "name"
        ),
    )
    user: Text = ""
    password: Text = ""
    host: Text = ""
    port: Whole = 5432
    dump_backup_copy: Flag = Field(False, description="copy an SQLite file before a run")


class ImageCache(Section):
    """Copies of images."""

    copy_images: Flag = Field(
        False, description="keep pixels in the database, for cut-outs without the files"
    )


class Parallelise(Section):
    """Who does the image work."""

    method: Literal["serial", "multiproc", "mpi"] = Field(
        "multiproc", description="serial, multiproc or mpi"
    )
    cores: Count = Field(0, description="0: all")


class ProjectSettings(Section):
    """``pipeline.cfg``."""

    logging: Logging = Logging()
    database: DatabaseSettings = DatabaseSettings()
    image_cache: ImageCache = ImageCache()
    parallelise: Parallelise = Parallelise()


OPTICAL = {
    "quality": {"rms_est_max": 1e6, "elliptical_x": 3.0},
    "source_extraction": {
        "detection_threshold": 6.0, "back_size_x": 64, "back_size_y": 64,
        "extraction_radius_pix": 1e5, "ew_sys_err": 0.3,
        "ns_sys_err": 0.3,
    },
    "optical": {"match_stars": True},
}  # fmt: skip
"""What differs for a series of optical frames."""
