"""Messages of errors are safe for a terminal, whatever a file or its name holds."""

import pytest

from unet_edge.dataset.findings import Finding, raise_errors
from unet_edge.errors import DataError, SpecError, UnetEdgeError
from unet_edge.spec import ModelSpec


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\ud800 \u2028 \u202e", r"\ud800 \u2028 \u202e"),
        ("Zelle ä 细胞 🐈 a\u3000b\u00a0c", "Zelle ä 细胞 🐈 a\u3000b\u00a0c"),
    ],
)
def test_a_message_is_one_printable_line(text, shown):
    assert str(UnetEdgeError(text)) == shown
    str(UnetEdgeError(text)).encode()


def test_a_long_message_is_cut_in_the_middle():
    message = str(UnetEdgeError("a" * 5000 + "z" * 5000))
    assert len(message) == 2003
    assert message.startswith("aaa")
    assert message.endswith("zzz")


def test_a_message_of_several_long_parts_is_cut_as_well():
    message = str(UnetEdgeError("a" * 5000, subject="s" * 5000, fix="run: z"))
    assert len(message) == 2003
    assert message.startswith("sss")
    assert message.endswith("; run: z")


def test_control_characters_of_a_contract_do_not_reach_the_terminal():
    spec = ModelSpec(4, 6, ("a", "b")).to_dict()
    with pytest.raises(SpecError) as error:
        ModelSpec.from_dict(spec | {"a\n\x1b[2J": 1})
    assert str(error.value) == r"the contract has unknown fields: a\n\x1b[2J"


def test_a_list_of_findings_has_a_line_for_each(tmp_path):
    findings = [
        Finding("error", "unreadable-picture", tmp_path / f"{n}\n.png", "is damaged", "remove it")
        for n in range(10)
    ]
    with pytest.raises(DataError) as error:
        raise_errors(findings)
    lines = str(error.value).splitlines()
    assert lines[0] == "10 problems in the data:"
    assert lines[1] == rf"  {tmp_path}/0\n.png: is damaged; remove it"
    assert len(lines) == 10
    assert lines[-1].startswith("  … and 2 more; 'unet-edge data check'")


def test_the_parts_of_an_error_are_kept_apart():
    error = DataError("holds 7", expected="0 or 1", fix="draw it again", subject="mask a.png")
    assert str(error) == "mask a.png holds 7; 0 or 1; draw it again"
    assert (error.subject, error.reason, error.fix) == (
        "mask a.png",
        "holds 7; 0 or 1",
        "draw it again",
    )
    assert error.problem == "mask a.png holds 7; 0 or 1"
