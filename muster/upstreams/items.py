"""What OpenAI's Responses and Perplexity's agent share: an answer that is a list of items of many types.

Sources: openai/openai-openapi `openapi.yaml`, docs.perplexity.ai *Create Agent Response*, as of November 2026. The text
is in the items of the type `message`; both count tokens under the same names, and Perplexity says what it all cost.
"""

from collections.abc import Mapping
from typing import Any, Final

from muster.outcomes import ErrorKind
from muster.upstreams.answers import Answer, Unanswered, Usage, failed, said, wordless
from muster.upstreams.grounded import GroundedAnswer, cited
from muster.upstreams.lenient import count, mapping, micros, objects, text

Document = Mapping[str, Any]

_FILTERED: Final = "content_filter"
_REFUSAL: Final = "refusal"


def items(document: Document, kind: str) -> list[Document]:
    """The items of one type, in their order."""
    return [it for it in objects(document.get("output")) if it.get("type") == kind]


def spoken(answer: Answer, document: Document) -> GroundedAnswer:
    """What the document of an answer says, without its searches, which each vendor lists in its own way.

    Raises:
        Unanswered: it failed, or holds no message.
    """
    told = mapping(document.get("usage"))
    usage = Usage(count(told.get("input_tokens")), count(told.get("output_tokens")))
    cost = _cost(mapping(told.get("cost")))
    parts = [part for item in items(document, "message") for part in objects(item.get("content"))]
    texts = [part for part in parts if part.get("type") == "output_text"]
    mark, reason = _ended(document, parts)
    words = reason if mark is ErrorKind.REFUSED else "".join(text(it.get("text")) for it in texts)
    if document.get("status") == "failed" or (mark is None and not words.strip()):
        raise _lost(answer, document, usage, cost or 0)
    return GroundedAnswer(
        text=words,
        model=text(document.get("model")),
        citations=cited(it for part in texts for it in objects(part.get("annotations"))),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_micros=cost,
        mark=mark,
        id=text(document.get("id")),
    )


def _ended(document: Document, parts: list[Document]) -> tuple[ErrorKind | None, str]:
    """How it ended, if not as it should, and a refusal's reason."""
    refusals = [text(part.get(_REFUSAL)) for part in parts if part.get("type") == _REFUSAL]
    if refusals:
        return ErrorKind.REFUSED, "".join(refusals) or _REFUSAL
    if document.get("status") != "incomplete":
        return None, ""
    why = mapping(document.get("incomplete_details")).get("reason")
    return (ErrorKind.REFUSED, _FILTERED) if why == _FILTERED else (ErrorKind.CUT_OFF, "")


def _lost(answer: Answer, document: Document, usage: Usage, cost: int) -> Unanswered:
    error = document.get("error")
    if document.get("status") == "failed" or mapping(error):
        return failed(answer, error, usage, cost)
    return wordless(answer.upstream, said(document), usage, cost)


def _cost(told: Document) -> int | None:
    return micros(told.get("total_cost")) if told.get("currency", "USD") == "USD" else None
