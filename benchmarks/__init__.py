"""Speed and detection quality; results are kept as text under benchmarks/results/."""
