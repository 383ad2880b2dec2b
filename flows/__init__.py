"""One screen each: what runs on Prefect, in the order in which it runs."""
