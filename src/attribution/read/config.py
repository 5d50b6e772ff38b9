"""study.toml -> frozen sections. Unknown keys are refused: a misspelt option must not silently keep its default."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import DataError

Names = tuple[str, ...]
REASONS = ("open", "rejected", "no_funding", "withdrew", "elsewhere", "found_job", "unknown")


def _value(rule: Callable[[Any], bool], allowed: str, default: Any = MISSING) -> Any:
    extra = {} if default is MISSING else {"default": default}
    return field(metadata={"rule": rule, "allowed": allowed}, **extra)


def _text(default: Any = MISSING) -> Any:
    return _value(lambda v: isinstance(v, str) and bool(v.strip()), "text", default)


def _flag(default: bool) -> Any:
    return _value(lambda v: isinstance(v, bool), "true or false", default)


def _whole(low: int, default: Any = MISSING, high: int = 10**9) -> Any:
    text = f"a whole number from {low}" + (f" to {high}" if high < 10**9 else "")
    return _value(lambda v: type(v) is int and low <= v <= high, text, default)


def _one_of(*options: str, default: Any = MISSING) -> Any:
    return _value(lambda v: v in options, " or ".join(f'"{o}"' for o in options), default)


def _names(default: Any = MISSING) -> Any:
    rule = lambda v: isinstance(v, list) and all(isinstance(i, str) and i for i in v) and len(set(v)) == len(v)  # noqa: E731
    return _value(rule, "a list of different names", default)


def _is_date(value: Any) -> bool:
    if type(value) is datetime.date:
        return True
    try:
        return isinstance(value, str) and bool(datetime.date.fromisoformat(value)) and len(value) == 10
    except ValueError:
        return False


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and value > 0


def _is_selection(value: Any) -> bool:
    whole = isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)
    return whole and value[0] <= value[1] <= 0


def _is_dip(value: Any) -> bool:
    return _is_selection(value) and value[1] < 0


def _is_base(value: Any) -> bool:
    return type(value) is int and -8 <= value < 0


def _is_window(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value) and value[0] < 0 <= value[1]
    )


def _is_amounts(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(set(value)) == len(value) and all(v == 0 or _is_amount(v) for v in value)


def _is_years(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(type(v) is int and 1900 <= v <= 2200 for v in value)
        and value == sorted(set(value))
    )  # fmt: skip


@dataclass(frozen=True)
class General:
    """[study]: what is studied, over which years, in which currency, with data until when."""

    name: str = _value(
        lambda v: isinstance(v, str) and v.replace("-", "").replace("_", "").isalnum(), "letters, digits, - and _"
    )
    title: str = _text()
    years: tuple[int, ...] = _value(_is_years, "a list of different years in ascending order")
    default_year: int = _whole(1900, high=2200)
    frequency: str = _one_of("quarter", "year")
    question: str = _text("")
    currency: str = _value(
        lambda v: isinstance(v, str) and len(v) == 3 and v.isupper(), "three capital letters (EUR)", "EUR"
    )
    tables: str = _text("tables")
    simulated: bool = _flag(False)
    data_until: str = _value(_is_date, "a date as YYYY-MM-DD", "")
    source: str = _text("")


@dataclass(frozen=True)
class Clock:
    """[clock]: from which date zero, over how many months; the landmark is months after application."""

    date_zero: str = _one_of("application", "start", "assignment")
    horizon_months: int = _whole(1, high=240)
    cohort_lag_years: int = _whole(0, 1, high=20)
    landmark_months: int = _whole(0, 0, high=60)


@dataclass(frozen=True)
class Outcome:
    """[outcomes.*]: a column of income_panel, its title and unit; of income also the prices and the poverty line."""

    title: str = _text()
    column: str = _text()
    unit: str = _text("share")
    unequivalised: bool = _flag(False)
    price_year: int | None = _whole(1900, None, high=2200)
    poverty_line: float | None = _value(_is_amount, "an amount above 0, equivalised, a period", None)
    poverty_line_source: str = _text("")
    gain_thresholds: tuple[float, ...] = _value(_is_amounts, "different amounts of 0 or more, such as [0, 300]", (0.0,))


@dataclass(frozen=True)
class Tier:
    """[tiers.*]: title, and the design that answers for it; "none" needs the reason."""

    title: str = _text()
    design: str = _one_of("none", "landmark", "pools")
    reason: str = _text("")
    placement_from_months: int | None = _whole(1, None, high=240)


@dataclass(frozen=True)
class Comparison:
    """[comparison]: applicants not yet started (landmark) or pools of comparison_units."""

    kind: str = _one_of("landmark", "pools", default="landmark")
    headline: str = _text("open")
    pools: Names = _names(("open",))
    benchmark: str = _text("")
    titles: Mapping[str, str] = field(
        default_factory=dict,
        metadata={
            "rule": lambda v: isinstance(v, Mapping) and all(isinstance(i, str) for i in v.values()),
            "allowed": "a section of pool = title",
        },
    )


@dataclass(frozen=True)
class MatchPlan:
    """[design]: how starters are matched, and the covariates of few values by which effects are also told."""

    covariates: Names = _names(())
    exact: Names = _names(())
    distance: str = _one_of("logit", "propensity", default="logit")
    caliper_sd: float | None = _value(_is_amount, "a number above 0", None)
    ratio: int = _whole(1, 1, high=20)
    replace: bool = _value(lambda v: v is False, "false: a comparison person serves once", False)
    placebo_drop: Names = _names(())
    subgroups: Names = _names(())
    placebo: str = _text("")


@dataclass(frozen=True)
class DidPlan:
    """[did]: covariates, base period, dip and window in event time. No default base period: it decides the answer.

    selection_dip, selection_base : what the decision to apply could look at, and a base before it, since application.
    """

    covariates: Names = _names(())
    base_period: int | None = _value(_is_base, "a negative event time from -8 to -1, such as -6", None)
    dip: tuple[int, int] | None = _value(_is_dip, "[first, last] with first <= last < 0", None)
    selection_dip: tuple[int, int] | None = _value(_is_selection, "[first, last] with first <= last <= 0", None)
    selection_base: tuple[int, int] | None = _value(_is_dip, "[first, last] with first <= last < 0", None)
    window: tuple[int, int] = _value(_is_window, "[first, last] with first < 0 <= last", (-8, 4))


@dataclass(frozen=True)
class Disclosure:
    """[disclosure]: smallest cells that may be shown."""

    min_cell: int = _whole(1, 10)
    min_cell_sensitive: int = _whole(1, 11)
    percent_min_n: int = _whole(1, 25)


@dataclass(frozen=True)
class Graph:
    """[graph]: the causal graph in DOT, and which of its nodes are treatment and outcome."""

    dot: str = _text("")
    treatment: str = _text("")
    outcome: str = _text("")


@dataclass(frozen=True)
class Config:
    """The whole of study.toml, frozen."""

    study: General
    clock: Clock
    outcomes: Mapping[str, Outcome]
    tiers: Mapping[str, Tier]
    comparison: Comparison
    design: MatchPlan
    did: DidPlan
    disclosure: Disclosure
    benchmarks: Mapping[str, Any]
    simulate: Mapping[str, Any]
    graph: Graph


_SECTIONS: dict[str, type] = {
    "study": General, "clock": Clock, "outcomes": Outcome, "tiers": Tier, "comparison": Comparison, "design": MatchPlan,
    "did": DidPlan, "disclosure": Disclosure, "benchmarks": dict, "simulate": dict, "graph": Graph,
}  # fmt: skip
_NAMED = ("outcomes", "tiers")
_REQUIRED = ("study", "clock", "outcomes", "tiers")
_FILE = "study.toml"


def read_toml(file: Path) -> dict[str, Any]:
    """The raw study.toml, or a DataError with the line that does not parse."""
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DataError("a valid TOML file", f"{error}", "correct that line", table=_FILE) from error
    except UnicodeDecodeError as error:
        raise DataError(
            "a TOML file in UTF-8", f"byte {error.start} in another encoding", "save it as UTF-8", table=_FILE
        ) from error


def parse(raw: Mapping[str, Any]) -> Config:
    """Validate the raw sections and freeze them."""
    _refuse_unknown(raw, _SECTIONS, "section", "")
    for name, given in raw.items():
        if not isinstance(given, Mapping):
            raise DataError(
                f"a section [{name}]", f"a value, {given!r}", f"write [{name}] on a line of its own", table=_FILE
            )
    if missing := [name for name in _REQUIRED if not raw.get(name)]:
        raise DataError(
            f"the sections {', '.join(f'[{name}]' for name in _REQUIRED)}",
            f"{', '.join(f'[{m}]' for m in missing)} missing or empty",
            "add them (`attribution new` writes a commented study.toml)", table=_FILE, count=len(missing), keys=missing,
        )  # fmt: skip
    parts: dict[str, Any] = {}
    for name, kind in _SECTIONS.items():
        given = raw.get(name, {})
        if kind is dict:
            parts[name] = _freeze(given)
        elif name in _NAMED:
            parts[name] = MappingProxyType(
                {key: _section(f"{name}.{key}", kind, value) for key, value in given.items()}
            )
        else:
            parts[name] = _section(name, kind, given)
    config = Config(**parts)
    _agree(config, raw)
    return config


def _section(name: str, kind: type, given: Any) -> Any:
    if not isinstance(given, Mapping):
        raise DataError(
            f"a section [{name}]", f"a value, {given!r}", f"write [{name}] with its keys below", table=_FILE
        )
    fields = {f.name: f for f in dataclasses.fields(kind)}
    _refuse_unknown(given, fields, "key", name)
    values = {}
    for key, spec in fields.items():
        if key not in given:
            if spec.default is MISSING and spec.default_factory is MISSING:
                raise DataError(
                    f"a value for {key} ({spec.metadata['allowed']})", "none", f"add `{key} = ...` under [{name}]",
                    table=_FILE, column=f"{name}.{key}",
                )  # fmt: skip
            continue
        value = given[key]
        if not spec.metadata["rule"](list(value) if isinstance(value, tuple) else value):
            raise DataError(
                f"{spec.metadata['allowed']}", f"{value!r}", f"correct `{key}` under [{name}]",
                table=_FILE, column=f"{name}.{key}",
            )  # fmt: skip
        values[key] = value.isoformat() if isinstance(value, datetime.date) else _freeze(value)
    return kind(**values)


def _agree(config: Config, raw: Mapping[str, Any]) -> None:
    """What must hold between keys."""
    study = config.study
    if study.default_year not in study.years:
        raise _disagreement(
            "study.default_year", f"one of years {list(study.years)}", study.default_year, "name a year of the list"
        )
    needs = [name for name, tier in config.tiers.items() if tier.design != "none"]
    for section in ("comparison", "design"):
        if needs and not raw.get(section):
            raise _disagreement(
                section, f"a section [{section}], since tier {needs[0]} has a design", "none", "add the section"
            )
    if needs and config.comparison.headline not in config.comparison.pools:
        raise _disagreement(
            "comparison.headline",
            f"one of pools {list(config.comparison.pools)}",
            config.comparison.headline,
            "name one of them",
        )
    odd = [pool for pool in config.comparison.pools if pool not in REASONS]
    if needs and config.comparison.kind == "landmark" and odd:
        raise _disagreement("comparison.pools", f"statuses of applicants ({', '.join(REASONS)})", odd, "name statuses")
    for name, tier in config.tiers.items():
        if tier.design == "none" and not tier.reason:
            raise _disagreement(
                f"tiers.{name}.reason", 'a reason where design = "none"', "none", "say why there is no design"
            )
        if tier.design not in ("none", config.comparison.kind):
            raise _disagreement(
                f"tiers.{name}.design",
                f'"none" or the kind of [comparison], "{config.comparison.kind}"',
                tier.design,
                "make them agree",
            )
    if needs and not config.design.covariates:
        raise _disagreement(
            "design.covariates", "at least one covariate", "an empty list", "name the covariates to match on"
        )
    for name in ("placebo_drop", "subgroups"):
        if extra := [c for c in getattr(config.design, name) if c not in config.design.covariates]:
            raise _disagreement(f"design.{name}", "covariates of [design]", extra, "name only what the design uses")
    base, (first, last) = config.did.base_period, config.did.window
    if base is not None and not first <= base:
        raise _disagreement("did.base_period", f"a period inside window {[first, last]}", base, "widen the window")
    if base is not None and config.did.dip and base >= config.did.dip[0]:
        dip = list(config.did.dip)
        raise _disagreement("did.base_period", f"a period before the dip {dip}", base, "go further back")
    looked, before = config.did.selection_dip, config.did.selection_base
    if bool(looked) != bool(before) or (looked and before and before[1] >= looked[0]):
        raise _disagreement("did.selection_base", "selection_dip, and a selection_base that ends before it",
                            f"{looked} and {before}", "give both, or neither")  # fmt: skip
    if study.simulated and "seed" not in config.simulate:
        raise _disagreement(
            "simulate.seed", "a seed, since simulated = true", "none", "add `seed = 1` under [simulate]"
        )


def _disagreement(column: str, required: str, found: Any, mend: str) -> DataError:
    return DataError(required, str(found), mend, table=_FILE, column=column)


def _refuse_unknown(given: Mapping[str, Any], known: Mapping[str, Any] | Sequence[str], what: str, where: str) -> None:
    unknown = [key for key in given if key not in known]
    if not unknown:
        return
    near = difflib.get_close_matches(unknown[0], list(known), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "remove it"
    place = f" in [{where}]" if where else ""
    raise DataError(
        f"only known {what}s{place} ({', '.join(known)})", f"unknown {what} {unknown[0]}", hint,
        table=_FILE, column=f"{where}.{unknown[0]}" if where else unknown[0], count=len(unknown), keys=unknown,
    )  # fmt: skip


def _freeze(value: Any) -> Any:
    if isinstance(value, Mapping):
        return MappingProxyType({key: _freeze(item) for key, item in value.items()})
    return tuple(_freeze(item) for item in value) if isinstance(value, (list, tuple)) else value
