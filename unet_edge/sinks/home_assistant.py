"""Home Assistant's discovery: the message that makes a device with sensors of our states.

One retained message for each device, as Home Assistant reads since 2024.11:
https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

DISCOVERY_PREFIX = "homeassistant"
"""The first level of discovery's topics, Home Assistant's default."""


def discovery_topic(device: str) -> str:
    """The topic of a device's discovery message."""
    return f"{DISCOVERY_PREFIX}/device/{device}/config"


def discovery_message(
    device: str,
    name: str,
    classes: tuple[str, ...],
    *,
    version: str,
    state_topic: str,
    availability_topic: str,
    expire_after: int,
) -> dict[str, Any]:
    """The discovery message of a device: a sensor for each class's share in %, rate and delay.

    `device` is the device's id; the sensors' unique ids begin with it. After `expire_after`
    seconds without a state, the sensors are unavailable.
    """
    origin = {"name": "unet-edge"} | ({"sw_version": version} if version else {})
    software = {"sw_version": version} if version else {}
    sensors = {
        f"share-{_slug(label)}": {
            "name": label,
            "value_template": f"{{{{ value_json.shares[{_jinja_string(label)}] }}}}",
            "unit_of_measurement": "%",
            "suggested_display_precision": 1,
            "icon": "mdi:chart-donut",
        }
        for label in classes
    }
    sensors["rate"] = {
        "name": "Rate",
        "value_template": "{{ value_json.rate }}",
        "unit_of_measurement": "frames/s",
        "suggested_display_precision": 1,
        "entity_category": "diagnostic",
        "icon": "mdi:filmstrip",
    }
    sensors["delay"] = {
        "name": "Delay",
        "value_template": "{{ value_json.delay }}",
        "unit_of_measurement": "ms",
        "device_class": "duration",
        "suggested_display_precision": 0,
        "entity_category": "diagnostic",
    }
    shared = {"platform": "sensor", "state_class": "measurement", "expire_after": expire_after}
    return {
        "device": {"identifiers": [device], "name": name, "manufacturer": "unet-edge"} | software,
        "origin": origin,
        "components": {
            key: {**shared, "unique_id": f"{device}-{key}", **sensor}
            for key, sensor in sensors.items()
        },
        "state_topic": state_topic,
        "availability_topic": availability_topic,
        "qos": 1,
    }


def _slug(label: str) -> str:
    """A class's name in [a-z0-9-]; names that lose letters by it end with a part of their hash."""
    slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    return slug if slug == label else f"{slug}-{sha256(label.encode()).hexdigest()[:6]}".strip("-")


def _jinja_string(text: str) -> str:
    """A string of a Jinja template; braces are escaped, which end or begin expressions."""
    # Jinja's strings have Python's escapes.
    quoted = "".join(
        c if c.isascii() and c.isprintable() and c not in "{}\\\"'%#" else f"\\U{ord(c):08x}"
        for c in text
    )
    return f'"{quoted}"'
