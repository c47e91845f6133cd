"""The exceptions a user can meet.

UnetEdgeError
├── ImageError          a picture cannot be read
├── DataError           a dataset is inconsistent: pairs, sizes, labels, splits
├── ConfigError         a setting is out of range or contradicts another
├── WeightsError        pretrained weights cannot be loaded
├── SpecError           a contract is missing, malformed or of a newer schema
├── ModelFileError      a model file is missing, damaged or not from unet-edge
├── BundleError         a bundle is incomplete, damaged or of a newer schema
├── BackendError        no installed interpreter can run the file
├── StreamError         a video, a camera or a network stream cannot be read or written
├── OutputError         a result cannot be written to its place
├── ConversionError     a converter failed or produced a wrong graph
└── TrainingError       training cannot continue, or failed

An error keeps what was found, what was expected and how to fix it apart. Its message is one line
of all three. The command line prints the message and exits with 1.
"""

from __future__ import annotations

from typing import Self

_LONGEST = 2000
_SPACES = (
    "\u00a0\u2000\u2001\u2002\u2003\u2009\u202f\u3000"  # spaces that str.isprintable() rejects
)


def _one_line(text: str) -> str:
    """Cut a long text and escape line breaks and terminal control characters."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in _SPACES else ascii(letter)[1:-1]
        for letter in text
    )


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


class UnetEdgeError(Exception):
    """The base class of all exceptions that this package raises on purpose.

    `found` says what was found, `expected` what would be right, `fix` what to do. `subject` names
    the file, if a caller may need to name it differently; `found` then completes the sentence, as
    in "photo.png" and "is damaged". All but `found` may be empty. A subject that
    ends with a colon stands before a full sentence. The message joins the parts into one line of
    printable text, whatever a file or its name holds.
    """

    def __init__(
        self, found: str = "", *, expected: str = "", fix: str = "", subject: str = ""
    ) -> None:
        self.found, self.expected, self.fix, self.subject = map(
            _one_line, (found, expected, fix, subject)
        )
        super().__init__(_one_line(_joined(self.problem, self.fix)))  # each part may be long

    @property
    def problem(self) -> str:
        """What was found and what was expected, without the fix."""
        return f"{self.subject} {self.reason}" if self.subject else self.reason

    @property
    def reason(self) -> str:
        """The problem without its subject."""
        return _joined(self.found, self.expected)

    @classmethod
    def of_lines(cls, *lines: str) -> Self:
        """Make an error whose message has several lines, each of them printable."""
        error = cls()
        error.found = "\n".join(map(_one_line, lines))
        error.args = (error.found,)
        return error


class ImageError(UnetEdgeError):
    """A picture cannot be read."""


class DataError(UnetEdgeError):
    """A dataset is inconsistent."""


class ConfigError(UnetEdgeError):
    """A setting is out of range or contradicts another."""


class WeightsError(UnetEdgeError):
    """Pretrained weights cannot be loaded."""


class SpecError(UnetEdgeError):
    """A contract is missing, malformed or of a newer schema."""


class ModelFileError(UnetEdgeError):
    """A model file is missing, damaged or not from unet-edge."""


class BundleError(UnetEdgeError):
    """A bundle is incomplete, damaged or of a newer schema."""


class BackendError(UnetEdgeError):
    """No installed interpreter can run the file."""


class StreamError(UnetEdgeError):
    """A video, a camera or a network stream cannot be read or written."""


class OutputError(UnetEdgeError):
    """A result cannot be written to its place."""


class ConversionError(UnetEdgeError):
    """A converter failed or produced a wrong graph."""


class TrainingError(UnetEdgeError):
    """Training cannot continue, or failed."""
