"""What a run shows to people: tables, figures and one HTML page, read from its files alone.

Nothing here trains, searches or imports torch, so that a report can be made on any machine that
holds the run folder. ``tables`` reads the files, ``verdict`` puts them into one sentence,
``figures`` draws them, and ``html`` sets the page. Of a sweep the modules named ``sweep`` do so.
"""

from pathlib import Path

from dilsearch.report import html
from dilsearch.report.sweep_page import write_sweep_report
from dilsearch.report.sweep_tables import is_sweep
from dilsearch.runs import RunFolder

__all__ = ["write_report", "write_sweep_report"]


def write_report(run_dir: Path) -> Path:
    """Write the figures and ``report.html`` of a run or of a sweep, and return the page's path.

    Only the files of the folder are read. What has not finished is named on the page.

    Raises:
        RunError: If the folder is no run, or one of its files is damaged.
    """
    if is_sweep(RunFolder.open(run_dir)):
        return write_sweep_report(run_dir)
    return html.write_report(run_dir)
