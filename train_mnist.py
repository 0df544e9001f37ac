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
import os
import re
import sys
import time
import urllib.request
import warnings
import zipfile
import zlib
from pathlib import Path

# Run as a script, that is, not imported and not pasted into a notebook's cell?
SCRIPT = __name__ == "__main__" and "__file__" in globals()
if SCRIPT:  # no window is opened; a notebook hands on a backend that may be missing
    os.environ["MPLBACKEND"] = "agg"
# OpenBLAS's idle threads spin: beside other programs an epoch takes fifty times as long
# with two as with one. To be set before NumPy is imported.
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
SETTINGS = {  # each is an option of the command line, where it is explained
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
    stem = choose_stem(options.weights, data["name"].split(" digits, ")[0])
    check_may_write(stem, params, activations)
    describe(params, activations, data, options)
    params, history, finished = fit(params, activations, data, options, stem)
    if not finished:
        stem = f"{stem}.unfinished"
    output, result = test(params, activations, data)

    nn.save_params(f"{stem}.npz", params, activations)
    title = f"{widths(params)}, {result}"
    draw(title, history, params, *data["test"], output).savefig(f"{stem}.png")
    print(f"wrote {stem}.npz and {stem}.png; to read a digit of your own:\n"
          f"python train_mnist.py --predict my.png --weights {stem}.npz")
    if not finished:
        return 130  # as after any Ctrl-C
    Path(f"{stem}.unfinished.npz").unlink(missing_ok=True)
    return 0

def choose_stem(weights, name):
    """Return the name of the files to write, without .npz. Only MNIST has mnist.npz."""
    if weights is not None:
        return weights.removesuffix(".npz")
    if name == "MNIST":
        return "mnist"
    stem = Path(name).resolve().stem
    return "not-mnist" if stem.lower() == "mnist" else stem

def check_may_write(stem, params, activations):
    """Fail, before hours of training, if weights cannot be written, or would destroy."""
    if Path(f"{stem}.npz").exists():
        with naming(f"{stem}.npz is not replaced (name another with --weights)"):
            nn.load_params(f"{stem}.npz")
    nn.save_params(f"{stem}.unfinished.npz", params, activations)

def describe(params, activations, data, options):
    """Print what is to be trained, on what, and how."""
    n = {part: f"{len(data[part][0]):,}" for part in ("train", "validation", "test")}
    print(f"data      {data['name']}: {n['train']} to train, {n['validation']} to "
          f"validate, {n['test']} to test")
    print(f"network   {widths(params)}, {', '.join(activations)}: "
          f"{sum(p.size for p in params.values()):,} parameters")
    settings = [f"{key} {getattr(options, key)}" for key in SETTINGS]
    print(f"settings  {', '.join(settings)}", flush=True)

def widths(params):
    """Return the widths of a network's layers, such as 784-512-256-10."""
    biases = [p for key, p in params.items() if key.startswith("b")]
    return "-".join(str(len(array)) for array in [params["W1"], *biases])

def fit(params, activations, data, options, stem):
    """Return (params, history, finished) of training; after a Ctrl-C those of the last
    epoch. The weights are in a file after each epoch, as a run may be killed, too."""
    last = {"time": time.monotonic()}

    def on_epoch(epoch, params, history):
        """Save the weights, print how it goes, keep what a Ctrl-C should leave."""
        nn.save_params(f"{stem}.unfinished.npz", params, activations)
        now = time.monotonic()
        print(f"epoch {epoch:{len(str(options.epochs))}}/{options.epochs}"
              f" | loss {history['loss'][-1]:.4f}"
              f" | val loss {history['val_loss'][-1]:.4f}"
              f" | val accuracy {history['val_accuracy'][-1]:.2%}"
              f" | {now - last['time']:.1f} s", flush=True)
        last.update(params=params, history=history, time=now)

    def varied(X, rng):
        """Return the batch as --augment wants it."""
        return augment(X, rng, options.augment) if options.augment else X

    X, labels = data["train"]
    Y = (1 - options.smooth) * nn.one_hot(labels, DIGITS) + options.smooth / DIGITS
    named = {key: getattr(options, key) for key in (
        "epochs", "batch_size", "lr", "optimizer", "schedule", "l2", "dropout", "seed")}
    try:
        nn.gradient_descent(params, X, Y, activations, **named, augment=varied,
                            validation=data["validation"], on_epoch=on_epoch)
    except KeyboardInterrupt:
        if "params" not in last:
            Path(f"{stem}.unfinished.npz").unlink(missing_ok=True)
            raise
        print(f"\ninterrupted: keeping the weights of epoch {len(last['history']['lr'])}")
        return last["params"], last["history"], False
    return last["params"], last["history"], True

def test(params, activations, data):
    """Return (output, result): of the test images, and the line that is printed."""
    # Choose settings by validation alone: choosing by this number would spoil the test.
    X, labels = data["test"]
    output, _ = nn.forward(params, X, activations)
    wrong = (output.argmax(axis=1) != labels).sum()
    result = f"test accuracy {1 - wrong / len(X):.2%} ({wrong:,} of {len(X):,} wrong)"
    result = f"{result} on {data['name']}"
    print(result, flush=True)
    return output, result

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
SYNTHETIC = "synthetic"
CALLED_LABEL = ["label", "class", "digit", "target", "y"]  # in the header of a CSV

def load(path):
    """Return {"name": ..., "train": (X, labels), "validation": ..., "test": ...}, X from
    0 to 1. path None is data/ in the current folder, where MNIST is downloaded to."""
    rng = np.random.default_rng(0)  # the same split, whatever the seed of the training
    if path is None:
        path = "data" if download() else SYNTHETIC
    if path == SYNTHETIC:
        return {"name": f"{SYNTHETIC} digits, not MNIST",
                "train": draw_digits(FACES, 30_000, rng),
                "validation": draw_digits(VALIDATION_FACES, 3_000, rng),
                "test": draw_digits(TEST_FACES, 3_000, rng)}
    arrays = read(path)
    is_mnist = {part: digest(array) for part, array in arrays.items()} == SHA256
    rest = checked(path, arrays["train-images"], arrays["train-labels"])
    if "t10k-images" in arrays:
        test = checked(path, arrays["t10k-images"], arrays["t10k-labels"])
    else:
        test, rest = split(rest, 10, rng)
    validation, rest = split(rest, 12, rng)
    return {"name": "MNIST" if is_mnist else str(path), "train": rest,
            "validation": validation, "test": test}

def split(data, share, rng):
    """Return (part, rest) of data (X, labels): one in so many rows, and the others."""
    X, labels = data
    part, rest = np.split(rng.permutation(len(X)), [len(X) // share])
    return (X[part], labels[part]), (X[rest], labels[rest])

def checked(path, images, labels):
    """Return images as X (n, 784) of 0..1, and labels as whole numbers (n,)."""
    kinds = np.unique(labels)
    fitting = 20 <= len(images) == labels.size == images.size / PIXELS
    if not (fitting and images.dtype == labels.dtype == np.uint8 and 1 < len(kinds)
            and kinds[-1] < DIGITS):
        raise ValueError(f"{path}: found pixels {images.dtype} {images.shape}, labels "
                         f"{labels.dtype} {labels.shape} {kinds[:12]}; expected bytes, "
                         f"20 or more images of {PIXELS} pixels, labels 0-9, not alike")
    X = images.reshape(len(images), PIXELS) / np.float32(255)
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
        return read_keras(path) if zipfile.is_zipfile(path) else read_csv(path)

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
    found = [*Path(folder).glob(pattern), *Path(folder).glob(f"*/{pattern}")]
    files = [path for path in found if path.is_file()]
    return files[0] if files else Path(folder) / file_name(part)

def file_name(part):
    """Return the name that one of MNIST's files has on the mirrors."""
    dimensions = 3 if part.endswith("images") else 1
    return f"{part}-idx{dimensions}-ubyte.gz"

def parse_idx(data):
    """Return the array in the bytes of an idx file, gzipped or not."""
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    # 0, 0, 8 for bytes, the number of dimensions; these, 4 bytes each; the bytes.
    if not data.startswith(b"\0\0\x08") or len(data) < 8:
        raise ValueError(f"is no idx file of bytes, it begins with {data[:8]}")
    shape = np.frombuffer(data, ">u4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)

def read_keras(path):
    """Return the arrays of an .npz such as Keras's mnist.npz."""
    with np.load(path, allow_pickle=False) as file:
        if not {"x_train", "y_train", "x_test", "y_test"} <= set(file):
            raise ValueError(f"it holds {', '.join(file)}")
        return {"train-images": file["x_train"], "train-labels": file["y_train"],
                "t10k-images": file["x_test"], "t10k-labels": file["y_test"]}

def read_csv(path):
    """Return the arrays of a CSV. The label is in the column that a header calls so, else
    in the first."""
    with open(path, encoding="utf-8-sig") as file:  # -sig: without a byte-order mark
        first = file.readline()
    delimiter = max(",;\t", key=first.count)
    header = any(character.isalpha() for character in first)
    names = [cell.strip(" \t\r\n\"'").lower() for cell in first.split(delimiter)]
    called = [names.index(name) for name in CALLED_LABEL if name in names]
    data = read_numbers(path, delimiter, header)
    if data.shape[1] != 1 + PIXELS:
        raise ValueError(f"found {data.shape[1]} columns, expected {1 + PIXELS}")
    wrong = np.argwhere((data < 0) | (data > 255) | (data % 1 != 0))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(f"line {1 + header + row} has {data[row, column]:g} in column "
                         f"{1 + column}, expected whole numbers from 0 to 255")
    label = called[0] if called else 0
    data = data.astype(np.uint8)
    return {"train-images": np.delete(data, label, axis=1),
            "train-labels": data[:, label]}

def read_numbers(path, delimiter, header):
    """Return the numbers of a CSV as an array with two axes."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of no rows, or of 5.5, which would be read as 5
        for dtype in (np.int32, np.float32):  # the second, for 5.0, takes longer
            try:
                return np.loadtxt(
                    path, dtype, delimiter=delimiter, skiprows=int(header), quotechar='"',
                    comments=None, encoding="utf-8-sig", ndmin=2)
            except (ValueError, Warning) as error:
                reason, _, row = str(error).partition(" at row ")
    if not row:
        raise ValueError("there are no rows of numbers")
    row = int(re.match(r"\d+", row)[0])
    raise ValueError(f"line {1 + header + row}: {reason}")

def download():
    """Return whether data/ holds four files that can be read. What is missing or damaged
    is downloaded if the others are MNIST's; other data is left as it is."""
    arrays, problems = read_folder("data")
    others = [part for part, array in arrays.items() if digest(array) != SHA256[part]]
    if problems and others:
        raise ValueError(f"data/: {', '.join(others)}: not MNIST's, so nothing is added; "
                         f"{'; '.join(problems.values())}; name a folder with --data")
    for mirror in MIRRORS:
        try:
            for part in list(problems):
                store(part, fetch(mirror + file_name(part), SHA256[part]))
                del problems[part]
        except ConnectionError as error:  # on to the next mirror
            print(f"*** failed: {error}")
    if problems:
        print(f"""
*** MNIST could not be had. Get its four files, such as
*** {MIRRORS[0]}{file_name('train-images')},
*** into {Path('data').resolve()}, or name a folder or a CSV with --data.
*** Until then SYNTHETIC digits, drawn from fonts. They are not MNIST!
""")
    return not problems

def fetch(url, known):
    """Return the bytes at the URL; ConnectionError if they are not MNIST's."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            data = answer.read(MOST_BYTES)
        if digest(parse_idx(data)) != known:
            raise ValueError("sent something else than MNIST")
    except FILE_ERRORS as error:
        raise ConnectionError(f"{url}: {error}") from error
    print(f"  {url} {len(data):,} bytes", flush=True)
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
        print(f"  {old} could not be read, and is now {aside}")
    os.replace(path.with_name("download.part"), path)

# What reading a file raises, whatever it holds; most mistakes of a program raise others.
FILE_ERRORS = (OSError, EOFError, ValueError, SyntaxError, zlib.error, zipfile.BadZipFile,
               Image.DecompressionBombError, Image.DecompressionBombWarning)

@contextlib.contextmanager
def naming(path):
    """Turn what reading a file raises in the with block into one line that names it."""
    try:
        yield
    except FILE_ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(f"{path}: {' '.join(reason.split())}") from error

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
    image.draft(None, (LONGER, LONGER))  # A large JPEG is decoded at a part of its size.
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # It has 16 bits, which Pillow would clip.
        bits = np.asarray(image) // 257
        image = Image.fromarray(bits.clip(0, 255).astype(np.uint8))
    scale = LONGER / max(image.size)
    size = [max(1, round(scale * side)) for side in image.size]
    image = image.convert("RGBA").resize(size, Image.BICUBIC, reducing_gap=2)

    # The ground of a clear picture may be meant dark or light: its ink is the opposite.
    light, alpha = image.convert("LA").split()
    is_light = np.sum((np.asarray(light, float) - 128) * np.asarray(alpha)) > 0
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
        # That pixel may have a larger one by now: a shortcut that saves most rounds.
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

    digit = np.argmax(height * kept)
    rivals = kept & large & (height >= height[digit] / 2)  # itself, too
    if rivals.sum() > 1:
        raise ValueError("several digits: one a picture")
    # What is small and close belongs to it, as the bar of a 5. A line below does not.
    close = height[digit] / 4
    beside = (left <= right[digit] + close) & (right >= left[digit] - close)
    above = (bottom >= top[digit] - close) & (bottom <= bottom[digit])
    return kept & beside & above

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
    figure.suptitle(printable(title), fontsize=14, parse_math=False)
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

def as_text(x):
    """Return an image (784,) as 14 lines of characters, each two pixels high."""
    shades = np.array(list(" .:-=+*#%@"))
    ink = x.reshape(SIDE // 2, 2, SIDE).mean(axis=1)
    return "\n".join("".join(line) for line in shades[(9 * ink).round().astype(int)])

def printable(text):
    """Return text with what a terminal would obey, such as \\x1b, as an escape."""
    return re.sub(r"[^\S ]|[\x00-\x1f\x7f-\x9f\ud800-\udfff]",
                  lambda match: match[0].encode("unicode_escape").decode(), str(text))

# ---- Command line ----------------------------------------------------------------------
ANSWERS = "predictions.png"
FORMATS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]  # some others run programs

def predict(options):
    """Print the likeliest digits of each picture, draw what the network saw of the first
    200; return 1 if one could not be read."""
    paths = expand(options.predict)
    weights, params, activations = load_network(options.weights)
    print(f"{printable(weights)}: {widths(params)}")
    seen = []
    titles = []
    for path in paths:
        try:
            with naming(path):
                seen.append(prepare(open_picture(path)))
        except ValueError as error:  # the others can still be read
            print(f"train_mnist.py: {printable(error)}", file=sys.stderr)
            continue
        output, _ = nn.forward(params, seen[-1:], activations)
        likeliest = np.argsort(-output[0])[:3]
        said = [f"{digit} ({output[0, digit]:.1%})" for digit in likeliest]
        print(f"{printable(path)}: {', '.join(said)}", flush=True)
        titles.append("\n".join([printable(Path(path).name)[-20:], *said]))
    if len(paths) == 1 and seen:
        print(as_text(seen[0]))
    if seen:
        drawn = seen[:200]
        rows = -(-len(drawn) // 8)
        figure = Figure((2 * min(8, len(drawn)), 2.6 * rows), layout="constrained")
        tiles(figure, drawn, titles, cmap="gray")
        figure.savefig(ANSWERS)
        print(f"wrote {ANSWERS}")
    return 0 if len(seen) == len(paths) else 1

def expand(names):
    """Return the paths of the pictures, also where the shell leaves *.png as it is."""
    paths = []
    for name in names:
        found = sorted(glob.glob(name))
        paths += [name] if Path(name).exists() or not found else found
    if Path(ANSWERS).resolve() in [Path(path).resolve() for path in paths]:
        raise ValueError(f"{ANSWERS}: the answers are drawn there; rename this picture")
    return paths

def load_network(path):
    """Return (path, params, activations) of a network that reads digits. No path: that of
    MNIST, or else of synthetic digits."""
    if path is None:
        path = "mnist.npz"
        if not Path(path).exists() and Path("synthetic.npz").exists():
            path = "synthetic.npz"
    with naming(path):
        params, activations = nn.load_params(path)
        name = f"{widths(params)} {activations[-1]}"
        if not re.fullmatch(rf"{PIXELS}-.*\b{DIGITS} softmax", name):
            raise ValueError(f"{name}, expected {PIXELS}-...-{DIGITS} softmax")
        if not all(np.isfinite(p).all() for p in params.values()):
            raise ValueError("its weights are not numbers: the training has failed")
    return path, params, activations

def open_picture(path):
    """Return the picture at the path, decoded; a large JPEG at a part of its size."""
    try:
        image = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(f"no picture that is read: {', '.join(FORMATS)}") from error
    with image:
        if image.width * image.height > 80_000_000:
            raise ValueError("more than 80 million pixels")
        image.draft(None, (2 * LONGER, 2 * LONGER))
        image.load()
    return image

def parse(arguments):
    """Return the options on the command line."""
    parser = argparse.ArgumentParser(
        description="Train a network on handwritten digits. 99.3%% in a minute or two: "
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
    for name, most in {"lr": 1e38, "l2": 1e38, "smooth": 1, "augment": 10}.items():
        if not 0 <= getattr(options, name) <= most:  # nor is NaN
            parser.error(f"argument --{name}: expected a number from 0 to {most:g}")
    return options

def main(arguments=None):
    """Run the command line; return the exit code."""
    options = parse(arguments)
    run = predict if options.predict else train
    try:
        with np.errstate(all="ignore"):  # a run that diverges ends in one line, below
            return run(options)
    except (OSError, ValueError, ArithmeticError, MemoryError) as error:
        print("train_mnist.py:", printable(" ".join(str(error).split())), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("train_mnist.py: interrupted", file=sys.stderr)
        return 130

if SCRIPT:
    sys.stdout.reconfigure(errors="backslashreplace")  # for names that a console lacks
    sys.exit(main())
