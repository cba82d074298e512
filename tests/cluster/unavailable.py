"""Why the test cluster cannot stand here."""


class ClusterUnavailable(Exception):
    """One line: what is missing, or what went wrong and where more is written."""
