"""Runs a workload; the only package that knows Accelerate."""
