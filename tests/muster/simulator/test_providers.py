"""The four providers with web search: what they answer and refuse, each in its vendor's own shape."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from muster.outcomes import ErrorKind
from muster.settings import Settings
from muster.simulator import Options, create_app
from muster.upstreams.answers import Unanswered
from muster.upstreams.caller import Caller
from muster.upstreams.grounded import GroundedAnswer, Provider
from muster.workloads.prompts import PROVIDERS
from tests.muster.simulator.asking import counted
from tests.muster.simulator.conftest import Open

every_provider = pytest.mark.parametrize("name", list(PROVIDERS))
PROMPT = 'Which is best, "Acme" or "Beta Inc"? Müller asks.'
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": (
        "/v1/responses",
        {
            "model": "m",
            "input": PROMPT,
            "tools": [{"type": "web_search"}],
            "include": ["web_search_call.action.sources"],
        },
    ),
    "perplexity": ("/v1/agent", {"preset": "fast", "input": PROMPT}),
    "gemini": (
        "/v1beta/models/gemini-3.8-flash:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}], "tools": [{"googleSearch": {}}]},
    ),
    "anthropic": (
        "/v1/messages",
        {
            "model": "m",
            "max_tokens": 500,
            "messages": [{"role": "user", "content": PROMPT}],
            "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        },
    ),
}
VERSION = {"anthropic-version": "2026-10-21"}


async def posted(client: httpx.AsyncClient, name: str, *without: str, **more: Any) -> httpx.Response:
    path, body = ASKED[name]
    kept = {key: value for key, value in body.items() if key not in without}
    return await client.post(path, json={**kept, **more}, headers=VERSION)


async def answered(name: str, prompt: str, key: str = "any-key", **options: Any) -> GroundedAnswer:
    """What our own adapter makes of it."""
    variables = {f"{it.upper()}_BASE_URL": "http://simulator" for it in PROVIDERS}
    variables |= {"OPENAI_BASE_URL": "http://simulator/v1", "GEMINI_BASE_URL": "http://simulator/v1beta"}
    settings = Settings.model_validate({**variables, f"{name.upper()}_API_KEY": key})
    async with Caller(httpx.ASGITransport(create_app(Options(**options)))) as caller:
        provider: Provider = PROVIDERS[name].connect(settings, caller)
        return await provider.ask(prompt, model=settings.prompt_models[name], max_tokens=500, country="AU")


async def failed(name: str, prompt: str = PROMPT, **said: Any) -> ErrorKind | None:
    with pytest.raises(Unanswered) as unanswered:
        await answered(name, prompt, **said)
    return unanswered.value.outcome.kind


@every_provider
async def test_a_good_answer_is_grounded_cites_and_names_brands(name: str):
    answers = [await answered(name, f"{PROMPT} {n}") for n in range(12)]

    for it in answers:
        assert it.grounded
        assert it.searches == 1
        assert it.mark is None
        assert 2 <= len(it.citations) <= 4
        assert all(citation.domain and not citation.domain.startswith("www.") for citation in it.citations)
        assert "utm_" not in str(it.citations)
        assert it.model
        assert it.input_tokens > 0
        assert it.output_tokens > 0
    assert 4 <= sum("Acme" in it.text for it in answers) <= 11
    assert (await answered(name, PROMPT)).text == (await answered(name, PROMPT)).text


@every_provider
@pytest.mark.parametrize(
    ("word", "mark", "is_grounded"),
    [
        ("sim-refusal", ErrorKind.REFUSED, None),
        ("sim-cut-off", ErrorKind.CUT_OFF, True),
        ("sim-ungrounded", None, False),
    ],
)
async def test_marker_words_spoil_an_answer_in_the_vendors_own_shape(
    name: str, word: str, mark: ErrorKind | None, is_grounded: bool | None
):
    answer = await answered(name, f"{PROMPT} {word}")

    assert answer.mark is mark
    assert is_grounded is None or answer.grounded is is_grounded
    assert is_grounded or not answer.citations
    assert answer.text


@every_provider
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"key": "sim-denied"}, ErrorKind.DENIED),
        ({"key": "sim-broke"}, ErrorKind.OUT_OF_MONEY),
        ({"key": "sim-busy-60"}, ErrorKind.THROTTLED),
        ({"prompt": "sim-429-once"}, ErrorKind.THROTTLED),
        ({"prompt": "sim-500"}, ErrorKind.TRANSIENT),
        ({"prompt": "sim-503"}, None),
        ({"prompt": "sim-reject"}, ErrorKind.REJECTED),
        ({"prompt": "sim-html"}, ErrorKind.TRANSIENT),
    ],
)
async def test_faults_have_the_vendors_shape_and_mean_what_they_should(
    name: str, said: dict[str, str], kind: ErrorKind | None
):
    found = await failed(name, **said)

    assert found is kind or (kind is None and found in {ErrorKind.TRANSIENT, ErrorKind.THROTTLED})


@every_provider
async def test_a_hint_says_when_to_come_back(name: str):
    with pytest.raises(Unanswered) as unanswered:
        await answered(name, PROMPT, key="sim-busy-60")

    wait = unanswered.value.outcome.wait  # type: ignore[union-attr]
    assert wait is not None
    assert 58 < wait <= 60


async def test_a_busy_key_is_served_once_its_time_is_over(opened: Open):
    client = await opened("sim-busy-1")
    first = await posted(client, "openai")
    free = await opened()

    assert first.status_code == 429
    assert (await posted(free, "openai")).status_code == 200
    await asyncio.sleep(1.1)
    assert (await posted(client, "openai")).status_code == 200
    await client.post("/_sim/reset")
    assert (await posted(client, "openai")).status_code == 429


async def test_gemini_hints_in_the_body_alone_and_its_offsets_count_bytes(opened: Open):
    busy = await posted(await opened("sim-busy-9"), "gemini")
    assert "retry-after" not in busy.headers
    assert busy.json()["error"]["details"][0]["@type"].endswith("google.rpc.RetryInfo")

    answer = (await posted(await opened(), "gemini")).json()
    (candidate,) = answer["candidates"]
    text = candidate["content"]["parts"][0]["text"].encode()
    for support in candidate["groundingMetadata"]["groundingSupports"]:
        segment = support["segment"]
        assert text[segment.get("startIndex", 0) : segment["endIndex"]].decode() == segment["text"]
    assert all("grounding-api-redirect" in it["web"]["uri"] for it in candidate["groundingMetadata"]["groundingChunks"])


async def test_openais_annotations_point_at_the_text_they_cite(opened: Open):
    document = (await posted(await opened(), "openai")).json()
    kinds = [it["type"] for it in document["output"]]
    (content,) = document["output"][-1]["content"]

    assert kinds == ["reasoning", "web_search_call", "message"]
    assert document["output"][1]["action"]["sources"]
    assert content["annotations"]
    for it in content["annotations"]:
        assert content["text"][it["start_index"] : it["end_index"]].endswith(".")


async def test_a_paused_turn_is_gone_on_with():
    answer = await answered("anthropic", f"{PROMPT} sim-paused")

    assert answer.mark is None
    assert answer.searches == 2  # both turns are billed
    assert answer.text.count(".") > 2


@pytest.mark.parametrize(
    ("name", "without", "more"),
    [
        ("openai", "input", {}),
        ("openai", "model", {}),
        ("openai", "", {"temperature": 0}),
        ("perplexity", "preset", {}),
        ("perplexity", "", {"messages": []}),
        ("gemini", "contents", {}),
        ("gemini", "", {"google": 1}),
        ("anthropic", "max_tokens", {}),
        ("anthropic", "", {"temperature": 0}),
        ("anthropic", "", {"tools": [{"type": "web_search"}]}),
    ],
)
async def test_a_bad_request_is_refused(opened: Open, name: str, without: str, more: dict[str, Any]):
    answer = await posted(await opened(), name, without, **more)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


async def test_anthropic_wants_a_version_and_tells_its_room(opened: Open):
    path, body = ASKED["anthropic"]
    assert (await (await opened()).post(path, json=body)).status_code == 400

    limited = await posted(await opened(rate_per_minute=5), "anthropic")
    assert limited.headers["anthropic-ratelimit-requests-remaining"] == "4"
    assert limited.headers["anthropic-ratelimit-requests-reset"].endswith("Z")


async def test_both_endpoints_of_openai_share_its_rate_and_counters(opened: Open):
    client = await opened(rate_per_minute=1)
    messages = [{"role": "user", "content": "hello"}]
    await client.post("/v1/chat/completions", content=orjson.dumps({"model": "m", "messages": messages}))

    assert (await posted(client, "openai")).status_code == 429
    assert sum((await counted(client))["calls"]["openai"].values()) == 2
