"""Home Assistant's discovery, for class names of every kind."""

import jinja2

from unet_edge.sinks.home_assistant import discovery_message

CLASSES = ("cat", "Cat", "Käse {{ 7 * 7 }}", 'a "b" \\n', "%} {# x", "猫", "🐈", "it's")


def test_templates_read_the_share_of_every_class_name():
    sensors = discovery_message(
        "d", "n", CLASSES, version="", state_topic="s", availability_topic="a", expire_after=60
    )["components"]
    shares = dict(zip(CLASSES, range(1, 9), strict=True))
    shown = [
        jinja2.Template(sensor["value_template"]).render(value_json={"shares": shares})
        for sensor in list(sensors.values())[: len(CLASSES)]
    ]
    assert shown == ["1", "2", "3", "4", "5", "6", "7", "8"]


def test_unique_ids_are_plain_and_differ():
    sensors = discovery_message(
        "d", "n", CLASSES, version="", state_topic="s", availability_topic="a", expire_after=60
    )["components"]
    ids = [sensor["unique_id"] for sensor in sensors.values()]
    assert len(set(ids)) == len(CLASSES) + 2
    assert ids[0] == "d-share-cat"
    assert all(c.isascii() and (c.isalnum() or c == "-") for each in ids for c in each)
