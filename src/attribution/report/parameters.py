"""The parameters cell of a notebook: read strictly, so that a wrong name or type is refused before anything runs.

papermill itself only warns about unknown names and loses values with an unlucky spelling; so the cell tagged
`parameters` may hold nothing but one annotated literal per line: `year: int = 2025  # calendar year`.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError

GIVEN = ("study", "year", "out")  # set by the runner in every notebook
SCALARS = {"str": str, "int": int, "float": float, "bool": bool}


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell. kind: str, int, float, bool or list of one of them; None where allowed."""

    name: str
    kind: str
    default: Any
    comment: str
    optional: bool = False

    def accept(self, value: Any, where: str) -> Any:
        """The value in the declared type (text from the command line is read as that type), or a DataError."""
        if self.optional and (value is None or value == "None"):
            return None
        if self.kind.startswith("list["):
            inner = Parameter(self.name, self.kind[5:-1], None, "")
            items = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
            if not isinstance(items, Sequence):
                raise self._refuse(value, where)
            return [inner.accept(item, where) for item in items]
        if isinstance(value, SCALARS[self.kind]) and not (isinstance(value, bool) and self.kind != "bool"):
            return value
        if self.kind == "float" and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str):
            try:
                if self.kind == "bool":
                    return {"true": True, "false": False}[value.lower()]
                return SCALARS[self.kind](value)
            except (KeyError, ValueError):
                pass
        raise self._refuse(value, where)

    def _refuse(self, value: Any, where: str) -> DataError:
        hint = f" ({self.comment})" if self.comment else ""
        return DataError(f"{self.name}: {self.kind}{hint}", f"{value!r}", f"give a {self.kind}", table=where,
                         column=self.name)  # fmt: skip


def read_parameters(notebook: Any, name: str) -> dict[str, Parameter]:
    """Parameters of one notebook (as nbformat node), in order; a DataError where the cell is missing or not plain."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if len(cells) != 1 or cells[0].cell_type != "code":
        raise DataError("exactly one code cell tagged `parameters`", f"{len(cells)} in {name}",
                        "tag the first code cell `parameters`", table=name)  # fmt: skip
    source = cells[0].source
    lines = source.splitlines()
    found: dict[str, Parameter] = {}
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise DataError(
            "a parameters cell that Python can read",
            f"line {error.lineno}: {error.msg}",
            "correct the line",
            table=name,
        ) from None
    for statement in statements:
        line = lines[statement.lineno - 1].strip()
        parameter = _one(statement, line)
        if parameter is None or statement.end_lineno != statement.lineno:
            raise DataError("one annotated literal per line in the parameters cell", repr(line),
                            'write it as `name: int = 1  # unit`', table=name)  # fmt: skip
        found[parameter.name] = parameter
    missing = [given for given in GIVEN if given not in found]
    if missing:
        raise DataError(f"{', '.join(GIVEN)} in the parameters cell", f"no {', no '.join(missing)}",
                        'add study: str, year: int and out: str = ""', table=name)  # fmt: skip
    return found


def _one(statement: ast.stmt, line: str) -> Parameter | None:
    if (
        not isinstance(statement, ast.AnnAssign)
        or not isinstance(statement.target, ast.Name)
        or statement.value is None
    ):
        return None
    kind = ast.unparse(statement.annotation)
    optional = kind.endswith(" | None")
    kind = kind.removesuffix(" | None")
    inner = kind[5:-1] if kind.startswith("list[") and kind.endswith("]") else kind
    if inner not in SCALARS:
        return None
    try:
        value = ast.literal_eval(statement.value)
    except ValueError:
        return None
    comment = line.split("#", 1)[1].strip() if "#" in line else ""
    parameter = Parameter(statement.target.id, kind, value, comment, optional)
    if isinstance(value, str) and kind != "str":
        return None
    parameter.accept(value, "parameters")
    return parameter


def assign(declared: Mapping[str, Mapping[str, Parameter]], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What each notebook gets: every given parameter goes to each notebook that declares it, in its declared type.

    declared : notebook -> its parameters. Unknown names are refused with the nearest known one.
    """
    known = sorted({name for parameters in declared.values() for name in parameters} - set(GIVEN))
    for name in given:
        if name in GIVEN:
            raise DataError(f"{name} as an argument of the run", f"-p {name}", f"use the argument for {name}")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            mend = f"did you mean {near[0]}?" if near else f"the notebooks know: {', '.join(known) or 'no parameters'}"
            raise DataError("a parameter that some notebook declares", repr(name), mend)
    return {
        notebook: {
            name: parameters[name].accept(value, notebook) for name, value in given.items() if name in parameters
        }
        for notebook, parameters in declared.items()
    }


def find_notebooks(folder: Path) -> dict[str, Path]:
    """The notebooks of a folder in order of their names: stem -> path."""
    return {path.stem: path for path in sorted(folder.glob("*.ipynb")) if not path.name.startswith((".", "_"))}
