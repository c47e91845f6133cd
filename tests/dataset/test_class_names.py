"""The option --classes that an error about class names prints."""

import pytest

from unet_edge.dataset.class_names import background_first, name_drawn


@pytest.mark.parametrize(
    ("classes", "drawn", "fix"),
    [
        (
            ("background", "object"),
            {"cat", "object"},
            "name them with --classes, the background first: --classes background,object,cat",
        ),
        (
            ("background", "cat"),
            {"bg", "cat"},
            "did you mean bg for background? Then pass --classes bg,cat",
        ),
        (
            ("background", "object"),
            {"backdrop", "cat"},
            "did you mean backdrop for background? Then pass --classes backdrop,cat",
        ),
        (
            ("background", "object"),
            {"traffic light"},
            "name them with --classes, the background first: --classes 'background,traffic light'",
        ),
    ],
)
def test_the_option_names_every_drawn_class(classes, drawn, fix):
    assert name_drawn(classes, drawn) == fix


def test_names_with_spaces_are_quoted():
    assert background_first(("traffic light", "bg")) == (
        "name the background first: --classes 'bg,traffic light'"
    )
