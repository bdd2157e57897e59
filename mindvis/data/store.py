"""The VoxelStore: one HDF5 file of responses, voxels, regions and pictures."""

from mindvis.data.hdf5 import Rows
from mindvis.data.reader import StoredSubject, VoxelStore
from mindvis.data.schema import (
    SCHEMA_VERSION,
    TRIAL_COLUMNS,
    Grayordinates,
    StimulusData,
    SubjectData,
)
from mindvis.data.stimuli import StoredStimuli
from mindvis.data.writer import write_store

__all__ = [
    "SCHEMA_VERSION",
    "TRIAL_COLUMNS",
    "Grayordinates",
    "Rows",
    "StimulusData",
    "StoredStimuli",
    "StoredSubject",
    "SubjectData",
    "VoxelStore",
    "write_store",
]
