"""`python -m guildhall`."""

import sys

from guildhall.cli.main import main

sys.exit(main())
