"""Counts and lists of names as text."""

import pytest

from unet_edge.system.counting import counted, first_names


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "error", "0 errors"),
        (1, "error", "1 error"),
        (2, "test picture", "2 test pictures"),
        (1, "class", "1 class"),
        (3, "class", "3 classes"),
    ],
)
def test_the_noun_has_the_number_of_the_count(number, noun, text):
    assert counted(number, noun) == text


def test_only_the_first_names_are_listed():
    assert first_names([]) == ""
    assert first_names(["a", "b", "c"]) == "a, b, c"
    assert first_names(["a", "b", "c", "d"]) == "a, b, c, …"
