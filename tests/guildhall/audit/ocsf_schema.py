"""What OCSF 1.5.0 asks of the classes that we send, and a check against it.

`ocsf-1.5.0.json` states the names, types, enumerations and constraints of five classes and of the objects in them, as
the schema server gives them (github.com/ocsf/ocsf-lib-py, `schema_cache/schema-1.5.0.json`, Apache-2.0): no package
carries that schema. Attributes of profiles, which we do not claim, are left out.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SCHEMA: Mapping[str, Any] = json.loads(Path(__file__).with_name("ocsf-1.5.0.json").read_text())
_BASES = {"string_t": str, "integer_t": int, "long_t": int, "boolean_t": bool, "float_t": float, "json_t": object}


def problems(event: Mapping[str, Any]) -> list[str]:
    """What the schema does not allow in this event, each with its place; none where it is valid."""
    kind = SCHEMA["classes"].get(str(event.get("class_uid")))
    if kind is None:
        return [f"class_uid: {event.get('class_uid')} is no class that we know"]
    found = list(_of(event, kind, ""))
    if event["category_uid"] != kind["category"]:
        found.append("category_uid: not that of the class")
    if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
        found.append("type_uid: not made of class and activity")
    return found


def _of(value: Mapping[str, Any], declared: Mapping[str, Any], place: str) -> Iterator[str]:
    attributes = declared["attributes"]
    yield from (f"{place}{name}: no such attribute" for name in value if name not in attributes)
    yield from (
        f"{place}{name}: required" for name, about in attributes.items() if about.get("required") and name not in value
    )
    one_of = declared.get("constraints", {}).get("at_least_one", [])
    if one_of and not any(name in value for name in one_of):
        yield f"{place}: at least one of {', '.join(one_of)}"
    for name, about in attributes.items():
        if name in value:
            each = value[name] if about.get("array") else [value[name]]
            if not isinstance(each, list):
                yield f"{place}{name}: no list"
                continue
            for entry in each:
                yield from _value(entry, about, f"{place}{name}")


def _value(value: Any, about: Mapping[str, Any], place: str) -> Iterator[str]:
    kind = about["type"]
    if "enum" in about and value not in about["enum"]:
        yield f"{place}: {value!r} is none of {about['enum']}"
    if kind in SCHEMA["objects"]:
        yield from _of(value, SCHEMA["objects"][kind], f"{place}.")
    elif kind == "object":
        if not isinstance(value, dict):
            yield f"{place}: no object"
    elif kind not in SCHEMA["types"]:
        yield f"{place}: an object {kind} that is not stated here"
    else:
        declared = SCHEMA["types"][kind]
        base = _BASES[declared.get("of", kind)]
        fits = isinstance(value, base) and not (base is int and isinstance(value, bool))
        if not fits or not re.search(declared.get("regex", ""), str(value)):
            yield f"{place}: {value!r} is no {kind}"
