"""The verbs that Prefect manages, shared by every flow: plan, work, report."""
