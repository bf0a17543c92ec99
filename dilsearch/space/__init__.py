"""Search spaces: strict TOML files that say what is searched, on which data, and for how long.

Reading is in four small steps: ``locate`` finds the file, ``overlay`` lays a profile
and the command line's settings over it and remembers where every value came from, ``section``,
``sections``, ``sites_section``, ``sweep_section``,
``data_sections`` and ``space`` hold the schema, and ``faults``
turns whatever does not fit into sentences.
"""

from dilsearch.space.data_sections import (
    CityscapesData,
    DataSection,
    FolderPairsData,
    LongMemoryData,
    ThinBarsData,
)
from dilsearch.space.locate import SpaceEntry, list_spaces
from dilsearch.space.sections import (
    ControlSection,
    FieldSection,
    GapSection,
    ModelSection,
    RetrainSection,
    SearchSection,
    TrainSection,
)
from dilsearch.space.sites_section import Schedule, SitesSection
from dilsearch.space.space import SearchSpace, Setting
from dilsearch.space.sweep_section import SweepSection

__all__ = [
    "CityscapesData",
    "ControlSection",
    "DataSection",
    "FieldSection",
    "FolderPairsData",
    "GapSection",
    "LongMemoryData",
    "ModelSection",
    "RetrainSection",
    "Schedule",
    "SearchSection",
    "SearchSpace",
    "Setting",
    "SitesSection",
    "SpaceEntry",
    "SweepSection",
    "ThinBarsData",
    "TrainSection",
    "list_spaces",
]
