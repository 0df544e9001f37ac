# SPDX-License-Identifier: MIT
"""train_mnist.py: train nn.py on handwritten digits, and see what it learns.

    python train_mnist.py                     train, test, write mnist.npz and mnist.png
    python train_mnist.py --predict my.png    read a digit of your own with mnist.npz
"""
import argparse
import contextlib
import glob
import gzip
import hashlib
import os
import sys
import time
import urllib.request
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path

SCRIPT = __name__ == "__main__" and "__file__" in globals()  # not pasted into a cell
if SCRIPT:
    os.environ["MPLBACKEND"] = "agg"  # a notebook's is inherited, and may be missing
# One thread: OpenBLAS's idle ones spin. Beside busy programs, 67 s an epoch, not 4.
os.environ.setdefault("OPENBLAS_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps  # matplotlib's

import nn

SIDE = 28  # pixels along a side of an image
PIXELS = SIDE * SIDE
DIGITS = 10
SETTINGS = {  # for nn.gradient_descent, which explains them
    "epochs": 10, "batch_size": 128, "lr": 0.003, "optimizer": "adam",
    "schedule": "linear", "l2": 0.0, "dropout": 0.0, "seed": 0}

# ---- Training --------------------------------------------------------------------------
def train(options):
    """Train a network, test it, write weights and a picture; return the exit code."""
    data = load(options.data)
    stem = data["stem"] if options.weights is None else options.weights
    check_may_write(stem)
    activations = (options.activation,) * len(options.hidden) + ("softmax",)
    params = nn.init_params((PIXELS, *options.hidden, DIGITS), activations, options.seed)
    describe(params, data, options)

    params, history = fit(params, activations, data, options)
    if len(history["loss"]) < options.epochs:
        stem = f"{stem}.unfinished"
    nn.save_params(f"{stem}.npz", params, activations)

    X, labels = data["test"]
    output, summary = test(params, activations, X, labels, data["name"])
    figure = draw(f"{name_of(params)}, {summary}", history, params, X, labels, output)
    figure.savefig(f"{stem}.png", format="png", metadata={"Software": "train_mnist.py"})
    say(f"wrote {stem}.npz and {stem}.png; to read a digit of your own:",
        f'python train_mnist.py --predict my.png --weights "{stem}.npz"')
    return 0 if len(history["loss"]) == options.epochs else 130  # as after any Ctrl-C

MARKS = {".npz": "softmax".encode("utf-32-le"), ".png": b"train_mnist.py"}  # in ours

def check_may_write(stem):
    """Fail early if a file cannot be written or would replace one that is not ours."""
    folder = Path(f"{stem}.npz").parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"{folder} is no folder to write into")
    for name in (stem, f"{stem}.unfinished"):
        for ending, mark in MARKS.items():
            path = Path(f"{name}{ending}")
            if path.exists():
                with path.open("r+b") as file:  # this fails if it is read-only
                    if mark not in file.read():
                        raise ValueError(f"{path} is not ours: name another by --weights")

def describe(params, data, options):
    """Print what is to be trained, on what, and how."""
    counts = [f"{len(data[key][0]):,} to {key}" for key in ("train", "validate", "test")]
    say(f"data      {data['name']}: {', '.join(counts)}",
        f"network   {name_of(params)}: {sum(map(np.size, params.values())):,} parameters",
        f"settings  {vars(options)}")

def name_of(params):
    """Return the widths of a network as a name, such as 784-512-256-10."""
    biases = [p for p in params.values() if p.ndim == 1]
    return "-".join(str(len(p)) for p in [params["W1"], *biases])  # W1: a row per input

def fit(params, activations, data, options):
    """Return (params, history), after a Ctrl-C those of the last whole epoch."""
    last = {"time": time.monotonic()}

    def on_epoch(epoch, params, history):
        say(f"epoch {epoch:{len(str(options.epochs))}}/{options.epochs}"
            f" | loss {history['loss'][-1]:.4f}"
            f" | val loss {history['val_loss'][-1]:.4f}"
            f" | val accuracy {history['val_accuracy'][-1]:.2%}"
            f" | {time.monotonic() - last['time']:.1f} s")
        last.update(time=time.monotonic(), params=params, history=history)

    X, labels = data["train"]
    Y = (1 - options.smooth) * nn.one_hot(labels, DIGITS) + options.smooth / DIGITS
    try:
        return nn.gradient_descent(
            params, X, Y, activations, validation=data["validate"], on_epoch=on_epoch,
            augment=lambda batch, rng: augment(batch, rng, options.augment),
            **{name: getattr(options, name) for name in SETTINGS})
    except KeyboardInterrupt:
        if "params" not in last:
            raise
        say("", f"interrupted: keeping epoch {len(last['history']['loss'])}")
        return last["params"], last["history"]

def test(params, activations, X, labels, name):
    """Return what the network gives for the test images, and a line about it."""
    # Choose settings by validation alone: to choose by this number spoils the test.
    output, _ = nn.forward(params, X, activations)
    n_wrong = (output.argmax(axis=1) != labels).sum()
    summary = (f"test accuracy {1 - n_wrong / len(X):.2%} ({n_wrong:,} of {len(X):,} "
               f"wrong) on {name}")
    say(summary)
    return output, summary

def say(*lines, file=None):
    """Print lines; characters that a terminal would obey become escapes, as \\x1b."""
    for line in lines:
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        print(shown, file=file, flush=True)

# ---- Data: a folder of idx files, Keras's mnist.npz, a CSV; or digits from fonts -------
FILES = {"x_train": "train-images-idx3-ubyte.gz", "y_train": "train-labels-idx1-ubyte.gz",
         "x_test": "t10k-images-idx3-ubyte.gz", "y_test": "t10k-labels-idx1-ubyte.gz"}
SHA256 = {  # of their pixels and labels, however they are packed
    "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5"}
MIRRORS = ["https://ossci-datasets.s3.amazonaws.com/mnist/",
           "https://storage.googleapis.com/cvdf-datasets/mnist/"]
CALLED_LABEL = ["label", "class", "digit", "target", "y"]  # in the header of a CSV

def load(path):
    """Return {"train": (X, labels), "validate": ..., "test": ..., "name", "stem"}."""
    rng = np.random.default_rng(0)  # the same split, whatever seed the training has
    if path is None:
        path = "data"
        if not fetch_missing(path):
            say("*** No MNIST (put its files into data/): for now, SYNTHETIC digits ***")
            path = "synthetic"
    if path == "synthetic":
        return draw_digits(rng)
    arrays = read(path)
    known = as_rows(path, arrays["x_train"], arrays["y_train"])
    if "x_test" in arrays:
        held_out = as_rows(path, arrays["x_test"], arrays["y_test"])
    else:
        held_out, known = split(known, 1 / 10, rng)
    validate, learn = split(known, 1 / 12, rng)
    names = {"name": str(path), "stem": Path(path).resolve().stem}  # shown, of files
    hashes = {key: hashlib.sha256(arrays[key].tobytes()).hexdigest() for key in arrays}
    if hashes == SHA256:
        names = {"name": "MNIST", "stem": "mnist"}
    elif names["stem"].lower() in ("mnist", "synthetic"):  # they are taken
        names["stem"] = f"not-{names['stem']}"
    return {"train": learn, "validate": validate, "test": held_out, **names}

def split(data, share, rng):
    """Return (part, rest) of (X, labels): a random share of the rows, the others."""
    X, labels = data
    part, rest = np.split(rng.permutation(len(X)), [int(len(X) * share)])
    return (X[part], labels[part]), (X[rest], labels[rest])

def as_rows(path, images, labels):
    """Return images as X (n, 784) of 0 to 1, and labels as whole numbers (n,)."""
    digits = np.unique(labels)
    if (labels.size < 20 or images.size != PIXELS * labels.size or len(digits) == 1
            or not 0 <= images.min() < images.max() or not {*digits} <= {*range(DIGITS)}):
        raise ValueError(
            f"{path}: {images.size} pixels, {labels.size} labels of {digits[:12]}; needs "
            f"{PIXELS} a label, 20 or more of 0 to 9, not all alike (the first in a row)")
    X = images.reshape(labels.size, PIXELS) / np.float32(images.max())
    return X, labels.ravel().astype(int)

def read(path):
    """Return the arrays at the path, {"x_train": ..., "y_train": ..., ...}."""
    if Path(path).is_dir():
        return {key: read_idx(find_idx(path, name)) for key, name in FILES.items()}
    with errors_about(f"cannot read {path} as MNIST's folder, CSV, or Keras's mnist.npz"):
        if not zipfile.is_zipfile(path):
            return read_csv(path)
        with np.load(path, allow_pickle=False) as file:
            return {key: np.asarray(file[key]) for key in FILES}  # some may be bytes

def find_idx(folder, name):
    """Return where one of the four files is, two folders down at most, or belongs."""
    pattern = name.replace("-idx", "?idx").replace(".gz", "*")  # or .idx3-ubyte
    for below in ("", "*/", "*/*/"):
        paths = [path for path in Path(folder).glob(below + pattern)
                 if path.is_file() and path.name.endswith(("ubyte", "ubyte.gz"))]
        if len({path.parent for path in paths}) > 1:
            raise ValueError(f"{name} is in several folders of {folder}: name one")
        if paths:
            return min(paths)
    return Path(folder, name)

def read_idx(path):
    """Return the numbers in the idx file at the path, in one row."""
    with errors_about(path):
        return parse_idx(path.read_bytes())

def parse_idx(data):
    """Return the numbers in the bytes of an idx file, gzipped or not, in one row."""
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    # It begins with 0, 0, 8 for bytes, the number of axes; 4 bytes for each length.
    if not data.startswith(b"\0\0\x08") or len(data) < 8:
        raise ValueError(f"it is no idx file of bytes, it begins with {data[:8]}")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])

def read_csv(path):
    """Return the arrays of a CSV. A header may say where the label is, else first."""
    lines = Path(path).read_text("utf-8-sig").split("\n")  # -sig: no byte-order mark
    delimiter = max(",;\t", key=lines[0].count)  # the commonest
    names = [name.strip(" \"'").lower() for name in lines[0].split(delimiter)]
    if len(set(names)) == 1 + PIXELS:  # a header: so many bytes cannot all differ
        lines[0] = ""
    label = next((i for i, name in enumerate(names) if name in CALLED_LABEL), 0)
    # int32 takes an eighth of the time, but older NumPy reads 5.5 as 5, NaN as 0 then.
    is_whole = not any(mark in line for line in lines for mark in ".eEnN")
    rows = [read_row(line, number, delimiter, np.int32 if is_whole else np.float32)
            for number, line in enumerate(lines, start=1) if line.strip()]
    numbers = np.array(rows, np.uint8).reshape(-1, 1 + PIXELS)  # also of no rows
    return {"x_train": np.delete(numbers, label, axis=1), "y_train": numbers[:, label]}

def read_row(line, number, delimiter, dtype):
    """Return the label and pixels in a line of a CSV, (785,) of bytes."""
    with errors_about(f"line {number}, NumPy's row 0"):
        row = np.loadtxt([line], dtype, delimiter=delimiter, quotechar='"', comments=None)
        numbers = row.astype(np.uint8)
        wrong = row[row != numbers]
        if row.size != 1 + PIXELS or wrong.size > 0:
            raise ValueError(f"{row.size} numbers, {wrong.size} wrong, {wrong[:3]}; "
                             f"expected {1 + PIXELS} whole numbers from 0 to 255")
    return numbers

def fetch_missing(folder):
    """Fetch what a folder lacks of MNIST, if anything; return False if in vain."""
    lacking = find_lacking(folder)
    for mirror in MIRRORS:
        try:
            contents = {key: fetch(mirror, key) for key in lacking}
        except ValueError as error:  # on to the next mirror
            say(f"*** failed: {error}")
            continue
        for key, content in contents.items():
            put(content, Path(folder, FILES[key]), lacking[key])
        return True
    return False

def find_lacking(folder):
    """Return {key: path} of those of MNIST's files that are missing or unreadable."""
    paths = {key: find_idx(folder, name) for key, name in FILES.items()}
    hashes = {}
    for key, path in paths.items():
        with contextlib.suppress(ValueError):  # from read_idx: there is no hash
            hashes[key] = hashlib.sha256(read_idx(path)).hexdigest()
    others = [key for key in hashes if hashes[key] != SHA256[key]]
    lacking = {key: path for key, path in paths.items() if key not in hashes}
    if others and (lacking or not {"x_train", "x_test"} <= {*others}):
        raise ValueError(f"{folder} mixes sets or lacks files; not MNIST's: {others}")
    return lacking

def fetch(mirror, key):
    """Return the bytes of one of the four files; else ValueError."""
    url = mirror + FILES[key]
    with errors_about(url), urllib.request.urlopen(url, timeout=5) as answer:
        content = answer.read(12_000_000)  # the largest of them has 9,912,422
        if hashlib.sha256(parse_idx(content)).hexdigest() != SHA256[key]:
            raise ValueError("it is not MNIST's")
    say(f"  {url}")
    return content

def put(content, path, unreadable):
    """Write a file, whole or not at all; rename what was there, or unreadable."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f"part-{path.name}")
    part.write_bytes(content)
    for file in filter(Path.exists, {path, unreadable}):
        renamed = file.rename(file.with_name(f"unreadable-{time.time():.0f}-{file.name}"))
        say(f"  {file} cannot be read: it is {renamed} now")
    part.replace(path)

FILE_ERRORS = (OSError, EOFError, ValueError, KeyError, RuntimeError, SyntaxError,
    zlib.error, zipfile.BadZipFile, HTTPException, Image.DecompressionBombError)

@contextlib.contextmanager
def errors_about(context):
    """Make what reading a foreign or damaged file raises a ValueError with context."""
    try:
        yield
    except FILE_ERRORS as error:
        raise ValueError(f"{context}: {error}") from error

# ---- Augment: the same digits, a little different every time ---------------------------
# SHARES (28, 4) interpolates between 4 points along a side. BASIS (19, 784) has for each
# pixel a column: its y and x from the middle, 1, and its shares in 4 x 4 points.
SHARES = np.maximum(0, 1 - abs(np.linspace(0, 3, SIDE)[:, None] - np.arange(4)))
BASIS = np.vstack([
    np.mgrid[-13.5:14, -13.5:14].reshape(2, PIXELS), np.ones(PIXELS),
    np.kron(SHARES, SHARES).T]).astype(np.float32)

def augment(X, rng, strength=1.0):
    """Return X (n, 784) turned, scaled, slanted, moved, bent (Simard et al. 2003)."""
    if strength == 0:
        return X
    n = len(X)
    angle = strength * rng.uniform(-0.19, 0.19, n)  # in radians
    slant = strength * rng.uniform(-0.17, 0.17, n)
    shrink = strength * rng.uniform(-0.1, 0.1, n)
    shift_y = strength * rng.uniform(-1.4, 1.4, n)  # in pixels
    shift_x = strength * rng.uniform(-1.4, 1.4, n)
    bend_y, bend_x = strength * rng.normal(0, 0.7, (2, n, 4 * 4))
    return warp(X, angle, slant, shrink, shift_y, shift_x, bend_y, bend_x)

def warp(X, angle, slant, shrink, shift_y, shift_x, bend_y, bend_x):
    """Return X (n, 784) with each pixel's ink from a place nearby. Bends (n, 16) shift
    the places of 4 x 4 points, in pixels; the others are (n,)."""
    # Images get a margin of 1, at the far end 2 so that there is always a pixel below and
    # to the right. Their middle is at 14.5; y and x of a place are linear in BASIS.
    cos = (1 + shrink) * np.cos(angle)
    sin = (1 + shrink) * np.sin(angle)
    to_y = np.column_stack([cos, sin, shift_y + 14.5, bend_y]).astype(np.float32)
    to_x = np.column_stack([slant - sin, cos, shift_x + 14.5, bend_x]).astype(np.float32)
    places = np.clip(np.stack([to_y, to_x]) @ BASIS, 0, SIDE + 1)  # y and x: (2, n, 784)
    corners = np.floor(places)  # a place is between four pixels
    row, column = corners
    part_y, part_x = places - corners
    width = SIDE + 3
    pixels = np.pad(X.reshape(-1, SIDE, SIDE), ((0, 0), (1, 2), (1, 2))).ravel()
    starts = width * width * np.arange(len(X))[:, None]
    at = starts + (width * row + column).astype(int)
    upper = (1 - part_x) * pixels[at] + part_x * pixels[at + 1]
    lower = (1 - part_x) * pixels[at + width] + part_x * pixels[at + width + 1]
    return (1 - part_y) * upper + part_y * lower

# ---- Digits from pictures --------------------------------------------------------------
LONG_SIDE = 180  # pixels of a picture's longer side

def prepare(image):
    """Return a picture of one digit as MNIST has it, (784,); else ValueError."""
    return centre(find_digit(find_ink(read_greys(image))))

def read_greys(image):
    """Return any Pillow image upright, in greys, LONG_SIDE pixels long."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip to 8
        image = Image.fromarray((np.asarray(image) // 257).clip(0, 255).astype(np.uint8))
    image = ImageOps.contain(image.convert("RGBA"), (LONG_SIDE, LONG_SIDE))
    ground = Image.new("RGBA", image.size, "grey")  # clear is not dark, nor light
    greys = Image.alpha_composite(ground, image).convert("L")
    return greys.filter(ImageFilter.GaussianBlur(1))  # grain fades, strokes do not

def find_ink(greys):
    """Return how dark the ink is, 0 on paper, about 1 in strokes, (height, width)."""
    # Strokes are narrow: they differ much from the mean around them, the paper little.
    # So the sum of the cubed differences is below 0 if the ink is dark, above 0 if it is
    # light. An edge differs as much on its dark side as on its light: the cubes cancel.
    around = greys.filter(ImageFilter.GaussianBlur(LONG_SIDE / 16))
    if np.sum(np.subtract(greys, around, dtype=float) ** 3) > 0:
        greys = ImageOps.invert(greys)

    # The paper is the picture without the dark things that are narrower than a third of
    # it, a closing (Serra 1982): shadows and lamps are in the paper, not in the ink.
    paper = greys.reduce(LONG_SIDE // 30)  # to 30 pixels; 11 are a third
    paper = paper.filter(ImageFilter.MaxFilter(11)).filter(ImageFilter.MinFilter(11))
    paper = np.asarray(paper.resize(greys.size), np.float32)
    ink = np.maximum(paper - np.asarray(greys), 0) / np.maximum(paper, 1)
    if ink.max() < 1 / 8:  # ruled lines and creases take less of the light
        raise ValueError("blank, too faint or too small")
    return ink / ink[ink >= ink.max() / 2].mean()

def number_parts(mask):
    """Return a number for each connected part of the mask, in its pixels; else 0."""
    numbers = mask * np.arange(1, mask.size + 1, dtype=np.int32).reshape(mask.shape)
    while True:
        nearby = Image.fromarray(numbers).filter(ImageFilter.MaxFilter(3))
        spread = mask * np.asarray(nearby)  # the largest number nearby
        if np.array_equal(spread, numbers):
            return numbers
        # A number names a pixel: that pixel's number now is a leap away, not a step.
        numbers = mask * spread.ravel()[spread - 1]  # 0 - 1 is the last: masked

def find_digit(ink):
    """Return True where the one digit is, shaped like ink; else ValueError."""
    numbers = number_parts(ink > 0.5)
    parts = np.unique(numbers[numbers > 0])
    boxes = np.array([Image.fromarray(numbers == part).getbbox() for part in parts])
    left, top, right, bottom = boxes.T  # right and bottom are just outside
    height = bottom - top
    large = height >= LONG_SIDE / 15  # crumbs and dots are not

    # A digit is near no side of the picture, or near all if it is cropped to its ink; a
    # table is near some. What is around something large is a frame.
    reach = boxes * [-1, -1, 1, 1]  # to the left, up, right, down
    n_sides = (reach > np.array([0, 0, *ink.T.shape]) - LONG_SIDE / 30).sum(axis=1)
    inner = reach[height >= height.max() / 5]  # but not the dot in a zero
    is_around = (reach > inner[:, None]).all(axis=2).any(axis=0)  # of (inner, parts, 4)
    kept = np.isin(n_sides, [0, 4]) & ~is_around
    if not np.any(kept & large):
        raise ValueError("blank, too faint, too small or at an edge")
    tallest = np.argmax(np.where(kept, height, 0))
    rivals = kept & large & (height >= height[tallest] / 2)  # the tallest is one
    if rivals.sum() > 1:
        raise ValueError("several digits: one a picture")
    box = numbers[top[tallest]:bottom[tallest], left[tallest]:right[tallest]]
    if np.mean(box > 0) > 0.75 and right[tallest] - left[tallest] > height[tallest] / 2:
        raise ValueError("a block, no digit")

    # What is small and close belongs to it, as the bar of a 5. A line below does not.
    gap = height[tallest] / 4
    beside = (left <= right[tallest] + gap) & (right >= left[tallest] - gap)
    level = (bottom >= top[tallest] - gap) & (bottom <= bottom[tallest])
    return np.isin(numbers, parts[kept & beside & level])

def centre(mask):
    """Return a digit as MNIST has it, (784,): its longer side 20, its ink centred."""
    digit = Image.fromarray(mask.astype(np.float32))
    digit = digit.crop(digit.getbbox())
    size = [max(1, round(20 * side / max(digit.size))) for side in digit.size]
    digit = digit.resize(size, Image.BOX)
    ink = np.asarray(digit)
    y, x = (np.average(at, weights=ink) for at in np.indices(ink.shape))
    image = Image.new("F", (SIDE, SIDE))
    image.paste(digit, (round(14 - x), round(14 - y)))  # it cuts off what goes beyond
    return np.ravel(image) / ink.max()

# ---- Digits from fonts, where MNIST cannot be had --------------------------------------
FONTS = {  # matplotlib brings them; [!y]: not DejaVuSansDisplay, which has no digits
    "train": "DejaVu*[!y].ttf", "validate": "cm[brt]*.ttf", "test": "STIXGeneral*.ttf"}

def draw_digits(rng):
    """Return data as load does: digits, varied, in other fonts for each part."""
    data = {"name": "synthetic digits, not MNIST", "stem": "synthetic"}
    for part, pattern in FONTS.items():
        drawn = []
        for path in sorted(Path(matplotlib.get_data_path(), "fonts/ttf").glob(pattern)):
            font = ImageFont.truetype(str(path), 80)
            for digit in range(DIGITS):
                image = Image.new("L", (120, 120), 255)
                ImageDraw.Draw(image).text((60, 60), str(digit), 0, font, anchor="mm")
                drawn.append(prepare(image))  # at i: the digit i % 10
        chosen = rng.integers(len(drawn), size=30_000 if part == "train" else 3_000)
        data[part] = (augment(np.array(drawn)[chosen], rng, 1.5), chosen % DIGITS)
    return data

# ---- Pictures out ----------------------------------------------------------------------
def draw(title, history, params, X, labels, output):
    """Return a Figure of what a network learned, in four parts."""
    figure = Figure(figsize=(14, 12), layout="constrained")
    figure.suptitle(title, fontsize=14, parse_math=False)
    curves, digits, mistakes, neurons = figure.subplots(2, 2).flat

    curves.set(title="Loss (in training with dropout, smooth, augment)", xlabel="epoch")
    epochs = range(1, len(history["loss"]) + 1)
    curves.plot(epochs, history["loss"], "C0o-", label="in training")
    curves.plot(epochs, history["val_loss"], "C1s--", label="in validation")
    curves.legend()

    said = output.argmax(axis=1)
    wrong = np.flatnonzero(said != labels)
    wrong = wrong[np.argsort(-output[wrong].max(axis=1))]
    names = [f"said {said[i]}, is {labels[i]}" for i in wrong[:32]]
    draw_tiles(digits, "The most certain mistakes", X[wrong[:32]], names, cmap="gray")

    counts = np.zeros((DIGITS, DIGITS), int)
    np.add.at(counts, (labels[wrong], said[wrong]), 1)
    mistakes.set(title="All mistakes", xlabel="what it said", ylabel="what it is",
                 xticks=range(DIGITS), yticks=range(DIGITS))
    mistakes.imshow(counts, cmap="Blues", vmin=0, vmax=2 * counts.max() + 1)  # text shows
    for row, column in np.argwhere(counts):
        mistakes.text(column, row, counts[row, column], ha="center", va="center")

    strongest = np.argsort(-np.linalg.norm(params["W1"], axis=0))[:40]
    W = params["W1"].T[strongest]
    limit = np.percentile(abs(W), 99.5)
    draw_tiles(neurons, "Strongest neurons of the first layer: red wants ink, blue none",
               W, [""] * len(W), cmap="RdBu_r", vmin=-limit, vmax=limit)
    return figure

def draw_tiles(ax, title, images, names, **style):
    """Draw images (n, 784) in rows of eight, each below its name."""
    for i, (image, name) in enumerate(zip(images, names)):
        left = 36 * (i % 8)
        top = -40 * (i // 8)
        box = (left, left + SIDE, top - SIDE, top)
        ax.imshow(image.reshape(SIDE, SIDE), extent=box, **style)
        ax.text(left, top + 2, name, fontsize=7)
    ax.set_title(title, pad=16)
    ax.autoscale()
    ax.axis("off")

# ---- Command line ----------------------------------------------------------------------
FORMATS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]  # not EPS: it runs programs

def predict(options):
    """Print what each picture says and how it is seen; return the exit code."""
    params, activations = load_network(options.weights)
    paths = []
    for name in options.predict:  # some shells leave *.png as it is
        found = [name] if Path(name).exists() else sorted(glob.glob(name))
        paths += found if found else [name]
    code = 0
    for path in paths:
        try:
            with errors_about(f"cannot be opened as {', '.join(FORMATS)}"):
                image = Image.open(path, formats=FORMATS)
            x = prepare(image)
        except FILE_ERRORS as error:  # the others can still be read
            say(f"train_mnist.py: {path}: {error}", file=sys.stderr)
            code = 1
            continue
        output, _ = nn.forward(params, [x], activations)
        likeliest = np.argsort(-output[0])[:3]
        said = [f"{digit} ({output[0, digit]:.1%})" for digit in likeliest]
        say(f"{path}: {', '.join(said)}", *as_text(x))
    return code

def as_text(x):
    """Return an image (784,) as 14 lines of characters, which are two pixels high."""
    shades = (9 * x.reshape(SIDE // 2, 2, SIDE).mean(axis=1)).round().astype(int)
    return ["".join(" .:-=+*#%@"[shade] for shade in row) for row in shades]

def load_network(stem):
    """Return (params, activations) of a network for digits, and print its name."""
    path = "mnist.npz" if stem is None else f"{stem}.npz"
    with errors_about(f"{path} (train first, or name another with --weights)"):
        params, activations = nn.load_params(path)
        output, _ = nn.forward(params, np.zeros((1, PIXELS)), activations)
        if activations[-1] != "softmax" or np.isfinite(output).sum() != DIGITS:
            raise ValueError(f"{name_of(params)} {activations[-1]} reads no digits")
    say(f"{path}: {name_of(params)}")
    return params, activations

def parse(arguments):
    """Return the options on the command line."""
    parser = argparse.ArgumentParser(description="Learn and read handwritten digits.")
    add = parser.add_argument
    add("--data", metavar="PATH", help="folder, CSV, Keras's .npz or synthetic [data/]")
    add("--weights", type=lambda name: name.removesuffix(".npz"), help="file [mnist.npz]")
    add("--predict", metavar="IMAGE", nargs="+", help="read these instead of training")
    add("--hidden", type=int, nargs="*", default=[512, 256], help="widths %(default)s")
    add("--activation", default="relu", help="of hidden layers [%(default)s]")
    add("--augment", type=float, default=1.0, help="how much digits vary [%(default)s]")
    add("--smooth", type=float, default=0.0, help="share of a target to spread over all")
    for name, default in SETTINGS.items():
        add(f"--{name.replace('_', '-')}", type=type(default), default=default,
            help="[%(default)s] see gradient_descent in nn.py")
    options = parser.parse_args(arguments)
    if not (0 <= options.augment <= 9 and 0 <= options.smooth <= 1):  # NaN fails, too
        parser.error("expected --augment of 0 to 9, --smooth of 0 to 1")
    return options

def main(arguments=None):
    """Run the command line; return the exit code."""
    options = parse(arguments)
    try:
        with np.errstate(all="ignore"):  # nn.py tells of a run that diverges
            return predict(options) if options.predict else train(options)
    except (OSError, ValueError, ArithmeticError, MemoryError) as error:
        say(f"train_mnist.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("train_mnist.py: interrupted", file=sys.stderr)
        return 130

if SCRIPT:
    with contextlib.suppress(AttributeError):  # IPython's %run has another stdout
        sys.stdout.reconfigure(errors="backslashreplace")  # for names a console lacks
    sys.exit(main())
