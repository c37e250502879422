"""`job_script`: a batch script for SLURM that runs, stops in time, queues itself again, and
continues until all is done.
"""

import os
import re
import shlex
import sys

from ..constants import DAY
from ..errors import ArgumentError
from ..processes import THREAD_VARIABLES
from ..scheduler.limits import parse_duration
from ..taskmanager.opening import find_todo_file
from .status import SUMMARY_NAME

RESERVED = ("--output", "--summary", "--time-limit")  # options of run that the script sets itself
_NAME = re.compile(
    r"[\w.:,+@/=-]+"
)  # of accounts, partitions and the like: what needs no quotes in a directive
_MEMORY = re.compile(r"\d+[KMGT]?")

_HEAD = """\
#!/bin/bash
# Light curves of {comment_todo}
# Submit with 'sbatch THIS_FILE', watch with 'photometry status'. Submitting it again continues:
# what is done is not done again.
"""

_SET_UP = """
# One thread per rank: libraries that start one per core slow each other down.
export {threads}

{modules}restarts=${{SLURM_RESTART_COUNT:-0}}
where=${{SLURM_JOB_NODELIST:-this computer}}
echo "photometry: job ${{SLURM_JOB_ID:-(none)}}, start number $((restarts + 1)) on $where"

# 'auto': assign no more targets in time before the job ends (SLURM_JOB_END_TIME).
run=({command})
cancelled=
"""

_WITH_SRUN = """
# scancel sends SIGTERM: the ranks save and stop, and the job is not queued again.
trap 'cancelled=yes' TERM

"${run[@]}"
code=$?
"""

_WITH_MPIEXEC = """
# Signals go to this shell (B: above), which hands them to mpiexec, which hands them to all ranks.
# scancel sends SIGTERM: the ranks save and stop, and the job is not queued again.
signalled=
trap 'signalled=yes; kill -USR1 "$job"' USR1
trap 'signalled=yes; cancelled=yes; kill -TERM "$job"' TERM

"${run[@]}" &
job=$!
while :; do  # a signal ends 'wait' before the job has ended
    wait "$job"
    code=$?
    [[ $code -gt 128 && -n $signalled ]] || break
    signalled=
done
"""

_END = """
# 1 is also what MPI says when a rank dies; that the run came to its end stands in its summary.
if [[ $code -eq 1 ]] && ! grep -qs '"exit_code": 1' {summary}; then
    code=4
fi

case $code in
    0) echo "photometry: all done" ;;
    1) echo "photometry: done, but some targets failed; see" {status} ;;
    2) echo "photometry: wrong usage, see above; not queued again" ;;
    *)  # 3: out of time or asked to stop; others: a rank or a node died. Nothing saved is lost, the
        # same command continues.
        if [[ -n $cancelled ]]; then
            echo "photometry: cancelled; submit this script again to continue"
        elif [[ -z $SLURM_JOB_ID ]]; then
            echo "photometry: unfinished (exit code $code); run this script again to continue"
        elif [[ $restarts -ge {max_restarts} ]]; then
            echo "photometry: unfinished after $((restarts + 1)) starts; look at this log," \\
                "then submit this script again"
        else
            echo "photometry: unfinished (exit code $code), queued again"
            scontrol requeue "$SLURM_JOB_ID"
        fi ;;
esac
exit "$code"
"""


def job_script(
    todo_file,
    output=None,
    *,
    ranks=64,
    time="12:00:00",
    launcher="srun",
    memory="2G",
    nodes=None,
    account=None,
    partition=None,
    qos=None,
    name="photometry",
    warning=300,
    max_restarts=20,
    modules=(),
    directives=(),
    run_options=(),
    python=sys.executable,
):
    """The text of a batch script.

    Parameters
    ----------
    todo_file : path of a TODO-file, or of its folder
    output : folder of the light curves; default: "lightcurves" beside the TODO-file
    ranks : int, of MPI; one of them hands out the targets
    time : str, how long the job may take, as `limits.parse_duration` reads it, with a unit
    launcher : str, ``srun`` or ``mpiexec`` (``mpirun``), with options of it if need be
    memory : str, per rank, as SLURM reads it: 2G, 500M
    nodes : int or None
    account, partition, qos : str or None
    name : str, of the job and its log
    warning : int, s before the end of the job at which SLURM sends SIGUSR1
    max_restarts : int, how often the job queues itself again
    modules : names for ``module load``
    directives : more options of sbatch, as ``--constraint=fast``
    run_options : more options of ``photometry run``
    python : the Python that has photometry

    Returns
    -------
    str

    Raises
    ------
    ArgumentError : a value that is not accepted
    FileNotFoundError : there is no such TODO-file
    """
    todo_file, folder = os.path.abspath(todo_file), find_todo_file(todo_file).parent
    output = os.path.abspath(folder / "lightcurves" if output is None else output)
    _check_paths(todo_file=todo_file, output=output, python=python)
    _check_run_options(run_options)
    words = _launch(launcher, ranks)
    with_srun = os.path.basename(words[0]) == "srun"
    asked = {
        "job-name": _name("name", name),
        "ntasks": ranks,
        "nodes": nodes,
        "time": _slurm_time(time, warning),
        "mem-per-cpu": _matching("memory", memory, _MEMORY, "a number with K, M, G or T, like 2G"),
        "account": account and _name("account", account),
        "partition": partition and _name("partition", partition),
        "qos": qos and _name("qos", qos),
    }
    run = [
        *words,
        python,
        "-m",
        "photometry",
        "run",
        todo_file,
        "--output",
        output,
        "--time-limit",
        "auto",
    ]
    summary = os.path.join(output, SUMMARY_NAME)
    return "".join(
        [
            _HEAD.format(comment_todo=todo_file),
            _directives(asked, with_srun, warning, directives),
            _set_up(python, modules, [*run, "--summary", summary, *run_options]),
            _WITH_SRUN if with_srun else _WITH_MPIEXEC,
            _END.format(
                summary=shlex.quote(summary),
                status=shlex.quote(shlex.join(["photometry", "status", output])),
                max_restarts=int(max_restarts),
            ),
        ]
    )


def _directives(asked, with_srun, warning, more):
    """The lines for sbatch, each idea with its reason."""
    to_whom = "" if with_srun else "B:"
    lines = [
        *[f"#SBATCH --{option}={value}" for option, value in asked.items() if value is not None],
        "# One core per rank: rank 0 assigns the targets, the others work.",
        "#SBATCH --cpus-per-task=1",
        f"# {warning} s before the end {'all ranks get' if with_srun else 'this shell gets'} "
        f"SIGUSR1: no new targets, the running ones end, all is saved.",
        f"#SBATCH --signal={to_whom}USR1@{warning}",
        "# After the failure of a node, and when this script says so, the job waits in the queue "
        "again, and its log goes on.",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        f"#SBATCH --output={asked['job-name']}-%j.log",
        *[f"#SBATCH {_directive(text)}" for text in more],
    ]
    return "\n".join(lines) + "\n"


def _set_up(python, modules, command):
    path = (
        f'export PATH={shlex.quote(os.path.dirname(python))}:"$PATH"\n'
        if os.path.dirname(python)
        else ""
    )
    loads = "".join(f"module load {shlex.quote(module)}\n" for module in modules)
    threads = " ".join(f"{name}=1" for name in THREAD_VARIABLES)
    return _SET_UP.format(
        threads=threads, modules=loads + path + "\n", command=shlex.join(map(str, command))
    )


def _launch(launcher, ranks):
    words = shlex.split(launcher)
    kind = os.path.basename(words[0]) if words else ""
    if kind not in ("srun", "mpiexec", "mpirun"):
        raise ArgumentError(
            f"mpiexec={launcher!r}: expected srun, mpiexec or mpirun, with options if need be"
        )
    if ranks < 2:
        raise ArgumentError(f"ranks={ranks!r}: expected at least 2, as rank 0 only assigns targets")
    return words if kind == "srun" else [*words, "-n", str(ranks)]


def _slurm_time(text, warning):
    """D-HH:MM:SS"""
    if str(text).strip().isdigit():
        raise ArgumentError(
            f"time={text!r}: expected a duration with its unit, like 90m, 12h, 12:00:00 or "
            f"1-12:00:00"
        )
    seconds = int(parse_duration(text))
    if seconds <= 2 * warning:
        raise ArgumentError(
            f"time={text!r}: expected more than {2 * warning} s, as the run is asked to "
            f"stop {warning} s before the end"
        )
    days, rest = divmod(seconds, int(DAY))
    clock = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


def _check_paths(**paths):
    for name, path in paths.items():
        if not path.isprintable():
            raise ArgumentError(
                f"{name}={path!r}: a path with a line break or control character cannot stand in a "
                f"script"
            )


def _check_run_options(options):
    for word in options:
        if word.split("=")[0] in RESERVED:
            raise ArgumentError(
                f"{word!r}: the script sets this itself; expected other options of 'photometry run'"
            )
        _check_paths(run_options=word)


def _name(what, value):
    return _matching(what, value, _NAME, "letters, digits and . : , + @ / = - _")


def _matching(what, value, pattern, expected):
    if not pattern.fullmatch(value):
        raise ArgumentError(f"{what}={value!r}: expected {expected}")
    return value


def _directive(text):
    if not (text.startswith("-") and text.isprintable()):
        raise ArgumentError(
            f"sbatch={text!r}: expected an option of sbatch, like --constraint=fast"
        )
    return text
