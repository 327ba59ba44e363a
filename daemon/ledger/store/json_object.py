"""A JSON object that the database makes of a row: SQLite and PostgreSQL name the function differently."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from sqlalchemy import JSON, ColumnElement, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement


class _JsonObject(FunctionElement[Any]):
    name = "json_object"
    type = JSON()
    inherit_cache = True


def json_object(fields: Mapping[str, ColumnElement[Any]]) -> ColumnElement[Any]:
    """Names and values; the names are our own, never a client's."""
    named: Iterator[tuple[ColumnElement[Any], ColumnElement[Any]]] = (
        (literal_column(f"'{name}'"), value) for name, value in fields.items()
    )
    return _JsonObject(*chain.from_iterable(named))


@compiles(_JsonObject, "sqlite")
def _on_sqlite(element: _JsonObject, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_object({compiler.process(element.clauses, **options)})"


@compiles(_JsonObject, "postgresql")
def _on_postgres(element: _JsonObject, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_build_object({compiler.process(element.clauses, **options)})"
