"""The JSON Schema of the command model's answers, for constrained decoding.

    python3 schema.py TO

Only `type`, `enum`, `properties`, `required`, `items` and `anyOf`, no references. Keys stand in the order in which the
model writes them, and those that may be missing come after those that may not, because llama.cpp's grammar wants both.
"""

import json
import sys

import grammar
from lexicon import COLORS, DAYS, DEVICES, DOORS, GENRES, LISTS, MONTHS, ROOMS

INTEGER, TEXT = {"type": "integer"}, {"type": "string"}
DAY_CHOICES = {"enum": ["today", "tomorrow", "tonight", *DAYS]}
ROOM = {"enum": ROOMS}
MEASURES = {"enum": [unit for pair in grammar.UNITS for unit in pair]}

# (intents, fields always there, fields that may be missing)
ANSWERS = [
    (["timer.set"], {}, {"hours": INTEGER, "minutes": INTEGER, "seconds": INTEGER}),
    (["timer.cancel", "timer.query", "alarm.cancel", *grammar.MUSIC_CONTROLS, "volume.up", "volume.down", "date.query", "none"], {}, {}),
    (["alarm.set"], {"time": TEXT}, {"day": DAY_CHOICES}),
    (["light.on", "light.off"], {"room": {"enum": [*ROOMS, "all"]}}, {}),
    (["light.dim"], {"room": ROOM, "percent": INTEGER}, {}),
    (["light.color"], {"room": ROOM, "color": {"enum": COLORS}}, {}),
    (["thermostat.set"], {"degrees": INTEGER}, {"room": ROOM}),
    (["weather.query"], {}, {"city": TEXT, "day": DAY_CHOICES}),
    (["music.play"], {"genre": {"enum": GENRES}}, {}),
    (["volume.set"], {"percent": INTEGER}, {}),
    (["reminder.create"], {"text": TEXT}, {"day": DAY_CHOICES, "time": TEXT}),
    (["list.add"], {"list": {"enum": LISTS}, "item": TEXT}, {"count": INTEGER}),
    (["list.add"], {"list": {"enum": LISTS}, "items": {"type": "array", "items": TEXT}}, {}),
    (["list.remove"], {"list": {"enum": LISTS}, "item": TEXT}, {}),
    (["list.read"], {"list": {"enum": LISTS}}, {}),
    (["call.place"], {"name": TEXT}, {}),
    (["message.send"], {"name": TEXT, "text": TEXT}, {}),
    (["time.query"], {}, {"city": TEXT}),
    (["navigate"], {"place": TEXT}, {}),
    (["event.create"], {"title": {"enum": grammar.EVENTS}},
     {"with": TEXT, "day": DAY_CHOICES, "month": {"enum": MONTHS}, "date": INTEGER, "time": TEXT}),
    (["event.query"], {"day": DAY_CHOICES}, {}),
    (["door.lock", "door.unlock", "door.query"], {"door": {"enum": DOORS}}, {}),
    (["blinds.open", "blinds.close"], {"room": ROOM}, {}),
    (["device.on", "device.off"], {"device": {"enum": DEVICES}}, {"room": ROOM}),
    (["math"], {"expr": TEXT}, {}),
    (["convert"], {"value": INTEGER, "from": MEASURES, "to": MEASURES}, {}),
    (["chat"], {"reply": TEXT}, {}),
]  # fmt: skip


def object_schema(intents, required, optional):
    properties = {"intent": {"enum": intents}, **required, **optional}
    names = ["intent", *required]
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def schema():
    """One object for one command, a list of two or three for several."""
    objects = [object_schema(*answer) for answer in ANSWERS]
    several = {"type": "array", "items": {"anyOf": objects}, "minItems": 2, "maxItems": 3}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "anyOf": [*objects, several]}


def fits(value, rule):
    """Does a value meet a schema of the few keywords used here, keys in order?"""
    if "anyOf" in rule:
        return any(fits(value, choice) for choice in rule["anyOf"])
    if "enum" in rule:
        return value in rule["enum"]
    if rule["type"] == "array":
        in_range = rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", 99) if isinstance(value, list) else False
        return in_range and all(fits(item, rule["items"]) for item in value)
    if rule["type"] != "object":
        return type(value) is {"integer": int, "string": str}[rule["type"]]
    if not isinstance(value, dict) or not set(rule["required"]) <= set(value) <= set(rule["properties"]):
        return False
    in_order = [name for name in rule["properties"] if name in value]
    return list(value) == in_order and all(fits(value[name], rule["properties"][name]) for name in value)


def export(path):
    with open(path, "w") as file:
        file.write(json.dumps(schema(), indent=1) + "\n")


if __name__ == "__main__":
    export(sys.argv[1])
