"""Start of the zipapp, and of ``python -m scheduler.runner`` while developing."""

import sys

from .main import main

sys.exit(main())
