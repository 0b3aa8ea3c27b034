"""The errors a user can meet, each with the exit code that the command line gives it.

A ``HarnessError`` is a sentence for a person: what is wrong, where, and what to do. The command line prints
it without a traceback. Anything else that escapes is a defect of this program and keeps its traceback.
"""

from __future__ import annotations

import difflib
import errno
import re
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

# up to the last @ of a word; where there is none, of a password with spaces, to the next, but from no port
# on. A URL that was taken for a path has lost a slash.
_PASSWORD = re.compile(r"(?<=:/)(/?[^:/@\s]*):(?:(?:(?!://)\S)*|(?!\d+(?:[/?#\s]|$))(?:(?!://)[^@\n])*)@")
# in a URL's query, in the words that PostgreSQL's own programs take (host=h password='p q'), in its variables
_SECRET = re.compile(
    r"([?&][^=&\s]*(?:password|passwd|pwd|secret|token|key)[^=&\s]*=|\b\w*password\s*=\s*)"
    r"(?:'(?:\\.|[^'\\\n])*'|\"[^\"\n]*\"|[^&\s'\"]+?(?=:?(?:[&\s'\"]|$)))",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """The text with the passwords of its URLs as ``***``; whatever is said or stored goes through this."""
    return _SECRET.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


class HarnessError(Exception):
    """Base of every error that is the user's to mend. Exit code 2."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str) -> None:
        super().__init__(masked(message))

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is, in another process: what made it is not at hand any more."""
        return _again, (type(self), str(self), vars(self))

    def _render_traceback_(self) -> list[str]:
        """What IPython prints: in a notebook, too, a user's mistake is a sentence."""
        return [f"error: {self}"]


def _again(kind: type[HarnessError], message: str, attributes: dict[str, Any]) -> HarnessError:
    error = kind.__new__(kind, message)
    vars(error).update(attributes)
    return error


class SpecError(HarnessError):
    """A YAML or CSV file that does not say what it should.

    Its message starts ``file:line:column:``, in CSV ``file:line:``.
    """


class UnknownNameError(HarnessError):
    """A table, dataset, algorithm, protocol or preset that does not exist; names the nearest that do."""

    def __init__(self, kind: str, name: str, known: Iterable[str], more: str = "") -> None:
        self.kind, self.name = kind, name
        known = sorted(known)
        nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"known: {', '.join(known) or 'none'}"
        super().__init__(f"no {kind} named {name!r}; {hint}{more}")


class IncompleteError(HarnessError):
    """Nothing was measured, or not everything that was asked for. Exit code 3."""

    exit_code = 3


class NoBaselineError(IncompleteError):
    """A table that has no baseline yet to be compared with. Exit code 3."""


class DataError(HarnessError):
    """A dataset that is missing, broken or other than recorded; a full disk. Exit code 4."""

    exit_code = 4


class EnvironmentUnusableError(HarnessError):
    """An environment that cannot be made, or does not fit its dataset. Exit code 4."""

    exit_code = 4


class SchemaError(HarnessError):
    """A database of another schema version, or no database at all. Exit code 4."""

    exit_code = 4


class FailedRunsError(HarnessError):
    """Some runs failed; the others are kept. Exit code 5."""

    exit_code = 5


def system_error(error: OSError) -> str:
    """What the operating system refuses, and what to do about it."""
    what = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{f': {error.filename}' if error.filename else ''}; free space and run again"
    if error.errno == errno.ENOENT and not error.filename and not _working_folder():
        return "the working folder is gone; change to one that is there and run again"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{what}; allow more of them (ulimit -n) and run again"
    return f"the system refuses: {what}"


NO_MEMORY = "this takes more memory than there is; free some, or choose less at once"
_SCARCE = {errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EAGAIN}
CPU_ALLOCATOR = "can't allocate memory"  # what torch's says where it gets none
_SIGNS = {
    CPU_ALLOCATOR: NO_MEMORY,
    "can't start new thread": "the system starts no more threads; allow more (ulimit -u) and run again",
}


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it was raised from, or in the handling of, the last one first."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


def shortage(error: BaseException | None) -> DataError | None:
    """What this machine lacks, memory, threads, disk or open files, where an error tells of that.

    Such an error, or one that was raised from it, says nothing of what met it.
    """
    for each in causes(error):
        if isinstance(each, MemoryError):
            return DataError(NO_MEMORY)
        if isinstance(each, OSError) and each.errno in _SCARCE:
            return DataError(system_error(each))
        if isinstance(each, RuntimeError):
            for sign, text in _SIGNS.items():
                if sign in str(each):
                    return DataError(text)
    return None


def _working_folder() -> bool:
    """Whether there is still one."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


_OTHERS = re.compile(r"site-packages|^<frozen|/lib/python3|/harness/(environments|errors)")
_RAISED = re.compile(r"^Traceback \(most recent call last\):\n(?:[ \t].*\n)*(\S.*)", re.MULTILINE)


def reason(text: str) -> str:
    """Why something failed, in one line.

    Args:
        text: a message; a traceback, of which the line that names the error is told, for libraries add lines
            of advice below it; or a message and a traceback.
    """
    message, *_ = text.strip().splitlines() or ["unknown"]
    raised: list[str] = _RAISED.findall(text)
    if not raised:
        return message
    return raised[-1] if message.startswith("Traceback") else f"{message} {raised[-1]}"


def raised_at(error: BaseException) -> str:
    """An error of somebody's code in one line: its type, what it says, and the line of that code.

    Of an error that was raised from another one, the first is told; libraries' own lines are passed over.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    said = traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, SyntaxError):
        return f"{said} ({error.filename}:{error.lineno})"
    places = [
        f"{frame.filename}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if not _OTHERS.search(frame.filename)
    ]
    return f"{said} ({places[-1]})" if places else said


class StoppedError(HarnessError):
    """Interrupted with everything saved; the same command goes on. Exit code 130."""

    exit_code = 130
