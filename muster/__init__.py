"""Nightly batches over paid HTTP APIs, every item accounted for; the core, which knows nothing of Prefect.

The data's path: `settings` become `limits`; a workload plans items into the `ledger`; a lane of the `engine` claims
some, asks their upstream, and says an outcome; the ledger settles it; the `report` is read back and published.
"""
