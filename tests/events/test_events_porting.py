"""Pipelines with the structure of those that the original's users wrote: they run when their import
lines are changed.

Three authors: of a spectrograph's reduction with a hundred rows, of the classic FITS to PNG example
with a reader of its own, and of a pipeline that began as the template. And the page on porting:
every name that it gives is there."""

import configparser
import importlib
import logging
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import photometry.events
from photometry.events import Arguments, ConfigClass, Framework

PAGE = Path(__file__).parents[2] / "docs" / "porting-from-keckdrpframework.md"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write the files of an author's package, in a folder of its own that is imported from and
    worked in."""
    names = set(sys.modules)

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.chdir(tmp_path)
        importlib.invalidate_caches()
        return tmp_path

    yield write
    for name in set(sys.modules) - names:
        if name.split(".")[0] in ("ifudrp", "pipelines", "primitives", "template"):
            del sys.modules[name]


# A spectrograph: classes found by the names of their files, a star import, methods, channels in the
# configuration

STEPS = ("SubtractOverscan", "TrimOverscan", "SubtractBias", "CorrectGain", "MakeCube")
STEP = """
from photometry.events import Arguments
from photometry.events import BasePrimitive
from ifudrp.primitives.ifu_file_primitives import file_name


class {name}(BasePrimitive):
    def __init__(self, action, context):
        BasePrimitive.__init__(self, action, context)
        self.logger = context.pipeline_logger

    def _perform(self):
        self.action.args.history.append("{name}")
        self.logger.info("{name}: %s", file_name(self.action.args.name))
        return self.action.args
"""
STACK = '''
from photometry.events import BaseImg


class MakeMasterObject(BaseImg):
    """Stack frames, unless there is nothing to stack."""

    def __init__(self, action, context):
        BaseImg.__init__(self, action, context)
        self.logger = context.pipeline_logger

    def _pre_condition(self):
        if self.action.args.min_files > 1:
            self.action.new_event = None
        return False

    def _perform(self):
        raise RuntimeError("there is nothing to stack")
'''
FILES = """
import os
from photometry.events import Arguments
from photometry.events import BasePrimitive


def file_name(path):
    return os.path.basename(path)


class ingest_file(BasePrimitive):
    def __init__(self, action, context):
        BasePrimitive.__init__(self, action, context)
        self.logger = context.pipeline_logger

    def _perform(self):
        out_args = Arguments()
        out_args.name = self.action.args.name
        out_args.imtype = self.context.data_set.get_info(out_args.name)["IMTYPE"]
        out_args.history = []
        self.action.event._recurrent = False
        return out_args
"""
PIPELINE = '''
from photometry.events import BasePipeline
from photometry.events import ProcessingContext
from ifudrp.primitives.ifu_file_primitives import *


class Ifu_pipeline(BasePipeline):
    """
    Pipeline of a spectrograph
    """
    name = 'IFU-DRP'

    event_table = {
        "add_only": ("add_to_dataframe_only", None, None),
        "next_file": ("ingest_file", "ingest_file_started", "file_ingested"),
        "file_ingested": ("action_planner", None, None),
        "process_bias": ("SubtractOverscan", "subtract_overscan_started", "bias_trim"),
        "bias_trim": ("TrimOverscan", "trim_overscan_started", None),
        "process_object": ("SubtractOverscan", "subtract_overscan_started", "object_trim"),
        "object_trim": ("TrimOverscan", "trim_overscan_started", "object_bias"),
        "object_bias": ("SubtractBias", "subtract_bias started", "object_gain"),
        "object_gain": ("CorrectGain", "gain_correction_started", "object_master"),
        "object_master": ("MakeMasterObject", "master_object_started", "object_cube"),
        "object_cube": ("MakeCube", "making_cube_started", None),
        "next_file_stop": ("ingest_file", "file_ingested", None),
    }

    def __init__(self, context: ProcessingContext):
        """
        Constructor
        """
        BasePipeline.__init__(self, context)
        self.cnt = 0
        context.finished = []

    def add_to_dataframe_only(self, action, context):
        self.context.pipeline_logger.info("ADD to DATAFRAME ONLY: %s" % action.args.name)
        return action.args

    def action_planner(self, action, context):
        try:
            self.context.pipeline_logger.info("FILE TYPE %s" % action.args.imtype)
        except (AttributeError, TypeError, ValueError):
            return False
        self.cnt += 1
        context.finished.append(action.args)
        if "BIAS" in action.args.imtype:
            context.push_event("process_bias", action.args)
        elif "OBJECT" in action.args.imtype:
            object_args = action.args
            object_args.min_files = self.config.instrument.object_min_nframes
            context.push_event("process_object", object_args)
        else:
            context.push_event("noop", action.args)
        return True
'''
INSTRUMENT = """
# Main section
[IFU]
skipsky = False
air = "helio"
PIXSCALE = 0.00004048   # unbinned pixel size in degrees
object_min_nframes = 1
linelist = ""
procfile = ifub.proc
size = (1024, 2048)

[BLUE]
object_min_nframes = 1
LINETHRESH = 100.
procfile = ifub.proc

[RED]
object_min_nframes = 3
LINETHRESH = 10.
procfile = ifur.proc
"""


@pytest.fixture
def spectrograph(package):
    files = {
        "ifudrp/__init__.py": "",
        "ifudrp/pipelines/__init__.py": "",
        "ifudrp/primitives/__init__.py": "",
        "ifudrp/pipelines/ifu_pipeline.py": PIPELINE,
        "ifudrp/primitives/ifu_file_primitives.py": FILES,
        "ifudrp/primitives/MakeMasterObject.py": STACK,
        "ifudrp/configs/framework.cfg": "[DEFAULT]\nname = 'IFU-Pipeline'\nmonitor_interval = 10 # "
        "sec\n"
        'event_timeout = 0.02\nprint_trace = False\nprimitive_path = "ifudrp.primitives", ""\n'
        'pipeline_path = "", "pipelines"\nno_event_event = None\nhttp_server_port = 50100\n'
        'queue_manager_auth_code = b"ifu"\nsettle_time = 0\noutput_directory = "output"\n',
        "ifudrp/configs/ifu.cfg": INSTRUMENT,
    } | {f"ifudrp/primitives/{name}.py": STEP.format(name=name) for name in STEPS}
    folder = package(files)
    (folder / "data").mkdir()
    for name, imtype in (("b1", "BIAS"), ("o1", "OBJECT"), ("x1", "FOCUS")):
        header = fits.Header({"IMTYPE": imtype})
        fits.PrimaryHDU(header=header).writeto(folder / "data" / f"{name}.fits")
    return folder


def build(channel=None):
    """As the start-up script of such a pipeline does."""
    from ifudrp.pipelines.ifu_pipeline import Ifu_pipeline

    framework = Framework(Ifu_pipeline, "ifudrp/configs/framework.cfg")
    instrument = ConfigClass("ifudrp/configs/ifu.cfg", default_section="IFU")
    framework.config.instrument = instrument
    if channel:
        instrument.object_min_nframes = int(getattr(instrument, channel)["object_min_nframes"])
    framework.context.pipeline_logger = logging.getLogger("IFU")
    framework.default_ingestion_event = "next_file"
    return framework


class TestSpectrograph:
    def test_class_is_built_and_its_table_resolves(self, spectrograph):
        framework = build()
        table = framework.pipeline.event_table
        assert len(table) == 12
        assert all(callable(framework.pipeline.get_action(row[0])) for row in table.values())
        assert framework.pipeline.problems() == []

    @pytest.mark.parametrize(("channel", "objects_made"), [("BLUE", True), ("RED", False)])
    def test_chain_goes_on_behind_a_stack_that_is_not_needed(
        self, spectrograph, channel, objects_made
    ):
        framework = build(channel)
        framework.ingest_data("data")
        assert framework.main_loop() == 0
        history = {Path(args.name).stem: args.history for args in framework.context.finished}
        assert history["b1"] == ["SubtractOverscan", "TrimOverscan"]
        before = ["SubtractOverscan", "TrimOverscan", "SubtractBias", "CorrectGain"]
        assert history["o1"] == before + ["MakeCube"] * objects_made
        assert framework.tally.skipped_steps == 1
        assert framework.pipeline.cnt == 3

    def test_recurrent_files_end_themselves(self, spectrograph):
        framework = build()
        framework.config.default_ingestion_event = "add_only"
        framework.ingest_data("data")
        for name in framework.context.data_set.data_table.index:
            framework.append_event("next_file", Arguments(name=name), recurrent=True)
        assert framework.main_loop() == 0
        assert framework.pipeline.cnt == 3

    def test_configuration_reads_as_by_the_standard_library(self, spectrograph):
        """The outside truth: the texts of configparser, and what Python makes of them."""
        parser = configparser.ConfigParser(default_section="IFU", inline_comment_prefixes="#")
        parser.read("ifudrp/configs/ifu.cfg")
        config = build().config.instrument
        assert {key: getattr(config, key.upper()) for key in parser.defaults()} == {
            "skipsky": False,
            "air": "helio",
            "pixscale": 0.00004048,
            "object_min_nframes": 1,
            "linelist": "",
            "procfile": "ifub.proc",
            "size": (1024, 2048),
        }
        for section in ("BLUE", "RED"):
            for key in ("object_min_nframes", "linethresh"):
                assert getattr(config, section)[key] == float(parser[section][key])
            assert getattr(config, section)["procfile"] == parser[section]["procfile"]
        assert config.RED["skipsky"] is False
        assert config.nonsense is None

    def test_data_table_becomes_a_pandas_table(self, spectrograph):
        pandas = pytest.importorskip("pandas")
        framework = build()
        framework.ingest_data("data")
        table = framework.context.data_set.data_table.to_pandas()
        assert isinstance(table, pandas.DataFrame)
        objects = table[table.IMTYPE == "OBJECT"].index
        assert [Path(name).name for name in objects] == ["o1.fits"]


# FITS to PNG, with a reader of its own

READER = """
import numpy as np
from photometry.events import Arguments
from photometry.events import BasePrimitive
from photometry.events import open_nowarning


class SimpleFitsReader_LRIS(BasePrimitive):
    def __init__(self, action, context):
        BasePrimitive.__init__(self, action, context)

    def _perform(self):
        out_args = Arguments()
        out_args.name = self.action.args.name
        with open_nowarning(out_args.name) as hdus:
            amplifiers = [hdu.data for hdu in hdus if hdu.data is not None]
        out_args.img = np.concatenate(amplifiers, 1)
        return out_args
"""
EXAMPLE = """
from configparser import ConfigParser
from photometry.events import BasePipeline
from primitives.simple_fits_reader import SimpleFitsReader_LRIS


class Fits2pngPipeline(BasePipeline):
    event_table = {
        "next_file": ("SimpleFitsReader_LRIS", "file_ready", "file_ready_for_noise_removal"),
        "plain_file": ("simple_fits_reader.SimpleFitsReader", "file_ready", "file_ready"),
        "file_ready_for_noise_removal": ("noise_removal", "noise_removed", "noise_removed"),
        "noise_removed": ("hist_equal2d", "histeq_done", "histeq_done"),
        "file_ready": ("hist_equal2d", "histeq_done", "histeq_done"),
        "histeq_done": ("save_png", None, None),
        "contact_sheet": ("create_contact_sheet_HTML", None, None),
    }

    def __init__(self, context):
        super(Fits2pngPipeline, self).__init__(context)
        self.context = context
        fits2png = ConfigParser()
        fits2png.read("fits2png.cfg")
        self.context.config.fits2png = fits2png
        self.cnt = 0
"""


def test_the_classic_example_with_a_reader_of_its_own(package):
    folder = package(
        {
            "primitives/__init__.py": "",
            "primitives/simple_fits_reader.py": READER,
            "pipelines/__init__.py": "",
            "pipelines/fits2png_pipeline.py": EXAMPLE,
            "fits2png.cfg": "[DEFAULT]\ndenoise_sigmas = (1, 3)\ndenoise_sizes = (3, "
            "3)\nhist_equal_length = 256 * 256\n"
            'output_extension = ".jpg"\noutput_format = "jpeg"\n',
            "config.cfg": "[DEFAULT]\nevent_timeout = 0.02\nprimitive_path = "
            '"photometry.events.primitives", "", "primitives",\n'
            "settle_time = 0\nqueue_manager_auth_code = b'a very long authentication code'\n",
        }
    )
    (folder / "data").mkdir()
    half = np.arange(64, dtype="uint16").reshape(8, 8)
    for i in range(3):
        hdus = [fits.PrimaryHDU(half), fits.ImageHDU(half)]
        fits.HDUList(hdus).writeto(folder / "data" / f"{i}.fits")
    from pipelines.fits2png_pipeline import Fits2pngPipeline

    framework = Framework(Fits2pngPipeline, "config.cfg")
    framework.config.instrument = ConfigClass("fits2png.cfg")
    framework.ingest_data("data", ["data/0.fits"], False)
    framework.append_event("plain_file", Arguments(name="data/2.fits"))
    cfg = framework.config
    cargs = Arguments(cnt=3, out_name="test.html", pattern="*.jpg", dir_name=cfg.output_directory)
    framework.append_event("contact_sheet", cargs)
    framework.start(False, False, False, False)
    output = folder / "output"
    assert sorted(path.name for path in output.iterdir()) == [
        "0.jpg",
        "1.jpg",
        "2.jpg",
        "test.html",
    ]
    from PIL import Image

    sizes = {}
    for name in ("0.jpg", "2.jpg"):
        with Image.open(output / name) as image:
            sizes[name] = image.size
    assert sizes == {"0.jpg": (16, 8), "2.jpg": (8, 8)}, "two amplifiers; the first image"
    assert (output / "test.html").read_text().count("<img") == 3


# What began as the template

TEMPLATE = """
from photometry.events import BasePipeline
from photometry.events import ProcessingContext
from photometry.events import SimpleFitsReader
from template.primitives.Template import MyTemplate


class TemplatePipeline(BasePipeline):
    event_table = {
        "next_file": ("SimpleFitsReader", "file_ready", "template"),
        "template": ("MyTemplate", "running_MyTemplate", "template2"),
        "template2": ("Template2", "running_Template2", "template_action"),
        "template_action": ("template_action", None, None),
    }

    def __init__(self, context: ProcessingContext):
        BasePipeline.__init__(self, context)

    def template_action(self, action, context):
        self.logger.info("Running template_action on %s", action.args.name)
        context.ran = action.args.ran
        return action.args
"""
PRIMITIVE = """
from photometry.events import BasePrimitive
from photometry.events import Arguments


class {name}(BasePrimitive):
    def __init__(self, action, context):
        BasePrimitive.__init__(self, action, context)
        self.logger = context.pipeline_logger

    def _pre_condition(self):
        self.logger.info("Precondition for {name} is satisfied")
        return True

    def _post_condition(self):
        return True

    def _perform(self):
        self.action.args.ran = getattr(self.action.args, "ran", []) + ["{name}"]
        return self.action.args
"""


def test_a_pipeline_made_of_the_template(package, make_fits, tmp_path):
    package(
        {
            "template/__init__.py": "",
            "template/primitives/__init__.py": "",
            "template/primitives/Template.py": PRIMITIVE.format(name="MyTemplate"),
            "template/primitives/Template2.py": PRIMITIVE.format(name="Template2"),
            "template/pipelines/template_pipeline.py": TEMPLATE,
            "framework.cfg": '[DEFAULT]\nprimitive_path = "template.primitives", ""\nevent_timeout '
            "= 0.02\n",
            "template.cfg": "[TEMPLATE]\nsome_parameter = 3\n",
        }
    )
    from template.pipelines.template_pipeline import TemplatePipeline

    framework = Framework(TemplatePipeline, "framework.cfg")
    framework.config.instrument = ConfigClass("template.cfg", default_section="TEMPLATE")
    framework.context.pipeline_logger = logging.getLogger("TEMPLATE")
    framework.ingest_data(None, [make_fits("a.fits")], False)
    framework.start(False, False, False, False)
    assert framework.context.ran == ["MyTemplate", "Template2"]
    assert framework.config.instrument.some_parameter == 3


# The page


def test_every_name_of_the_page_is_there():
    rows = re.findall(r"^\| `([\w.]+)` \| `(\w+)` \|", PAGE.read_text(), flags=re.MULTILINE)
    assert len(rows) == 24
    for original, ours in rows:
        assert original.rpartition(".")[2] == ours
        assert callable(getattr(photometry.events, ours))
        assert ours in photometry.events.__all__


def test_the_command_of_the_page_changes_every_import_line():
    lines = [
        "from keckdrpframework.models.arguments import Arguments",
        "from keckdrpframework.config.framework_config import ConfigClass",
        "    from keckdrpframework.primitives.create_contact_sheet_HTML import "
        "CreateContactSheetHTML",
    ]
    (pattern, replacement) = re.search(
        r"sed -i -E 's/(.*)/(.*)/' \*\.py", PAGE.read_text()
    ).groups()
    for line in lines:
        name = line.split()[-1]
        assert re.sub(pattern, replacement, line).strip() == f"from photometry.events import {name}"
