"""What can be the name of a container image, as the OCI distribution specification writes references."""

import re

IMAGE_CHARACTERS_MAX = 500

_DOMAIN_PART = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_HOST = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?"
_FOLDER = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:{_HOST}/)?{_FOLDER}(?:/{_FOLDER})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
    r"(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)


def is_image_name(text: str) -> bool:
    """Whether a registry could be asked for it. That it is there is not known before a machine fetches it."""
    return len(text) <= IMAGE_CHARACTERS_MAX and _REFERENCE.fullmatch(text) is not None


def image_problem(text: str) -> str | None:
    """What is wrong with the name, as a sentence that says what would be right."""
    if is_image_name(text):
        return None
    shown = text if len(text) <= 100 else text[:100] + "…"
    return f"{shown!r} is no image name: write it as registry.example.org/team/image:tag, lower case, no spaces."
