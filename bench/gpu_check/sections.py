"""The sections, worst risks first, and their shares of the time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import NamedTuple

from bench.gpu_check.findings import Finding, Setup


class Section(NamedTuple):
    """A section: its title, its share of the time [parts of 100] and the module that checks it."""

    title: str
    share: int
    module: str

    def check(self, setup: Setup) -> Iterator[Finding]:
        """Its findings; its module is imported no sooner: a broken one breaks this alone."""
        findings: Iterator[Finding] = import_module(f"bench.gpu_check.{self.module}").check(setup)
        return findings


SECTIONS: Mapping[str, Section] = {
    "labels": Section("Labels: is the precision that is named the one that ran?", 12, "labels"),
    "graphs": Section("CUDA graph against eager: the same curve?", 18, "graphs"),
    "processes": Section("Processes: NCCL alone, a shared card, one killed", 14, "processes"),
    "resuming": Section("Checkpoints: interrupted and resumed on the device", 12, "resuming"),
    "speed": Section("Speed: every model, precision and loop", 20, "speed"),
    "recipes": Section("Recipes as published, in turn", 16, "recipes"),
    "instruments": Section("Machine probe, telemetry, traces, memory", 8, "instruments"),
}


def allotted_s(name: str, *, left: list[str], left_s: float) -> float:
    """Seconds that section `name` gets of the `left_s` that it and all in `left` have."""
    total = sum(SECTIONS[one].share for one in {name, *left})
    return max(left_s, 0.0) * SECTIONS[name].share / total
