"""Code of the user's own that this process imported, and the copies that a run keeps of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mnistbench.recorder.redaction import place_redacted, redacted
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import no_link, opened, why, write_whole
from mnistbench.schema.provenance import CodeInfo, sources_text
from mnistbench.schema.user_code import CODE_FOLDER, EXPECTED_CODE, UserCode, copies_of, read_code

_imported: dict[str, UserCode] = {}
"""By reference, what this process read before it imported it, which it does once."""


def code_as_imported(config: RunConfig) -> list[UserCode]:
    """The source of the user's own components; to be called before they are imported, and after.

    Raises:
        InputError: a file cannot be read, has changed since this process imported it, or is not
            what a sweep planned to run.
    """
    codes = read_code(config)
    found, planned = sources_text(code.info for code in codes), os.environ.get(EXPECTED_CODE)
    if planned is not None and planned != (found or ""):
        raise InputError(f"code: {planned} was planned to run, and {found} is here; start it again")
    for code in codes:
        if _imported.setdefault(code.info.reference, code).files != code.files:
            named = f"{code.info.component}: {code.info.reference}"
            raise InputError(f"{named} changed since it was imported; start a new process")
    return codes


def kept_as(
    codes: Sequence[UserCode], config: RunConfig
) -> tuple[list[CodeInfo], dict[str, bytes]]:
    """`copies_of` as the run of `config` keeps them: an anonymous one names no folder or user."""
    infos, copies = copies_of(codes)
    if config.anonymize:
        infos = [i.model_copy(update={"reference": place_redacted(i.reference)}) for i in infos]
        texts = {name: its.decode(errors="surrogateescape") for name, its in copies.items()}
        copies = {n: redacted(t).encode(errors="surrogateescape") for n, t in texts.items()}
    return infos, copies


def keep_code(codes: Sequence[UserCode], config: RunConfig, run_folder: Path) -> None:
    """Copy what was imported into the run's folder; a copy of earlier code there is renamed.

    Raises:
        InputError: it cannot be written.
    """
    folder = run_folder / CODE_FOLDER
    try:
        for name, content in kept_as(codes, config)[1].items():
            path = no_link(no_link(folder) / name)
            before: bytes | None = None
            with suppress(FileNotFoundError), os.fdopen(opened(path), "rb") as file:
                before = file.read()
            if before == content:
                continue
            if before:
                digest = hashlib.sha256(before).hexdigest()[:12]
                path.replace(path.with_name(f"{path.stem}-{digest}.py"))
            write_whole(path, content)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({why(error)})") from None
