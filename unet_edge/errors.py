"""The exceptions a user can meet.

UnetEdgeError
├── ImageError          a picture cannot be read
├── DataError           a dataset does not hold together: pairs, sizes, labels, splits
├── ConfigError         a setting is out of range or contradicts another
├── WeightsError        pretrained weights cannot be loaded
├── SpecError           a contract is missing, malformed or of a newer schema
├── ModelFileError      a model file is missing, damaged or not one of ours
├── BundleError         a bundle is incomplete, damaged or of a newer schema
├── BackendError        no installed interpreter can run the file
├── OutputError         a result cannot be written where it should go
├── ConversionError     a converter failed or produced a graph that breaks its promise
└── TrainingError       training cannot go on, or went wrong

An error keeps what was found, what was expected and how to fix it apart. Its message is one line
of all three. The command line prints the message and exits with 1.
"""

from __future__ import annotations

from typing import Self

_LONGEST = 2000
_SPACES = "\u00a0\u2000\u2001\u2002\u2003\u2009\u202f\u3000"  # which isprintable() calls none


def _one_line(text: str) -> str:
    """Text without line breaks, control characters and what else a terminal would obey."""
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
    """Root of everything this package raises on purpose.

    `found` says what was found, `expected` what would be right, `fix` what to do. `subject` names
    the file that `found` is about, where a caller may name it otherwise; `found` follows it as in
    "photo.png" and "is damaged". All but `found` may be empty. The message joins the parts to one
    line of printable text, whatever a file or its name holds.
    """

    def __init__(
        self, found: str = "", *, expected: str = "", fix: str = "", subject: str = ""
    ) -> None:
        self.found, self.expected, self.fix, self.subject = map(
            _one_line, (found, expected, fix, subject)
        )
        begin = f"{self.subject} {self.found}" if subject else self.found
        super().__init__(_joined(begin, self.expected, self.fix))

    @property
    def problem(self) -> str:
        """What was found and what was expected, without the subject and the fix."""
        return _joined(self.found, self.expected)

    @classmethod
    def of_lines(cls, *lines: str) -> Self:
        """An error of several lines, each of them printable."""
        error = cls()
        error.found = "\n".join(map(_one_line, lines))
        error.args = (error.found,)
        return error


class ImageError(UnetEdgeError):
    """A picture cannot be read."""


class DataError(UnetEdgeError):
    """A dataset does not hold together."""


class ConfigError(UnetEdgeError):
    """A setting is out of range or contradicts another."""


class WeightsError(UnetEdgeError):
    """Pretrained weights cannot be loaded."""


class SpecError(UnetEdgeError):
    """A contract is missing, malformed or of a newer schema."""


class ModelFileError(UnetEdgeError):
    """A model file is missing, damaged or not one of ours."""


class BundleError(UnetEdgeError):
    """A bundle is incomplete, damaged or of a newer schema."""


class BackendError(UnetEdgeError):
    """No installed interpreter can run the file."""


class OutputError(UnetEdgeError):
    """A result cannot be written where it should go."""


class ConversionError(UnetEdgeError):
    """A converter failed or produced a graph that breaks its promise."""


class TrainingError(UnetEdgeError):
    """Training cannot go on, or went wrong."""
