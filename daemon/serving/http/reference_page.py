"""The API reference at `/docs`: one page made of the OpenAPI document, which needs no other server."""

from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

PATH = "/docs"


def add_reference(app: FastAPI) -> None:
    """Add the page to the application."""

    @app.get(PATH, include_in_schema=False)
    async def reference() -> HTMLResponse:
        return HTMLResponse(render_reference(app.openapi()))


def render_reference(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document."""
    environment = Environment(
        loader=PackageLoader("daemon.serving.http", "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["type_name"] = type_name
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = document.get("components", {}).get("schemas", {})
    return environment.get_template("reference.html").render(
        info=document["info"], operations=operations, schemas=schemas
    )


def type_name(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words: `string or null`, `array of ChatMessage`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(type_name(one) for one in schema[key]))
    if "const" in schema or "enum" in schema:
        return " or ".join(repr(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"array of {type_name(schema.get('items', {}))}"
    bounds = [f"{sign} {schema[key]}" for key, sign in _BOUNDS.items() if key in schema]
    return " ".join([str(schema.get("type", "any")), *bounds])


_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
