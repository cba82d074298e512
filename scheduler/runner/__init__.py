"""What every job runs under: stages inputs, runs the command, reports, uploads what it made.

Standard library only and no import of anything else of ours, because this folder travels into other people's images
as a zipapp (``scheduler/clusters/runner_archive.py`` packs it). It runs on Python 3.9 and newer. Nothing that it says
is trusted for money or identity.
"""
