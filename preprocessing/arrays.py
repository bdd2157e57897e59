"""`mindvis prepare arrays`: somebody's own arrays of responses and pictures into a VoxelStore."""

from collections.abc import Sequence
from pathlib import Path

from mindvis.console import say
from mindvis.data.writer import write_store
from mindvis.errors import ConfigError, SourceError, one_of
from preprocessing.facts import NOT_CONTENT
from preprocessing.formats import array_names, load_arrays
from preprocessing.orientation import ImageOptions, Layout, Scale
from preprocessing.sections import Section
from preprocessing.tables import stacked_responses, subject_data, trial_table
from preprocessing.turning import Known, ResponseLayout, turned
from preprocessing.write import say_leaks, store_attributes


def prepare_arrays(
    source: str,
    store: str,
    subject: str = "sub-01",
    responses: str | None = None,
    images: str | None = None,
    index: str | None = None,
    labels: str | None = None,
    split: str | None = None,
    test_values: list[str] | None = None,
    train_responses: str | None = None,
    train_images: str | None = None,
    train_index: str | None = None,
    train_labels: str | None = None,
    test_responses: str | None = None,
    test_images: str | None = None,
    test_index: str | None = None,
    test_labels: str | None = None,
    first_index: int = 0,
    image_layout: Layout = "auto",
    response_layout: ResponseLayout = "auto",
    image_shape: list[int] | None = None,
    image_scale: Scale = "auto",
    image_size: int | None = None,
    label_names: dict[str, str] | None = None,
    rois: list[str] | None = None,
    coordinates: str | None = None,
    tr: float | None = None,
    dataset: str | None = None,
    licence: str = "",
    citation: str = "",
    check: bool = False,
) -> None:
    """Prepare arrays of a .npz, .mat or .h5 file: responses, pictures, classes, and the split.

    Either one array of responses and one that says which trials are for the test, or separate
    arrays for training and test. Equal pictures are one stimulus, so repeats need no extra array.

    Args:
        source: The file.
        store: File to write; subjects that it already holds stay, this one is replaced.
        subject: Name of the subject.
        responses: Key of the responses of all trials, (trials, voxels).
        images: Key of the pictures, one for each trial, or for each number of `index`.
        index: Key of the number of each trial's picture.
        labels: Key of the class, one for each trial.
        split: Key of the split of each trial.
        test_values: Values of `split` that mean test; [test] by default.
        train_responses: Key of the training responses, where they are apart.
        train_images: Key of the training pictures.
        train_index: Key of the number of each training trial's picture.
        train_labels: Key of the class of each training trial.
        test_responses: Key of the test responses.
        test_images: Key of the test pictures.
        test_index: Key of the number of each test trial's picture.
        test_labels: Key of the class of each test trial.
        first_index: Number of the first picture: 0, or 1 in MATLAB.
        image_layout: Order of the axes of the pictures: (n, height, width[, channels]),
            (n, channels, height, width), MATLAB's (height, width[, channels], n), or flat pictures,
            written row by row or (MATLAB) column by column, (n, pixels) or (pixels, n); by default
            as the numbers of trials, labels and pictures tell, which is said.
        response_layout: Order of the axes of the responses, (trials, voxels) or (voxels, trials);
            by default as these numbers tell.
        image_shape: Height, width[, channels] of flat pictures; square and grey by default.
        image_scale: Values that are black and white, "signed" being -1 to 1; found out by default,
            said, and refused where two ranges are plausible.
        image_size: Side in pixels of the stored pictures (centre square); by default as they are.
        label_names: Names for the values of the labels, such as {"1": "six", "2": "nine"}.
        rois: Keys of ROI masks, one value for each voxel; above zero is inside.
        coordinates: Key of voxel indices, (voxels, 3).
        tr: Repetition time in seconds, where it is known.
        dataset: Name of the data set; the file's name by default.
        licence: Its licence.
        citation: How to cite it.
        check: Say which arrays are missing, read those that are there, and do nothing.

    Raises:
        SourceError: If the arrays are missing or do not fit each other.
    """
    options = {k: v for k, v in locals().items() if k not in NOT_CONTENT}
    path = Path(source)
    options["source"] = path.name
    sections = chosen_sections(
        Section("picture" if split else "train", responses or "", images, index, labels, split),
        Section("train", train_responses or "", train_images, train_index, train_labels),
        Section("test", test_responses or "", test_images, test_index, test_labels),
    )
    extra = [key for key in [coordinates, *(rois or ())] if key]
    if check:
        arrays_are_there(path, sections, extra)
    arrays = load_arrays(path, [*(key for s in sections for key in s.named()), *extra])
    shape = tuple(image_shape) if image_shape else None
    how = ImageOptions(image_layout, shape, image_scale, image_size)
    names, tests = label_names or {}, test_values or ["test"]
    known = Known(rois or (), coordinates, first_index)
    arrays, how = turned(sections, arrays, how, response_layout, known)
    rows = stacked_responses(sections, arrays)
    trials, stimuli = trial_table(sections, arrays, how, names, tests, first_index)
    data = subject_data(rows, arrays, trials, rois or [], coordinates, tr)
    if check:
        return
    facts = {"dataset": dataset or path.stem, "licence": licence, "citation": citation}
    write_store(store, [(subject, data)], stimuli, store_attributes(facts, options, [path]))
    counts = trials["split"].value_counts()
    say(
        f"{subject}: {counts.get('train', 0)} train and {counts.get('test', 0)} test trials, "
        f"{data.ijk.shape[0]} voxels, {len(stimuli.ids) if stimuli else 0} pictures"
    )
    say_leaks(Path(store))


def arrays_are_there(path: Path, sections: Sequence[Section], extra: Sequence[str]) -> None:
    """Say every array that a file lacks.

    Args:
        path: The file.
        sections: Arrays of training and test.
        extra: Keys of other arrays.

    Raises:
        SourceError: If the file cannot be read, or lacks an array; the first is named.
    """
    known = array_names(path)
    extra = [*extra, *(section.split_key for section in sections if section.split_key)]
    wanted = {
        key: f"{what} of {section.split}" if len(sections) > 1 else what
        for section in sections
        for what in ("responses", "images", "index", "labels")
        if (key := getattr(section, what))
    }
    wanted |= dict.fromkeys((key for key in extra if key not in wanted), "named in an option")
    missing = [key for key in wanted if key not in known]
    for key in missing:
        say(f"missing: {key} in {path} ({wanted[key]})")
    say(f"{len(wanted) - len(missing)} of {len(wanted)} arrays are in {path}")
    if missing:
        raise SourceError(
            f"{len(missing)} of {len(wanted)} arrays are not in {path}, {missing[0]!r} "
            f"({wanted[missing[0]]}) the first",
            one_of("it", missing[0], known),
            "name the arrays as the file does",
        )


def chosen_sections(whole: Section, train: Section, test: Section) -> list[Section]:
    """The sections whose responses are named.

    Raises:
        ConfigError: If none are, or one array and separate ones at once.
    """
    apart = [section for section in (train, test) if section.responses]
    if bool(whole.responses) == bool(apart):
        found = "no responses are" if not apart else "--responses and --train_responses are both"
        raise ConfigError(
            f"{found} named",
            "the key of one array of responses, or of training and test responses",
            "give --responses, or --train_responses and --test_responses",
        )
    return apart or [whole]
