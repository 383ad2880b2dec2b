"""What the ledger's tables are made of: moments in UTC, keys, JSON, and the rules that states bring with them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Final, cast

from sqlalchemy import JSON, BigInteger, CheckConstraint, Dialect, Integer, MetaData, Table
from sqlalchemy import DateTime as SqlDateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel


class Utc(TypeDecorator[datetime]):
    """A moment in UTC: aware in Python, `timestamptz` in PostgreSQL, sortable text in SQLite."""

    impl = SqlDateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Give PostgreSQL its type with a time zone."""
        return dialect.type_descriptor(SqlDateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC; SQLite's text carries no zone."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read it back as aware."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(SQLModel):
    """Names every constraint, so that a migration can find it again."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


MOST_ID: Final = 2**63 - 1  # what a database counts to
Id: Any = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only an INTEGER key
Json: Any = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def one_of(column: str, states: Iterable[StrEnum]) -> str:
    """SQL for: the column holds one of the states."""
    return f"{column} IN ({', '.join(repr(str(state)) for state in sorted(states))})"


def state_known(states: type[StrEnum], column: str = "state") -> CheckConstraint:
    """The database knows no state but these."""
    return CheckConstraint(one_of(column, states), name=f"{column}_known")


def set_iff(column: str, states: Iterable[StrEnum]) -> CheckConstraint:
    """The column is set exactly in these states."""
    return CheckConstraint(f"({column} IS NOT NULL) = ({one_of('state', states)})", name=f"{column}_iff_closed")


def table_of(model: type[SQLModel]) -> Table:
    """The table of a model."""
    return cast("Table", model.__table__)  # type: ignore[attr-defined]  # SQLModel sets it when the class is made
