"""Tables as CSV text."""

from unet_edge.system.csv_table import csv_text


def test_values_are_quoted_where_needed_and_lines_end_in_a_line_feed() -> None:
    rows = [["a, b", 1.5, 2], ['say "hi"', "", None]]
    assert csv_text(["name", "x", "y"], iter(rows)) == ('name,x,y\n"a, b",1.5,2\n"say ""hi""",,\n')


def test_a_table_without_rows_has_its_header() -> None:
    assert csv_text(["name"], []) == "name\n"
