# SPDX-License-Identifier: MIT
# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.26", "matplotlib"]
# ///
"""train_mnist.py: train the network of nn.py on handwritten digits, see what it learns.

    python train_mnist.py                     train, test, write mnist.npz and mnist.png
    python train_mnist.py --predict my.png    read a digit of your own with mnist.npz
"""
import argparse
import contextlib
import glob
import gzip
import hashlib
import http.client
import os
import re
import shlex
import sys
import time
import urllib.request
import warnings
import zipfile
import zlib
from pathlib import Path

# Whether this file is run as a script: not imported, nor pasted into a notebook's cell.
SCRIPT = __name__ == "__main__" and "__file__" in globals()
if SCRIPT:
    os.environ["MPLBACKEND"] = "agg"  # a notebook's may not be installed here
# Idle threads of OpenBLAS spin: beside two busy programs an epoch took 67 s with two, 4
# with one; alone 1.3 and 1.4. NumPy reads this when it is imported.
if "OMP_NUM_THREADS" not in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import (  # matplotlib brings it
    Image, ImageDraw, ImageFilter, ImageFont, ImageOps, UnidentifiedImageError)

import nn

SIDE = 28  # pixels along a side of an image
PIXELS = SIDE * SIDE
DIGITS = 10
SETTINGS = {  # the defaults of the options in parse, which explains them
    "hidden": [512, 256], "activation": "relu", "epochs": 10, "optimizer": "adam",
    "lr": 0.003, "schedule": "linear", "batch_size": 128, "l2": 0.0, "dropout": 0.0,
    "smooth": 0.0, "augment": 1.0, "seed": 0}

# ---- Training --------------------------------------------------------------------------
def train(options):
    """Train a network, test it, write its weights and a picture; return the exit code."""
    data = load(options.data)
    activations = (options.activation,) * len(options.hidden) + ("softmax",)
    params = nn.init_params(
        (PIXELS, *options.hidden, DIGITS), activations, options.seed)
    stem = data["stem"]
    if options.weights is not None:
        stem = options.weights.removesuffix(".npz")
    check_may_write(stem)
    describe(params, activations, data, options)

    params, history, finished = fit(params, activations, data, options, stem)
    if not finished:
        stem = f"{stem}.unfinished"
    output, summary = test(params, activations, data)

    nn.save_params(f"{stem}.npz", params, activations)
    X, labels = data["test"]
    figure = draw(f"{name_of(params)}, {summary}", history, params, X, labels, output)
    figure.savefig(f"{stem}.png")
    say(f"wrote {stem}.npz and {stem}.png; to read a digit of your own:",
        f"python train_mnist.py --predict my.png --weights {shlex.quote(stem)}.npz")
    if not finished:
        return 130  # as after any Ctrl-C
    Path(f"{stem}.unfinished.npz").unlink(missing_ok=True)
    Path(f"{stem}.unfinished.png").unlink(missing_ok=True)
    return 0

def check_may_write(stem):
    """Fail before the first epoch if the files to write cannot be written, or would
    replace what is not ours."""
    for name in (stem, f"{stem}.unfinished"):
        check_is_ours(f"{name}.png")
        if Path(f"{name}.npz").exists():
            with naming(f"{name}.npz is not replaced; name another with --weights"):
                nn.load_params(f"{name}.npz")
    part = Path(f"{stem}.npz.part")
    part.touch()
    part.unlink()

def check_is_ours(picture):
    """Fail if there is a picture under this name that matplotlib did not draw."""
    if Path(picture).exists():
        with naming(f"{picture} is not replaced"), Image.open(picture) as image:
            if "Matplotlib" not in image.info.get("Software", ""):
                raise ValueError("it is no picture of this program; rename it")

def describe(params, activations, data, options):
    """Print what is to be trained, on what, and how."""
    counts = {part: len(data[part][0]) for part in ("train", "validation", "test")}
    n_params = sum(p.size for p in params.values())
    settings = [f"{key} {getattr(options, key)}" for key in SETTINGS]
    say(f"data      {data['name']}: {counts['train']:,} to train, "
        f"{counts['validation']:,} to validate, {counts['test']:,} to test")
    say(f"network   {name_of(params)}, {', '.join(activations)}: {n_params:,} parameters")
    say(f"settings  {', '.join(settings)}")

def sizes_of(params):
    """Return the widths of a network, such as [784, 512, 256, 10]."""
    biases = [p for p in params.values() if p.ndim == 1]
    return [len(params["W1"]), *(len(b) for b in biases)]

def name_of(params):
    """Return the widths of a network as a name, such as 784-512-256-10."""
    return "-".join(str(size) for size in sizes_of(params))

def fit(params, activations, data, options, stem):
    """Return (params, history, finished) of training; after a Ctrl-C those of the last
    epoch. Each epoch leaves its weights in a file, as a run may be killed, too."""
    last = {}
    times = [time.monotonic()]

    def on_epoch(epoch, params, history):
        """Save the weights, print how it goes, keep what a Ctrl-C should leave."""
        nn.save_params(f"{stem}.unfinished.npz", params, activations)
        last.update(params=params, history=history)
        times.append(time.monotonic())
        say(f"epoch {epoch:{len(str(options.epochs))}}/{options.epochs}"
            f" | loss {history['loss'][-1]:.4f}"
            f" | val loss {history['val_loss'][-1]:.4f}"
            f" | val accuracy {history['val_accuracy'][-1]:.2%}"
            f" | {times[-1] - times[-2]:.1f} s")

    def vary(X, rng):
        """Return the batch as the option augment says."""
        return augment(X, rng, options.augment) if options.augment else X

    X, labels = data["train"]
    Y = (1 - options.smooth) * nn.one_hot(labels, DIGITS) + options.smooth / DIGITS
    settings = {key: getattr(options, key) for key in (
        "epochs", "batch_size", "lr", "optimizer", "schedule", "l2", "dropout", "seed")}
    try:
        params, history = nn.gradient_descent(
            params, X, Y, activations, **settings, augment=vary,
            validation=data["validation"], on_epoch=on_epoch)
    except KeyboardInterrupt:
        if not last:
            raise
        say("", f"interrupted: keeping the weights of epoch {len(last['history']['lr'])}")
        return last["params"], last["history"], False
    return params, history, True

def test(params, activations, data):
    """Return what the network gives for the test images, and a line about it."""
    # Choose settings by validation alone: choosing by this number would spoil the test.
    X, labels = data["test"]
    output, _ = nn.forward(params, X, activations)
    n_wrong = (output.argmax(axis=1) != labels).sum()
    summary = (f"test accuracy {1 - n_wrong / len(X):.2%} ({n_wrong:,} of {len(X):,} "
               f"wrong) on {data['name']}")
    say(summary)
    return output, summary

def say(*lines, file=None):
    """Print lines, with what a terminal would obey, such as \\x1b, as an escape."""
    for line in lines:
        letters = [letter if letter.isprintable() else
                   letter.encode("unicode_escape").decode() for letter in line]
        print("".join(letters), file=file, flush=True)

# ---- Data: a folder of idx files, Keras's mnist.npz, a CSV; or digits from fonts -------
SHA256 = {  # of the pixels and labels of MNIST, however they are packed
    "train-images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "train-labels": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "t10k-images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "t10k-labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5"}
MIRRORS = ["https://ossci-datasets.s3.amazonaws.com/mnist/",
           "https://storage.googleapis.com/cvdf-datasets/mnist/",
           "https://raw.githubusercontent.com/fgnt/mnist/master/"]
MOST_BYTES = 12_000_000  # the largest of MNIST's files has 9,912,422
CALLED_LABEL = ["label", "class", "digit", "target", "y"]  # in the header of a CSV

def load(path):
    """Return {"train": (X, labels), "validation": ..., "test": ..., "name": ..., "stem":
    ...}: X (n, 784) of 0 to 1; how the data is called, and files that come of it."""
    rng = np.random.default_rng(0)  # the same split, whatever the seed of the training
    if path is None:
        path = "synthetic"
        if download():
            path = "data"
    if path == "synthetic":
        return {"train": draw_digits(FACES, 30_000, rng),
                "validation": draw_digits(VALIDATION_FACES, 3_000, rng),
                "test": draw_digits(TEST_FACES, 3_000, rng),
                "name": "synthetic digits, not MNIST", "stem": "synthetic"}
    arrays = read(path)
    rest = checked(path, arrays["train-images"], arrays["train-labels"])
    if "t10k-images" in arrays:
        test = checked(path, arrays["t10k-images"], arrays["t10k-labels"])
    else:
        test, rest = split(rest, 1 / 10, rng)
    validation, rest = split(rest, 1 / 12, rng)
    data = {"train": rest, "validation": validation, "test": test}
    if {part: digest(array) for part, array in arrays.items()} == SHA256:
        return {**data, "name": "MNIST", "stem": "mnist"}
    stem = Path(path).resolve().stem
    if stem.lower() in ("mnist", "synthetic"):  # names that say what a network learned
        stem = f"not-{stem}"
    return {**data, "name": str(path), "stem": stem}

def split(data, share, rng):
    """Return (part, rest) of data (X, labels): a random share of the rows, the others."""
    X, labels = data
    part, rest = np.split(rng.permutation(len(X)), [int(len(X) * share)])
    return (X[part], labels[part]), (X[rest], labels[rest])

def checked(path, images, labels):
    """Return images as X (n, 784) of 0..1, and labels as whole numbers (n,)."""
    found = f"{path}: pixels {images.dtype} {images.shape}, labels {labels.shape}"
    if images.dtype != np.uint8 or labels.dtype != np.uint8:
        raise ValueError(f"{found} {labels.dtype}; expected bytes")
    if len(images) < 20 or images.size != PIXELS * labels.size:
        raise ValueError(f"{found}; expected 20 images of {PIXELS} pixels or more, and a "
                         "label for each")
    if images.max() < 2:
        raise ValueError(f"{found}, pixels of {images.max()} at most; expected 0 to 255")
    distinct = np.unique(labels)
    if len(distinct) == 1 or distinct[-1] >= DIGITS:
        raise ValueError(f"{found} of {distinct[:12]}; expected 0 to 9, not all the same "
                         "(in a CSV, in column 1 or in one that is called label)")
    X = images.reshape(labels.size, PIXELS) / np.float32(255)
    return X, labels.ravel().astype(int)

def digest(array):
    """Return the SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()

def read(path):
    """Return the arrays at the path, {"train-images": ..., "train-labels": ..., ...}."""
    if Path(path).is_dir():
        arrays, problems = read_folder(path)
        if problems:
            raise ValueError("; ".join(problems.values()))
        return arrays
    with naming(f"{path}: expected a folder with MNIST's four files, a CSV with a label "
                f"and {PIXELS} pixels a row, or Keras's mnist.npz; but"):
        if zipfile.is_zipfile(path):
            return read_keras(path)
        return read_csv(path)

def read_folder(folder):
    """Return (arrays, problems): for each of MNIST's four files one or the other."""
    arrays = {}
    problems = {}
    for part in SHA256:
        path = find(folder, part)
        try:
            with naming(path):
                arrays[part] = parse_idx(path.read_bytes())
        except ValueError as error:
            problems[part] = str(error)
    return arrays, problems

def find(folder, part):
    """Return the path of one of MNIST's files, in the folder or one folder deeper, where
    Windows and Kaggle unpack to; some copies are called train-images.idx3-ubyte."""
    pattern = f"{part}[-.]idx?-ubyte*"
    for place in (pattern, f"*/{pattern}"):
        files = sorted(path for path in Path(folder).glob(place) if path.is_file())
        if len({path.parent for path in files}) > 1:
            raise ValueError(f"{folder}: {part} are in {files[0].parent} and in "
                             f"{files[-1].parent}; name one of them")
        if files:
            return files[0]
    return Path(folder) / file_name(part)  # reading says that it is missing

def file_name(part):
    """Return the name that one of MNIST's files has on the mirrors."""
    dimensions = 3 if part.endswith("images") else 1
    return f"{part}-idx{dimensions}-ubyte.gz"

def parse_idx(data):
    """Return the array in the bytes of an idx file, gzipped or not."""
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    # It begins with 0, 0, 8 for bytes, the number of axes; then 4 bytes for each length.
    if not data.startswith(b"\0\0\x08") or len(data) < 8:
        raise ValueError(f"is no idx file of bytes, it begins with {data[:8]}")
    n_axes = data[3]
    shape = np.frombuffer(data, ">u4", count=n_axes, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * n_axes).reshape(shape)

def read_keras(path):
    """Return the arrays of an .npz such as Keras's mnist.npz."""
    with np.load(path, allow_pickle=False) as file:
        if not {"x_train", "y_train", "x_test", "y_test"} <= set(file):
            raise ValueError(f"it holds {', '.join(file)}")
        return {"train-images": np.atleast_1d(file["x_train"]),
                "train-labels": np.atleast_1d(file["y_train"]),
                "t10k-images": np.atleast_1d(file["x_test"]),
                "t10k-labels": np.atleast_1d(file["y_test"])}

def read_csv(path):
    """Return the arrays of a CSV. The label is in the column that a header calls so, else
    in the first."""
    with open(path, encoding="utf-8-sig") as file:  # -sig: without a byte-order mark
        first = file.readline()
    delimiter = max(",;\t", key=first.count)  # the commonest
    names = [cell.strip(" \t\r\n\"'").lower() for cell in first.split(delimiter)]
    has_header = not all(re.fullmatch(r"[-+.\de]*", name) for name in names)
    columns = [names.index(name) for name in CALLED_LABEL if name in names]
    label = columns[0] if columns else 0
    numbers = read_numbers(path, delimiter, has_header)
    if numbers is None:
        find_fault(path, delimiter, has_header)
    return {"train-images": np.delete(numbers, label, axis=1),
            "train-labels": numbers[:, label]}

def read_numbers(path, delimiter, has_header):
    """Return the numbers in a CSV, (n, 785) of bytes, or None if they are others."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of no rows, or of 5.5, which would be read as 5
        for dtype in (np.int32, np.float32):  # the second, for 5.0, takes longer
            with contextlib.suppress(ValueError, Warning):
                numbers = np.loadtxt(
                    path, dtype, delimiter=delimiter, skiprows=int(has_header),
                    quotechar='"', comments=None, encoding="utf-8-sig", ndmin=2)
                are_bytes = (numbers >= 0) & (numbers <= 255) & (numbers % 1 == 0)
                if numbers.shape[1] == 1 + PIXELS and are_bytes.all():
                    return numbers.astype(np.uint8)
    return None

def find_fault(path, delimiter, has_header):
    """Raise a ValueError that names the first line of a CSV that cannot be read."""
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            cells = [cell.strip(" \t\r\n\"") for cell in line.split(delimiter)]
            wrong = [cell for cell in cells
                     if not re.fullmatch(r"\d+(\.0*)?", cell) or float(cell) > 255]
            is_header = has_header and number == 1
            if line.strip() and not is_header and (wrong or len(cells) != 1 + PIXELS):
                bad = f", one of them {wrong[0]!r}" if wrong else ""
                raise ValueError(f"line {number} has {len(cells)} cells{bad}; expected "
                                 f"{1 + PIXELS} whole numbers from 0 to 255")
    raise ValueError("it has no rows of numbers")

def download():
    """Return whether data/ holds four files that can be read. What is missing or damaged
    is downloaded, if the others are MNIST's; other data is left as it is."""
    arrays, problems = read_folder("data")
    others = [part for part, array in arrays.items() if digest(array) != SHA256[part]]
    if problems and others:
        raise ValueError(f"data/: {', '.join(others)}: not MNIST's, so nothing is added; "
                         f"{'; '.join(problems.values())}; name a folder with --data")
    missing = list(problems)
    for mirror in MIRRORS:
        try:
            while missing:
                part = missing[0]
                store(part, fetch(mirror + file_name(part), SHA256[part]))
                missing.remove(part)
        except ConnectionError as error:  # on to the next mirror
            say(f"*** failed: {error}")
    if missing:
        say("", *(f"*** {problems[part]}" for part in missing),
            "*** MNIST could not be had. Get its four files, such as",
            f"*** {MIRRORS[0]}{file_name('train-images')},",
            f"*** into {Path('data').resolve()}, or name a folder or a CSV with --data.",
            "*** Until then SYNTHETIC digits, drawn from fonts. They are not MNIST!", "")
    return not missing

def fetch(url, known):
    """Return the bytes at the URL; ConnectionError if they are not MNIST's."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            data = answer.read(MOST_BYTES)
        if digest(parse_idx(data)) != known:
            raise ValueError("sent something else than MNIST")
    except (*FILE_ERRORS, http.client.HTTPException) as error:
        raise ConnectionError(f"{url}: {error}") from error
    say(f"  {url} {len(data):,} bytes")
    return data

def store(part, data):
    """Write one of MNIST's files into data/, whole or not at all. An unreadable one that
    was there gets another name."""
    path = Path("data") / file_name(part)
    path.parent.mkdir(exist_ok=True)
    path.with_name("download.part").write_bytes(data)
    old = find("data", part)
    if old.exists():
        aside = old.with_name(f"unreadable-{old.name}")
        os.replace(old, aside)
        say(f"  {old} could not be read, and is now {aside}")
    os.replace(path.with_name("download.part"), path)

# What reading a file raises, whatever it holds.
FILE_ERRORS = (OSError, EOFError, ValueError, SyntaxError, zlib.error, zipfile.BadZipFile,
               Image.DecompressionBombError, Image.DecompressionBombWarning)

@contextlib.contextmanager
def naming(context):
    """Turn what reading a file raises in the with block into one line with context."""
    try:
        yield
    except FILE_ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = " ".join(reason.removeprefix(f"{context} ").split())
        raise ValueError(f"{context}: {reason}") from error

# ---- Augment: the same digits, a little different every time ---------------------------
# How much each of 4 points along a side counts at each of its 28 pixels; then a column a
# pixel, (19, 784): its y and x from the middle, 1, the shares of 4 x 4 points.
SHARES = np.maximum(0, 1 - abs(np.linspace(0, 3, SIDE)[:, None] - np.arange(4)))
PLACES = np.vstack([
    np.mgrid[-13.5:14, -13.5:14].reshape(2, PIXELS), np.ones(PIXELS),
    np.kron(SHARES, SHARES).T]).astype(np.float32)

def augment(X, rng, strength=1.0):
    """Return X (n, 784) varied: each image rotated, scaled, slanted, shifted, bent a bit,
    in the spirit of Simard et al. 2003 and Ciresan et al. 2010."""
    n = len(X)
    angle = strength * rng.uniform(-0.19, 0.19, n)  # in radians
    slant = strength * rng.uniform(-0.17, 0.17, n)
    scale = strength * rng.uniform(-0.1, 0.1, n)
    shift_y = strength * rng.uniform(-1.4, 1.4, n)  # in pixels
    shift_x = strength * rng.uniform(-1.4, 1.4, n)
    bend_y, bend_x = strength * rng.normal(0, 0.7, (2, n, 4 * 4))
    return warp(X, angle, slant, scale, shift_y, shift_x, bend_y, bend_x)

def warp(X, angle, slant, scale, shift_y, shift_x, bend_y, bend_x):
    """Return X (n, 784) with each pixel's ink from another place of its image. bend, (n,
    16), is by how many pixels each of 4 x 4 points looks further; the others are (n,)."""
    # Images get a margin of 1, so their middle is at 14.5. y and x of the place that a
    # pixel looks at are linear in a row of PLACES; if outside, it looks at the margin.
    cos = (1 + scale) * np.cos(angle)
    sin = (1 + scale) * np.sin(angle)
    to_y = np.column_stack([cos, sin, shift_y + 14.5, bend_y]).astype(np.float32)
    to_x = np.column_stack([slant - sin, cos, shift_x + 14.5, bend_x]).astype(np.float32)
    y = np.clip(to_y @ PLACES, 0, SIDE + 1)
    x = np.clip(to_x @ PLACES, 0, SIDE + 1)
    row = np.floor(y)
    column = np.floor(x)
    below = y - row  # the place is between four pixels
    right = x - column
    # The margin is 2 at the far end, so that a pixel below and right is always there.
    width = SIDE + 3
    pixels = np.pad(X.reshape(-1, SIDE, SIDE), ((0, 0), (1, 2), (1, 2))).ravel()
    starts = width * width * np.arange(len(X))[:, None]
    at = starts + (width * row + column).astype(int)
    upper = (1 - right) * pixels[at] + right * pixels[at + 1]
    lower = (1 - right) * pixels[at + width] + right * pixels[at + width + 1]
    return (1 - below) * upper + below * lower

# ---- Digits from pictures --------------------------------------------------------------
LONGER = 480  # pixels of a picture's longer side: a digit of a fifteenth has 32
BLUR = 1  # pixel: grain and thin ruled lines fade, the strokes of a pen do not
AROUND = 30  # pixels: as wide as a thick stroke, narrower than tables and shadows
CELL = 16  # pixels to one, 30 to a side, where the paper's light is looked for
WIDEST = 11  # of these 30: no stroke is wider, even where a marker fills the picture
COARSE = 4  # pixels to one, 120 to a side, where the digit is looked for
LEAST = 8  # of these 120 is the height of a digit: crumbs and dots have less
FAINT = 1 / 8  # of the paper's light: ruled lines and creases take less, ink more

def prepare(image):
    """Return a picture of a digit as MNIST has it, (784,) of 0..1; else ValueError."""
    ink = find_ink(read_greys(image))
    return centre(ink * find_digit(ink))

def read_greys(image):
    """Return any Pillow image upright, in greys, no place clear, LONGER pixels long."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # It has 16 bits, which Pillow would clip.
        bits = np.asarray(image) // 257
        image = Image.fromarray(bits.clip(0, 255).astype(np.uint8))
    scale = LONGER / max(image.size)
    size = [max(1, round(scale * side)) for side in image.size]
    image = image.convert("RGBA").resize(size, Image.BICUBIC, reducing_gap=2)

    # The ground of a clear picture may be meant dark or light: its ink is the opposite.
    light, alpha = image.convert("LA").split()
    brightness = (np.asarray(light, float) - 128) * np.asarray(alpha)
    is_light = brightness.sum() > 0
    greys = Image.new("L", size, 0 if is_light else 255)
    greys.paste(light, mask=alpha)
    return greys.filter(ImageFilter.GaussianBlur(BLUR))

def find_ink(greys):
    """Return the share of the paper's light that is gone, (height, width) of 0..1."""
    # Strokes are narrow: they differ much from the mean around them, the paper little.
    # So the sum of the cubed differences is below 0 if the ink is dark, above 0 if it
    # is light. The two sides of an edge, of a shadow or of a table, cancel.
    around = greys.filter(ImageFilter.GaussianBlur(AROUND))
    difference = np.subtract(greys, around, dtype=float)
    if np.sum(difference ** 3) > 0:
        greys = ImageOps.invert(greys)

    # The paper is the picture without the dark things that are narrower than WIDEST, a
    # closing (Serra 1982): shadows and lamps are in the paper, not in the ink.
    paper = greys.reduce(CELL)
    paper = paper.filter(ImageFilter.MaxFilter(WIDEST))
    paper = paper.filter(ImageFilter.MinFilter(WIDEST))
    paper = np.asarray(paper.resize(greys.size), np.float32)
    return np.clip((paper - greys) / np.maximum(paper, 1), 0, 1)

def full_ink(ink):
    """Return how dark full ink is: the mean of what is above half of the darkest."""
    return ink[ink >= ink.max() / 2].mean()

def find_digit(ink):
    """Return 1 where the digit is, else 0, shaped like ink; ValueError if not one."""
    coarse = np.asarray(Image.fromarray(ink).reduce(COARSE))
    if coarse.max() < FAINT:
        raise ValueError("blank, or too faint")
    numbers = number_parts(coarse > full_ink(coarse) / 2)
    parts = np.unique(numbers[numbers > 0])
    places = [np.nonzero(numbers == part) for part in parts]
    top, left = np.transpose([np.min(yx, axis=1) for yx in places])
    bottom, right = np.transpose([np.max(yx, axis=1) for yx in places])
    chosen = parts[choose_parts(top, left, bottom, right, numbers.shape)]

    mask = Image.fromarray(np.isin(numbers, chosen).astype(np.uint8))
    mask = mask.filter(ImageFilter.MaxFilter(3))  # Its margin has the soft edges.
    return np.asarray(mask.resize(ink.shape[::-1], Image.NEAREST))

def number_parts(mask):
    """Return an array of ints, the same wherever the mask hangs together, 0 outside."""
    numbers = mask * np.arange(1, mask.size + 1, dtype=np.int32).reshape(mask.shape)
    while True:
        # The largest number nearby spreads. It is the place of a pixel of this part.
        nearby = Image.fromarray(numbers).filter(ImageFilter.MaxFilter(3))
        spread = mask * np.asarray(nearby)
        if np.array_equal(spread, numbers):
            return numbers
        # That pixel may have a larger one by now: a shortcut that saves most rounds. (A
        # 0 outside leads to the last pixel, but the mask clears it.)
        numbers = mask * spread.ravel()[spread - 1]

def choose_parts(top, left, bottom, right, shape):
    """Return which parts, by their boxes, make the digit; ValueError if not one."""
    height = bottom - top + 1
    large = height >= LEAST
    if not large.any():
        raise ValueError("blank, or too faint")
    # Tables leave the picture and frames are around something large. They are no digit,
    # unless there is nothing else, as where a digit is cropped to its ink.
    last_row, last_column = np.subtract(shape, 1)
    leaves = (top == 0) | (left == 0) | (bottom == last_row) | (right == last_column)
    is_around = ((top < top[:, None]) & (left < left[:, None])  # [i, j]: j is around i
                 & (bottom > bottom[:, None]) & (right > right[:, None]))
    kept = ~leaves & ~is_around[large].any(axis=0)
    if not np.any(kept & large):
        kept = np.full(len(kept), True)

    digit = np.argmax(np.where(kept, height, 0))
    rivals = kept & large & (height >= height[digit] / 2)  # the digit is one of them
    if rivals.sum() > 1:
        raise ValueError("several digits: one a picture")
    # What is small and close belongs to it, as the bar of a 5. A line below does not.
    gap = height[digit] / 4
    within_reach = (left <= right[digit] + gap) & (right >= left[digit] - gap)
    not_below = (bottom >= top[digit] - gap) & (bottom <= bottom[digit])
    return kept & within_reach & not_below

def centre(ink):
    """Return a digit's ink as MNIST has it, (784,) of 0..1."""
    ink = np.clip(2 * ink / full_ink(ink) - 0.5, 0, 1)  # below 1/4 none, above 3/4 full
    y, x = np.nonzero(ink > 0.5)
    digit = Image.fromarray(ink[y.min():y.max() + 1, x.min():x.max() + 1])
    scale = 20 / max(digit.size)  # as in MNIST: 20 pixels, the centre of its ink at 14
    size = [max(1, round(scale * side)) for side in digit.size]
    digit = np.asarray(digit.resize(size, Image.BOX))
    height, width = digit.shape
    y, x = (np.average(at, weights=digit) for at in np.indices(digit.shape))
    top = int(np.clip(round(14 - y), 0, SIDE - height))
    left = int(np.clip(round(14 - x), 0, SIDE - width))
    image = np.zeros((SIDE, SIDE), np.float32)
    image[top:top + height, left:left + width] = digit / digit.max()
    return image.ravel()

# ---- Digits from fonts, where MNIST cannot be had --------------------------------------
FACES = ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono",
         "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique", "DejaVuSerif",
         "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol",
         "STIXGeneralBolIta", "cmr10", "cmtt10"]  # matplotlib brings these fonts
VALIDATION_FACES = ["DejaVuSans-BoldOblique", "cmb10", "DejaVuSerif-BoldItalic"]
TEST_FACES = ["DejaVuSansMono-Oblique", "STIXGeneralItalic", "cmss10"]

def draw_digits(faces, n, rng):
    """Return (X, labels): n variants of the ten digits in these fonts."""
    drawn = []
    for face in faces:
        path = f"{matplotlib.get_data_path()}/fonts/ttf/{face}.ttf"
        for digit in range(DIGITS):
            image = Image.new("L", (120, 120), 255)
            ImageDraw.Draw(image).text(
                (60, 60), str(digit), 0, ImageFont.truetype(path, 80), anchor="mm")
            drawn.append(prepare(image))
    chosen = rng.integers(len(drawn), size=n)
    return augment(np.array(drawn)[chosen], rng, 1.5), chosen % DIGITS

# ---- Pictures out ----------------------------------------------------------------------
BLUE = "#0072B2"
ORANGE = "#D55E00"

def draw(title, history, params, X, labels, output):
    """Return a Figure of what a network learned, in four parts."""
    figure = Figure(figsize=(14, 11), layout="constrained")
    figure.suptitle(title, fontsize=14, parse_math=False)
    curves, digits, mistakes, neurons = figure.subfigures(2, 2, wspace=0.04).flat
    draw_curves(curves, history)
    draw_said(digits, X, labels, output)
    draw_mistakes(mistakes, labels, output.argmax(axis=1))
    strongest = np.argsort(-np.linalg.norm(params["W1"], axis=0))[:40]
    W = params["W1"].T[strongest]
    limit = np.percentile(abs(W), 99.5)
    neurons.suptitle(f"First layer, {len(W)} strongest neurons: red wants ink, blue none")
    tiles(neurons, W, [""] * len(W), cmap="RdBu_r", vmin=-limit, vmax=limit)
    return figure

def draw_curves(figure, history):
    """Draw the loss in training and in validation, and the accuracy in validation."""
    figure.suptitle("Learning (the loss in training is with dropout, smoothing, augment)")
    epochs = range(1, len(history["loss"]) + 1)
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(epochs, history["loss"], "o-", color=BLUE, label="in training")
    loss.plot(epochs, history["val_loss"], "s--", color=ORANGE, label="validation")
    loss.legend()
    accuracy.plot(epochs, history["val_accuracy"], "s--", color=ORANGE)
    for ax, title in ((loss, "loss"), (accuracy, "accuracy in validation")):
        ax.set(xlabel="epoch", title=title)
        ax.xaxis.get_major_locator().set_params(integer=True)

def draw_said(figure, X, labels, output):
    """Draw eight test digits that are read right, then the most confident mistakes."""
    figure.suptitle("Test digits: some that are right, then the most confident mistakes")
    said = output.argmax(axis=1)
    right = np.flatnonzero(said == labels)[:8]
    wrong = np.flatnonzero(said != labels)
    wrong = wrong[np.argsort(-output[wrong].max(axis=1))][:24]
    titles = [f"{said[i]}" for i in right]
    titles += [f"said {said[i]}, is {labels[i]}" for i in wrong]
    tiles(figure, X[np.concatenate([right, wrong])], titles, cmap="gray")

def draw_mistakes(figure, labels, said):
    """Draw how often each digit is taken for each other one."""
    figure.suptitle("Mistakes on the test digits: what is taken for what")
    counts = np.zeros((DIGITS, DIGITS), int)
    np.add.at(counts, (labels, said), labels != said)
    ax = figure.subplots()
    ax.imshow(counts, cmap="Blues", vmin=0, vmax=2 * counts.max() + 1)
    for row, column in np.argwhere(counts):
        ax.text(column, row, counts[row, column], ha="center", va="center")
    ax.set(xlabel="what it said", ylabel="what it is", xticks=range(DIGITS),
           yticks=range(DIGITS))

def tiles(figure, images, titles, **options):
    """Draw images (n, 784) into the figure in rows of eight, each below its title."""
    rows = -(-len(images) // 8)
    for i, (image, title) in enumerate(zip(images, titles), start=1):
        ax = figure.add_subplot(rows, min(8, len(images)), i, frame_on=False)
        ax.set(xticks=[], yticks=[])
        ax.imshow(image.reshape(SIDE, SIDE), **options)
        ax.set_title(title, fontsize=8, pad=2, parse_math=False)

def draw_answers(images, titles):
    """Return a Figure of what the network saw, and what it said."""
    figure = Figure((2 * min(8, len(images)), 2.6 * -(-len(images) // 8)))
    tiles(figure, images, titles, cmap="gray")
    return figure

def as_text(x):
    """Return an image (784,) as 14 lines of characters, which are two pixels high."""
    shades = np.array(list(" .:-=+*#%@"))
    ink = x.reshape(SIDE // 2, 2, SIDE).mean(axis=1)
    return ["".join(line) for line in shades[(9 * ink).round().astype(int)]]

# ---- Command line ----------------------------------------------------------------------
ANSWERS = "predictions.png"
FORMATS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]  # some others run programs

def predict(options):
    """Print the likeliest digits of each picture, draw what the network saw of the first
    200; return 1 if one could not be read."""
    params, activations = load_network(options.weights)
    check_is_ours(ANSWERS)
    seen = []
    titles = []
    failed = 0
    paths = expand(options.predict)
    for path in paths:
        try:
            with naming(path):
                if Path(path).resolve() == Path(ANSWERS).resolve():
                    raise ValueError("it holds the answers, or will")
                x = prepare(open_picture(path))
        except ValueError as error:  # the others can still be read
            say(f"train_mnist.py: {error}", file=sys.stderr)
            failed += 1
            continue
        output, _ = nn.forward(params, [x], activations)
        likeliest = np.argsort(-output[0])[:3]
        said = [f"{digit} ({output[0, digit]:.1%})" for digit in likeliest]
        say(f"{path}: {', '.join(said)}")
        seen.append(x)
        titles.append("\n".join([ascii(Path(path).name[-20:]), *said]))
    if len(paths) == 1 and seen:
        say(*as_text(seen[0]))
    if seen:
        draw_answers(seen[:200], titles[:200]).savefig(ANSWERS)
        say(f"wrote {ANSWERS}")
    return 1 if failed else 0

def expand(names):
    """Return the paths of the pictures, also where the shell leaves *.png as it is."""
    paths = []
    for name in names:
        found = sorted(glob.glob(name))
        paths += [name] if Path(name).exists() or not found else found
    return paths

def load_network(path):
    """Return (params, activations) of a network that reads digits, and print its name. No
    path: that of MNIST, or else of synthetic digits."""
    if path is None:
        path = "mnist.npz"
        if not Path(path).exists() and Path("synthetic.npz").exists():
            path = "synthetic.npz"
    if not Path(path).exists():
        raise ValueError(f"{path}: no such file; train first, or name one with --weights")
    with naming(path):
        params, activations = nn.load_params(path)
        first, *_, last = sizes_of(params)
        if (first, last, activations[-1]) != (PIXELS, DIGITS, "softmax"):
            raise ValueError(f"{name_of(params)} {activations[-1]}, expected {PIXELS} "
                             f"pixels to {DIGITS} digits, and softmax")
        if not all(np.isfinite(p).all() for p in params.values()):
            raise ValueError("its weights are not numbers: the training has failed")
    say(f"{path}: {name_of(params)}")
    return params, activations

def open_picture(path):
    """Return the picture at the path, decoded; a large JPEG at a part of its size."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(path, formats=FORMATS)
        except UnidentifiedImageError as error:
            raise ValueError(f"no picture that is read: {', '.join(FORMATS)}") from error
    with image:
        image.draft(None, (LONGER, LONGER))
        image.load()
    return image

def parse(arguments):
    """Return the options on the command line."""
    parser = argparse.ArgumentParser(
        description="Train a network on handwritten digits. 99.3% in a minute or two: "
        "python train_mnist.py --hidden 512 512 --smooth 0.1 --epochs 25")
    parser.set_defaults(**SETTINGS)
    add = parser.add_argument
    add("--data", metavar="PATH", help="a folder with MNIST's four files, a CSV, Keras's "
        "mnist.npz, or synthetic; default: data/, filled by download")
    add("--weights", metavar="FILE", help="to write or to read [mnist.npz]")
    add("--predict", metavar="IMAGE", nargs="+", help="read these instead of training")
    add("--hidden", type=int, nargs="*", help="neurons of each hidden layer %(default)s")
    add("--activation", choices=[name for name in nn.ACTIVATIONS if name != "softmax"],
        help="of hidden layers [%(default)s]")
    add("--optimizer", choices=nn.OPTIMIZERS, help="how to step [%(default)s]")
    add("--schedule", choices=nn.SCHEDULES, help="how lr falls [%(default)s]")
    add("--batch-size", type=int, help="digits to a step [%(default)s]")
    add("--epochs", type=int, help="passes over the training digits [%(default)s]")
    add("--seed", type=int, help="of all chance [%(default)s]")
    add("--augment", type=float, nargs="?", const=1.0, help="vary digits [%(default)s]")
    add("--lr", type=float, help="learning rate [%(default)s]")
    add("--l2", type=float, help="penalty on W^2 [%(default)s]")
    add("--dropout", type=float, help="share of neurons off [%(default)s]")
    add("--smooth", type=float, help="share of a target to spread [%(default)s]")
    options = parser.parse_args(arguments)
    limits = {"lr": 1e38, "l2": 1e38, "smooth": 1, "augment": 10, "seed": 1e9}
    for name, most in limits.items():
        if not 0 <= getattr(options, name) <= most:  # nor is NaN
            parser.error(f"argument --{name}: expected a number from 0 to {most:g}")
    if options.weights is not None:
        options.weights = f"{options.weights.removesuffix('.npz')}.npz"
    return options

def main(arguments=None):
    """Run the command line; return the exit code."""
    options = parse(arguments)
    run = predict if options.predict else train
    try:
        with np.errstate(all="ignore"):  # a run that diverges ends in the line below
            return run(options)
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
