"""A pipeline as its author wrote it for the original framework; only the import lines are ours.

It uses everything of sections 3-5 that such pipelines use: a package of primitives found by name,
functions with pre- and post-conditions, methods, classes, an action planner, a configuration of its
own chained to that of the framework."""

import subprocess
import sys

import pytest

PIPELINE = '''
from photometry.events import BasePipeline
from photometry.events import ConfigClass


class SpectrographPipeline(BasePipeline):
    """Reduce frames of a spectrograph."""

    event_table = {
        "next_file": ("ingest_file", "file_ingested", "file_ingested"),
        "file_ingested": ("action_planner", None, None),
        # bias
        "process_bias": ("process_bias", "bias_started", "bias_make_master"),
        "bias_make_master": ("MakeMasterBias", "bias_done", None),
        # science
        "process_object": ("subtract_overscan", "object_started", "object_trim"),
        "object_trim": ("trim_overscan.TrimOverscan", "object_trimmed", "object_save"),
        "object_save": ("save_output", "saved", None),
        "end": ("echo", "stop", None),
    }

    def __init__(self, context):
        """
        Constructor
        """
        BasePipeline.__init__(self, context)
        self.context.config.instrument = ConfigClass("instrument.cfg", default_section="SPEC")
        self.cnt = 0

    def action_planner(self, action, context):
        self.context.logger.info("******* FILE TYPE DETERMINED AS %s" % action.args.imtype)
        groupid = action.args.groupid
        if action.args.imtype == "BIAS":
            bias_args = action.args
            bias_args.groupid = groupid
            bias_args.want_type = "BIAS"
            context.push_hi_event("process_bias", bias_args)
        elif "OBJECT" in action.args.imtype:
            object_args = action.args
            object_args.new_type = "OBJ"
            context.push_event("process_object", object_args)
        return True

    def process_bias(self, action, context):
        self.cnt += 1
        action.args.number = self.cnt
        return action.args


def pre_subtract_overscan(action, context):
    return action.args.level > 0


def subtract_overscan(action, context):
    action.args.level -= context.config.instrument.overscan
    return action.args


def post_subtract_overscan(action, context):
    return action.output.level >= 0


def save_output(action, context):
    import os

    os.makedirs(context.config.output_directory, exist_ok=True)
    base = os.path.basename(action.args.name)
    name = os.path.join(context.config.output_directory, base + ".txt")
    with open(name, "w") as fh:
        print(action.args.level, action.args.trimmed, len(context.data_set.data_table), file=fh)
    return action.args
'''

INGEST = """
import os
from photometry.events import BasePrimitive
from photometry.events import Arguments


class IngestFile(BasePrimitive):
    def __init__(self, action, context):
        BasePrimitive.__init__(self, action, context)
        self.logger = context.pipeline_logger

    def _perform(self):
        out_args = Arguments(name=self.action.args.name)
        self.logger.info("Ingesting %s", out_args.name)
        out_args.imtype = self.context.data_set.get_info_column(out_args.name, "IMTYPE")
        out_args.level = self.context.data_set.get_info(out_args.name).get("LEVEL")
        out_args.groupid = os.path.basename(out_args.name)[:3]
        return out_args
"""

MASTER = """
from photometry.events import BasePrimitive


class MakeMasterBias(BasePrimitive):
    def _pre_condition(self):
        return self.action.args.want_type == "BIAS"

    def _perform(self):
        folder = self.context.config.output_directory
        with open(folder + "/bias%d.txt" % self.action.args.number, "w") as fh:
            print(self.action.args.groupid, file=fh)
        return self.action.args
"""

TRIM = """
from photometry.events import BasePrimitive


class TrimOverscan(BasePrimitive):
    def _perform(self):
        self.action.args.trimmed = True
        return self.action.args

    def _post_condition(self):
        return self.output.trimmed
"""

SCRIPT = """
from photometry.events import Framework
from photometry.events import ConfigClass
from photometry.events import getLogger
from photometry.events import Arguments
import sys
import traceback

from pipelines.spectrograph_pipeline import SpectrographPipeline


def main():
    try:
        framework = Framework(SpectrographPipeline, "framework.cfg")
        framework.config.instrument.extra = 1
    except Exception as e:
        print("Failed to initialize framework, exiting ...", e)
        traceback.print_exc()
        sys.exit(1)
    framework.context.pipeline_logger = getLogger("logger.cfg", name="pipeline")
    framework.logger = getLogger("logger.cfg", name="DRPF")
    framework.logger.info("Framework initialized")
    framework.ingest_data("data", None, False)
    framework.start(False, False, False, False)


if __name__ == "__main__":
    main()
"""

LOGGER = """
[loggers]
keys=root,DRPF,pipeline
[handlers]
keys=consoleHandler,fileHandler,pipelineHandler
[formatters]
keys=simpleFormatter
[logger_root]
level=WARNING
handlers=consoleHandler
[logger_DRPF]
level=INFO
handlers=consoleHandler,fileHandler
qualname=DRPF
propagate=0
[logger_pipeline]
level=INFO
handlers=consoleHandler,pipelineHandler
qualname=pipeline
propagate=0
[handler_consoleHandler]
class=StreamHandler
level=INFO
formatter=simpleFormatter
args=(sys.stdout,)
[handler_fileHandler]
class=FileHandler
level=INFO
formatter=simpleFormatter
args=("DRPF.log",)
[handler_pipelineHandler]
class=FileHandler
formatter=simpleFormatter
args=("pipeline.log", "w")
[formatter_simpleFormatter]
format=%(asctime)s:%(name)s:%(levelname)s: %(message)s
datefmt=%Y-%m-%d %H:%M:%S
"""


@pytest.fixture
def project(tmp_path):
    """The author's folder."""
    from astropy.io import fits

    files = {
        "pipelines/__init__.py": "",
        "pipelines/spectrograph_pipeline.py": PIPELINE,
        "primitives/__init__.py": "",
        "primitives/ingest_file.py": INGEST,
        "primitives/trim_overscan.py": TRIM,
        "primitives/MakeMasterBias.py": MASTER,
        "primitives/make_master_bias.py": MASTER,
        "reduce.py": SCRIPT,
        "logger.cfg": LOGGER,
        "framework.cfg": "[DEFAULT]\nevent_timeout = 0.05 # sec\nsettle_time = 0\nfile_type = "
        "'*.fits'\n"
        "output_directory = output\nprimitive_path = '', 'primitives'\nhttp_server_port = 50100\n",
        "instrument.cfg": "[SPEC]\noverscan = 10\n[colours]\nblue = 450.5\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "primitives/__init__.py").write_text("from .MakeMasterBias import MakeMasterBias\n")
    (tmp_path / "primitives/make_master_bias.py").unlink()
    (tmp_path / "output").mkdir()
    (tmp_path / "data").mkdir()
    frames = [
        ("b1", "BIAS", 0),
        ("b2", "BIAS", 0),
        ("o1", "OBJECT", 110),
        ("o2", "OBJECT", 5),
        ("o3", "OBJECT", 0),
    ]
    for name, imtype, level in frames:
        header = fits.Header({"IMTYPE": imtype, "LEVEL": level})
        fits.PrimaryHDU(header=header).writeto(tmp_path / "data" / f"{name}.fits")
    return tmp_path


def test_a_pipeline_for_the_original_runs_with_only_its_imports_changed(project):
    done = subprocess.run(
        [sys.executable, "reduce.py"], cwd=project, capture_output=True, text=True, timeout=600
    )
    assert sorted(path.name for path in (project / "output").iterdir()) == [
        "bias1.txt",
        "bias2.txt",
        "o1.fits.txt",
    ]
    assert (project / "output" / "o1.fits.txt").read_text().split() == ["100", "True", "5"]
    log = (project / "DRPF.log").read_text()
    assert "5 items: 3 done, 1 skipped, 1 failed" in log
    assert (
        "failed: next_file, data/o2.fits: the post-condition of subtract_overscan is not met" in log
    )
    assert (
        "skipped: next_file, data/o3.fits: the pre-condition of subtract_overscan is not met" in log
    )
    assert "Ingesting data/b1.fits" in (project / "pipeline.log").read_text()
    assert done.returncode == 1, (
        done.stdout + done.stderr
    )  # one of them failed; the original says 0
