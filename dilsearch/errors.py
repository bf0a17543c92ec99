"""What dilsearch raises when its input is at fault.

Every message is for the person who gave the input: it names the place, the value, the rule and
the fix. The command line prints it as it is and exits with code 2; anything else that escapes is
a fault of dilsearch and keeps its traceback.
"""

from collections.abc import Iterable


class DilsearchError(ValueError):
    """A fault of the input, not of the program."""

    @classmethod
    def from_faults(cls, heading: str, faults: Iterable[str]) -> "DilsearchError":
        """One error for every fault found: the sentence alone if there is one, else a list."""
        found = list(faults)
        if len(found) == 1:
            return cls(f"{heading}: {found[0]}")
        return cls(f"{heading}, {len(found)} faults:\n" + "\n".join(f"  - {f}" for f in found))


class GeometryError(DilsearchError):
    """A field, bound, coverage or graph that cannot be."""


class PlanError(DilsearchError):
    """A dilation plan that is malformed, or does not fit the network it is used with."""


class SpaceError(DilsearchError):
    """A search space file, profile or override that cannot be used."""


class SurgeryError(DilsearchError):
    """A model that cannot be relaxed or discretised as asked."""


class TraceError(DilsearchError):
    """A model whose field of view cannot be followed."""


class OpError(DilsearchError):
    """Arguments that fractional convolution cannot take."""


class ModelError(DilsearchError):
    """A built-in network asked for with impossible settings."""


class SearchError(DilsearchError):
    """A search asked for with impossible settings."""


class DataError(DilsearchError):
    """A data set that cannot be trained on."""


class Interrupted(Exception):  # noqa: N818 - nothing is at fault
    """The user stopped a run, which can be gone on with; the message says how."""


class RunError(DilsearchError):
    """A run folder that cannot be created, resumed or read."""


class SweepError(DilsearchError):
    """A sweep that cannot be begun, joined or gone on with."""


class ComparisonError(DilsearchError):
    """Runs that cannot be held against each other as asked."""
