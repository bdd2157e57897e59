"""`mindvis prepare bids`: a BIDS data set, raw or preprocessed by fMRIPrep, into a VoxelStore."""

from functools import partial
from pathlib import Path
from typing import Literal

import pandas as pd

from mindvis.console import say
from mindvis.records import read_json
from preprocessing.bids_files import BidsSource, expected_files
from preprocessing.events import EventOptions
from preprocessing.facts import NOT_CONTENT, Facts, files_are_there
from preprocessing.glmsingle import glmsingle_work
from preprocessing.layout import (
    Wanted,
    entity_pairs,
    find_scans,
    find_subjects,
    no_scans,
    subject_names,
)
from preprocessing.pictures import gather_stimuli, picture_roots
from preprocessing.plan import SignalOptions, plan_run
from preprocessing.run_lines import refuse_shared_events, run_line
from preprocessing.series import ENDINGS, Form
from preprocessing.signal import CleaningOptions, ResponseOptions
from preprocessing.subject import SubjectPlan, plan_subject, run_parts, subject_data
from preprocessing.trials import TestOptions, assign_splits
from preprocessing.workers import Backend, Workers
from preprocessing.write import SubjectWork, parts_folder, prepare_store


def prepare_bids(
    source: str,
    store: str,
    subjects: str | list[str] | None = None,
    derivatives: str | None = None,
    form: Form = "volume",
    space: str | None = None,
    resolution: str | None = None,
    entities: str | list[str] | None = None,
    tasks: list[str] | None = None,
    rest_tasks: list[str] | None = None,
    mask: str | None = None,
    rois: str | None = None,
    atlas: str | None = None,
    voxels: Literal["mask", "rois"] = "mask",
    glmsingle: str | None = None,
    response: Literal["average", "lsa", "lss"] = "average",
    lag_start: float = 4.0,
    lag_end: float = 9.0,
    hrf_model: Literal["glover", "spm"] = "glover",
    detrend: bool = True,
    high_pass: float | None = 0.008,
    standardise: bool = True,
    confounds: str | list[str] = "motion",
    rest_window: float = 8.0,
    nan: Literal["refuse", "drop"] = "refuse",
    stimulus_column: str | None = "stim_file",
    stimulus_root: str = "stimuli",
    label_column: str | None = "label",
    category_column: str | None = "category",
    conditions: list[str] | None = None,
    split_column: str | None = "split",
    test: Literal["none", "repeated", "runs"] = "none",
    test_repeats: int = 2,
    test_runs: list[int] | None = None,
    image_size: int | None = None,
    background: str = "white",
    n_jobs: int = 1,
    backend: Backend = "processes",
    scheduler: str | None = None,
    check: bool = False,
) -> None:
    """Prepare a BIDS data set: one response for each trial and rest window, voxel by voxel.

    A run is read a few volumes at a time, cleaned, and reduced to its responses, which wait in
    STORE.parts until all runs are done; a command that was killed goes on from there when it is
    given again, and writes the same bytes.

    Args:
        source: BIDS folder with sub-*/, and with the event tables.
        store: File to write; subjects that it already holds and are not prepared now stay.
        subjects: Such as sub-01,sub-02; all by default.
        derivatives: Folder of preprocessed images, relative to source, such as
            derivatives/fmriprep; the raw images by default.
        form: Volumes, fMRIPrep's surfaces (*_hemi-L_*_bold.func.gii and hemi-R), or its
            grayordinates (*_bold.dtseries.nii).
        space: `space-` entity of the preprocessed images, such as T1w or fsaverage5; none for
            images without one.
        resolution: `res-` or `den-` entity of the preprocessed images, such as 2 or 91k; none for
            images without one.
        entities: Other entities of the images, such as echo-2,rec-norm; rec-none for images
            without one.
        tasks: Tasks to prepare; all by default.
        rest_tasks: Tasks in which nothing was shown; [rest] by default.
        mask: Brain mask: a file or pattern relative to source, {subject} and {session} filled in;
            by default *_desc-brain_mask.nii.gz among the derivatives, one a run or a subject.
        rois: ROI masks: a folder or pattern, likewise, or "none"; by default all
            *_mask.nii.gz with an entity label- among the derivatives.
        atlas: Regions of surfaces and grayordinates, relative to source: a .dlabel.nii file, or
            the left hemisphere's .label.gii, whose name has hemi-L.
        voxels: Store the voxels of the brain mask, or those of them that lie in an ROI.
        glmsingle: Take betas of GLMsingle instead of estimating responses: the folder that holds
            TYPED_FITHRF_GLMDENOISE_RR.hdf5, relative to source, {subject} and {session} filled in;
            it must have been given the trials of these event tables, in order of time.
        response: Average of volumes, or betas of a GLM with a regressor for each trial (lsa), or of
            one GLM for each trial (lss).
        lag_start: First moment of the average, in seconds after onset.
        lag_end: End of the average, exclusive, in seconds after onset; an event that lasts longer
            is averaged to its end.
        hrf_model: Haemodynamic response of the GLMs.
        detrend: Remove a straight line from each voxel of each run.
        high_pass: Remove slower drifts, in hertz; null keeps them.
        standardise: Bring each voxel of each run to mean 0 and standard deviation 1.
        confounds: Columns of *_desc-confounds_timeseries.tsv to regress out, such as
            "[trans_*, a_comp_cor_0*]"; motion (six columns, where there is such a file); none; or a
            strategy of nilearn (simple, scrubbing, compcor, ica_aroma), which may omit volumes.
        rest_window: Length of the windows over which rest volumes are averaged, in seconds.
        nan: Refuse voxels with NaN, or drop them from all runs of the subject.
        stimulus_column: Column of the events that names the picture; null prepares without them.
        stimulus_root: Folder of the pictures, relative to source.
        label_column: Column of the class; without it `trial_type` is the class.
        category_column: Column of a coarser group; without it the class.
        conditions: Keep trials of these `trial_type`s alone.
        split_column: Column that says train or test; events without it follow `test`.
        test: Test trials where no column says it: none, those of repeated pictures, or whole runs.
        test_repeats: From so many trials of one subject on, a picture is repeated.
        test_runs: Numbers of the test runs, as in the files' names; of every task and session.
        image_size: Side in pixels of the stored pictures (centre square); by default as they are.
        background: Colour behind transparent pixels of the pictures, as the screen had it: a name,
            or #rrggbb.
        n_jobs: Runs to process at the same time; -1 for one a core.
        backend: Processes of this machine, or the workers of a Dask cluster.
        scheduler: Address of the Dask scheduler, such as tcp://10.0.0.1:8786.
        check: Say which files are missing, read headers and tables, and do nothing.

    Raises:
        SourceError: If something in the source is missing, malformed or contradictory.
    """
    options = {k: v for k, v in locals().items() if k not in NOT_CONTENT}
    workers = Workers(n_jobs, backend, scheduler)
    options["source"] = Path(source).resolve().name
    root, target = Path(source), Path(store)
    signal = SignalOptions(
        cleaning=CleaningOptions(detrend, high_pass, standardise),
        # the lags of an average do not matter to betas that exist
        response=ResponseOptions("lsa" if glmsingle else response, lag_start, lag_end, hrf_model),
        rest_window=rest_window,
        confounds=confounds,
        nan=nan,
    )
    events = EventOptions(
        stimulus_column or None, label_column, category_column, split_column, conditions
    )
    images = root / derivatives if derivatives else root
    names = (subject_names(subjects) if check else None) or find_subjects(images, subjects)
    wanted = Wanted(space, resolution, tasks, entity_pairs(entities))
    resting, ending = rest_tasks or ["rest"], ENDINGS[form]
    scans = {
        name: find_scans(images, name, wanted, rest_tasks=resting, ending=ending, source=root)
        for name in names
    }
    for name, found in scans.items():
        if not found and not check:
            raise no_scans(images / name, wanted, ENDINGS[form])
    if glmsingle:
        scans = {name: [s for s in runs if s.kind == "task"] for name, runs in scans.items()}
    if check:
        where = BidsSource(
            root, images, form, tasks, mask, voxels, atlas, glmsingle, confounds, events,
            stimulus_root,
        )  # fmt: skip
        files_are_there(expected_files(where, scans), dataset_facts(root), check)
    plans = []
    for chosen in scans.values():
        runs = [
            plan_run(scan, list(dict.fromkeys([images, root])), signal, events) for scan in chosen
        ]
        refuse_shared_events(runs)
        labels = root / atlas if atlas else None
        plans.append(plan_subject(root, images, runs, mask, rois, voxels, labels))
    assign_splits([p.trials for p in plans], TestOptions(test, test_repeats, test_runs or ()))
    parts = parts_folder(target)
    if glmsingle:
        works = [glmsingle_work(p, root, glmsingle, standardise, parts) for p in plans]
    else:
        works = [subject_work(plan, signal, parts) for plan in plans]
    for plan in plans if not check else ():
        for run in plan.runs:
            say(run_line(run, plan, signal, events, glmsingle))
    everything = pd.concat([plan.trials for plan in plans])
    roots = picture_roots(root, stimulus_root)
    stimuli, pictures = gather_stimuli(everything, roots, image_size, background=background)
    if check:
        return
    prepare_store(target, works, stimuli, dataset_facts(root), options, workers, pictures)


def subject_work(plan: SubjectPlan, signal: SignalOptions, folder: Path) -> SubjectWork:
    """A job for each run, and the record of all runs."""
    jobs = run_parts(plan, signal, folder)
    files = [*plan.files, *(file for run in plan.runs for file in run.files)]
    return SubjectWork(plan.name, partial(subject_data, plan, jobs, signal), jobs, files)


def dataset_facts(source: Path) -> Facts:
    """Name, licence and citation from dataset_description.json, as far as they are there."""
    path = source / "dataset_description.json"
    content = read_json(path) if path.is_file() else {}
    citation = content.get("HowToAcknowledge") or content.get("DatasetDOI") or ""
    return Facts(
        dataset=str(content.get("Name") or source.resolve().name),
        subjects={},
        splits="as the events say",
        licence=str(content.get("License") or ""),
        citation=str(citation),
        where="where this data set came from",
    )
