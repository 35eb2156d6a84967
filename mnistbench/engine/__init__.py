"""Runs a workload; the only room that knows Accelerate."""
