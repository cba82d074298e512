"""Runs jobs: queue, capacity, plan and apply; clusters; metering and settlement; the runner inside each job."""
