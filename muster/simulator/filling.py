"""Made-up values that satisfy a JSON schema, as far as the schemas of structured output go."""

from collections.abc import Callable, Mapping
from math import ceil, floor
from random import Random
from typing import Any

from muster.simulator.texts import sentence

Schema = Mapping[str, Any]
_DEEPEST = 6  # a schema that refers to itself ends here, if it can end at all
_FORMATS = {
    "date": "2026-11-01",
    "date-time": "2026-11-01T08:00:00Z",
    "time": "08:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/page",
    "uuid": "3f0c5c1e-7a54-4f6c-9d61-0d5b0a1e2c44",
}


def fill(schema: Schema, rng: Random) -> Any:
    """A value that the schema accepts; the same generator state gives the same value."""
    return _Filler(schema, rng).value(schema, 0)


class _Filler:
    def __init__(self, root: Schema, rng: Random) -> None:
        self._root, self._rng = root, rng
        self._makers: Mapping[str, Callable[[Schema, int], Any]] = {
            "object": self._object,
            "array": self._array,
            "integer": self._integer,
            "number": self._number,
            "boolean": lambda *_: bool(rng.getrandbits(1)),
            "null": lambda *_: None,
        }

    def value(self, schema: Schema, depth: int) -> Any:
        schema = self._resolved(schema, depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._rng.choice(schema["enum"])
        return self._makers.get(_kind(schema, depth), self._string)(schema, depth)

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        return {name: self.value(part, depth + 1) for name, part in schema.get("properties", {}).items()}

    def _resolved(self, schema: Schema, depth: int) -> Schema:
        """Follow references, and take one of several alternatives: the first that is not null, while there is room."""
        while True:
            if "$ref" in schema:
                schema = self._referred(schema["$ref"])
            elif choices := schema.get("anyOf") or schema.get("oneOf"):
                schema = min(choices, key=lambda part: (part.get("type") == "null") is (depth < _DEEPEST))
            elif "allOf" in schema:
                schema = {key: value for part in schema["allOf"] for key, value in self._resolved(part, depth).items()}
            else:
                return schema

    def _referred(self, reference: str) -> Schema:
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            found = found[step] if step else found
        return dict(found)

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        least = schema.get("minItems", 0)
        wanted = least if depth >= _DEEPEST else self._rng.randint(max(1, least), max(3, least))
        items, most = schema.get("items", {}), schema.get("maxItems", wanted)
        return [self.value(items, depth + 1) for _ in range(min(wanted, most))]

    def _integer(self, schema: Schema, _depth: int) -> int:
        least = ceil(schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1))
        most = floor(schema.get("maximum", schema.get("exclusiveMaximum", max(100, least) + 1) - 1))
        return self._rng.randint(min(least, most), most)

    def _number(self, schema: Schema, _depth: int) -> float:
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        most = schema.get("maximum", schema.get("exclusiveMaximum", max(100, least + 1)))
        return float(round(least + (most - least) * self._rng.uniform(0.01, 0.99), 6))

    def _string(self, schema: Schema, _depth: int) -> str:
        if known := _FORMATS.get(schema.get("format", "")):
            return known
        text = sentence(self._rng)
        while len(text) < schema.get("minLength", 0):
            text += f" {sentence(self._rng)}"
        return text[: schema.get("maxLength")]


def _kind(schema: Schema, depth: int) -> str:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, str):
        return kind
    return str(min(kind, key=lambda name: (name == "null") is (depth < _DEEPEST)))
