"""Images as data sets, and pictures from files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore._arguments import boolean, integers, items, shown
from dlcore._files import naming
from dlcore._notes import note
from dlcore.data.columns import dtype_name
from dlcore.data.dataset import TensorDataset
from dlcore.data.folders import as_path, class_folders, files_of, missing_package, read_files
from dlcore.data.transforms import ScaleBytes

__all__ = ["ImageDataset", "ImageFiles", "LazyImages", "check_labels", "image_folder", "read_image", "read_images"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")  # of Pillow's modes
_TURNED = (5, 6, 7, 8)  # of EXIF's orientations: those that exchange height and width


class ImageDataset(TensorDataset):
    """Images with labels: ``images`` (N, H, W) or (N, C, H, W), ``labels`` (N,) integers; ``classes``: their names.

    Bytes (uint8) count as 0..1: they stay bytes in memory, and become float32 / 255 in each batch, before any
    transform. Raises ValueError for labels that are none of the ``classes``.
    """

    def __init__(self, images: Any, labels: Any, classes: Sequence[str] | None = None):
        super().__init__(images, labels)
        names = None if classes is None else items(classes)
        if classes is not None and names is None:
            raise TypeError(f"ImageDataset: classes {shown(classes)} is not a sequence of names")
        self.classes = None if names is None else tuple(str(name) for name in names)
        if self.classes is not None:
            check_labels(self.labels, len(self.classes), "ImageDataset")

    @property
    def images(self) -> Any:
        """The images, (N, H, W) or (N, C, H, W); write into them, or make another data set."""
        return self.arrays[0]

    @property
    def labels(self) -> Any:
        """The labels, (N,); write into them, or make another data set."""
        return self.arrays[1]

    @property
    def preprocessing(self) -> Any:
        """What the images pass before any transform: `ScaleBytes` for bytes, else nothing."""
        return ScaleBytes() if dtype_name(self.images) == "uint8" else None


def check_labels(labels: Any, count: int, where: str) -> None:
    """Raises ValueError where ``labels`` are not integers from 0 to ``count`` - 1."""
    values = np.asarray(labels)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError(f"{where}: labels of classes are a vector of integers, not {shown(values)}")
    bad = np.flatnonzero((values < 0) | (values >= count))
    if bad.size:
        more = f", and {bad.size - 1} more" if bad.size > 1 else ""
        raise ValueError(f"{where}: label {values[bad[0]]} at position {bad[0]}{more}: there are {count} classes")


class ImageFiles(ImageDataset):
    """The pictures of a folder of classes, as `image_folder` gives them.

    ``paths``: of each picture its file. ``skipped``: the files that were left out, each with what is wrong with it.
    """

    paths: tuple[Path, ...] = ()
    skipped: tuple[tuple[Path, str], ...] = ()


class LazyImages:
    """Pictures that are read from their files each time they are needed: a data set of any size.

    ``classes``, ``targets``, ``paths``, ``skipped``: the names of the classes, the label and the file of each picture,
    and the files that were left out. Batches are decoded by a thread that is one batch ahead of the training.
    """

    parts = 2
    preprocessing = ScaleBytes()
    skipped: tuple[tuple[Path, str], ...] = ()

    def __init__(self, paths: Sequence[Path], labels: np.ndarray, classes: Sequence[str], read: Callable[[Path], Any]):
        self.paths, self.targets, self.classes, self._read = tuple(paths), labels, tuple(classes), read

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        path = self.paths[index]
        try:
            with naming(path):
                return self._read(path), self.targets[index]
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def __repr__(self) -> str:
        return f"LazyImages({len(self)} files, {len(self.classes)} classes)"


def image_folder(
    path: Any,
    size: int | Sequence[int] | None = None,
    colour: bool | None = None,
    *,
    crop: bool = False,
    classes: Sequence[str] | None = None,
    skip_bad: bool = False,
    lazy: bool = False,
) -> ImageFiles | LazyImages:
    """The pictures in ``path``, which has one folder for each class, as an image data set: bytes, which count as 0..1.

    size: (height, width), or one number for both, to which pictures are resized; without it all must have one size.
    colour: False gives images (N, H, W), True (N, 3, H, W); default: with colour if any picture has some. crop: the
    longer side is cut to the wanted proportions, in the middle, where the picture would else be stretched. classes: the
    names of the folders to read, in this order (default: all, in alphabetical order, or by number). skip_bad: pictures
    that cannot be read, or are of another size than most, are left out and counted (a RuntimeWarning; ``skipped`` has
    them), where they are an error otherwise. lazy: pictures are only read when they are needed, by a thread that is one
    batch ahead: for more than memory holds.

    Pictures are turned as their cameras say (EXIF), 16-bit grey becomes 8-bit, transparency is dropped, and of
    animations the first picture is taken. Needs Pillow: ``pip install "dlcore[images]"``. Raises ValueError, with the
    name of the file, for broken pictures and pictures of different sizes; also for an empty folder and one class alone.
    """
    name = "image_folder"
    form, skip_bad = _form(size, colour, crop, name), boolean(skip_bad, f"{name}: skip_bad")
    listing = class_folders(path, SUFFIXES, name, "pictures", classes)
    if boolean(lazy, f"{name}: lazy"):
        shapes, kept, bad = read_files(listing.paths, _head, skip_bad, name, "pictures")
        if form.colour is None:
            form = form._replace(colour=any(shape[2] for shape in shapes))
        right, odd = _of_one_size(shapes, [listing.paths[k] for k in kept], form, skip_bad, name)
        kept = kept[right]
        paths, labels = [listing.paths[k] for k in kept], listing.labels[kept]
        made: Any = LazyImages(paths, labels, listing.classes, partial(_decoded, form=form))
    else:
        images, kept, bad = read_files(listing.paths, partial(_decoded, form=form), skip_bad, name, "pictures")
        shapes = [(*image.shape[-2:], image.ndim == 3) for image in images]
        right, odd = _of_one_size(shapes, [listing.paths[k] for k in kept], form, skip_bad, name)
        kept = kept[right]
        made = ImageFiles(_stacked([images[k] for k in right]), listing.labels[kept], listing.classes)
        made.paths = tuple(listing.paths[k] for k in kept)
    made.skipped = (*bad, *odd)
    return made


def read_image(
    path: Any, size: int | Sequence[int] | None = None, colour: bool | None = None, *, crop: bool = False
) -> np.ndarray:
    """The picture in a file, as bytes: (H, W), or (3, H, W) with colour. The arguments are those of `image_folder`.

    Raises ValueError, with the name of the file, where it is no picture, or damaged.
    """
    form, path = _form(size, colour, crop, "read_image"), as_path(path, "read_image: path")
    try:
        with naming(path):
            return _decoded(path, form)
    except ValueError as error:
        raise ValueError(f"read_image: {path}: {error}") from None


def read_images(
    paths: Any,
    size: int | Sequence[int] | None = None,
    colour: bool | None = None,
    *,
    crop: bool = False,
    skip_bad: bool = False,
) -> np.ndarray:
    """The pictures in several files, or in all files of a folder in alphabetical order.

    They are bytes, (N, H, W) or (N, 3, H, W). The arguments, and the errors, are those of `image_folder`.
    """
    name = "read_images"
    form, skip_bad = _form(size, colour, crop, name), boolean(skip_bad, f"{name}: skip_bad")
    several = items(paths)
    if several is None:
        found = files_of(as_path(paths, f"{name}: paths"), SUFFIXES)
    else:
        found = [as_path(path, f"{name}: paths[{k}]") for k, path in enumerate(several)]
    if not found:
        raise ValueError(f"{name}: there are no pictures in {shown(paths) if several is not None else paths}")
    images, kept, _ = read_files(found, partial(_decoded, form=form), skip_bad, name, "pictures")
    shapes = [(*image.shape[-2:], image.ndim == 3) for image in images]
    right, _ = _of_one_size(shapes, [found[k] for k in kept], form, skip_bad, name)
    return _stacked([images[k] for k in right])


class _Form(NamedTuple):
    """What pictures are made into."""

    size: tuple[int, int] | None
    colour: bool | None
    crop: bool


def _form(size: Any, colour: Any, crop: Any, name: str) -> _Form:
    shape = None if size is None else integers(size, f"{name}: size")
    if shape is not None and (len(shape) not in (1, 2) or min(shape) < 1):
        raise ValueError(f"{name}: size is (height, width) or one positive number, not {shown(size)}")
    wanted = None if shape is None else (shape[0], shape[-1])
    crop = boolean(crop, f"{name}: crop")
    if crop and wanted is None:
        raise ValueError(f"{name}: crop needs a size")
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise missing_package("Pillow", name, "images") from None
    return _Form(wanted, None if colour is None else boolean(colour, f"{name}: colour"), crop)


def _head(path: Path) -> tuple[int, int, bool]:
    """Height, width and whether there is colour, from the head of a file."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            told = image.format != "PNG" or "exif" in image.info  # else Pillow would decode the pixels to look for it
            turned = told and image.getexif().get(0x0112) in _TURNED
            return (width, height, image.mode not in _GREY) if turned else (height, width, image.mode not in _GREY)
    except Exception as error:
        raise _unreadable(error) from None


def _decoded(path: Path, form: _Form) -> np.ndarray:
    """The picture in a file as bytes (H, W) or (3, H, W)."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):
                image = Image.fromarray(_eight_bits(np.asarray(image)))
            elif image.mode == "F":
                raise ValueError("its pixels are floating-point numbers, of which none is known to be white")
            colour = image.mode not in _GREY if form.colour is None else form.colour
            image = image.convert("RGB" if colour else "L")
            if form.size is not None:
                wanted = form.size[::-1]
                resize = partial(ImageOps.fit, image) if form.crop else image.resize
                image = resize(wanted, Image.Resampling.BILINEAR)
            pixels = np.array(image)
    except Exception as error:
        raise _unreadable(error) from None
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """16-bit grey as bytes: 65535 becomes 255."""
    if pixels.size and (pixels.min() < 0 or pixels.max() > 65535):
        raise ValueError(f"its pixels run from {pixels.min()} to {pixels.max()}, which is not 16-bit grey")
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _unreadable(error: Exception) -> Exception:
    """The error of a picture for whatever its decoder has raised: of damaged files that may be anything."""
    from PIL import UnidentifiedImageError

    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
        return error
    if isinstance(error, UnidentifiedImageError):
        return ValueError("not a picture that Pillow can read")
    return ValueError(f"{error}" or type(error).__name__)


def _of_one_size(
    shapes: Sequence[tuple[int, int, bool]], paths: Sequence[Path], form: _Form, skip_bad: bool, name: str
) -> tuple[list[int], list[tuple[Path, str]]]:
    """Which pictures have the size of most of them, and the others with what is wrong: an error without skip_bad."""
    if form.size is not None:
        return list(range(len(shapes))), []
    sizes = Counter(shape[:2] for shape in shapes)
    common = max(sizes, key=lambda size: sizes[size])
    right = [k for k, shape in enumerate(shapes) if shape[:2] == common]
    reasons = {k: f"{s[0]} x {s[1]} pixels, where most have {common[0]} x {common[1]}" for k, s in enumerate(shapes)}
    odd = [(paths[k], reasons[k]) for k in range(len(shapes)) if shapes[k][:2] != common]
    if odd and not skip_bad:
        more = f" ({len(odd) - 1} more of {len(paths)} have other sizes, too)" if len(odd) > 1 else ""
        raise ValueError(f"{name}: {odd[0][0]}: {odd[0][1]}{more}; give a size to resize to, or skip_bad=True")
    if odd:
        text = f"{name}: {len(odd)} of {len(paths)} pictures are left out: {odd[0][0]}: {odd[0][1]}"
        note(text + ("; ..." if len(odd) > 1 else ""))
    return right, odd


def _stacked(images: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one size in one array; where any has colour, all have three channels."""
    if len({image.ndim for image in images}) > 1:
        images = [image if image.ndim == 3 else np.broadcast_to(image, (3, *image.shape)) for image in images]
    return np.stack(images)
