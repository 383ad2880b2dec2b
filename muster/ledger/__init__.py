"""The database of every client, run, batch and item, and the only package that writes it."""

from muster.ledger.book import Book

__all__ = ["Book"]
