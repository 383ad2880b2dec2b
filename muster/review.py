"""The page on which a person reviews an article: the text, its sources, words and cost; whatever is in them, inert."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from markdown_it import MarkdownIt

from muster.report import counted, dollars

# Nothing is loaded from elsewhere and nothing runs, whatever a model or a page of the web has written.
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE: Final = (
    "body{font:17px/1.6 Georgia,serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}"
    "header,aside{font-family:system-ui,sans-serif;font-size:.9rem;color:#555}"
    "header{border-bottom:1px solid #ddd}aside{border-top:1px solid #ddd;margin-top:3rem}"
    "h1,h2,h3{line-height:1.25}a{color:#0b57d0;overflow-wrap:anywhere}table{border-collapse:collapse}"
    "td,th{border:1px solid #ddd;padding:.3rem .6rem}pre{overflow:auto;background:#f6f6f6;padding:1rem}"
    ".warning{background:#fff4ce;border-left:4px solid #b58900;padding:.5rem 1rem;color:#333}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}a{color:#8ab4f8}"
    "header,aside{color:#aaa}pre{background:#222}}"
)

_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def page(
    keyword: str, text: str | None, sources: Iterable[Mapping[str, Any]], facts: Iterable[str], warnings: Iterable[str]
) -> str:
    """The whole page; without a text it shows the research alone."""
    body = "<p><em>Researched only; no article was written.</em></p>" if text is None else _MARKDOWN.render(text)
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">',
            f"<title>{escape(keyword)}</title><style>{STYLE}</style></head><body>",
            f"<header><p><strong>{escape(keyword)}</strong></p><p>{escape(' · '.join(facts))}</p>",
            *(f'<p class="warning">{escape(it)}</p>' for it in warnings),
            f"</header><main>{body}</main>",
            f"<aside><h2>Sources</h2><ol>{''.join(map(_source, sources))}</ol></aside></body></html>\n",
        ]
    )


def facts_of(words: int | None, sources: int, model: str | None, tokens: int, cost_micros: int | None) -> list[str]:
    """What a reviewer wants to know of an article, in a line."""
    facts = [] if words is None else [counted(words, "word")]
    facts += [counted(sources, "source")]
    facts += [] if model is None else [model, f"{tokens:,} tokens"]
    return [*facts, "cost unknown" if cost_micros is None else dollars(cost_micros)]


def _source(it: Mapping[str, Any]) -> str:
    url = escape(str(it["url"]))
    return f'<li><a href="{url}" rel="noopener noreferrer nofollow">{escape(str(it["title"]))}</a><br>{url}</li>'
