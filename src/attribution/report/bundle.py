"""What a finished report folder holds besides its notebooks, and how it gets into place: whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ..errors import AttributionError
from ..findings.finding import COLUMNS, read_documents, rounded, to_records

VOLATILE = ("run.json", "manifest.json")  # the first varies from run to run, the second cannot hold its own hash
TEXT = {".json", ".csv", ".html", ".ipynb", ".svg", ".txt", ".md"}
TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{4,}")


class RunError(AttributionError):
    """The run cannot start, or what it made may not be published."""


# -- files ----------------------------------------------------------------------------------------------------------


def write_json(path: Path, value: Any) -> None:
    """JSON with sorted keys, so that equal content is equal bytes."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    path.write_text(text + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def gather(folder: Path) -> list[dict[str, Any]]:
    """Put the findings of all notebooks below `folder` into findings.json and findings.csv; return their documents."""
    documents = read_documents(folder)
    for kind in ("figures", "tables"):
        names = [item["name"] for document in documents for item in document[kind]]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise RunError(f"each of the {kind} under its own name", "one name in two notebooks", "rename one of them",
                           count=len(twice), keys=twice)  # fmt: skip
    records = [record for document in documents for record in document["findings"]]
    ids = [record["finding_id"] for record in records]
    if len(set(ids)) != len(ids):
        raise RunError("each finding under its own id", "one id twice", "rename one of them",
                       keys=sorted({i for i in ids if ids.count(i) > 1}))  # fmt: skip
    write_json(folder / "findings.json", records)
    rounded(to_records(records)).to_csv(folder / "findings.csv", index=False, columns=COLUMNS, lineterminator="\n")
    return documents


def manifest(study: Any, parameters: Mapping[str, Mapping[str, Any]], sources: Mapping[str, Path],
             folder: Path) -> dict[str, Any]:  # fmt: skip
    """Everything that fixes the numbers, and the sha256 of all that came in and went out. Nothing that varies."""
    seeds = {f"{name}.{key}": value for name, values in parameters.items() for key, value in values.items()
             if key == "seed" or key.endswith("_seed")}  # fmt: skip
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        "study": study.name,
        "year": study.year,
        "plan_hash": study.plan_hash,
        "parameters": {name: dict(values) for name, values in parameters.items()},
        "seeds": seeds,
        "python": platform.python_version(),
        "packages": package_versions(),
        "inputs": {f"{study.name}/{Path(path).as_posix()}": digest for path, digest in study.sources()},
        "notebooks": {name: sha256(path) for name, path in sources.items()},
        "outputs": {path.relative_to(folder).as_posix(): sha256(path) for path in files if path.name not in VOLATILE},
    }


def package_versions() -> dict[str, str]:
    """Versions of this package and of everything it declares (not of extras)."""
    found = {"attribution": _version("attribution")}
    try:
        requirements = metadata.requires("attribution") or []
    except metadata.PackageNotFoundError:
        requirements = []
    for requirement in requirements:
        if "extra ==" in requirement:
            continue
        match = re.match(r"[A-Za-z0-9_.\-]+", requirement)
        if match:
            found[match.group(0).lower()] = _version(match.group(0))
    return found


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        from .. import __version__

        return __version__ if name == "attribution" else "not installed"


def run_facts(root: Path, started: float, finished: float, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What varies from run to run: when, how long, kind of machine, commit. Reports are public: no names."""
    return {
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "finished": datetime.fromtimestamp(finished, UTC).isoformat(timespec="seconds"),
        "seconds": round(finished - started, 1),
        "notebook_seconds": {name: round(value, 1) for name, value in seconds.items()},
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "commit": commit(root),
    }


def commit(root: Path) -> str | None:
    """The commit the project stands at, read from .git without running git; None outside a repository."""
    head = root / ".git" / "HEAD"
    try:
        text = head.read_text().strip()
        if not text.startswith("ref: "):
            return text
        reference = text[5:]
        loose = root / ".git" / reference
        if loose.exists():
            return loose.read_text().strip()
        packed = (root / ".git" / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {reference}")), None)
    except OSError:
        return None


# -- no person in any output ----------------------------------------------------------------------------------------


def person_ids(study: Any) -> set[str]:
    """Ids of the study's people that cannot be mistaken for an ordinary number or word."""
    ids: set[str] = set()
    for table, column in (("learners", "person_id"), ("comparison_units", "unit_id")):
        if hasattr(study, "sql") and study.has(table):
            frame = study.sql(f'SELECT "{column}" AS id FROM "{table}"')
            ids.update(frame["id"].astype(str))
    return {one for one in ids if TOKEN.fullmatch(one) and re.search(r"\d", one) and re.search(r"[A-Za-z]", one)}


def check_no_person(folder: Path, ids: set[str]) -> None:
    """Refuse a report in which a person's id can be read."""
    if not ids:
        return
    for path in sorted(folder.rglob("*")):
        if path.suffix in TEXT and path.is_file():
            found = ids.intersection(TOKEN.findall(path.read_text(encoding="utf-8", errors="replace")))
            if found:
                raise RunError("no person's id in any output", "ids of people",
                               "show groups, never single people; the cell that prints them must go",
                               table=path.relative_to(folder).as_posix(), count=len(found))  # fmt: skip


# -- into place -----------------------------------------------------------------------------------------------------


@contextmanager
def lock(folder: Path, year: int) -> Iterator[None]:
    """Only one run of a study and year at a time; the lock dies with the process that holds it."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".lock-{year}").open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.seek(0)
            raise RunError(
                f"one run of {folder.name} {year} at a time",
                f"another one (process {stream.read().strip()})",
                "wait for it to finish, or stop it",
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def clean_leftovers(folder: Path, year: int) -> None:
    """Remove scratch folders of runs that were killed, and put back a year that a killed swap had set aside."""
    target = folder / str(year)
    for old in sorted(folder.glob(f".old-{year}-*")):
        if target.exists():
            shutil.rmtree(old)
        else:
            old.rename(target)
    for scratch in folder.glob(f".building-{year}-*"):
        shutil.rmtree(scratch)


def swap(scratch: Path, target: Path) -> None:
    """Put the finished folder in place of the old one: two renames, so a reader never sees half a report."""
    old = target.parent / f".old-{target.name}-{os.getpid()}"
    if target.exists():
        target.rename(old)
    try:
        scratch.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    if old.exists():
        shutil.rmtree(old)
