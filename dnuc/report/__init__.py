"""What a run looks like: figures a paper could print, tables as files, and one HTML page."""

from dnuc.report.figures import FIGURES, draw
from dnuc.report.page import write_report

__all__ = ["FIGURES", "draw", "write_report"]
