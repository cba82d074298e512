"""What the database holds, asked through `psql`: independent of the code under test, and of any event loop."""

import json
import os
import subprocess
from dataclasses import dataclass
from typing import Any

from guildhall.db.embedded_system import binary


@dataclass(frozen=True)
class Book:
    """Reads one database as the service's role."""

    url: str

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """The rows of a SELECT."""
        wrapped = f"SELECT coalesce(json_agg(row_to_json(found)), '[]') FROM ({statement}) AS found"
        address = self.url.replace("postgresql+asyncpg://", "postgresql://")
        asked = subprocess.run(
            [str(binary("psql")), "--no-psqlrc", "--tuples-only", "--no-align", "--dbname", address, "-c", wrapped],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.defpath, "TZ": "UTC", "PGOPTIONS": "-c timezone=UTC"},
        )
        assert asked.returncode == 0, asked.stderr
        found: list[dict[str, Any]] = json.loads(asked.stdout)
        return found

    def value(self, statement: str) -> Any:
        """The one value of a SELECT that names it `value`."""
        (row,) = self.rows(statement)
        return row["value"]
