"""The data folder of one process: made at the first start, and refused before anything is half done."""

import os
import shutil

from guildhall.settings import Settings, SettingsError

FREE_BYTES_MIN = 200 << 20
"""What a first start writes, with room for a first job."""


def require_data_dir(settings: Settings) -> None:
    """Make the data folder where it is missing. Raises SettingsError where it cannot be made or written to."""
    folder = settings.data_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(folder).free
        reason = None if os.access(folder, os.W_OK | os.X_OK) else "it may not be written to"
    except OSError as error:
        reason = (error.strerror or "it cannot be made").lower()
    else:
        if not (folder / "postgres").exists() and free_bytes < FREE_BYTES_MIN:
            reason = f"its disk has {free_bytes >> 20} MiB free, and a first start needs {FREE_BYTES_MIN >> 20} MiB"
    if reason is not None:
        raise SettingsError(f"GUILDHALL_DATA_DIR={folder} cannot be used: {reason}. Name another folder.")
