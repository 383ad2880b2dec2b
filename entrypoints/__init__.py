"""The doors into the core that are not flows."""
