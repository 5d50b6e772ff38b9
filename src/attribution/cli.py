"""The command line: the only place that talks to a terminal. Everything heavy is imported inside the commands."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from . import __version__

GROUPS = {
    "Report": ["run"],
    "Study": ["check", "new", "simulate"],
}
EXAMPLES = """\
  attribution run                     this year's report of the simulated school (demo)
  attribution run nsw                 the job-training trial: real data, answer known
  attribution run demo --year 2024    another year
  attribution check nsw               do the tables keep the contract?
  attribution new myschool            start a study of your own
"""


def _dim(text: str) -> str:
    return click.style(text, dim=True)


def _head(text: str) -> str:
    return click.style(text, bold=True, fg="green")


def _name(text: str) -> str:
    return click.style(text, bold=True, fg="cyan")


class Pages(click.Command):
    """Help of one command: what it does, usage, arguments and options, examples."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        summary, _, examples = (self.help or "").partition("Examples:")
        formatter.write(_paragraphs(summary) + "\n\n")
        usage = " ".join(self.collect_usage_pieces(ctx))
        formatter.write(f"{_head('Usage:')} {_name(ctx.command_path)} {usage}\n")
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        rows = [record for param in options if (record := param.get_help_record(ctx))]
        _rows(formatter, "Options:", rows)
        if examples.strip():
            lines = [line.strip() for line in examples.replace("\b", "").strip().splitlines() if line.strip()]
            formatter.write(f"\n{_head('Examples:')}\n" + "".join(f"  {line}\n" for line in lines))


class Front(click.Group):
    """Help of the whole tool: one line, examples, the commands in groups."""

    command_class = Pages

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write("How much of the change in job placement and household income did the school cause?\n\n")
        formatter.write(f"{_head('Usage:')} {_name('attribution')} <command> [options]\n")
        for title, names in GROUPS.items():
            _rows(formatter, f"{title}:", [(name, self.commands[name].short_help or "") for name in names])
        formatter.write(f"\n{_head('Examples:')}\n{EXAMPLES}")
        _rows(
            formatter,
            "Options:",
            [("--version", "show the version and leave"), ("--help", "show this page; also after a command")],
        )
        formatter.write("\n" + _dim("Reports land in reports/<study>/<year>/; open index.html first.") + "\n")


def _paragraphs(text: str) -> str:
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    return "\n\n".join(click.wrap_text(part, 88) for part in parts if part)


def _rows(formatter: click.HelpFormatter, title: str, rows: list[tuple[str, str]]) -> None:
    width = max(len(left) for left, _ in rows) + 3
    formatter.write(f"\n{_head(title)}\n")
    for left, right in rows:
        text = click.wrap_text(right, 92 - width).replace("\n", "\n" + " " * (width + 2))
        formatter.write(f"  {_name(left)}{' ' * (width - len(left))}{text}\n")


@click.group(cls=Front, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="attribution", message="%(prog)s %(version)s")
def cli() -> None:
    """How much of the change in job placement and household income did the school cause?"""


TRACEBACK = click.option("--traceback", is_flag=True, help="Show Python's traceback when something goes wrong.")


@cli.command(short_help="execute the notebooks and publish a year's report")
@click.argument("study", default="demo", metavar="[STUDY]")
@click.option(
    "-y", "--year", type=int, metavar="YEAR", help="Year of the report; the study's default year if left out."
)
@click.option("-p", "--parameter", "parameters", nargs=2, multiple=True, metavar="NAME VALUE",
              help="Set a notebook parameter. Unknown names and wrong types are refused. Repeatable.")  # fmt: skip
@click.option(
    "--only",
    multiple=True,
    metavar="NOTEBOOK",
    help="Run just this notebook (03, or its name) as a draft; the year's report stays as it is. Repeatable.",
)
@click.option("-j", "--jobs", type=click.IntRange(1, 16), default=2, metavar="N", help="Notebooks at a time (2).")
@click.option("--timeout", type=click.IntRange(1), default=1800, metavar="SECONDS",
              help="Longest time a cell may take (1800).")  # fmt: skip
@click.option("--reports", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Where reports go; reports/ of the project if left out.")  # fmt: skip
@TRACEBACK
def run(study: str, year: int | None, parameters: tuple[tuple[str, str], ...], only: tuple[str, ...], jobs: int,
        timeout: int, reports: Path | None, traceback: bool) -> None:  # fmt: skip
    """Execute the study's notebooks and publish reports/STUDY/YEAR/: index.html, findings, figures, manifest.

    The report is published whole or not at all. If a notebook fails, the published year stays as it was, the failed
    notebook is kept aside, and the command ends with status 1.

    Examples:
    attribution run
    attribution run nsw --year 1978
    attribution run demo -p seed 7
    attribution run demo --only 04
    """
    from .report.runner import run as run_report

    board = Board()
    chosen = _chosen(parameters)
    try:
        result = run_report(study, year, parameters=chosen, only=only, jobs=jobs, timeout=timeout,
                            reports=reports.resolve() if reports else None, progress=board.step)  # fmt: skip
    finally:
        board.close()
    warned = sum(one.warnings for one in result.notebooks)
    click.echo()
    what = "draft" if result.draft else "report"
    click.echo(f"{click.style('✓', fg='green', bold=True)} {what} of {result.study} {result.year}: "
               f"{len(result.notebooks)} notebooks, {result.findings} findings, {result.seconds:.0f} s")  # fmt: skip
    if warned:
        click.echo(f"  {click.style(f'{warned} warnings', fg='yellow')} are shown in the notebooks' pages")
    click.echo(f"  open {_name(_short(result.folder / 'index.html'))}")


@cli.command(short_help="compare a study's tables with the contract")
@click.argument("study", default="demo", metavar="[STUDY]")
@click.option("-y", "--year", type=int, metavar="YEAR", help="Year to open the study for.")
@TRACEBACK
def check(study: str, year: int | None, traceback: bool) -> None:
    """Compare a study's tables with the contract and list everything that breaks it, with the mend.

    Ends with status 2 if anything does. Tables that are optional and absent are listed with what is skipped.

    Examples:
    attribution check
    attribution check nsw
    attribution check path/to/study
    """
    from .read.contract import TABLES
    from .read.contract import check as problems_of
    from .study import Study

    opened = Study.open(study, year=year, check=False)
    click.echo(f"{click.style(opened.title, bold=True)} ({opened.name}), {opened.year}\n")
    absent = []
    for row in opened.counts().to_dict("records"):
        if row["rows"] in (None, "") or str(row["rows"]) == "<NA>":
            absent.append(row["table"])
        else:
            click.echo(f"  {row['table']:<22}{row['rows']:>14,} rows   {_dim(row['note'])}".rstrip())
    if absent:
        click.echo("\n" + click.style("absent; notebooks skip what needs them:", bold=True))
    for table in absent:
        click.echo(f"  {table:<22}{_dim(TABLES[table].doc)}")
    found = problems_of(opened)
    click.echo()
    for problem in found.warnings:
        _explain(problem, "warning", "yellow")
    for problem in found.errors:
        _explain(problem)
    if count := len(found.errors):
        click.echo(
            f"{click.style('✗', fg='red', bold=True)} {count} {'problem' if count == 1 else 'problems'}", err=True
        )
        sys.exit(2)
    click.echo(f"{click.style('✓', fg='green', bold=True)} ok: every table keeps the contract")


@cli.command(short_help="start a study of your own")
@click.argument("study", metavar="STUDY")
@TRACEBACK
def new(study: str, traceback: bool) -> None:
    """Make data/STUDY/ with a commented study.toml and an empty table for each kind of data.

    Nothing that exists is overwritten.

    Examples:
    attribution new myschool
    """
    from .report.scaffold import create
    from .study import find_project

    project = find_project()
    made = create(project / "data", study)
    click.echo(f"{click.style('✓', fg='green', bold=True)} made {_short(made)}\n")
    click.echo(
        f"  1. read   {_short(made / 'tables' / 'README.md')}\n  2. fill   {_short(made / 'tables')} (CSV or Parquet)"
        f"\n  3. edit   {_short(made / 'study.toml')}\n  4. {_name(f'attribution check {study}')}"
        f"\n  5. {_name(f'attribution run {study}')}"
    )


@cli.command(short_help="generate the simulated school anew")
@click.argument("study", default="demo", metavar="[STUDY]")
@click.option("--learners", type=click.IntRange(200), metavar="N", help="Learners; study.toml's number if left out.")
@click.option("--seed", type=click.IntRange(0), metavar="S", help="Seed; the same seed gives the same bytes.")
@click.option(
    "--variant", metavar="V", help="A world to test against: zero, hidden, no_dip, dynamic, anticipation (base)."
)
@TRACEBACK
def simulate(study: str, learners: int | None, seed: int | None, variant: str | None, traceback: bool) -> None:
    """Generate the tables of a simulated study from a seed, with truth.json beside them.

    `attribution run demo` does this by itself the first time.

    Examples:
    attribution simulate
    attribution simulate --learners 2000 --seed 7
    attribution simulate --variant zero
    """
    from .errors import DataError
    from .read.config import parse, read_toml
    from .read.simulate import write_demo
    from .study import find_study

    folder = find_study(study)
    config = parse(read_toml(folder / "study.toml"))
    if not config.study.simulated:
        raise DataError(
            "a simulated study", f"{study} holds real data", "choose demo, or set simulated = true in its study.toml"
        )
    wishes = {"learners": learners, "seed": seed, "variant": variant}
    started = time.monotonic()
    write_demo(folder, **{**config.simulate, **{key: value for key, value in wishes.items() if value is not None}})
    click.echo(
        f"{click.style('✓', fg='green', bold=True)} {_short(folder)} generated in {time.monotonic() - started:.1f} s"
    )


# -- progress and errors --------------------------------------------------------------------------------------------


class Board:
    """Progress: one live line a notebook on a terminal, plain lines elsewhere."""

    MARKS = {"waiting": "·", "running": "▸", "passed": "✓", "failed": "✗", "skipped": "–"}
    COLOURS = {"passed": "green", "failed": "red", "running": "cyan", "skipped": "yellow"}

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.lines: dict[str, str] = {}
        self.drawn = 0

    def step(self, progress: Any) -> None:
        if not progress.notebook:
            if progress.state in ("checking", "writing"):
                self._above(f"{_dim(progress.state)} {progress.detail}")
            return
        line = self._line(progress)
        if not self.live:
            if progress.state in ("passed", "failed", "skipped") or progress.state == "running":
                click.echo(line)
            return
        self.lines[progress.notebook] = line
        self._draw()

    def _line(self, progress: Any) -> str:
        mark = click.style(self.MARKS[progress.state], fg=self.COLOURS.get(progress.state), bold=True)
        if progress.state == "waiting":
            return f"{mark} {_dim(progress.notebook)}"
        text = f"{mark} {progress.notebook:<28} cell {progress.cell:>2}/{progress.cells:<2} {progress.seconds:5.1f} s"
        if progress.state in ("failed", "skipped"):
            return f"{mark} {progress.notebook:<28} {progress.state}"
        return f"{text}  {_dim(progress.detail[:48])}" if progress.state == "running" else text

    def _above(self, text: str) -> None:
        click.echo(text)
        self.lines, self.drawn = {}, 0

    def _draw(self) -> None:
        if self.drawn:
            sys.stdout.write(f"\x1b[{self.drawn}F")
        for line in self.lines.values():
            sys.stdout.write(f"\x1b[2K{line}\n")
        self.drawn = len(self.lines)
        sys.stdout.flush()

    def close(self) -> None:
        sys.stdout.flush()


def _explain(error: Any, kind: str = "error", colour: str = "red") -> None:
    """An error in its three clauses."""
    where = ".".join(part for part in (error.table, error.column) if part)
    head = f" in {click.style(where, bold=True)}" if where else ""
    click.echo(f"{click.style(kind, fg=colour, bold=True)}{head}", err=True)
    found = error.found + (f"  [{error.count:,}]" if error.count is not None else "")
    for label, text in (("required", error.required), ("found", found), ("do", error.mend)):
        click.echo(f"  {_dim(f'{label:<9}')}{text}", err=True)
    if error.keys:
        click.echo(f"  {_dim('examples ')}{', '.join(map(str, error.keys))}", err=True)
    click.echo(err=True)


def _chosen(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    from .errors import DataError

    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise DataError("each parameter once", f"-p {max(names, key=names.count)} twice", "leave one out")
    return dict(pairs)


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: 0 done, 1 a notebook failed, 2 the input was refused, 130 interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        cli.main(args=given, prog_name="attribution", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ninterrupted; nothing was published", err=True)
        sys.exit(130)
    except Exception as error:
        if "--traceback" in given:
            raise
        sys.exit(_report(error))


def _report(error: Exception) -> int:
    from .errors import AttributionError

    if isinstance(error, AttributionError):
        _explain(error)
        return 2
    failures = getattr(error, "failures", None)
    if failures is None:
        click.echo(f"{click.style('error', fg='red', bold=True)} {type(error).__name__}: {error}", err=True)
        click.echo(_dim("  this is not expected; --traceback shows where it comes from"), err=True)
        return 1
    click.echo(err=True)
    for failure in failures:
        click.echo(f"{click.style('✗ failed', fg='red', bold=True)} {click.style(failure.notebook, bold=True)}, "
                   f"cell {failure.cell}: {failure.line}", err=True)  # fmt: skip
        click.echo(f"  {click.style(failure.error, fg='red')}: {failure.message}", err=True)
        click.echo(f"  {_dim('kept in')} {_short(failure.kept)}", err=True)
    click.echo("The published report is as it was before.", err=True)
    return 1
