"""The worker beside its peers: the same readings, the same three rules, one run (docs/benchmarks.md)."""
