"""The routes of the runner, which every job runs under."""
