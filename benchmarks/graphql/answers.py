"""Answers of two sides, held against each other before anything is timed."""

from typing import Any


def without_cursors(answer: Any) -> Any:
    """An answer without what each side signs in its own way."""
    if isinstance(answer, dict):
        return {key: without_cursors(value) for key, value in answer.items() if key not in {"cursor", "endCursor"}}
    return [without_cursors(each) for each in answer] if isinstance(answer, list) else answer


def difference(answers: dict[str, Any], name: str) -> str:
    """Where the first difference is, and what stands there."""

    def walk(path: str, left: Any, right: Any) -> str:
        if isinstance(left, dict) and isinstance(right, dict) and list(left) == list(right):
            return next((found for key in left if (found := walk(f"{path}.{key}", left[key], right[key]))), "")
        if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
            return next(
                (found for place in range(len(left)) if (found := walk(f"{path}[{place}]", left[place], right[place]))),
                "",
            )
        return "" if left == right else f"{path}: ours {str(left)[:200]}, {name} {str(right)[:200]}"

    return walk("", answers["ours"], answers[name])
