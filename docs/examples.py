"""Examples of the commands, in the order in which they are run, in a folder of simulated data.

Each is the text of a console: lines that begin with ``$`` are run by bash, and ``docs/commands.md``
shows them with what they print. `SETUP` is run first and shown nowhere.
"""

SETUP = """
cat > chain.json <<'END'
{"job_name": "two_steps", "task_list": [
    {"task": "null"},
    {"task": "execution_for_loop", "parameter": "i", "values": [1, 2],
     "task_list": [{"task": "null"}]}]}
END
python - <<'END'
from photometry.simulate.imageseries import simulated_series
simulated_series(4).write("SERIES")
END
"""

EXAMPLES = {
    "simulate tpf": "$ photometry simulate tpf DIR --targets 12 --times 500 --truncated 1 "
    "--transits 0.5",
    "simulate ffi": "$ photometry simulate ffi CCD --size 96 --frames 20 --stars 60 --seed 3",
    "simulate lightcurves": "$ photometry simulate lightcurves STARS --stars 120 --times 400",
    "simulate images": "$ photometry simulate images RADIO --epochs 4",
    "catalog": "$ photometry catalog CCD",
    "prepare": "$ photometry prepare CCD",
    "todo make": "$ photometry todo ffi CCD\n$ photometry todo tpf DIR",
    "todo split": "$ photometry todo split CCD --by count --parts 2",
    "todo merge": "$ photometry todo merge CCD/merged.sqlite CCD/todo-*.sqlite",
    "plan": "$ photometry plan DIR",
    "run": "$ photometry run DIR\n$ photometry run CCD --limit 30 --quiet --method aperture",
    "quick": (
        "$ mkdir NEW && cp DIR/tess2018206045859-s0001-00000001000{00,01}*_tp.fits NEW\n"
        "$ photometry quick NEW --workers 0 2> log.txt | grep -e '^. photometry' -e ^tasks"
    ),
    "watch": "$ photometry watch NEW --once --settle 0 --quiet --json | head -n 8",
    "events new": "$ photometry events new pipeline.py",
    "events table": "$ photometry events table pipeline.py -c pipeline.cfg",
    "events start": "$ photometry events start -q night.sqlite",
    "events add": "$ photometry events add -q night.sqlite next_file NEW/a.fits",
    "events info": "$ photometry events info -q night.sqlite",
    "events run": "$ photometry events run pipeline.py SERIES/*.fits -c pipeline.cfg",
    "events retry": "$ photometry events retry -q night.sqlite; echo exit code $?",
    "events stop": "$ photometry events stop -q night.sqlite",
    "chain types": "$ photometry chain types | head -n 5",
    "chain submit": "$ photometry chain submit chain.json",
    "chain schedule": "$ photometry chain schedule --once",
    "chain worker": "$ photometry chain worker --until-idle --quiet",
    "chain run": "$ photometry chain run chain.json --workers 0 --quiet",
    "chain status": "$ photometry chain status",
    "chain tree": "$ photometry chain tree",
    "chain progress": "$ photometry chain progress",
    "chain timings": "$ photometry chain timings --csv | head -n 1",
    "chain pass-fail": "$ photometry chain pass-fail",
    "chain errors": "$ photometry chain errors",
    "chain retry": "$ photometry chain retry",
    "chain dump": "$ photometry chain dump all.gz && ls all.gz",
    "chain restore": "$ photometry chain restore all.gz && photometry chain status",
    "chain cancel": "$ photometry chain cancel",
    "chain delete": "$ photometry chain delete",
    "transients init": "$ photometry transients init field --images 'SERIES/*.fits'",
    "transients run": "$ photometry transients run field",
    "transients status": "$ photometry transients status field",
    "transients export": "$ photometry transients export field tables --format ecsv",
    "transients candidates": "$ photometry transients candidates field candidates.html",
    "transients delete": "$ photometry transients delete field 1 --yes",
    "status": (
        "$ photometry status DIR\n"
        "$ photometry status DIR --failed\n"
        "$ photometry status DIR --failed --files"
    ),
    "explain": "$ photometry explain DIR 100003774",
    "log": "$ photometry log DIR 100003774",
    "retry": "$ photometry retry DIR --dry-run",
    "reset": "$ photometry reset DIR --starid 100003774 --dry-run",
    "verify": "$ photometry verify DIR",
    "plot": "$ photometry plot --sheet --output sheet.png DIR/lightcurves",
    "cotrend": "$ photometry cotrend STARS --min-quiet 30 --no-plots --quiet",
    "correct": "$ photometry correct DIR",
    "stitch": "$ photometry stitch -o both.fits $(ls DIR/lightcurves/c*/*/*3774-*_lc.fits.gz)",
    "synthesize": (
        "$ photometry synthesize planet.lc.gz -s duration=27 -s orbital_period=3.1 "
        "-s planet_radius=0.5 \\\n"
        "    -s semi_major_axis=0.042 -s noise=0.005 -s sampling_cadence=600 -s seed=1"
    ),
    "search": "$ photometry search planet.lc.gz --detrend 0",
    "vet": "$ photometry vet planet.lc.gz --detrend 0 | head -n 6",
    "report": "$ photometry report DIR",
    "export": "$ photometry export DIR results.csv && head -n 2 results.csv | cut -c 1-90",
    "compare": "$ photometry compare DIR DIR",
    "doctor": "$ photometry doctor DIR --no-mpi | head -n 10",
    "jobscript": "$ photometry jobscript DIR --ranks 16 | head -n 12",
    "completion": "$ photometry completion bash | head -n 3",
}
