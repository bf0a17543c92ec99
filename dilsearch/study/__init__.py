"""Studies: one search space under several variants and seeds, as ordinary run folders.

Every run of a study is made by the command line that a reader can type, in a process of its own;
nothing here trains or imports torch. ``cases`` says what is run, ``robustness`` holds the studies
that ship, ``choose`` narrows them, ``runner`` starts the processes, and ``tables`` and ``figures``
put what the run folders hold into one table and two figures.
"""

from dilsearch.study.cases import Case, Part, Study, StudyError, Variant
from dilsearch.study.robustness import SEARCH_ROBUSTNESS, STUDIES

__all__ = ["SEARCH_ROBUSTNESS", "STUDIES", "Case", "Part", "Study", "StudyError", "Variant"]
