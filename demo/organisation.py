"""The organisation of the story, as the one configuration that sets it up."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

LICENCE = "CC-BY-4.0"
PURPOSE = "defect-detection"
REGION = "eu-local"
CARBON = 240

PEOPLE: dict[str, dict[str, Any]] = {
    "pat": {"email": "pat@guildhall.example", "name": "Pat Porter", "roles": {None: ["administrator"]}},
    "alma": {"email": "alma@guildhall.example", "name": "Alma Ames", "roles": {None: ["allocator"]}},
    "audrey": {"email": "audrey@guildhall.example", "name": "Audrey Auer", "roles": {None: ["auditor"]}},
    "mira": {"email": "mira@guildhall.example", "name": "Mira Mercer", "roles": {"maintenance": ["maintainer"]}},
    "milan": {
        "email": "milan@guildhall.example",
        "name": "Milan Messmer",
        "roles": {"maintenance": ["contributor"]},
    },
    "stella": {"email": "stella@guildhall.example", "name": "Stella Stern", "roles": {"maintenance": ["steward"]}},
    "quentin": {"email": "quentin@guildhall.example", "name": "Quentin Quast", "roles": {"quality": ["maintainer"]}},
}

POOLS = {"forge-small": ("sim-a10", 2), "forge-large": ("sim-h100", 2)}
WATTS = {"sim-a10": 150, "sim-h100": 700}
DAY_RATES = {
    ("forge-small", "STANDARD"): "6", ("forge-small", "PREEMPTIBLE"): "3",
    ("forge-large", "STANDARD"): "24", ("forge-large", "PREEMPTIBLE"): "12",
}  # fmt: skip
WEEKDAYS = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]
NIGHT = {"days": WEEKDAYS, "from": "22:00", "to": "06:00"}


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A Kubernetes cluster that the jobs of the story run on, rather than this machine.

    Without a kubeconfig it is the cluster that the server itself runs in. `resources` names, for each accelerator of
    `POOLS`, the extended resource under which nodes offer it.
    """

    name: str
    kubeconfig: str | None
    image: str
    node_selector: Mapping[str, str]
    resources: Mapping[str, str]


def configuration(now: datetime, platform: Platform | None = None) -> dict[str, Any]:
    """Three teams, seven people, two programmes, a period, two pools and their prices; the night costs half."""
    begins = now.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
    ends = begins.replace(year=begins.year + 1)
    return {
        "teams": [
            {"name": "maintenance", "title": "Maintenance"},
            {"name": "quality", "title": "Quality"},
            {"name": "platform", "title": "Platform"},
        ],
        "members": [
            {"email": person["email"], "name": person["name"], "team": team, "roles": roles}
            for person in PEOPLE.values()
            for team, roles in person["roles"].items()
        ],
        "programmes": [
            {"name": "zero-defects", "title": "Zero defects", "strategicClass": "A"},
            {"name": "tinkering", "title": "Tinkering", "strategicClass": "C"},
        ],
        "periods": [{"name": f"year-{begins.year}", "startsAt": begins.isoformat(), "endsAt": ends.isoformat()}],
        "pools": [
            {
                "name": name,
                "accelerator": accelerator,
                **_place(accelerator, slots, platform),
                "wattsPerAccelerator": WATTS[accelerator],
                "walltimeSecondsMax": 3600,
            }
            for name, (accelerator, slots) in POOLS.items()
        ],
        "priceLists": [
            {
                "name": f"list-{begins.year}",
                "validFrom": begins.isoformat(),
                "validTo": (ends + timedelta(days=31)).isoformat(),
                "rates": [
                    rate
                    for (pool, tier), credits_per_hour in DAY_RATES.items()
                    for rate in (
                        {"pool": pool, "tier": tier, "creditsPerHour": credits_per_hour},
                        {"pool": pool, "tier": tier, "creditsPerHour": _half(credits_per_hour), "hours": NIGHT},
                    )
                ],
            }
        ],
        "purposes": [
            {"name": PURPOSE, "description": "Find defects in what we make, before a customer does."},
            {"name": "marketing", "description": "Show what we can do to people outside."},
        ],
    }


def _place(accelerator: str, slots: int, platform: Platform | None) -> dict[str, Any]:
    """On this machine what there is is typed in; of a cluster only where to look, and the rest is counted."""
    if platform is None:
        return {"cluster": "this-machine", "region": REGION, "carbonGramsPerKwh": CARBON, "slots": slots}
    return {
        "cluster": platform.name,
        "nodeSelector": [{"name": name, "value": value} for name, value in platform.node_selector.items()],
        "acceleratorResource": platform.resources[accelerator],
        "image": platform.image,
    }


def _half(credits_per_hour: str) -> str:
    return f"{int(credits_per_hour) / 2:g}"
