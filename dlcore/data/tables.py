"""Tables: CSV and Parquet files and frames, as data sets of numbers."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore._arguments import boolean, instance, items, shown
from dlcore._files import naming
from dlcore._notes import note
from dlcore.data.columns import is_frame, named_columns, values_of
from dlcore.data.dataset import TensorDataset
from dlcore.data.folders import as_path, missing_package
from dlcore.data.text import decoded

__all__ = ["TableDataset", "read_csv", "read_parquet", "table"]

_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?"))  # what stands for a missing value, in small letters
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


class TableDataset(TensorDataset):
    """A table: features (N, F) float64, and targets where there are some.

    ``columns``: the names of the features. ``categories``: of each column of texts, its texts; such a column holds
    their numbers, and NaN where one is missing or not known. ``classes``: the texts of the targets, where they were
    texts. ``target``: the name of the target, or the names of several.
    """

    columns: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    target: str | tuple[str, ...] | None = None

    @property
    def numeric(self) -> list[int]:
        """The positions of the columns that hold numbers, and not the numbers of texts."""
        return [k for k, name in enumerate(self.columns) if name not in self.categories]

    def __repr__(self) -> str:
        target = "" if self.target is None else f", target {self.target!r}"
        return f"TableDataset({len(self)} rows, {len(self.columns)} columns{target})"


class _Options(NamedTuple):
    """How columns become numbers, and what an error calls them."""

    where: str  # the function, and the file if there is one
    place: Any  # a function: the position of a row -> "line 17"
    target: tuple[str, ...]
    features: tuple[str, ...] | None
    categorical: frozenset[str]
    like: TableDataset | None
    skip_bad: bool


def read_csv(
    path: Any,
    target: str | Sequence[str] | None = None,
    *,
    features: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    like: TableDataset | None = None,
    delimiter: str | None = None,
    decimal: str = ".",
    header: bool = True,
    skip_bad: bool = False,
) -> TableDataset:
    """The table in a CSV file, in UTF-8, whose first line names the columns.

    target: the column, or the columns, to predict; None: there is none. features: the columns to take, in this order
    (default: all others). categorical: columns that are taken as texts though they look like numbers. like: a table
    whose columns, categories and classes are taken over, so that a test set gets the same numbers. delimiter: default:
    a tab for .tsv, else that of comma, semicolon, tab and | which is most frequent in the first line. decimal: "," for
    numbers such as 1,5. header: False: the first line is data, and the columns are called "0", "1", ... skip_bad: rows
    with a wrong number of cells, a text among numbers or no target are left out and counted (a RuntimeWarning), where
    they are an error otherwise.

    A column is one of texts where most of its cells are no numbers; see `TableDataset`. Columns without a name, such as
    the index of a frame, are left out, which is told. Empty cells, NA, N/A, NaN, null, None
    and ? are missing values: NaN, which is told once with their number. Raises ValueError with file and line.
    """
    path = as_path(path, "read_csv: path")
    where = f"read_csv: {path}"
    skip_bad, header = boolean(skip_bad, "read_csv: skip_bad"), boolean(header, "read_csv: header")
    if decimal not in (".", ","):
        raise ValueError(f'read_csv: decimal is "." or ",", not {shown(decimal)}')
    with naming(path):
        text = decoded(path.read_bytes(), where).removeprefix("\ufeff")
    if not text.strip():
        raise ValueError(f"{where} is empty")
    if "\0" in text:
        raise ValueError(f"{where}: line {text.count(chr(10), 0, text.index(chr(0))) + 1} holds a null character")
    names, rows, numbers, bad = _rows(text, _delimiter(delimiter, path, text.partition("\n")[0]), header, where)
    if bad and not skip_bad:
        raise ValueError(f"{where}: {bad[0]}; skip_bad=True leaves such rows out")
    cells = {name: [row[k].strip() for row in rows] for k, name in enumerate(names) if name}
    if any(row[k].strip() for k, name in enumerate(names) if not name for row in rows):
        note(f"{where}: columns without a name are left out")
    if decimal == ",":
        cells = {name: [_point(cell) for cell in column] for name, column in cells.items()}
    options = _options(where, lambda k: f"line {numbers[k]}", target, features, categorical, like, skip_bad)
    return _assembled(cells, options, bad)


def read_parquet(
    path: Any,
    target: str | Sequence[str] | None = None,
    *,
    features: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    like: TableDataset | None = None,
    skip_bad: bool = False,
) -> TableDataset:
    """The table in a Parquet file. The arguments are those of `read_csv`.

    Needs pyarrow: ``pip install "dlcore[tables]"``. Raises ValueError, with the name of the file, where it is damaged.
    """
    path = as_path(path, "read_parquet: path")
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise missing_package("pyarrow", "read_parquet", "tables") from None
    where = f"read_parquet: {path}"
    try:
        with naming(path), open(path, "rb") as file:
            found = parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{where}: damaged, or not a Parquet file: {error}") from None
    return _of_frame(found, where, target, features, categorical, like, skip_bad)


def table(
    data: Any,
    target: str | Sequence[str] | None = None,
    *,
    features: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    like: TableDataset | None = None,
    skip_bad: bool = False,
) -> TableDataset:
    """The table of a pandas, polars or pyarrow frame, or of a dict of columns. The arguments are those of `read_csv`.

    >>> houses = dl.data.table({"rooms": [3, 4, 2], "town": ["Bonn", "Ulm", "Bonn"], "price": [2.5, 4.0, 1.5]}, "price")
    >>> houses.columns, dict(houses.categories), houses[1]
    (('rooms', 'town'), {'town': ('Bonn', 'Ulm')}, (array([4., 1.]), np.float64(4.0)))
    """
    if not (is_frame(data) and named_columns(data) is not None) and not isinstance(data, Mapping):
        raise TypeError(f"table: a frame or a dict of columns expected, not {shown(data)}")
    return _of_frame(data, "table", target, features, categorical, like, boolean(skip_bad, "table: skip_bad"))


def _of_frame(
    data: Any, where: str, target: Any, features: Any, categorical: Any, like: Any, skip_bad: Any
) -> TableDataset:
    pairs = data.items() if isinstance(data, Mapping) else named_columns(data)
    cells: dict[str, Any] = {}
    for key, column in pairs or ():
        name = str(key)
        if name in cells:
            raise ValueError(f"{where}: there are two columns {name!r}")
        try:
            values = values_of(column) if is_frame(column) else np.asarray(column)
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: column {name!r} holds texts that are not UTF-8: {error}") from None
        if values.ndim != 1:
            raise ValueError(f"{where}: column {name!r} has shape {values.shape}, not one value for each row")
        if values.dtype.kind == "M":
            raise TypeError(f"{where}: column {name!r} holds dates; make numbers of them, or leave it out of features")
        if values.dtype.kind not in "biufUO":
            raise TypeError(f"{where}: column {name!r} holds {values.dtype}, neither numbers nor texts")
        cells[name] = [_cell(v) for v in values] if values.dtype.kind in "UO" else values
    if len({len(column) for column in cells.values()}) > 1:
        raise ValueError(f"{where}: the columns have {', '.join(f'{len(c)}' for c in cells.values())} rows")
    options = _options(where, lambda k: f"row {k}", target, features, categorical, like, skip_bad)
    return _assembled(cells, options, [])


def _cell(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def _point(cell: str) -> str:
    return cell.replace(".", "").replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell.replace(".", "")) else cell


def _options(
    where: str, place: Any, target: Any, features: Any, categorical: Any, like: Any, skip_bad: Any
) -> _Options:
    name = where.partition(":")[0]
    instance(like, TableDataset | None, f"{name}: like", "a TableDataset")
    if like is not None and target is None:
        target = like.target
    if isinstance(target, str):
        target = (target,)
    return _Options(
        where,
        place,
        () if target is None else _column_names(target, f"{name}: target"),
        None if features is None else _column_names(features, f"{name}: features"),
        frozenset(_column_names(categorical, f"{name}: categorical")),
        like,
        boolean(skip_bad, f"{name}: skip_bad"),
    )


def _column_names(value: Any, where: str) -> tuple[str, ...]:
    several = items(value)
    if several is None or not all(isinstance(name, str) for name in several):
        raise TypeError(f"{where} {shown(value)} is not a list of names of columns")
    return tuple(several)


def _delimiter(given: Any, path: Path, first: str) -> str:
    if given is not None:
        if not isinstance(given, str) or len(given) != 1:
            raise ValueError(f"read_csv: delimiter {shown(given)} is not one character")
        return given
    return "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=first.count)


def _rows(
    text: str, delimiter: str, header: bool, where: str
) -> tuple[list[str], list[list[str]], list[int], list[str]]:
    """The names of the columns, the rows, the line on which each ends, and what is wrong with the others."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names: list[str] | None = None
    rows: list[list[str]] = []
    numbers: list[int] = []
    bad: list[str] = []
    try:
        for row in reader:
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if names is None:
                names = [cell.strip() for cell in row] if header else [str(k) for k in range(len(row))]
                _check_names(names, header, f"{where}: line {reader.line_num}")
                if header:
                    continue
            if len(row) != len(names):
                bad.append(f"line {reader.line_num}: {len(row)} cells, where there are {len(names)} columns")
            else:
                rows.append(row)
                numbers.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"{where}: line {reader.line_num}: {error}") from None
    return names or [], rows, numbers, bad


def _check_names(names: list[str], header: bool, where: str) -> None:
    if header and all(_number(name) is not None for name in names if name):
        raise ValueError(f"{where}: the names of the columns are numbers; header=False takes the first line as data")
    twice = next((name for k, name in enumerate(names) if name and name in names[:k]), None)
    if twice is not None:
        raise ValueError(f"{where}: there are two columns {twice!r}")


def _number(cell: str) -> float | None:
    """The number that a cell holds, NaN if it stands for a missing one, or None for a text."""
    if cell.lower() in _MISSING:
        return np.nan
    try:
        return float(cell)
    except ValueError:
        return None


def _assembled(cells: Mapping[str, Any], options: _Options, bad: list[str]) -> TableDataset:
    """The data set of the columns ``cells``: lists of texts, or arrays of numbers."""
    like = options.like
    features = options.features if like is None else like.columns
    if features is None:
        features = tuple(name for name in cells if name not in options.target)
    _check_known((*features, *options.categorical, *(options.target if like is None else ())), cells, options.where)
    target = tuple(name for name in options.target if name in cells)
    if not features:
        raise ValueError(f"{options.where}: there are no columns besides the target")
    if both := set(features) & set(target):
        raise ValueError(f"{options.where}: column {min(both)!r} is a feature and the target")
    wrong: dict[int, str] = {}  # position of a row -> what is wrong with it
    known = {} if like is None else like.categories
    columns: dict[str, np.ndarray | list[str]] = {}
    for name in features:
        as_text = name in options.categorical or name in known
        columns[name] = _as_texts(cells[name]) if as_text else _as_numbers(cells[name], name, wrong, options)
    labels = {name: _as_target(cells[name], name, wrong, options) for name in target}
    if wrong and not options.skip_bad:
        row, reason = min(wrong.items())
        raise ValueError(f"{options.where}: {options.place(row)}: {reason}; skip_bad=True leaves such rows out")
    count = len(next(iter(cells.values())))
    keep = np.setdiff1d(np.arange(count), list(wrong))
    told = bad + [f"{options.place(row)}: {reason}" for row, reason in sorted(wrong.items())]
    if told:
        text = f"{options.where}: {len(told)} of {count + len(bad)} rows are left out: {'; '.join(told[:3])}"
        note(text + ("; ..." if len(told) > 3 else ""))
    if not keep.size:
        raise ValueError(f"{options.where}: there are no rows")
    return _made(columns, labels, keep, options)


def _made(columns: Mapping[str, Any], labels: Mapping[str, Any], keep: np.ndarray, options: _Options) -> TableDataset:
    categories: dict[str, tuple[str, ...]] = {}
    x = np.empty((len(keep), len(columns)))
    strange: list[str] = []
    for k, (name, values) in enumerate(columns.items()):
        if isinstance(values, np.ndarray):
            x[:, k] = values[keep]
            continue
        texts = [values[i] for i in keep]
        given = options.like.categories.get(name) if options.like is not None else None
        categories[name] = tuple(sorted({t for t in texts if t.lower() not in _MISSING})) if given is None else given
        number = {text: float(i) for i, text in enumerate(categories[name])}
        x[:, k] = [number.get(text, np.nan) for text in texts]
        other = {t for t in texts if t not in number and t.lower() not in _MISSING}
        strange += [f"{name} ({', '.join(sorted(other)[:3])})"] * bool(other)
    if strange:
        text = f"{options.where}: texts that the other table does not have count as missing: {'; '.join(strange)}"
        note(text)
    _warn_of_missing(x, list(columns), options.where)
    x[~np.isfinite(x)] = np.nan
    classes: tuple[str, ...] | None = None
    targets: list[np.ndarray] = []
    for name, values in labels.items():
        if isinstance(values, np.ndarray):
            targets.append(values[keep])
            continue
        texts = [values[i] for i in keep]
        own = options.like.classes if options.like is not None else None
        classes = tuple(sorted(set(texts))) if own is None else own
        if own is None and len(classes) == 1:
            text = f"{options.where}: the target {name!r} has one class alone, {classes[0]!r}"
            note(text)
        place = {text: i for i, text in enumerate(classes)}
        new = next((i for i, text in enumerate(texts) if text not in place), None)
        if new is not None:
            where = f"{options.where}: {options.place(keep[new])}"
            raise ValueError(f"{where}: {name!r} is {texts[new]!r}, which is no class of the other table")
        targets.append(np.array([place[text] for text in texts], np.int64))
    made = TableDataset(x, *([targets[0]] if len(targets) == 1 else [np.stack(targets, 1)] if targets else []))
    made.columns, made.categories, made.classes = tuple(columns), categories, classes
    made.target = None if not labels else tuple(labels) if len(labels) > 1 else next(iter(labels))
    return made


def _check_known(names: Iterable[str], cells: Mapping[str, Any], where: str) -> None:
    for name in names:
        if name not in cells:
            near = difflib.get_close_matches(str(name), list(cells), 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(cells)}"
            raise ValueError(f"{where}: there is no column {name!r}{hint}")


def _as_texts(column: Any) -> list[str]:
    if isinstance(column, list):
        return column
    whole = column.dtype.kind in "biu" or bool(np.isnan(column).any() or (column == np.floor(column)).all())
    return ["" if v != v else str(int(v) if whole and v == np.floor(v) else v) for v in column]


def _as_numbers(column: Any, name: str, wrong: dict[int, str], options: _Options) -> np.ndarray | list[str]:
    """A column as numbers, or as it is where most of its cells are texts; rows with other texts go into ``wrong``."""
    if not isinstance(column, list):
        return np.asarray(column, np.float64)
    try:
        return np.array([np.nan if cell in _MISSING else float(cell) for cell in column])
    except ValueError:
        numbers = [_number(cell) for cell in column]
    texts = [k for k, value in enumerate(numbers) if value is None]
    there = sum(value is not None and value == value for value in numbers)
    if there <= len(texts):
        if all(_DECIMAL_COMMA.fullmatch(column[k]) for k in texts):
            first = f"{options.where}: {options.place(texts[0])}: column {name!r} holds {column[texts[0]]!r}"
            raise ValueError(f'{first}; give decimal="," if that is a decimal comma')
        return column
    for k in texts:
        wrong.setdefault(k, f"column {name!r} holds {column[k]!r}, where {there} of {len(column)} are numbers")
    return np.array([np.nan if value is None else value for value in numbers])


def _as_target(column: Any, name: str, wrong: dict[int, str], options: _Options) -> np.ndarray | list[str]:
    """The targets: whole numbers as int64, others as float64, texts as they are; missing ones go into ``wrong``."""
    like = options.like
    as_text = name in options.categorical or (like is not None and like.classes is not None)
    values = _as_texts(column) if as_text else _as_numbers(column, name, wrong, options)
    if isinstance(values, list):
        if len(options.target) > 1:
            raise ValueError(f"{options.where}: of several targets, column {name!r} holds texts")
        missing = [k for k, text in enumerate(values) if text.lower() in _MISSING]
    else:
        missing = list(np.flatnonzero(~np.isfinite(values)))
    for k in missing:
        wrong.setdefault(int(k), f"the target {name!r} is missing")
    if isinstance(values, list):
        return values
    if len(options.target) > 1:
        return values
    if not isinstance(column, list):
        return values if column.dtype.kind == "f" else column.astype(np.int64)
    cells = ["0" if k in wrong else cell for k, cell in enumerate(column)]  # rows that are left out
    return np.array(list(map(int, cells)), np.int64) if all(map(_WHOLE.fullmatch, cells)) else values


def _warn_of_missing(x: np.ndarray, columns: list[str], where: str) -> None:
    counts = (~np.isfinite(x)).sum(0)
    if counts.any():
        named = ", ".join(f"{columns[k]} ({counts[k]})" for k in np.argsort(-counts, kind="stable")[:5] if counts[k])
        text = f"{where}: {counts.sum()} values are missing or not finite, in {named}; they are NaN"
        note(text)
