"""Run folders: everything one command did, in files that are whole or absent."""

from dilsearch.runs.atomic import write_atomically
from dilsearch.runs.folder import RUN_FILE, SPACE_FILE, RunFolder
from dilsearch.runs.provenance import SCHEMA_VERSION

__all__ = ["RUN_FILE", "SCHEMA_VERSION", "SPACE_FILE", "RunFolder", "write_atomically"]
