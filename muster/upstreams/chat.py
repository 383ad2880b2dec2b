"""Chat Completions of OpenAI and of every server that speaks its protocol: `POST {base}/chat/completions`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Final, Self, TypeVar

import orjson
from pydantic import BaseModel, SecretStr, ValidationError

from muster.outcomes import ErrorKind, Failed, Retry
from muster.settings import Settings, variable
from muster.upstreams.access import address, bearer
from muster.upstreams.answers import Answer, Unanswered, Usage, check, said, wordless
from muster.upstreams.caller import Call, Sender
from muster.upstreams.lenient import count, mapping
from muster.upstreams.words import sentence

M = TypeVar("M", bound=BaseModel)

_NAME: Final = "openai"
_EXAMPLE: Final = "https://api.openai.com/v1"
_MARKS: Final = {"length": ErrorKind.CUT_OFF, "content_filter": ErrorKind.REFUSED}  # by `finish_reason`
_NOT_STRICT: Final = frozenset({"default", "examples", "minLength", "maxLength", "uniqueItems"})  # refused with 400
_FENCE: Final = re.compile(r"\A\s*```(?:json)?\s*(.*?)\s*```\s*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model said; `mark` is `refused` or `cut_off`, and a refusal's text is its reason."""

    text: str
    model: str  # as answered
    input_tokens: int
    output_tokens: int
    mark: ErrorKind | None
    id: str


@dataclass(frozen=True)
class Chat:
    """The adapter; `key_variable` names the key in messages."""

    NAME: ClassVar[str] = _NAME

    caller: Sender
    base_url: str
    key: SecretStr | None
    key_variable: str = field(default_factory=lambda: variable("openai_api_key"))

    @classmethod
    def connect(cls, settings: Settings, caller: Sender) -> Self:
        """Build it; no call is made.

        Raises:
            ConfigurationError: the base URL is none.
        """
        base_url = address(settings.openai_base_url, variable("openai_base_url"), _EXAMPLE)
        return cls(caller, base_url, settings.openai_api_key)

    async def complete(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, str]],
        schema: type[BaseModel] | None = None,
        max_tokens: int,
        timeout: float = 60,  # noqa: ASYNC109 - the caller keeps it
    ) -> Completion:
        """Ask once, within `timeout` seconds; with a `schema` the model is bound to it, and `parse` reads the answer.

        Raises:
            Unanswered: no key, no answer, an error, or an answer without a message.
        """
        headers = {**bearer(self.key, self.key_variable), "content-type": "application/json"}
        asked: dict[str, Any] = {
            "model": model, "messages": [*map(dict, messages)], "max_completion_tokens": max_tokens,
        }  # fmt: skip
        if schema is not None:
            asked["response_format"] = _response_format(schema)
        call = Call("POST", f"{self.base_url}/chat/completions", headers, orjson.dumps(asked))
        return _completion(check(await self.caller.send(call, upstream=self.NAME, timeout=timeout)))


def parse(completion: Completion, schema: type[M]) -> M:
    """Read a completion that was bound to the schema.

    Raises:
        Unanswered: `cut_off`, `refused`, or `parse` when it does not satisfy the schema.
    """
    if completion.mark is ErrorKind.CUT_OFF:
        raise _retry(ErrorKind.CUT_OFF, f"{_NAME} cut its answer off at the token limit.")
    if completion.mark is ErrorKind.REFUSED:
        raise Unanswered(Failed(kind=ErrorKind.REFUSED, error=sentence(f"{_NAME}'s model declined", completion.text)))
    fenced = _FENCE.match(completion.text)  # servers that ignore the schema like to wrap their JSON
    try:
        return schema.model_validate_json(fenced[1] if fenced else completion.text)
    except ValidationError as wrong:
        raise _retry(ErrorKind.PARSE, sentence(f"{_NAME}'s answer does not fit", _first(wrong))) from None


def _first(wrong: ValidationError) -> str:
    first = wrong.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def _completion(answer: Answer) -> Completion:
    """Read leniently: unknown fields are ignored, absent ones defaulted; only a missing message is an error."""
    document = mapping(answer.json())
    choices = document.get("choices")
    choice = mapping(choices[0]) if isinstance(choices, list) and choices else {}
    message, usage = mapping(choice.get("message")), mapping(document.get("usage"))
    mark = _MARKS.get(str(choice.get("finish_reason")))
    text = _text(message.get("content"))
    if refusal := _text(message.get("refusal")):
        mark, text = ErrorKind.REFUSED, refusal
    tokens = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    if text is None and mark is None:
        raise wordless(_NAME, said(document), Usage(*tokens))
    return Completion(text or "", str(document.get("model") or ""), *tokens, mark, str(document.get("id") or ""))


def _text(content: Any) -> str | None:
    """The text of a content, which some servers give in parts."""
    if isinstance(content, list):
        return "".join(_parts(content)) or None
    return content if isinstance(content, str) else None


def _parts(content: list[Any]) -> Iterator[str]:
    yield from (part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str))


def _retry(kind: ErrorKind, error: str) -> Unanswered:
    return Unanswered(Retry(kind=kind, error=error))


@cache
def _response_format(schema: type[BaseModel]) -> Mapping[str, Any]:
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", schema.__name__)[:64]
    strict = {"name": name, "strict": True, "schema": _strict(schema.model_json_schema())}
    return {"type": "json_schema", "json_schema": strict}


def _strict(node: Any) -> Any:
    """A JSON schema as strict mode takes it: every property required, no others, no keyword that it refuses."""
    if isinstance(node, list):
        return [_strict(it) for it in node]
    if not isinstance(node, Mapping):
        return node
    if "$ref" in node:
        return {"$ref": node["$ref"]}  # it takes no keyword beside it
    kept = {key: _named(value) if key in _BY_NAME else _strict(value) for key, value in node.items()
            if key not in _NOT_STRICT}  # fmt: skip
    if kept.get("type") == "object":
        kept |= {"required": [*kept.setdefault("properties", {})], "additionalProperties": False}
    return kept


_BY_NAME: Final = frozenset({"properties", "$defs"})  # whose keys are names, not keywords


def _named(schemas: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _strict(schema) for name, schema in schemas.items()}
