"""What the README's numbers come from: `python -m benchmarks` measures, and prints JSON."""
