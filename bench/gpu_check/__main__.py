"""What only a GPU can show, by one command, for a machine that is to be had for minutes only.

    python -m bench.gpu_check                      # 8 minutes on one NVIDIA GPU
    python -m bench.gpu_check --minutes 15 --sections speed recipes
    python -m bench.gpu_check --on-fake-device     # what fake CUDA tensors show, on any machine

Sections come worst risks first, and each has a share of the time. Results are written after every
finding, so that a run that is cut off keeps what it had. Exit status: 0 if all sections came to
their end and all holds, 1 if not, 2 where there is no CUDA.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.gpu_check import packages
from bench.gpu_check.findings import Setup, slug
from bench.gpu_check.results import Results, exit_status, summary
from bench.gpu_check.sections import SECTIONS
from bench.gpu_check.supervising import supervise

_RESULTS = Path(__file__).parents[1] / "results"
_MOST_MINUTES = 600


def main(argv: Sequence[str] | None = None) -> int:
    """Check this machine as `argv` says; gives the exit status."""
    flags = _parse(argv)
    if importlib.util.find_spec("torch") is None:
        return _refuse("torch is missing; pip install torch")
    if flags.on_fake_device:
        return _on_fake_device(flags.out)
    import torch

    if not torch.cuda.is_available():
        return _refuse("no CUDA here; run it on a machine with a GPU, or add --on-fake-device")
    results = Results(
        folder=flags.out or _RESULTS / slug(torch.cuda.get_device_name(0)) / "gpu_check",
        facts=_facts(flags.minutes) | _gpu_facts(),
        remarks=packages.remarks(),
    )
    dataset, remark = _dataset()
    results.remarks = [*results.remarks, *filter(None, [remark])]
    print(*results.remarks, sep="\n", flush=True)
    end_at = time.time() + 60 * flags.minutes
    return _end(supervise(results, flags.sections, dataset=dataset, end_at=end_at))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu_check", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--minutes",
        type=_minutes,
        default=8.0,
        help="for all sections; the last check may take 45 s more [minutes]",
    )
    parser.add_argument("--out", type=Path, help="folder of the results; theirs in bench/results/")
    parser.add_argument(
        "--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="only these"
    )
    parser.add_argument(
        "--on-fake-device", action="store_true", help="what fake CUDA tensors show, without a GPU"
    )
    return parser.parse_args(argv)


def _minutes(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and 0 < value <= _MOST_MINUTES):
        raise argparse.ArgumentTypeError(f"should be above 0, and {_MOST_MINUTES} at most")
    return value


def _refuse(why: str) -> int:
    print(f"gpu_check: error: {why}", file=sys.stderr)
    return 2


def _on_fake_device(out: Path | None) -> int:
    """The other form, which needs no other process."""
    missing = packages.missing_for("fake")
    if missing:
        return _refuse(f"needs {', '.join(missing)}; pip install {' '.join(missing)}")
    from bench.gpu_check.fake_device import TITLE, check
    from bench.gpu_check.findings import Outcome
    from bench.gpu_check.results import section_text

    began = time.time()
    outcome = Outcome(title=TITLE, state="done", began_at=began)
    outcome.findings = list(check(Setup(scratch=Path())))
    outcome.elapsed_s = outcome.share_s = time.time() - began
    print(section_text("fake", outcome))
    results = Results(folder=out or Path(), facts=_facts(None), outcomes={"fake": outcome})
    if out:
        results.save()
    print(summary(results))
    return exit_status(results)


def _end(results: Results) -> int:
    results.save()
    print(f"{summary(results)} All of it is in {results.folder}")
    return exit_status(results)


def _dataset() -> tuple[str, str | None]:
    """MNIST where its files are, else the generated digits, and then a line on that."""
    if packages.missing_for("labels"):
        return "synthetic", None
    from mnistbench.schema.errors import InputError
    from mnistbench.workload.datasets import default_data_dir, why_absent

    try:
        why = why_absent("mnist", default_data_dir())
        if why is None:
            return "mnist", None
    except InputError as error:
        why = str(error)
    return "synthetic", f"{why}: the generated digits stand in, accuracies have no verdict"


def _facts(minutes: float | None) -> dict[str, Any]:
    """Of the software, and when."""
    found: dict[str, Any] = {"when": datetime.now(UTC).isoformat(timespec="seconds")}
    if minutes:
        found["minutes"] = minutes
    for name in ("torch", "torchvision", "accelerate"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found | {"python": platform.python_version(), "commit": _commit()}


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _gpu_facts() -> dict[str, Any]:
    """Of the card, by torch alone."""
    import torch

    card = torch.cuda.get_device_properties(0)
    nccl = torch.cuda.nccl.version() if torch.distributed.is_nccl_available() else "missing"
    return {
        "card": card.name,
        "cards": torch.cuda.device_count(),
        "capability": f"{card.major}.{card.minor}",
        "multiprocessors": card.multi_processor_count,
        "memory GiB": round(card.total_memory / 2**30, 1),
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
        "NCCL": nccl,
    }


if __name__ == "__main__":
    sys.exit(main())
