"""The report of a run as one HTML page: `write_report`."""

from sycam.run.report.html import write_report

__all__ = ["write_report"]
