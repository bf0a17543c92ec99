"""What a run shows to people: tables, figures and one HTML page, read from its files alone.

Nothing here trains, searches or imports torch, so that a report can be made on any machine that
holds the run folder. ``tables`` reads the files, ``verdict`` puts them into one sentence,
``figures`` draws them, and ``html`` sets the page.
"""

from dilsearch.report.html import write_report

__all__ = ["write_report"]
