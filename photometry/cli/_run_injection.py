"""``photometry run --inject``: where the results of an injection go, and real ones do not."""

from pathlib import Path


def injection_paths(todo_file, options):
    """The TODO-file and the output folder of an injection, which are apart from the real ones."""
    from ..injection import LIGHTCURVES, TODO
    from ..injection.folder import check_folder, default_folder, prepare_folder
    from ..scheduler.limits import is_master

    folder = Path(options["output"] or default_folder(todo_file.parent, options["method"]))
    what = options["inject"], options["inject_seed"]
    if is_master():
        check_folder(folder, *what, overwrite=options["overwrite"])
        if not options["dry_run"]:
            prepare_folder(folder, todo_file, *what)
    options["injection_folder"] = folder
    if options["dry_run"] and not (folder / TODO).is_file():
        options["overwrite"] = True  # nothing of it is done, whatever the real targets are
        return todo_file, folder / LIGHTCURVES
    return folder / TODO, folder / LIGHTCURVES


def refuse_injection(todo_file, output):
    """Refuse to put real results where those of an injection are."""
    from ..errors import WrongUseError
    from ..injection import TRUTH

    for folder in (todo_file.parent, output, output.parent):
        if (folder / TRUTH).is_file():
            raise WrongUseError(
                f"{folder}: holds an injection, not real targets; go on with it by the command in "
                "its lightcurves/run.json, or choose another folder"
            )
