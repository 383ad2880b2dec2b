"""What a citation's address and publisher are."""

from typing import Any

import pytest

from muster.upstreams.grounded import Citation, cited, domain_of, once_each, page


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://a.com/x?utm_source=openai", "https://a.com/x"),
        ("https://a.com/x?a=1&utm_source=openai&UTM_Medium=b&c=", "https://a.com/x?a=1&c="),
        ("https://a.com/?utm_source=openai#part", "https://a.com/#part"),
        ("https://a.com/x?q=a%20b", "https://a.com/x?q=a%20b"),  # not touched
        ("https://a.com/x?my_utm_source=1", "https://a.com/x?my_utm_source=1"),
        (" https://a.com/x ", "https://a.com/x"),
        ("http://[broken?utm_source=x", "http://[broken?utm_source=x"),
        ("", ""),
    ],
)
def test_a_page_is_the_same_whoever_is_followed_to_it(url: str, kept: str) -> None:
    assert page(url) == kept


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://www.Example.com/x?y=z", "example.com"),
        ("http://user:pass@example.com:8080/", "example.com"),
        ("https://example.com./", "example.com"),
        ("https://blog.example.co.uk", "blog.example.co.uk"),
        ("example.com", "example.com"),
        ("WWW.example.com/path", "example.com"),
        ("https://b\u00fccher.de/x", "xn--bcher-kva.de"),
        ("https://192.0.2.1/x", "192.0.2.1"),
        ("A title of a page", ""),
        ("Ends with a dot. Or two.", ""),
        ("localhost", ""),
        ("https://[::1]/", ""),
        ("http://[broken", ""),
        ("https://\u00fc..de/", ""),
        ("https://" + "\u00fc" * 80 + ".de/", ""),
        ("", ""),
    ],
)
def test_the_domain_is_the_publishers(url: str, domain: str) -> None:
    assert domain_of(url) == domain


def test_each_page_is_kept_once_where_it_came_first() -> None:
    a, b, again = Citation("u:a", "a", "A"), Citation("u:b", "b"), Citation("u:a", "a", "Other")

    assert once_each([a, b, again]) == (a, b)
    assert once_each([]) == ()


def test_cited_pages_are_read_from_objects_with_a_url() -> None:
    sources: list[dict[str, Any]] = [
        {"url": "https://www.b.com/x?utm_source=openai", "title": "B\x00!"},
        {"url": "https://a.com/", "title": ""},
        {"url": "https://www.b.com/x", "title": "The same"},
        {"url": "https://c.com/\x00y", "title": 3},
        {"url": None},
        {"url": 3},
        {"url": "  "},
        {"url": "\x00"},
        {},
    ]

    assert cited(sources) == (
        Citation("https://www.b.com/x", "b.com", "B!"),
        Citation("https://a.com/", "a.com"),
        Citation("https://c.com/y", "c.com"),
    )
