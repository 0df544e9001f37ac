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
import functools
import gzip
import hashlib
import http.client
import math
import os
import ssl
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
import zlib

import matplotlib
import numpy as np
from matplotlib.backend_bases import FigureCanvasBase
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

import nn

# ---- Data: four idx files, or a CSV ----------------------------------------------------

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
MIRRORS = ["https://ossci-datasets.s3.amazonaws.com/mnist/",
           "https://storage.googleapis.com/cvdf-datasets/mnist/",
           "https://raw.githubusercontent.com/fgnt/mnist/master/"]
TIMEOUT = 10  # seconds
FILES = {  # name: (bytes, SHA-256)
    "train-images-idx3-ubyte.gz":
        (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    "train-labels-idx1-ubyte.gz":
        (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    "t10k-images-idx3-ubyte.gz":
        (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    "t10k-labels-idx1-ubyte.gz":
        (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
}


def damaged(folder):
    """Return the names of the files that the folder lacks or has not as the originals."""
    def is_original(name):
        try:
            with open(os.path.join(folder, name), "rb") as file:
                return hashlib.sha256(file.read()).hexdigest() == FILES[name][1]
        except OSError:
            return False
    return [name for name in FILES if not is_original(name)]


def download():
    """Return a folder with the four files, fetched if need be; OSError if in vain."""
    if not damaged(FOLDER):
        return FOLDER
    folder = FOLDER
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        folder = os.path.join(tempfile.gettempdir(), "mnist")
        os.makedirs(folder, exist_ok=True)
        print(f"cannot write to {FOLDER} ({error.strerror}), using {folder}")
    mirrors, reasons = list(MIRRORS), []
    for name in damaged(folder):
        data = None
        while data is None:
            if not mirrors:
                raise OSError("; ".join(reasons))
            try:
                data = fetch(mirrors[0] + name, *FILES[name])
            except (OSError, http.client.HTTPException) as error:  # do not ask it again
                reasons.append(f"{mirrors.pop(0)}: {str(error) or type(error).__name__}")
                print("  failed:", reasons[-1])
        path = os.path.join(folder, name)
        with open(path + ".part", "wb") as file:
            file.write(data)
        os.replace(path + ".part", path)
    return folder


def fetch(url, size, digest):
    """Return the bytes at the URL, showing progress; OSError if they are wrong."""
    started, data = time.monotonic(), bytearray()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            # One byte more than expected is enough to know that it is something else.
            while chunk := response.read1(min(65_536, size + 1 - len(data))):
                data += chunk
                if sys.stdout.isatty():
                    print(f"  {url} {len(data) / size:4.0%}", end="\r", flush=True)
                if time.monotonic() - started > TIMEOUT + len(data) / 20_000:
                    raise TimeoutError("slower than 20 kB/s")
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise OSError("Python lacks the root certificates to check it: on a Mac, run "
                          "Install Certificates.command from the folder of Python; on "
                          "Linux, install ca-certificates") from error
        raise
    if hashlib.sha256(data).hexdigest() != digest:
        raise OSError(f"sent {len(data):,} bytes that are not {os.path.basename(url)}")
    print(f"  {url} {len(data):,} bytes")
    return data


def read_idx(path):
    """Return the array of bytes in an idx file, gzipped or not."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip file: {error}") from error
    # Two zeros, 8 for bytes, the number of dimensions; these, 4 bytes each; the data.
    if data[:3] != b"\0\0\x08" or not 0 < data[3] < 4 or len(data) < 4 + 4 * data[3]:
        raise ValueError(f"{path}: not an idx file of bytes, it begins with {data[:8]!r}")
    start = 4 + 4 * data[3]
    shape = np.frombuffer(data, ">u4", data[3], 4).tolist()
    if len(data) - start != math.prod(shape):
        raise ValueError(f"{path}: {len(data) - start:,} bytes of data, expected {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_pair(folder, images_name, labels_name):
    """Return (X, labels) from the folder's files of these names, X (n, 784) as bytes."""
    def find(name):
        names = name, name.replace("-idx", ".idx")  # as some copies are called
        for candidate in (*names, *(name.removesuffix(".gz") for name in names)):
            if os.path.exists(os.path.join(folder, candidate)):
                return os.path.join(folder, candidate)
        raise ValueError(f"{os.path.join(folder, name)}: no such file, nor without .gz")

    images_path, labels_path = find(images_name), find(labels_name)
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.shape[1:] != (28, 28):
        raise ValueError(f"{images_path}: shape {images.shape}, expected (n, 28, 28)")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"{labels_path}: shape {labels.shape}, but {len(images)} images")
    return images.reshape(-1, 784), checked(labels, labels_path)


def read_csv(path):
    """Return (X, labels) from lines label,pixel0,...,pixel783, maybe after a header."""
    try:
        with open(path, encoding="utf-8-sig") as file, warnings.catch_warnings():
            header = not file.readline(9_999).split(",")[0].strip().lstrip("-").isdigit()
            file.seek(0)
            warnings.simplefilter("ignore")  # that there are no rows is an error below
            warnings.simplefilter("error", DeprecationWarning)  # before NumPy 2: overflow
            data = np.loadtxt(file, np.int16, delimiter=",", skiprows=int(header),
                              ndmin=2, comments=None)
    except (ValueError, OverflowError, DeprecationWarning) as error:
        raise ValueError(f"{path}: not a CSV of whole numbers: {error}") from error
    if len(data) and data.shape[1] != 785:
        raise ValueError(f"{path}: {data.shape[1]} columns, expected a label, 784 pixels")
    X, labels = data[:, 1:], checked(data[:, 0], path)
    if X.min() < 0 or X.max() > 255:
        raise ValueError(f"{path}: pixels from {X.min()} to {X.max()}, expected 0 to 255")
    return X.astype(np.uint8), labels


def checked(labels, path):
    """Return labels as integers, if there are enough and all are 0 to 9."""
    if len(labels) < 20:
        raise ValueError(f"{path}: {len(labels)} examples, too few to learn from")
    if labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"{path}: labels {labels.min()} to {labels.max()}, not 0 to 9")
    return labels.astype(int)


# ---- Augment: the same digits, a little different every time ---------------------------

# (28, 4): how much each of 4 points along a side counts at each of its 28 pixels
ENLARGE = np.maximum(0, 1 - abs(np.linspace(0, 3, 28)[:, None] - np.arange(4)))
# (19, 784), a column per pixel: y and x from the middle, 1, the shares of 4 x 4 points
PLACES = np.vstack([np.mgrid[-13.5:14, -13.5:14].reshape(2, 784), np.ones(784),
                    np.kron(ENLARGE, ENLARGE).T]).astype(np.float32)


def augment(X, rng, strength=1.0):
    """Return X (n, 784) varied: each image rotated, scaled, slanted, shifted, bent a bit.

    In the spirit of Simard et al. 2003 and Ciresan et al. 2010: every pixel is looked up
    somewhere near in the original, between its pixels, and outside it there are zeros.
    """
    n = len(X)
    angle, slant, scale, shift_y, shift_x = (
        strength * rng.uniform(-most, most, n) for most in (0.19, 0.17, 0.1, 1.4, 1.4))
    bend_y, bend_x = strength * rng.normal(0, 0.7, (2, n, 4 * 4))
    cos, sin = (1 + scale) * np.cos(angle), (1 + scale) * np.sin(angle)
    # All of it is linear in y, x, 1 and the 16 points, so one product places every pixel:
    # the factors of an image are a row, in the order of PLACES. They lead from new places
    # back to old ones, whose middle is at 14.5, as the original gets a margin of 1.
    from_y, from_x = (
        np.clip(np.column_stack(factors).astype(np.float32) @ PLACES, 0, 29)
        for factors in ([cos, sin, shift_y + 14.5, bend_y],
                        [slant - sin, cos, shift_x + 14.5, bend_x]))
    row, column = np.floor(from_y), np.floor(from_x)
    below, right = from_y - row, from_x - column  # how far to the next ones, 0 to 1
    # 31 x 31 with zeros in 0, 29 and 30: the clip lost no ink, and at + 32 is inside.
    pixels = np.pad(X.reshape(n, 28, 28), ((0, 0), (1, 2), (1, 2))).ravel()
    at = 31 * 31 * np.arange(n)[:, None] + (31 * row + column).astype(int)
    upper = (1 - right) * pixels[at] + right * pixels[at + 1]
    lower = (1 - right) * pixels[at + 31] + right * pixels[at + 32]
    return (1 - below) * upper + below * lower


# ---- Digits from pictures, and from fonts ----------------------------------------------

def prepare(image):
    """Return a Pillow image as a digit of MNIST, (784,) from 0 to 1; ValueError if blank.

    That is light ink on dark, 20 pixels high or wide, the centre of mass in the middle.
    The image should show one digit on plain paper and nothing else.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip
        image = Image.fromarray((np.asarray(image) // 257).clip(0, 255).astype(np.uint8))
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image).convert("L")
    image.thumbnail((800, 800))
    image = image.filter(ImageFilter.GaussianBlur(max(image.size) / 400))
    grey = np.asarray(image, np.float32)
    # The border shows the paper. Ink is what differs most from it, darker or lighter.
    paper = np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]))
    ink = max(grey - paper, paper - grey, key=np.max)
    if ink.max() < 30:
        raise ValueError("blank, or too faint")
    ink = np.clip(2 * ink / ink.max() - 0.5, 0, 1)
    rows, columns = (np.flatnonzero(ink.max(axis=axis) > 0.5) for axis in (1, 0))
    digit = Image.fromarray(ink[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1])
    scale = 20 / max(digit.size)
    digit = np.asarray(digit.resize([max(1, round(scale * side)) for side in digit.size],
                                    Image.Resampling.BOX if scale < 1 else
                                    Image.Resampling.BILINEAR))
    y, x = (np.average(np.arange(side), weights=digit.sum(axis=1 - axis))
            for axis, side in enumerate(digit.shape))
    top, left = (int(np.clip(round(14 - middle), 0, 28 - side))
                 for middle, side in zip((y, x), digit.shape))
    result = np.zeros((28, 28), np.float32)
    result[top:top + digit.shape[0], left:left + digit.shape[1]] = digit / digit.max()
    return result.ravel()


FACES = ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono",
         "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique", "DejaVuSerif",
         "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol",
         "STIXGeneralBolIta", "cmr10", "cmtt10", "cmti10"]
VALIDATION_FACES = ["DejaVuSans-BoldOblique", "cmb10", "DejaVuSerif-BoldItalic"]
TEST_FACES = ["DejaVuSansMono-Oblique", "STIXGeneralItalic", "cmss10"]
SYNTHETIC = "synthetic digits, not MNIST"


def draw_digits(faces, n, rng):
    """Return (X, labels): n variants of the ten digits in these fonts of matplotlib."""
    X = []
    for face in faces:
        path = os.path.join(matplotlib.get_data_path(), "fonts", "ttf", face + ".ttf")
        font = ImageFont.truetype(path, 80)
        for digit in range(10):
            image = Image.new("L", (120, 120), 255)
            ImageDraw.Draw(image).text((60, 60), str(digit), 0, font, anchor="mm")
            X.append(prepare(image))
    chosen = rng.integers(len(X), size=n)
    return augment(np.array(X)[chosen], rng, 1.5), chosen % 10  # ten to a face, in order


def load(path):
    """Return (name, training, validation, test), three (X, labels) with X in 0..1."""
    rng = np.random.default_rng(0)  # the same split, whatever the seed of the training
    name = path or "MNIST"
    if path is None:
        try:
            path = download()
        except OSError as error:
            reasons = str(error).replace("; ", "\n***   ")
            print(f"\n*** MNIST could not be had:\n***   {reasons}\n"
                  f"*** Put its four files, for instance from {MIRRORS[0]},\n"
                  f"*** into {FOLDER}, or name a folder or a CSV with --data.\n"
                  "*** Until then SYNTHETIC digits, drawn from fonts. It is not MNIST!\n")
            path = "synthetic"
    if path == "synthetic":
        sets = (FACES, 30_000), (VALIDATION_FACES, 3_000), (TEST_FACES, 3_000)
        return SYNTHETIC, *(draw_digits(*part, rng) for part in sets)
    if os.path.isdir(path):
        X, labels = read_pair(path, *list(FILES)[:2])
        test = read_pair(path, *list(FILES)[2:])
        order = rng.permutation(len(X))
        n_validation = len(X) // 12  # 5,000 of 60,000
    else:
        X, labels = read_csv(path)
        n_validation = len(X) // 10
        held_out, order = np.split(rng.permutation(len(X)), [n_validation])
        test = X[held_out], labels[held_out]
    validation, training = order[:n_validation], order[n_validation:]
    parts = (X[training], labels[training]), (X[validation], labels[validation]), test
    return name, *((X / np.float32(255), labels) for X, labels in parts)


# ---- Training --------------------------------------------------------------------------

def schedule(text, epochs):
    """Return the schedule that text names, such as "linear" or "step:5:0.1"."""
    name, *numbers = text.split(":")
    makers = {"constant": lambda: lambda epoch: 1.0,
              "linear": lambda: lambda epoch: 1 - epoch / epochs,
              "step": nn.step_decay,
              "exponential": nn.exponential_decay,
              "inverse": lambda rate: lambda epoch: 1 / (1 + rate * epoch)}
    try:
        numbers = [amount(number) for number in numbers]
        if 0 in numbers:
            raise ValueError
        return makers[name](*numbers)
    except (KeyError, TypeError, ValueError, argparse.ArgumentTypeError):
        raise ValueError(f"--schedule {text}: expected constant, linear, step:N[:GAMMA], "
                         "exponential:GAMMA or inverse:RATE, above 0") from None


def check_writable(path):
    """Raise OSError now, and not after the training, if path cannot be written."""
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(0, "it is a folder")
        tempfile.TemporaryFile(dir=os.path.dirname(path) or ".").close()
    except OSError as error:
        raise OSError(error.errno, f"cannot write: {error.strerror}", path) from None


def check_picture(path):
    """Raise OSError or ValueError now if the picture cannot be written."""
    check_writable(path)
    known = FigureCanvasBase.get_supported_filetypes()
    if os.path.splitext(path)[1][1:].lower() not in known:
        raise ValueError(f"{path}: not a picture, its name should end with one of "
                         + ", ".join(sorted(known)))


def train(options):
    """Train, test, save and draw as the options say; return 0."""
    rate = schedule(options.schedule, options.epochs)
    name, (X, labels), validation, (X_test, labels_test) = load(options.data)
    weights = options.weights or ("synthetic.npz" if name == SYNTHETIC else "mnist.npz")
    plot = options.plot or os.path.splitext(weights)[0] + ".png"
    check_writable(weights)
    check_picture(plot)
    if os.path.abspath(weights) == os.path.abspath(plot):
        raise ValueError(f"{plot}: cannot be both the weights and the picture")
    Y = (1 - options.smooth) * nn.one_hot(labels, 10) + np.float32(options.smooth / 10)
    sizes = (784, *options.hidden, 10)
    activations = (options.activation,) * len(options.hidden) + ("softmax",)
    params = nn.init_params(sizes, activations, options.seed)
    print(f"data      {name}: {len(X):,} to train, {len(validation[0]):,} to validate, "
          f"{len(X_test):,} to test")
    print(f"network   {'-'.join(map(str, sizes))}, {', '.join(activations)}: "
          f"{sum(p.size for p in params.values()):,} parameters")
    shown = ("optimizer", "lr", "schedule", "batch_size", "l1", "l2", "dropout", "smooth",
             "augment", "seed")
    print("settings  " + ", ".join(f"{key} {getattr(options, key)}" for key in shown),
          flush=True)
    kept, started = {}, time.monotonic()

    def on_epoch(epoch, params, history):
        nonlocal started
        now = time.monotonic()
        last = {key: values[-1] for key, values in history.items()}
        print(f"epoch {epoch:{len(str(options.epochs))}}/{options.epochs} | "
              f"loss {last['loss']:.4f} | val loss {last['val_loss']:.4f} | "
              f"val accuracy {last['val_accuracy']:.2%} | {now - started:.1f} s",
              flush=True)
        kept.update(epoch=epoch, params=params, history=history)
        started = now

    try:
        nn.gradient_descent(
            params, X, Y, activations, epochs=options.epochs, lr=options.lr,
            batch_size=options.batch_size, optimizer=options.optimizer, schedule=rate,
            l1=options.l1, l2=options.l2, dropout=options.dropout, validation=validation,
            augment=functools.partial(augment, strength=options.augment)
            if options.augment else None, seed=options.seed, on_epoch=on_epoch)
    except KeyboardInterrupt:
        if not kept:
            raise
        print(f"\ninterrupted: keeping the weights of epoch {kept['epoch']}")
    params, history = kept["params"], kept["history"]
    nn.save_params(weights, params, activations)
    output, _ = nn.forward(params, X_test, activations)
    wrong = int((output.argmax(axis=1) != labels_test).sum())
    result = (f"test accuracy {1 - wrong / len(X_test):.2%} "
              f"({wrong:,} of {len(X_test):,} wrong)")
    result += f" on {name}" if name == SYNTHETIC else ""
    print(result, flush=True)
    title = f"{'-'.join(map(str, sizes))}, {result}"
    draw(plot, title, history, params, X_test, labels_test, output, options.show)
    print(f"wrote {weights} and {plot}")
    return 0


# ---- Pictures --------------------------------------------------------------------------

BLUE, ORANGE = "#0072B2", "#D55E00"


def pyplot(show=False):
    """Return matplotlib.pyplot, which needs no display unless it is to show windows."""
    if not show:
        matplotlib.use("agg")
    import matplotlib.pyplot as plt
    return plt


def tiles(figure, images, titles=None, colors=None, columns=8, **options):
    """Draw images (n, 784) as rows of small squares with titles."""
    axes = figure.subplots(-(-len(images) // columns), columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    for i, (ax, image) in enumerate(zip(axes, images)):
        ax.imshow(image.reshape(28, 28), **options)
        if titles:
            ax.set_title(titles[i], color=colors[i], fontsize=8, pad=2)


def draw(path, title, history, params, X, labels, output, show):
    """Write a picture of what the network learned, in four parts."""
    plt = pyplot(show)
    figure = plt.figure(figsize=(14, 11), layout="constrained")
    figure.suptitle(title, fontsize=14)
    curves, digits, confusions, weights = figure.subfigures(
        2, 2, wspace=0.04, hspace=0.04).ravel()

    curves.suptitle("Learning: does validation keep up with training?")
    epochs = range(1, len(history["loss"]) + 1)
    for ax, key in zip(curves.subplots(1, 2), ("loss", "accuracy")):
        ax.plot(epochs, history[key], "o-", color=BLUE, markersize=3,
                label="training, while learning")
        ax.plot(epochs, history["val_" + key], "s--", color=ORANGE, markersize=3,
                label="validation")
        ax.set(xlabel="epoch", title=key)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.3)
        ax.legend()

    predicted = output.argmax(axis=1)
    right = np.flatnonzero(predicted == labels)[:8]
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-output[wrong].max(axis=1))][:24]
    digits.suptitle("Test digits: some that are right, then the most confident mistakes")
    shown = [*right, *wrong]
    titles = [f"{predicted[i]}" if predicted[i] == labels[i] else
              f"said {predicted[i]}, is {labels[i]}" for i in shown]
    colors = [BLUE if predicted[i] == labels[i] else ORANGE for i in shown]
    tiles(digits, X[shown], titles, colors, cmap="gray")

    confusions.suptitle("Mistakes on the test digits: what is taken for what")
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    np.fill_diagonal(counts, 0)
    ax = confusions.subplots()
    ax.imshow(counts, cmap="Blues")
    for (i, j), count in np.ndenumerate(counts):
        if count:
            ax.text(j, i, count, ha="center", va="center",
                    color="white" if count > counts.max() / 2 else "black")
    ax.set(xlabel="what the network said", ylabel="what it is",
           xticks=range(10), yticks=range(10))

    W = params["W1"].T
    strongest = np.argsort(-np.linalg.norm(W, axis=1))[:40]
    weights.suptitle(f"First layer, {len(strongest)} strongest neurons: red wants ink, "
                     "blue wants none")
    limit = np.percentile(abs(W[strongest]), 99.5)
    tiles(weights, W[strongest], cmap="RdBu_r", vmin=-limit, vmax=limit)
    save(plt, figure, path, show)


def save(plt, figure, path, show=False):
    """Write the figure as a picture, and show it if asked to."""
    figure.savefig(path, dpi=100)
    if show:
        plt.show()
        if plt.get_backend().lower() == "agg":
            print("there is no display to show it on")
    plt.close(figure)


# ---- Your own digit --------------------------------------------------------------------

def predict(options):
    """Print the three most likely digits of each image; return 1 if any is unreadable."""
    weights = options.weights or "mnist.npz"
    plot = options.plot or "predictions.png"
    if not os.path.exists(weights):
        raise ValueError(f"{weights}: no such file; train first, or give --weights")
    params, activations = nn.load_params(weights)
    if len(params["W1"]) != 784 or len(params[f"b{len(activations)}"]) != 10:
        raise ValueError(f"{weights}: not a network from 784 pixels to 10 digits")
    check_picture(plot)
    names, X = [], []
    for path in options.predict:
        try:
            with Image.open(path) as image:
                X.append(prepare(image))
                names.append(path)
        except Exception as error:  # a damaged image fails in a dozen ways
            complain(error, path)
    if names:
        output, _ = nn.forward(params, np.array(X), activations)
        for name, probabilities in zip(names, output):
            best = np.argsort(-probabilities)[:3]
            print(f"{name}: " + ", ".join(f"{i} ({probabilities[i]:.1%})" for i in best))
        draw_predictions(plot, names, X, output, options.show)
        print(f"wrote {plot}")
    return 0 if len(names) == len(options.predict) else 1


def draw_predictions(path, names, X, output, show):
    """Write a picture of what the network saw, beside what it says."""
    plt = pyplot(show)
    figure, axes = plt.subplots(len(X), 2, figsize=(6, 2.2 * len(X)), squeeze=False,
                                layout="constrained", width_ratios=(1, 2))
    for (left, right), name, image, probabilities in zip(axes, names, X, output):
        left.imshow(image.reshape(28, 28), cmap="gray", vmin=0, vmax=1)
        left.set_axis_off()
        plain = os.path.basename(name)[-30:].encode("ascii", "replace").decode()
        left.set_title(plain, fontsize=9, parse_math=False)
        bars = right.bar(range(10), probabilities, color=BLUE)
        bars[int(probabilities.argmax())].set_color(ORANGE)
        right.set(xticks=range(10), ylim=(0, 1), ylabel="probability")
    save(plt, figure, path, show)


# ---- Command line ----------------------------------------------------------------------

def complain(error, path=None):
    """Print what an exception says as one line on stderr, with the path it is about."""
    path = path or getattr(error, "filename", None)
    if isinstance(error, Image.UnidentifiedImageError):
        text = "not an image"
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror
    else:
        text = " ".join(str(error).split()) or type(error).__name__
    script = os.path.basename(sys.argv[0]) or "train_mnist.py"
    print(f"{script}: " + (f"{path}: {text}" if path else text), file=sys.stderr)


def number(text, convert, low, high, what):
    """Return text as a number from low to below high, or tell what was expected."""
    try:
        value = convert(text)
    except ValueError:
        value = math.nan
    if not low <= value < high:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


positive = functools.partial(number, convert=int, low=1, high=10**6, what="1, 2, 3, ...")
natural = functools.partial(number, convert=int, low=0, high=2**63, what="0, 1, 2, ...")
amount = functools.partial(number, convert=float, low=0, high=math.inf, what="0 or more")
share = functools.partial(number, convert=float, low=0, high=1, what="from 0 to below 1")


def parse(arguments):
    """Return the options on the command line."""
    parser = argparse.ArgumentParser(
        description="Train a fully connected network on handwritten digits, test it once "
        "and write its weights and a picture of what it learned.",
        epilog="Example, 99.3% in a minute or so: python train_mnist.py --hidden 512 512 "
        "--dropout 0 --augment --smooth 0.1 --batch-size 256 --epochs 25")
    data = parser.add_argument_group("data").add_argument
    data("--data", metavar="PATH", help="a folder with the four MNIST files, a CSV with "
         "label,pixel0,...,pixel783, or the word synthetic for digits drawn from fonts; "
         "default: data/ beside this script, which is filled by download")
    data("--augment", metavar="STRENGTH", nargs="?", type=amount, const=1.0, default=0.0,
         help="shift, turn and bend the digits anew every epoch, STRENGTH 1 if not given")
    network = parser.add_argument_group("network").add_argument
    network("--hidden", metavar="N", nargs="*", type=positive, default=[512, 256],
            help="sizes of the hidden layers, none for no such layer, default 512 256")
    network("--activation", choices=list(nn.ACTIVATIONS), default="relu",
            help="of the hidden layers, default %(default)s")
    training = parser.add_argument_group("training").add_argument
    training("--epochs", metavar="N", type=positive, default=10,
             help="default %(default)s")
    training("--batch-size", metavar="N", type=positive, default=128,
             help="default %(default)s")
    training("--optimizer", choices=list(nn.OPTIMIZERS), default="adam",
             help="default %(default)s")
    training("--lr", type=amount, default=0.003,
             help="learning rate, default %(default)s")
    training("--schedule", default="linear", help="of the learning rate: constant; linear"
             " to 0 at the end; step:N[:GAMMA], times GAMMA or 0.1 every N epochs; "
             "exponential:GAMMA, times GAMMA every epoch; inverse:RATE, divided by "
             "1 + RATE * epoch; default %(default)s")
    training("--l1", type=amount, default=0.0, help="penalty on |W|, default %(default)s")
    training("--l2", type=amount, default=0.0, help="penalty on W^2, default %(default)s")
    training("--dropout", type=share, default=0.3,
             help="share of the hidden activations to drop, default %(default)s")
    training("--smooth", type=share, default=0.0, help="share of each target to spread "
             "over all digits, against overconfidence, default %(default)s")
    training("--seed", metavar="N", type=natural, default=0, help="default %(default)s")
    output = parser.add_argument_group("output").add_argument
    output("--weights", metavar="FILE", help="to write, or with --predict to read; "
           "default mnist.npz, or synthetic.npz for synthetic digits")
    output("--plot", metavar="FILE", help="the picture to write, by default named as the "
           "weights, or predictions.png with --predict")
    output("--show", action="store_true", help="show the picture in a window as well")
    output("--predict", metavar="IMAGE", nargs="+", help="do not train: read the digit "
           "on each of these pictures, one on plain paper, with the weights")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Run the command line; return the exit code."""
    options = parse(arguments)
    try:
        return predict(options) if options.predict else train(options)
    except (OSError, ValueError, FloatingPointError, MemoryError) as error:
        complain(error)
        return 1
    except KeyboardInterrupt:
        complain("interrupted")
        return 130


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # for names that a console lacks
    sys.exit(main())
