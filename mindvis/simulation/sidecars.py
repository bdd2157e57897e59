"""The texts of the simulated BIDS data set: descriptions, sidecars and tables."""

from collections.abc import Iterable, Sequence
from typing import Any

from mindvis.simulation.anatomy import AREAS, GRID, VOXEL_SIZE
from mindvis.simulation.design import DURATION, SPACING, TR, Picture, Run
from mindvis.simulation.stimuli import Scene

BIDS_VERSION = "1.10.0"

README = """\
# Simulated picture viewing

fMRI of simulated observers who look at pictures of coloured shapes, made by `mindvis simulate`.
No person was scanned. The same parameters (sourcedata/simulation.json) give the same files.

- `sub-*/ses-*/func`: runs of the task `pictures` (a picture every {spacing:g} s, shown for
  {duration:g} s) and of rest. Training pictures are shown once, test pictures once in every test
  run. 16 of the 64 classes occur in the test split alone.
- `stimuli`: the pictures that were shown; `stimuli/stimuli.tsv` lists what each shows.
- `derivatives/rois`: brain and visual areas ({areas}; VC is their
  union) of each observer.
- `derivatives/motion`: the head's motion in each run.
- `sourcedata/pictures`: more pictures of all 64 classes, shown to nobody.
""".format(spacing=SPACING, duration=DURATION, areas=", ".join(AREAS))

EVENT_COLUMNS = (
    "onset",
    "duration",
    "trial_type",
    "stim_file",
    "label",
    "category",
    "split",
)
EVENTS = {
    "onset": {"Description": "Time at which the picture appears.", "Units": "s"},
    "duration": {"Description": "Time that the picture stays.", "Units": "s"},
    "trial_type": {"Description": "Class of the picture: its colour and its shape."},
    "stim_file": {"Description": "The picture, relative to the folder stimuli."},
    "label": {"Description": "Class of the picture, one of 64."},
    "category": {"Description": "Shape of the picture's object, one of 8."},
    "split": {
        "Description": "What the trial is meant for.",
        "Levels": {
            "train": "shown once, to fit models on",
            "test": "shown in every test run, to score models with",
        },
    },
}

DERIVATIVES = {
    "rois": "Masks of each observer's brain and visual areas, on the grid of its bold images.",
    "motion": "Motion of each observer's head, by which its bold images are disturbed.",
}

MOTION_COLUMNS = {
    "trans_x": {"Description": "Translation to the right.", "Units": "mm"},
    "trans_y": {"Description": "Translation to the front.", "Units": "mm"},
    "trans_z": {"Description": "Translation upwards.", "Units": "mm"},
    "rot_x": {"Description": "Rotation about the x axis.", "Units": "rad"},
    "rot_y": {"Description": "Rotation about the y axis.", "Units": "rad"},
    "rot_z": {"Description": "Rotation about the z axis.", "Units": "rad"},
    "framewise_displacement": {
        "Description": "Sum of the absolute changes of all six, rotations on a 50 mm sphere.",
        "Units": "mm",
    },
}

PARTICIPANTS = {
    "participant_id": {"Description": "Number of the simulated observer."},
    "visual_voxels": {"Description": "Number of voxels in all visual areas.", "Units": "voxels"},
}

STIMULUS_COLUMNS = {
    "stim_file": {"Description": "The picture, relative to this folder."},
    "label": EVENTS["label"],
    "category": EVENTS["category"],
    "split": EVENTS["split"],
    "x": {"Description": "Horizontal centre of the object, 0 left to 1 right."},
    "y": {"Description": "Vertical centre of the object, 0 top to 1 bottom."},
    "size": {"Description": "Diameter of the object over the picture's side."},
    "rotation": {"Description": "Turn of the object.", "Units": "rad"},
}


def dataset_description(name: str, kind: str) -> dict[str, Any]:
    """Content of a `dataset_description.json`; `kind` is "raw" or "derivative"."""
    return {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": kind,
        "License": "CC0-1.0",
        "Authors": ["mindvis simulate"],
        "GeneratedBy": [
            {"Name": "mindvis", "Description": "Simulated observer: no person was scanned."}
        ],
    }


def bold_sidecar(run: Run) -> dict[str, Any]:
    """Content of the JSON file beside a run's image."""
    instructions = {
        "pictures": "Look at the middle of the screen while pictures are shown.",
        "rest": "Keep your eyes open and think of nothing in particular.",
    }
    return {
        "TaskName": run.task,
        "RepetitionTime": TR,
        "EchoTime": 0.03,
        "FlipAngle": 75,
        "MagneticFieldStrength": 3,
        "Manufacturer": "mindvis",
        "ManufacturersModelName": "simulated observer",
        "SliceThickness": VOXEL_SIZE,
        "SliceTiming": [0.0] * GRID[2],  # all slices at once
        "PulseSequenceType": "simulated",
        "Instructions": instructions[run.task],
    }


def mask_sidecar(entity: str) -> dict[str, str]:
    """Content of the JSON file beside a mask; `entity` is "desc-brain" or "label-V1"."""
    if entity == "desc-brain":
        return {"Type": "Brain", "Description": "Voxels inside the brain."}
    area = entity.removeprefix("label-")
    meaning = "all visual areas" if area == "VC" else f"the visual area {area}"
    return {"Type": "ROI", "Description": f"Voxels of {meaning}."}


def events_table(run: Run, pictures: Sequence[Picture]) -> str:
    """The run's `events.tsv`."""
    shown = [pictures[index] for index in run.pictures]
    rows = (
        (f"{onset:g}", f"{DURATION:g}", p.label, p.file, p.label, p.category, p.split)
        for onset, p in zip(run.onsets, shown, strict=True)
    )
    return table(EVENT_COLUMNS, rows)


def stimulus_table(pictures: Iterable[Picture]) -> str:
    """`stimuli.tsv`: what each picture shows."""
    rows = ((p.file, p.label, p.category, p.split, *_geometry(p.scene)) for p in pictures)
    return table(STIMULUS_COLUMNS, rows)


def _geometry(scene: Scene) -> list[str]:
    return [f"{value:.5f}" for value in (scene.x, scene.y, scene.size, scene.rotation)]


def motion_table(motion: Iterable[Sequence[float]], displacement: Sequence[float]) -> str:
    """A run's confounds: six parameters and the framewise displacement, unknown at first."""
    rows = [
        [f"{value:.6f}" for value in (*parameters, moved)]
        for parameters, moved in zip(motion, displacement, strict=True)
    ]
    rows[0][-1] = "n/a"
    return table(MOTION_COLUMNS, rows)


def table(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Tab-separated text with a header line."""
    return "".join("\t".join(row) + "\n" for row in (tuple(columns), *rows))
