"""What must exist on a Prefect server before the flows can be deployed, and the check of `prefect.yaml`."""
