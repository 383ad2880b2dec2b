"""CSV files of clients, profiles and prompts: read whole, checked line by line, taken all or not at all."""

import csv
import hashlib
import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from slugify import slugify

from muster.errors import BadInput
from muster.states import ClientState, PromptState

MOST_LINES: Final = 20  # bad lines that are named; the rest is counted
DEFAULT_PLATFORM: Final = "linkedin"
PROFILE_COLUMNS: Final = ("client_id", "platform", "handle", "niche", "url")
SECRET_COLUMNS: Final = frozenset({"address", "username", "password", "cookie"})  # errors do not repeat them
CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # no text has them, and PostgreSQL keeps no NUL

MAY_BE_EMPTY: Final[Mapping[str, Any]] = {"posts_target": None, "brand": [], "competitors": []}

M = TypeVar("M", bound=BaseModel)


def read_level(label: object) -> int:
    """A number, or a label that begins with one such as `2-Lead Scoring`; unreadable is 1."""
    number = re.match(r"\s*(\d{1,4})(?!\d)", str(label))
    return int(number.group(1)) if number else 1


def read_names(told: object) -> object:
    """A name and its other forms, such as `Acme Corp|Acme`."""
    return [name.strip() for name in told.split("|") if name.strip()] if isinstance(told, str) else told


def read_several(told: object) -> object:
    """Several of them, such as `Beta Inc|Beta; Gamma`."""
    return [read_names(it) for it in told.split(";") if it.strip(" |")] if isinstance(told, str) else told


def _slug(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError(
            "must be 1 to 64 letters, digits, dots, dashes or underscores, beginning with a letter or digit"
        )
    return value


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line without control characters")
    return value


Slug = Annotated[str, AfterValidator(_slug)]
OneLine = Annotated[str, AfterValidator(_one_line)]
Names = Annotated[list[Annotated[OneLine, Field(max_length=100)]], BeforeValidator(read_names), Field(max_length=20)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]


class ClientRow(BaseModel):
    """What can be set of a client; a column that is not given stays as it is."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    id: Slug
    name: OneLine = Field("", max_length=200)
    state: ClientState = ClientState.ACTIVE
    service_level: Annotated[int, BeforeValidator(read_level)] = 1
    weight: float = Field(1.0, gt=0, le=1_000, allow_inf_nan=False)
    batch_size: int = Field(20, ge=1, le=10_000)
    max_batches: Count = 10
    posts_target: Count | None = None
    max_posts_per_profile: Count = 2
    profiles_limit: Count = 100
    brand: Names = []
    competitors: Annotated[list[Names], BeforeValidator(read_several), Field(max_length=50)] = []


class ProfileRow(BaseModel):
    """A profile; any further column is kept as data."""

    model_config = ConfigDict(extra="allow", str_strip_whitespace=True)

    client_id: str
    platform: Slug = DEFAULT_PLATFORM
    handle: OneLine = Field(min_length=1, max_length=200)
    niche: OneLine | None = Field(None, max_length=100)
    url: OneLine | None = Field(None, max_length=2_000)


class PromptRow(BaseModel):
    """A prompt; without a key of its own it gets one made from its text."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    client_id: str
    key: Slug = ""
    text: str = Field(min_length=1, max_length=10_000)
    state: PromptState = PromptState.ACTIVE


def read_clients(path: Path) -> list[dict[str, Any]]:
    """The clients of a file: `id` and whatever other columns it gives.

    Raises:
        BadInput: it cannot be read, or lines of it cannot be taken; every one is named.
    """
    rows = checked(path, ClientRow, required=("id",), key=lambda row: row.id)
    return [row.model_dump(exclude_unset=True) for row in rows]


def read_profiles(path: Path, known_clients: Collection[str]) -> list[dict[str, Any]]:
    """The profiles of a file, each of a client that is there.

    Raises:
        BadInput: it cannot be read, or lines of it cannot be taken; every one is named.
    """

    def known(row: ProfileRow) -> str | None:
        return None if row.client_id in known_clients else f"there is no client {row.client_id!r}; import it first"

    rows = checked(
        path,
        ProfileRow,
        required=("client_id", "handle"),
        key=lambda it: (it.client_id, it.platform, it.handle),
        also=known,
    )
    return [_profile(row.model_dump()) for row in rows]


def read_prompts(path: Path, known_clients: Collection[str]) -> list[dict[str, Any]]:
    """The prompts of a file, each of a client that is there.

    Raises:
        BadInput: it cannot be read, or lines of it cannot be taken; every one is named.
    """

    def known(row: PromptRow) -> str | None:
        return None if row.client_id in known_clients else f"there is no client {row.client_id!r}; import it first"

    rows = checked(
        path,
        PromptRow,
        required=("client_id", "text"),
        key=lambda it: (it.client_id, it.key or prompt_key(it.text)),
        also=known,
    )
    return [{**row.model_dump(exclude_unset=True), "key": row.key or prompt_key(row.text)} for row in rows]


def prompt_key(text: str) -> str:
    """A prompt's name, the same whenever the text is."""
    return f"{slugify(text, max_length=40) or 'prompt'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def read_change(column: str, value: str) -> dict[str, Any]:
    """One column of a client, as `clients set` gives it; an empty one of some unsets it.

    Raises:
        BadInput: no such column, or not a value for it.
    """
    if column not in ClientRow.model_fields or column == "id":
        columns = ", ".join(name for name in ClientRow.model_fields if name != "id")
        raise BadInput(f"A client has no column {column!r} that can be set; there are {columns}.")
    if not value and column not in MAY_BE_EMPTY:
        raise BadInput(f"{column} needs a value; only {', '.join(MAY_BE_EMPTY)} can be unset.")
    given = {column: value or MAY_BE_EMPTY[column]}
    try:
        return {column: getattr(ClientRow.model_validate({"id": "x", **given}), column)}
    except ValidationError as wrong:
        raise BadInput(f"{_said(wrong)}.") from None


def _profile(row: dict[str, Any]) -> dict[str, Any]:
    data = {name: value for name, value in row.items() if name not in PROFILE_COLUMNS and value}
    kept = {name: row[name] for name in PROFILE_COLUMNS if name != "niche" or row[name]}
    return {**kept, "data": data}


def checked(
    path: Path,
    model: type[M],
    *,
    required: tuple[str, ...],
    key: Callable[[M], object],
    also: Callable[[M], str | None] = lambda _: None,
) -> list[M]:
    """The lines of a file as a model has them, no two with the same key; `also` says what else is wrong with one.

    Raises:
        BadInput: it cannot be read, or lines of it cannot be taken; every one is named.
    """
    rows: list[M] = []
    bad: list[str] = []
    seen: dict[object, int] = {}
    lines = _lines(path)
    columns = _columns(path, next(lines, (1, []))[1], model, required)
    for line, cells in lines:
        try:
            row = model.model_validate(_filled(columns, cells))
        except (ValidationError, BadInput) as wrong:
            bad.append(f"line {line}: {_said(wrong)}")
            continue
        first = seen.setdefault(key(row), line)
        if wrong_here := f"the same one as in line {first}" if first != line else also(row):
            bad.append(f"line {line}: {wrong_here}")
        rows.append(row)
    if bad:
        more = [f"and {len(bad) - MOST_LINES} more"] if len(bad) > MOST_LINES else []
        said = "1 line is wrong" if len(bad) == 1 else f"{len(bad)} lines are wrong"
        raise BadInput(f"{path}: nothing was imported, {said}.", [*bad[:MOST_LINES], *more])
    return rows


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, the columns' names first, each with the number of the line it begins in."""
    reader = csv.reader(io.StringIO(read_text(path, read_bytes(path)), newline=""), strict=True)
    begins = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as wrong:
        raise BadInput(f"{path}: nothing was imported; line {begins} is not CSV: {wrong}.") from None


def read_bytes(path: Path) -> bytes:
    """All of a file.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as wrong:
        raise BadInput(f"{path}: {(wrong.strerror or 'cannot be read').lower()}.") from None


def read_text(path: Path | str, data: bytes) -> str:
    """What a file holds as text, without control characters.

    Raises:
        BadInput: it is none; the line is named.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = data.count(b"\n", 0, wrong.start) + 1
        raise BadInput(f"{path}: nothing was imported; line {line} is not text in UTF-8.") from None
    if found := CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise BadInput(f"{path}: nothing was imported; line {line} holds the control character {found.group()!r}.")
    return text


def _columns(path: Path, given: Sequence[str], model: type[BaseModel], required: tuple[str, ...]) -> list[str]:
    names = [name.strip() for name in given]
    if missing := [name for name in required if name not in names]:
        hint = " Cells must be separated by commas." if len(names) == 1 and re.search(r"[;\t|]", names[0]) else ""
        raise BadInput(f"{path}: the first line must name the columns; {' and '.join(missing)} must be there.{hint}")
    if len(set(names)) < len(names) or "" in names:
        raise BadInput(f"{path}: a column of the first line has no name or stands twice.")
    unknown = [name for name in names if name not in model.model_fields]
    if unknown and model.model_config.get("extra") == "forbid":
        raise BadInput(f"{path}: unknown column {unknown[0][:60]!r}; there are {', '.join(model.model_fields)}.")
    return names


def _filled(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """A line's cells that are not blank, by column."""
    if any(cell.strip() for cell in cells[len(columns) :]):
        raise BadInput(f"{len(cells)} cells, but the first line names {len(columns)} columns")
    return {name: cell for name, cell in zip(columns, cells, strict=False) if cell.strip()}


def _said(wrong: ValidationError | BadInput) -> str:
    return "; ".join(_fault(it) for it in wrong.errors()) if isinstance(wrong, ValidationError) else str(wrong)


def _fault(error: Any) -> str:
    place = error["loc"][0]
    if error["type"] == "missing":
        return f"{place} is missing"
    said = error["msg"].removeprefix("Value error, ")
    return f"{place}: {said}" if place in SECRET_COLUMNS else f"{place} {str(error['input'])[:60]!r}: {said}"
