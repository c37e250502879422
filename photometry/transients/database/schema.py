"""The tables: names and columns of the LOFAR Transients Pipeline's schema 40, and a few columns and
tables of our own.

Ids are given by this program (the largest plus one, within a transaction), so that the same images
give the same rows in SQLite and in PostgreSQL, whether or not a run was interrupted.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 41
"""40 is the original's; ours adds what `_own` marks and the tables ``timestep`` and
``skippedimage``."""

REJECT_REASONS = {
    0: "RMS invalid",
    1: "beam invalid",
    2: "bright source near",
    3: "tau_time is zero",
    4: "contains NaN",
    5: "data is flat",
}

metadata = MetaData()


def _key():
    return Column(
        "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )


def _link(name, table, **options):
    kind = BigInteger().with_variant(Integer, "sqlite")
    return Column(name, kind, ForeignKey(f"{table}.id"), **options)


def _doubles(names):
    return [Column(name, Double) for name in names.split()]


def _own(*columns):
    """Columns that the original does not have."""
    return columns


version = Table(
    "version", metadata, Column("name", String(12), primary_key=True), Column("value", Integer)
)

dataset = Table(
    "dataset",
    metadata,
    _key(),
    Column("rerun", Integer, nullable=False, default=0),
    Column("type", SmallInteger, nullable=False, default=1),
    Column("process_start_ts", DateTime),
    Column("process_end_ts", DateTime),
    *_doubles("detection_threshold analysis_threshold assoc_radius"),
    Column("backsize_x", SmallInteger),
    Column("backsize_y", SmallInteger),
    Column("margin_width", Double),
    Column("description", String(100), nullable=False),
    Column("node", SmallInteger, nullable=False, default=1),
    Column("nodes", SmallInteger, nullable=False, default=1),
    # The job that a dataset belongs to, and whether all of its images were looked at.
    *_own(Column("job", String(200)), Column("finished", Boolean, nullable=False, default=False)),
)

config = Table(
    "config",
    metadata,
    _key(),
    _link("dataset", "dataset", nullable=False),
    Column("section", String(100)),
    Column("key", String(100)),
    Column("value", String(500)),
    Column("type", String(5)),
    UniqueConstraint("dataset", "section", "key"),
)

frequencyband = Table(
    "frequencyband",
    metadata,
    _key(),
    _link("dataset", "dataset", nullable=False),
    *_doubles("freq_central freq_low freq_high"),
)

skyregion = Table(
    "skyregion",
    metadata,
    _key(),
    _link("dataset", "dataset", nullable=False),
    *_doubles("centre_ra centre_decl xtr_radius x y z"),
)

image = Table(
    "image",
    metadata,
    _key(),
    _link("dataset", "dataset", nullable=False),
    _link("band", "frequencyband", nullable=False),
    _link("skyrgn", "skyregion", nullable=False),
    Column("tau", Integer),
    Column("stokes", SmallInteger, nullable=False, default=1),
    *_doubles("tau_time freq_eff freq_bw"),
    Column("taustart_ts", DateTime, nullable=False),
    *_doubles("rb_smaj rb_smin rb_pa deltax deltay fwhm_arcsec fov_degrees rms_qc rms_min rms_max"),
    *_doubles("detection_thresh analysis_thresh"),
    Column("url", String(1024)),
    # What fluxes of this image were multiplied by: 1 for radio images.
    *_own(Column("flux_scale", Double, nullable=False, default=1.0)),
    Index("image_by_time", "dataset", "band", "taustart_ts"),
)

imagedata = Table(
    "imagedata",
    metadata,
    _key(),
    _link("image", "image", nullable=False, unique=True),
    Column("fits_header", Text),
    Column("fits_data", LargeBinary),
)

rejectreason = Table("rejectreason", metadata, _key(), Column("description", String(512)))

rejection = Table(
    "rejection",
    metadata,
    _key(),
    _link("image", "image", nullable=False, index=True),
    _link("rejectreason", "rejectreason", nullable=False),
    Column("comment", String(512)),
)

extractedsource = Table(
    "extractedsource",
    metadata,
    _key(),
    _link("image", "image", nullable=False, index=True),
    # no foreign keys: a source that splits passes its forced fits on, and each would cost a look-up
    Column("ff_runcat", BigInteger),
    Column("ff_monitor", BigInteger),
    Column("zone", Integer),
    *_doubles("ra decl uncertainty_ew uncertainty_ns ra_err decl_err ra_fit_err decl_fit_err"),
    *_doubles("ew_sys_err ns_sys_err error_radius x y z racosdecl"),
    Column("margin", Boolean, nullable=False, default=False),
    *_doubles("det_sigma semimajor semiminor pa f_peak f_peak_err f_int f_int_err"),
    *_doubles("chisq reduced_chisq"),
    Column("extract_type", SmallInteger, nullable=False),
    Column("fit_type", SmallInteger),
    *_own(Column("ew_err", Double), Column("ns_err", Double)),
)

runningcatalog = Table(
    "runningcatalog",
    metadata,
    _key(),
    _link("xtrsrc", "extractedsource", nullable=False, unique=True),
    _link("dataset", "dataset", nullable=False, index=True),
    Column("datapoints", Integer, nullable=False),
    Column("zone", Integer),
    *_doubles("wm_ra wm_decl wm_uncertainty_ew wm_uncertainty_ns avg_ra_err avg_decl_err"),
    *_doubles("avg_wra avg_wdecl avg_weight_ra avg_weight_decl x y z"),
    Column("inactive", Boolean, nullable=False, default=False),
    Column("mon_src", Boolean, nullable=False, default=False),
    Column("forcedfits_count", Integer, nullable=False, default=0),
)

FLUX_MEANS = tuple(
    name.format(kind)
    for kind in ("f_peak", "f_int")
    for name in ("avg_{}", "avg_{}_sq", "avg_{}_weight", "avg_weighted_{}", "avg_weighted_{}_sq")
)

runningcatalog_flux = Table(
    "runningcatalog_flux",
    metadata,
    _key(),
    _link("runcat", "runningcatalog", nullable=False, index=True),
    _link("band", "frequencyband", nullable=False),
    Column("stokes", SmallInteger, nullable=False, default=1),
    Column("f_datapoints", Integer, nullable=False),
    *_doubles(" ".join(FLUX_MEANS)),
    # Sums of squared deviations: differences of the means above cancel. See `variability`.
    *_own(*_doubles("f_int_m2 f_int_wmean f_int_wm2")),
    UniqueConstraint("runcat", "band", "stokes"),
)

assocxtrsource = Table(
    "assocxtrsource",
    metadata,
    _key(),
    _link("runcat", "runningcatalog", nullable=False),
    _link("xtrsrc", "extractedsource", nullable=False),
    Column("type", SmallInteger, nullable=False),
    *_doubles("distance_arcsec r loglr v_int eta_int"),
    Column("f_datapoints", Integer, nullable=False),
    # The extraction first: this index only ever grows at its end, so that an epoch costs the same
    # however many there are.
    UniqueConstraint("xtrsrc", "runcat"),
)
LIGHTCURVE_INDEX = "assoc_by_runcat"
"""SQLite has it when a run is finished, see `connection.Database.index_lightcurves`."""

Index(LIGHTCURVE_INDEX, assocxtrsource.c.runcat).ddl_if(dialect="postgresql")

assocskyrgn = Table(
    "assocskyrgn",
    metadata,
    _key(),
    _link("runcat", "runningcatalog", nullable=False, index=True),
    _link("skyrgn", "skyregion", nullable=False),
    Column("distance_deg", Double),
)

newsource = Table(
    "newsource",
    metadata,
    _key(),
    _link("runcat", "runningcatalog", nullable=False, index=True),
    _link("trigger_xtrsrc", "extractedsource", nullable=False),
    _link("previous_limits_image", "image", nullable=False),
    Column("newsource_type", SmallInteger, nullable=False),
)

monitor = Table(
    "monitor",
    metadata,
    _key(),
    _link("dataset", "dataset", nullable=False, index=True),
    _link("runcat", "runningcatalog"),
    *_doubles("ra decl"),
    Column("name", String(100)),
)

varmetric = Table(
    "varmetric",
    metadata,
    _key(),
    _link("runcat", "runningcatalog", nullable=False, unique=True),
    *_doubles("v_int eta_int"),
    _link("band", "frequencyband", nullable=False),
    _link("newsource", "newsource"),
    *_doubles("sigma_rms_max sigma_rms_min lightcurve_max lightcurve_avg lightcurve_median"),
)

timestep = Table(
    "timestep",
    metadata,
    _key(),
    _link("dataset", "dataset", nullable=False, index=True),
    Column("taustart_ts", DateTime, nullable=False),
    Column("status", String(8), nullable=False),  # 'done' or 'failed'
    Column("n_images", Integer, nullable=False),
    Column("n_rejected", Integer, nullable=False),
    Column("message", Text),
    UniqueConstraint("dataset", "taustart_ts"),
)

skippedimage = Table(
    "skippedimage",
    metadata,
    _key(),
    _link("dataset", "dataset", nullable=False, index=True),
    Column("url", String(1024), nullable=False),
    Column("reason", Text, nullable=False),
    UniqueConstraint("dataset", "url"),
)
