"""The command ``mnistbench schema``: prints the JSON Schema of records."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import ClassVar

from mnistbench.cli import exit_on_input_error, show
from mnistbench.flags import CommandFlags, parse
from mnistbench.schema.json_schema import record_schema


class _Flags(CommandFlags):
    """Print the JSON Schema of record.json (draft 2020-12), with a sentence for each key."""

    prog: ClassVar = "mnistbench schema"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` and return the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    with exit_on_input_error(argv):
        parse(_Flags, argv)
        show(json.dumps(record_schema(), indent=1, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
