"""Settings of a project (``pipeline.cfg``) and of a job (``job_params.cfg``), and the list of its
images.

INI files whose values are literals of Python (numbers, True, lists), times, or text. Nothing in
them is executed.
"""

import ast
import configparser
import difflib
import getpass
import glob
import os
from datetime import datetime
from pathlib import Path

from ..errors import SettingsError, WrongUseError
from .database.matching import MANY_TO_ONE, TIES
from .gaussians import NOISE_MODELS
from .noisemaps import BACKGROUNDS

PIPELINE_FILE = "pipeline.cfg"
JOB_FILE = "job_params.cfg"
IMAGES_FILE = "images_to_process.txt"

PIPELINE_DEFAULTS = {
    "logging": {
        "log_dir": "%(job_directory)s/logs/%(start_time)s",
        "debug": False,
        "colorlog": True,
    },
    "database": {
        "engine": "sqlite", "database": "", "user": "", "password": "", "host": "", "port": 5432,
        "dump_backup_copy": False,
    },
    "image_cache": {"copy_images": False},
    "parallelise": {"method": "multiproc", "cores": 0},
}  # fmt: skip

JOB_DEFAULTS = {
    "persistence": {
        "description": "TRAP dataset", "dataset_id": -1, "rms_est_sigma": 4.0,
        "rms_est_fraction": 8, "bandwidth_max": 0.0,
    },
    "quality": {
        "rms_est_history": 100, "rms_est_max": 100.0, "rms_est_min": 0.0, "rms_rej_sigma": 3.0,
        "oversampled_x": 30.0,
        "elliptical_x": 2.0,
    },
    "quality_lofar": {"low_bound": 1.0, "high_bound": 80.0, "min_separation": 10.0},
    "source_extraction": {
        "detection_threshold": 8.0, "analysis_threshold": 3.0, "back_size_x": 50, "back_size_y": 50,
        "margin": 10,
        "deblend_nthresh": 0, "extraction_radius_pix": 250.0, "force_beam": True,
        "box_in_beampix": 10.0,
        "ew_sys_err": 10.0, "ns_sys_err": 10.0, "expiration": 10, "flux_error_model": "",
        "background": "sep",
    },
    "association": {
        "deruiter_radius": 5.68, "beamwidths_limit": 3.0, "use_axis_errors": False, "ties": "pair",
        "many_to_one": "both",
        "fork_other_bands": True,
    },
    "transient_search": {"new_source_sigma_margin": 1.0},
    "optical": {"match_stars": False, "reference": "", "calibrate": True},
    "pipeline": {
        "mode": "batch", "hosts": ",,,,,", "ports": "6666,6667,6668,6669,6670,6671",
        "pixel_order": "rows",
        "stream_timeout": 60.0,
    },
}  # fmt: skip

OPTICAL_DEFAULTS = {
    "quality": {"rms_est_max": 1e6, "elliptical_x": 3.0},
    "source_extraction": {
        "detection_threshold": 6.0, "back_size_x": 64, "back_size_y": 64,
        "extraction_radius_pix": 1e5, "ew_sys_err": 0.3,
        "ns_sys_err": 0.3,
    },
    "optical": {"match_stars": True},
}  # fmt: skip
"""What differs for a series of optical frames."""

_CHOICES = {
    ("pipeline", "mode"): ("batch", "stream"),
    ("pipeline", "pixel_order"): ("rows", "columns"),
    ("source_extraction", "flux_error_model"): ("", *NOISE_MODELS),
    ("source_extraction", "background"): BACKGROUNDS,
    ("association", "ties"): TIES,
    ("association", "many_to_one"): MANY_TO_ONE,
    ("parallelise", "method"): ("serial", "multiproc", "mpi"),
    ("database", "engine"): ("sqlite", "postgresql"),
}
_POSITIVE = {
    "rms_est_sigma", "rms_est_history", "oversampled_x", "elliptical_x", "detection_threshold",
    "analysis_threshold",
    "back_size_x", "back_size_y", "extraction_radius_pix", "box_in_beampix", "deruiter_radius",
    "beamwidths_limit",
    "stream_timeout",
}  # fmt: skip
_NOT_NEGATIVE = {
    "margin", "deblend_nthresh", "ew_sys_err", "ns_sys_err", "expiration",
    "new_source_sigma_margin", "bandwidth_max", "cores",
}  # fmt: skip

_ENVIRONMENT = {
    "TKP_DBENGINE": ("database", "engine"),
    "TKP_DBNAME": ("database", "database"),
    "TKP_DBUSER": ("database", "user"),
    "TKP_DBPASSWORD": ("database", "password"),
    "TKP_DBHOST": ("database", "host"),
    "TKP_DBPORT": ("database", "port"),
    "TKP_PARALLELISE": ("parallelise", "method"),
}


class Section(dict):
    """A dict whose keys are attributes as well."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def nested(sections):
    """Sections of settings as a `Section` of `Section`."""
    return Section({name: Section(values) for name, values in sections.items()})


def parse(text):
    """A value of a settings file: a literal, else a time, else the text."""
    text = text.strip()
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f")
    except ValueError:
        return text


def read_pipeline(job_name, folder="."):
    """The settings of a project, from ``pipeline.cfg`` of a folder; environment variables win.

    Parameters
    ----------
    job_name : str
    folder : path

    Returns
    -------
    Section of Section, with ``job_directory`` among ``DEFAULT``
    """
    folder = Path(folder).resolve()
    parser = configparser.ConfigParser()
    parser.optionxform = str
    parser["DEFAULT"] = {
        "cwd": str(folder).replace("%", "%%"),
        "job_name": job_name,
        "start_time": datetime.now().strftime("%Y-%m-%dT%H-%M-%S"),
        "runtime_directory": "%(cwd)s",
        "job_directory": "%(runtime_directory)s/%(job_name)s",
    }
    parser.read_dict(
        {name: {k: str(v) for k, v in values.items()} for name, values in PIPELINE_DEFAULTS.items()}
    )
    path = folder / PIPELINE_FILE
    _read(parser, path)
    found = _sections(parser, PIPELINE_DEFAULTS, path)
    for variable, (section, key) in _ENVIRONMENT.items():
        if os.environ.get(variable):
            found[section][key] = _checked(
                section, key, parse(os.environ[variable]), PIPELINE_DEFAULTS, variable
            )
    found["DEFAULT"] = {
        key: value for key, value in parser.defaults().items() if key != "start_time"
    }
    found["DEFAULT"]["job_directory"] = parser["logging"]["job_directory"]
    return nested(found)


def read_job(path):
    """The settings of a job; what the file does not say has its default."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_dict(
        {name: {k: repr(v) for k, v in values.items()} for name, values in JOB_DEFAULTS.items()}
    )
    _read(parser, Path(path))
    return nested(_sections(parser, JOB_DEFAULTS, path))


def job_settings(**sections):
    """The default settings of a job with changes, for example ``quality={"rms_est_max": 1.0}``."""
    found = {name: dict(values) for name, values in JOB_DEFAULTS.items()}
    for section, values in sections.items():
        _check_name(section, found, "section", "job_settings()")
        for key, value in values.items():
            found[section][key] = _checked(section, key, value, JOB_DEFAULTS, "job_settings()")
    return nested(found)


def _read(parser, path):
    if not path.is_file():
        return
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (configparser.Error, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {' '.join(str(error).split())}") from None


def _sections(parser, defaults, path):
    found = {}
    for section in parser.sections():
        _check_name(section, defaults, "section", path)
        keys = [key for key in parser[section] if key not in parser.defaults()]
        try:
            values = {key: parse(parser[section][key]) for key in keys}
        except configparser.InterpolationError as error:
            raise SettingsError(f"{path}: {' '.join(str(error).split())}") from None
        found[section] = {
            key: _checked(section, key, value, defaults, path) for key, value in values.items()
        }
    return found


def _check_name(name, known, kind, path):
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
        raise SettingsError(f"{path}: unknown {kind} {name!r}{hint}")


def _checked(section, key, value, defaults, path):
    """A value of the type that the setting has, within its range."""
    _check_name(key, defaults[section], f"setting in [{section}]", path)
    kind = type(defaults[section][key])
    wrong = f"{path}: [{section}] {key} = {value!r}; expected "
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    elif kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    elif kind is str and not isinstance(value, str):
        value = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    if type(value) is not kind:
        raise SettingsError(
            f"{wrong}{'True or False' if kind is bool else f'a value of type {kind.__name__}'}"
        )
    if kind is float and value != value:
        raise SettingsError(f"{wrong}a number")
    if (key in _POSITIVE and not value > 0) or (key in _NOT_NEGATIVE and value < 0):
        raise SettingsError(f"{wrong}a number {'above' if key in _POSITIVE else 'not below'} 0")
    if key == "rms_est_fraction" and value < 2:
        raise SettingsError(f"{wrong}at least 2")
    choices = _CHOICES.get((section, key))
    if choices and value not in choices:
        raise SettingsError(f"{wrong}one of {', '.join(repr(c) for c in choices)}")
    return value


def url_of_database(pipe_config):
    """The URL or path of the database of a project."""
    found = pipe_config.database
    name = found.database
    if "://" in name:
        return name
    if found.engine == "sqlite":
        folder = Path(pipe_config.DEFAULT["job_directory"])
        return Path(name) if name else folder / "transients.sqlite"
    user = found.user or getpass.getuser()
    import sqlalchemy as sa

    return sa.engine.URL.create(
        "postgresql+psycopg", user, found.password or None, found.host or None, found.port,
        name or user,
    ).render_as_string(hide_password=False)  # fmt: skip


def list_images(job_dir):
    """The images of a job: from ``images_to_process.txt``, one path or pattern a line, or from the
    original's ``.py``.

    Of a Python file only a literal list ``images = [...]`` or ``images = glob.glob("...")`` (also
    sorted) is understood; it is never executed.

    Returns
    -------
    list of str, without doubles
    """
    job_dir = Path(job_dir)
    path = job_dir / IMAGES_FILE
    if path.is_file():
        patterns = _lines(path)
    elif (path := job_dir / "images_to_process.py").is_file():
        patterns = _images_of_python(path)
    else:
        raise WrongUseError(
            f"{job_dir}: no {IMAGES_FILE}; make the job with `photometry transients init`"
        )
    return expand(patterns, job_dir, path)


def _lines(path):
    """The lines of a file without comments."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise WrongUseError(
            f"{path}: is not UTF-8 text ({error}); expected a path a line"
        ) from None
    return [line for line in lines if line and not line.startswith("#")]


def expand(patterns, folder, source):
    """Paths and patterns as the paths that are there, relative ones from a folder; names of files
    of paths begin with ``@``.

    Parameters
    ----------
    patterns : list of str
    folder : path
    source : where the patterns are from, for messages
    """
    found = {}
    for pattern in patterns:
        pattern = os.path.expanduser(str(pattern))
        if pattern.startswith("@"):
            inner = Path(folder) / pattern[1:]
            if not inner.is_file():
                raise WrongUseError(f"{source}: {inner} is not there")
            found.update(dict.fromkeys(expand(_lines(inner), inner.parent, inner)))
            continue
        full = os.path.join(folder, pattern)
        matches = (
            sorted(glob.glob(full, recursive=True))
            if glob.has_magic(full) and not os.path.exists(full)
            else [full]
        )
        found.update(dict.fromkeys(matches))
    return list(found)


def _images_of_python(path):
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise WrongUseError(f"{path}: {error}") from None
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            getattr(t, "id", "") == "images" for t in node.targets
        ):
            value = node.value
            while isinstance(value, ast.Call) and value.args:
                # sorted(glob.glob("...")), list(...): what is inside counts
                value = value.args[0]
            try:
                images = ast.literal_eval(value)
            except ValueError:
                break
            return [images] if isinstance(images, str) else list(images)
    raise WrongUseError(
        f"{path}: expected `images = [...]` or `images = glob.glob('...')`; it is read, not "
        f"executed. "
        f"Write the paths or patterns into {IMAGES_FILE} instead"
    )


def template(defaults, texts):
    """A settings file with all defaults, and what each means.

    Parameters
    ----------
    defaults : dict of dicts
    texts : dict, key -> message
    """
    lines = []
    for section, values in defaults.items():
        lines += [f"[{section}]"]
        for key, value in values.items():
            if key in texts:
                lines.append(f"; {texts[key]}")
            lines.append(f"{key} = {value}")
        lines.append("")
    return "\n".join(lines)


MEANINGS = {
    "dataset_id": "-1: a new dataset, or the job's unfinished one; else continue that one",
    "rms_est_sigma": "clip level of the noise in the middle of an image",
    "rms_est_fraction": "the middle has a width of 2/fraction of the image",
    "bandwidth_max": "Hz; not 0: replaces the bandwidth of images where bands are matched",
    "rms_est_history": "images of a band that the noise is compared with",
    "rms_est_max": "Jy",
    "rms_est_min": "Jy",
    "oversampled_x": "px, largest half width of the beam",
    "elliptical_x": "largest ratio of the beam's axes",
    "low_bound": "times the theoretical noise",
    "high_bound": "times the theoretical noise",
    "min_separation": "deg to a bright source",
    "detection_threshold": "local noises, peak of a source",
    "analysis_threshold": "local noises, edge of a source",
    "back_size_x": "px, cells of background and noise",
    "margin": "px, left out at the edges",
    "deblend_nthresh": "levels at which islands are taken apart when shapes are free; 0: not at "
                       "all",
    "extraction_radius_pix": "px, circle around the middle",
    "force_beam": "all sources have the shape of the beam",
    "box_in_beampix": "half widths of the beam, side of the box of a forced fit",
    "ew_sys_err": "arcsec, systematic error of positions",
    "expiration": "forced fits after the last blind detection",
    "flux_error_model": "beam, white or reference; empty: beam, white for optical images",
    "background": "sep or clipped",
    "deruiter_radius": "largest de Ruiter radius of source and extraction",
    "beamwidths_limit": "largest distance, in semi-major axes of the beam",
    "use_axis_errors": "errors of positions east and north in place of the error radius",
    "ties": "pair: two and two that tie become two pairs; lowest_id",
    "many_to_one": "an extraction with several sources counts for both, or for the nearest one",
    "fork_other_bands": "a source that splits passes on the fluxes of its other bands",
    "new_source_sigma_margin": "noises above the detection threshold of earlier images",
    "mode": "batch: images_to_process.txt; stream: from hosts and ports",
    "pixel_order": "of the stream: rows as in FITS, or columns as the original's emulator sends "
                   "them",
    "match_stars": "frames get their coordinates from the pattern of their stars; True where "
                   "headers have none",
    "reference": "path of the frame that the others are matched to; empty: chosen, and kept with "
                 "the dataset",
    "calibrate": "fluxes of optical frames are brought to those of the running catalogue: clouds "
                 "and seeing cancel",
    "stream_timeout": "s without an image after which a group is taken as complete",
    "engine": "sqlite or postgresql",
    "database": "a path or a name; empty: transients.sqlite in the job's folder, or your login "
                "name",
    "copy_images": "keep pixels in the database, for cut-outs without the files",
    "method": "serial, multiproc or mpi",
    "cores": "0: all",
}  # fmt: skip
