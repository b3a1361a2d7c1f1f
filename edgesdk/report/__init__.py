"""Report a bundle's manifest as one HTML page, and as rows of a terminal's table.

The package is callable: ``edgesdk.report(bundle)`` writes the page.

>>> from edgesdk import write_report
>>> write_report("mobilenet_v2.edge")  # doctest: +SKIP
PosixPath('mobilenet_v2.edge/report.html')
"""

from __future__ import annotations

from edgesdk.lazy_exports import make_callable
from edgesdk.report.page import render
from edgesdk.report.photographs import Photograph
from edgesdk.report.suggestions import Suggestion, suggestions
from edgesdk.report.summary import COLUMNS, Status, SummaryRow, summary_rows
from edgesdk.report.verdict import Fact, Verdict, verdict
from edgesdk.report.writing import REPORT_NAME, report, write_report

__all__ = [
    "COLUMNS",
    "REPORT_NAME",
    "Fact",
    "Photograph",
    "Status",
    "Suggestion",
    "SummaryRow",
    "Verdict",
    "render",
    "report",
    "suggestions",
    "summary_rows",
    "verdict",
    "write_report",
]

make_callable(__name__, report)
