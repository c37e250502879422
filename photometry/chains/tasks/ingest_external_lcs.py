"""``ingest_external_lcs``: take light curves of others into the store."""

from pathlib import Path, PurePosixPath

from ...errors import WrongUseError
from ..tasktype import Setting, TaskType

DEFAULT_PATTERN = "lightcurves_v2/csvs/bright/plato_bright*"


class IngestExternalLcs(TaskType):
    """Reads each file of a pattern below the folder for inputs; each becomes a product
    ``lightcurve_00000``, ..."""

    settings = {  # noqa: RUF012
        "lc_type": Setting("str", "kind of the files", default="lcsg", choices=("lcsg", "any")),
        "input_path": Setting(
            "str", "pattern below the folder for inputs", default=DEFAULT_PATTERN
        ),
        "max_files": Setting("int", "at most so many"),
        "require_match": Setting("bool", "fail where no file matches", default=False),
        "skip_existing": Setting("bool", "leave out names that the folder holds", default=True),
    }

    def run(self, task):
        from ...lightcurve import Lightcurve, read_lcsg_lightcurve

        read = read_lcsg_lightcurve if task.setting("lc_type") == "lcsg" else Lightcurve.read
        paths = self._matches(task)
        if not paths and task.setting("require_match"):
            raise WrongUseError(
                f"input_path={task.setting('input_path')!r}: no file of {task.input_folder} matches"
            )
        existing = set(task.task.get("existing") or ())
        ingested = skipped = 0
        for path in paths[: task.setting("max_files")]:
            if path.name in existing and task.setting("skip_existing"):
                skipped += 1
                continue
            lc = read(path)
            target = task.folder / "lightcurve"
            form = lc.to_file(target)
            role = f"lightcurve_{ingested:05d}"
            task.add_output(role, target, {**lc.metadata, **form}, filename=path.name)
            ingested += 1
        return {"ingested": ingested, "skipped": skipped, "matched": len(paths)}

    @staticmethod
    def _matches(task):
        pattern = task.setting("input_path")
        parts = PurePosixPath(pattern).parts
        if not parts or PurePosixPath(pattern).is_absolute() or ".." in parts:
            raise WrongUseError(
                f"input_path={pattern!r}: expected a pattern below the folder for inputs, without '..'"
            )
        root = Path(task.input_folder).resolve()
        return sorted(
            path for path in root.glob(pattern) if path.is_file() and root in path.resolve().parents
        )

    def qc(self, task, results):
        """Every file that was counted is in the store."""
        if len(task.products) != results["ingested"]:
            return [f"{len(task.products)} files stored, {results['ingested']} counted"]
        return []
