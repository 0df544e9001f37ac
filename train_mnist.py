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
import gzip
import hashlib
import sys
import time
import urllib.request
from pathlib import Path
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps  # matplotlib brings it
import nn

SETTINGS = dict(  # each is an option of the command line, where it is explained
    hidden=[512, 256], activation="relu", epochs=10, optimizer="adam", lr=0.003,
    schedule="linear", batch_size=128, l1=0.0, l2=0.0, dropout=0.3, smooth=0.0,
    augment=0.0, seed=0)
SCHEDULES = {  # name: the factor on lr after done epochs, such as 2.5, of E in all
    "constant": lambda done, E: 1.0,
    "linear": lambda done, E: 1 - done / E,
    "step": lambda done, E: 0.1 ** (3 * done // E),  # a tenth after each third
    "exponential": lambda done, E: 0.01 ** (done / E),
    "inverse": lambda done, E: 1 / (1 + 9 * done / E),
}

# ---- Training --------------------------------------------------------------------------
def train(options):
    """Train a network as the options say, test it, write its weights and a picture."""
    name, (X, labels), validation, test = load(options.data)
    weights = options.weights or ("synthetic.npz" if name == SYNTHETIC else "mnist.npz")
    stem = weights.removesuffix(".npz")
    unfinished, plot = f"{stem}.unfinished.npz", options.plot or f"{stem}.png"
    if Path(weights).is_dir() or weights == plot:
        raise ValueError(f"{weights}: is a folder, or also the --plot: name another file")
    sizes = (784, *options.hidden, 10)  # 28 x 28 pixels in, a probability per digit out
    activations = (options.activation,) * len(options.hidden) + ("softmax",)
    with naming("--hidden or --activation"):
        params = nn.init_params(sizes, activations, options.seed)
    Y = (1 - options.smooth) * nn.one_hot(labels, 10) + np.float32(options.smooth / 10)
    network = "-".join(map(str, sizes))
    print(f"data      {name}: {len(X):,} to train, {len(validation[0]):,} to validate, "
          f"{len(test[0]):,} to test")
    print(f"network   {network}, {', '.join(activations)}: "
          f"{sum(p.size for p in params.values()):,} parameters")
    print("settings ", ", ".join(f"{key} {getattr(options, key)}" for key in SETTINGS),
          flush=True)
    kept = {"time": time.monotonic()}  # on_epoch adds what is to outlive a Ctrl-C
    def on_epoch(epoch, params, history):
        """Print how it goes, and keep the weights: the run may be stopped or killed."""
        now, last = time.monotonic(), {key: values[-1] for key, values in history.items()}
        print(f"epoch {epoch:{len(str(options.epochs))}}/{options.epochs} | loss "
              f"{last['loss']:.4f} | val loss {last['val_loss']:.4f} | val accuracy "
              f"{last['val_accuracy']:.2%} | {now - kept['time']:.1f} s", flush=True)
        kept.update(epoch=epoch, params=params, history=history, time=now)
        with naming(weights):
            nn.save_params(unfinished, params, activations)
    try:
        nn.gradient_descent(
            params, X, Y, activations, epochs=options.epochs, lr=options.lr,
            batch_size=options.batch_size, optimizer=options.optimizer, l1=options.l1,
            l2=options.l2, dropout=options.dropout, seed=options.seed,
            schedule=lambda done: SCHEDULES[options.schedule](done, options.epochs),
            augment=(lambda X, rng: augment(X, rng, options.augment))
            if options.augment else None, validation=validation, on_epoch=on_epoch)
    except KeyboardInterrupt:
        if "params" not in kept:
            raise
        print(f"\ninterrupted: keeping the weights of epoch {kept['epoch']}")
    params, history = kept["params"], kept["history"]
    with naming(weights):
        nn.save_params(weights, params, activations)
        Path(unfinished).unlink(missing_ok=True)
    # Choose settings by validation alone: choosing by this number would spoil the test.
    output, _ = nn.forward(params, test[0], activations)
    n, wrong = len(output), int((output.argmax(axis=1) != test[1]).sum())
    result = f"test accuracy {1 - wrong / n:.2%} ({wrong:,} of {n:,} wrong) on {name}"
    print(result, flush=True)
    figure = draw(f"{network}, {result}", history, params, *test, output)
    with naming(plot):
        figure.savefig(plot)
    print(f"wrote {weights} and {plot}")

# ---- Data: four idx files, or a CSV ----------------------------------------------------
FOLDER = Path(__file__).resolve().parent / "data"
MIRRORS = ["https://ossci-datasets.s3.amazonaws.com/mnist/",
           "https://storage.googleapis.com/cvdf-datasets/mnist/",
           "https://raw.githubusercontent.com/fgnt/mnist/master/"]
FILES = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
         "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
SHA256 = ["440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
          "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
          "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
          "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"]

def load(path):
    """Return (name, training, validation, test), three (X, labels) with X in 0..1."""
    rng = np.random.default_rng(0)  # the same split, whatever the seed of the training
    name = path or "MNIST"
    if path is None:
        with naming(f"{FOLDER} (else --data FOLDER, or synthetic)"):
            path = FOLDER if download() else "synthetic"
    if path == "synthetic":
        sets = (FACES, 30_000), (VALIDATION_FACES, 3_000), (TEST_FACES, 3_000)
        return SYNTHETIC, *(draw_digits(*part, rng) for part in sets)
    files = [read_idx(path, f) for f in FILES] if Path(path).is_dir() else read_csv(path)
    for X, labels in (files[:2], files[-2:]):  # training and test; a CSV has one pair
        if not 20 <= len(X) == labels.size or X[0].size != 784 or labels.max() > 9:
            found = f"pixels {X.shape}, {labels.size} labels of {np.unique(labels)}"
            raise ValueError(f"{path}: {found}; expected 20 or more of 784, labels 0-9")
    X, labels, *test = files  # a CSV has no test: some of its rows become one
    order, n = rng.permutation(len(X)), len(X) // (12 if test else 10)
    if not test:
        test, order = (X[order[:n]], labels[order[:n]]), order[n:]
    sets = (X[order[n:]], labels[order[n:]]), (X[order[:n]], labels[order[:n]]), test
    return name, *((X.reshape(-1, 784) / np.float32(255), y.astype(int)) for X, y in sets)

def download():
    """Return whether FOLDER has MNIST as it should be, fetching what it lacks."""
    for mirror in MIRRORS:
        try:
            for name, digest in zip(FILES, SHA256):
                path = FOLDER / name
                FOLDER.mkdir(exist_ok=True)
                data = path.read_bytes() if path.exists() else b""
                if hashlib.sha256(data).hexdigest() != digest:
                    path.write_bytes(fetch(mirror + name, digest))
            return True
        except ConnectionError as error:  # on to the next mirror
            print("*** failed:", error)
            if "certificate" in str(error).lower():
                print("*** Python lacks root certificates: on a Mac, run its Install "
                      "Certificates.command;\n*** on Linux, install ca-certificates")
    print(f"\n*** MNIST could not be had. Get its four files, such as\n*** {MIRRORS[0]}"
          f"{FILES[0]},\n*** into {FOLDER}, or name a folder or a CSV with --data.\n"
          "*** Until then SYNTHETIC digits, drawn from fonts. They are not MNIST!\n")
    return False

def fetch(url, digest):
    """Return the bytes at the URL; ConnectionError if it fails or they are wrong."""
    data = bytearray()
    with naming(url, ConnectionError), urllib.request.urlopen(url, timeout=5) as answer:
        while chunk := answer.read(65_536):
            data += chunk
            if sys.stdout.isatty():
                print(f"  {url} {len(data):,} bytes", end="\r", flush=True)
        if hashlib.sha256(data).hexdigest() != digest:
            raise ValueError(f"sent {len(data):,} bytes that are not the original")
    print(f"  {url} {len(data):,} bytes")
    return data

def read_idx(folder, name):
    """Return the bytes in an idx file as an array of the shape that it says."""
    # Some copies are called train-images.idx3-ubyte, some are not gzipped.
    pattern, here = name.replace("-idx", "[-.]idx"), Path(folder)
    found = [*here.glob(pattern), *here.glob(pattern[:-len(".gz")]), here / name]
    with naming(f"{folder}/{found[0].name}"):
        data = found[0].read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        # 0, 0, 8 for bytes, the number of dimensions; these, 4 bytes each; the bytes.
        if data[:3] != b"\0\0\x08" or len(data) < 8:
            raise ValueError(f"not an idx file of bytes, it begins with {data[:8]}")
        shape = np.frombuffer(data, ">u4", data[3], offset=4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)

def read_csv(path):
    """Return (X, labels) from lines label,pixel0,...,pixel783, maybe after a header."""
    with naming(path), open(path, encoding="utf-8-sig") as file:
        if file.readline().lstrip("- ")[:1].isdigit():
            file.seek(0)  # the first line is no header
        data = np.array([np.frombuffer(bytes(map(int, line.split(","))), np.uint8)
                         for line in file if line.strip()], ndmin=2)
        return data[:, 1:], data[:, :1].ravel()

@contextlib.contextmanager
def naming(path, kind=ValueError):
    """Turn any error in the with block into one of this kind that names the path."""
    try:
        yield
    except Exception as error:  # a damaged file fails in a dozen ways
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise kind(f"{path}: {' '.join(reason.split())}") from error

# ---- Augment: the same digits, a little different every time ---------------------------
# How much each of 4 points along a side counts at each of its 28 pixels; then a column a
# pixel, (19, 784): its y and x from the middle, 1, the shares of 4 x 4 points.
SHARES = np.maximum(0, 1 - abs(np.linspace(0, 3, 28)[:, None] - np.arange(4)))
PLACES = np.vstack([np.mgrid[-13.5:14, -13.5:14].reshape(2, 784), np.ones(784),
                    np.kron(SHARES, SHARES).T]).astype(np.float32)

def augment(X, rng, strength=1.0):
    """Return X (n, 784) varied: each image rotated, scaled, slanted, shifted, bent a bit,
    in the spirit of Simard et al. 2003 and Ciresan et al. 2010."""
    n = len(X)  # most, below: in radians, slant, share of the size, pixels
    angle, slant, scale, shift_y, shift_x = (
        strength * rng.uniform(-most, most, n) for most in (0.19, 0.17, 0.1, 1.4, 1.4))
    bend_y, bend_x = strength * rng.normal(0, 0.7, (2, n, 4 * 4))
    cos, sin = (1 + scale) * np.cos(angle), (1 + scale) * np.sin(angle)
    # Each new pixel takes the ink from a place in the old image, which has a margin of 1,
    # so that its middle is at 14.5. y and x of that place are linear in a row of PLACES.
    y, x = (np.clip(np.column_stack(factors).astype(np.float32) @ PLACES, 0, 29)
            for factors in ([cos, sin, shift_y + 14.5, bend_y],
                            [slant - sin, cos, shift_x + 14.5, bend_x]))
    row, column = np.floor(y), np.floor(x)
    below, right = y - row, x - column  # the place is between four pixels: how far down?
    # 31 x 31 with zeros in 0, 29 and 30: the clip lost no ink, and at + 32 is inside.
    pixels = np.pad(X.reshape(n, 28, 28), ((0, 0), (1, 2), (1, 2))).ravel()
    at = 31 * 31 * np.arange(n)[:, None] + (31 * row + column).astype(int)
    upper = (1 - right) * pixels[at] + right * pixels[at + 1]
    lower = (1 - right) * pixels[at + 31] + right * pixels[at + 32]
    return (1 - below) * upper + below * lower

# ---- Digits from pictures, and from fonts ----------------------------------------------
def prepare(image):
    """Return an image of a digit as MNIST has it, (784,) of 0..1; ValueError if blank."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip
        image = Image.fromarray((np.asarray(image) // 257).clip(0, 255).astype(np.uint8))
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image.convert("RGBA")).convert("L")
    image.thumbnail((800, 800))
    image = image.filter(ImageFilter.GaussianBlur(max(image.size) / 400))
    grey = np.asarray(image, np.float32)
    # The border shows the paper. Ink is what differs most from it, darker or lighter.
    paper = np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]))
    ink = max(grey - paper, paper - grey, key=np.max)
    if ink.max() < 30:
        raise ValueError("blank, or too faint")
    ink = np.clip(2 * ink / ink.max() - 0.5, 0, 1)  # below 1/4 none, above 3/4 full
    y, x = np.nonzero(ink > 0.5)
    digit = Image.fromarray(ink[y.min():y.max() + 1, x.min():x.max() + 1])
    scale = 20 / max(digit.size)  # as in MNIST: 20 pixels, the centre of its ink at 14
    sides = [max(1, round(scale * side)) for side in digit.size]
    digit = np.asarray(digit.resize(sides, Image.BOX if scale < 1 else Image.BILINEAR))
    before = [int(np.clip(round(14 - np.average(at, weights=digit)), 0, 28 - side))
              for at, side in zip(np.indices(digit.shape), digit.shape)]
    margins = [(gap, 28 - side - gap) for gap, side in zip(before, digit.shape)]
    return np.pad(digit / digit.max(), margins).ravel()

SYNTHETIC = "synthetic digits, not MNIST"
FACES = ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono",
         "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique", "DejaVuSerif",
         "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol",
         "STIXGeneralBolIta", "cmr10", "cmtt10"]
VALIDATION_FACES = ["DejaVuSans-BoldOblique", "cmb10", "DejaVuSerif-BoldItalic"]
TEST_FACES = ["DejaVuSansMono-Oblique", "STIXGeneralItalic", "cmss10"]

def draw_digits(faces, n, rng):
    """Return (X, labels): n variants of the ten digits in these fonts of matplotlib."""
    X = []
    for face in faces:
        path = f"{matplotlib.get_data_path()}/fonts/ttf/{face}.ttf"
        font = ImageFont.truetype(path, 80)
        for digit in range(10):
            image = Image.new("L", (120, 120), 255)
            ImageDraw.Draw(image).text((60, 60), str(digit), 0, font, anchor="mm")
            X.append(prepare(image))
    chosen = rng.integers(len(X), size=n)
    return augment(np.array(X)[chosen], rng, 1.5), chosen % 10  # ten to a face, in order

# ---- Pictures --------------------------------------------------------------------------
BLUE, ORANGE = "#0072B2", "#D55E00"

def draw(title, history, params, X, labels, output):
    """Return a Figure of what a network learned, in four parts."""
    figure = Figure(figsize=(14, 11), layout="constrained")
    figure.suptitle(title, fontsize=14)
    curves, digits, mistakes, neurons = figure.subfigures(2, 2, wspace=0.04).flat
    curves.suptitle("Learning (the loss in training is with dropout, smoothing, augment)")
    epochs = range(1, len(history["loss"]) + 1)
    for ax, name in zip(curves.subplots(1, 2), ("loss", "accuracy")):
        if name in history:  # no accuracy is recorded in training
            ax.plot(epochs, history[name], "o-", color=BLUE, label="in training")
        ax.plot(epochs, history[f"val_{name}"], "s--", color=ORANGE, label="validation")
        ax.set(xlabel="epoch", title=name)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend()
    digits.suptitle("Test digits: some that are right, then the most confident mistakes")
    said = output.argmax(axis=1)
    right, wrong = np.flatnonzero(said == labels), np.flatnonzero(said != labels)
    wrong = wrong[np.argsort(-output[wrong].max(axis=1))]
    tiles(digits, X[[*right[:8], *wrong[:24]]], [f"{said[i]}" for i in right[:8]]
          + [f"said {said[i]}, is {labels[i]}" for i in wrong[:24]], cmap="gray")
    mistakes.suptitle("Mistakes on the test digits: what is taken for what")
    counts, _, _ = np.histogram2d(labels[wrong], said[wrong], bins=range(11))
    ax = mistakes.subplots()
    ax.imshow(counts, cmap="Blues", vmin=0, vmax=2 * counts.max() + 1)
    for i, j in np.argwhere(counts):
        ax.text(j, i, f"{counts[i, j]:.0f}", ha="center", va="center")
    ax.set(xlabel="what it said", ylabel="what it is", xticks=range(10), yticks=range(10))
    W = np.array(sorted(params["W1"].T, key=np.linalg.norm, reverse=True)[:40])
    neurons.suptitle(f"First layer, {len(W)} strongest neurons: red wants ink, blue none")
    limit = np.percentile(abs(W), 99.5)
    tiles(neurons, W, [""] * len(W), cmap="RdBu_r", vmin=-limit, vmax=limit)
    return figure

def tiles(figure, images, titles, **options):
    """Draw images (n, 784) into the figure in rows of eight, each below its title."""
    rows, columns = -(-len(images) // 8), min(8, len(images))
    for i, (image, title) in enumerate(zip(images, titles), start=1):
        ax = figure.add_subplot(rows, columns, i, frame_on=False, xticks=[], yticks=[])
        ax.imshow(image.reshape(28, 28), **options)
        ax.set_title(title, fontsize=8, pad=2, parse_math=False)

# ---- Command line ----------------------------------------------------------------------
def predict(options):
    """Print the likeliest digits of each image; return 1 if one could not be read."""
    weights, plot = options.weights or "mnist.npz", options.plot or "predictions.png"
    if not Path(weights).exists():
        if options.weights or not Path("synthetic.npz").exists():
            raise ValueError(f"{weights}: no such file; train, or give --weights")
        weights = "synthetic.npz"
        print(f"there is no mnist.npz: using {weights}, trained on {SYNTHETIC}")
    params, activations = nn.load_params(weights)
    if len(params["W1"]) != 784 or len(params[f"b{len(activations)}"]) != 10:
        raise ValueError(f"{weights}: not a network from 784 pixels to 10 digits")
    X, titles = [], []
    for path in options.predict:
        try:
            with naming(path), Image.open(path) as image:
                X.append(prepare(image))
            output, _ = nn.forward(params, X[-1:], activations)
            said = [f"{d} ({output[0, d]:.1%})" for d in np.argsort(-output[0])[:3]]
            print(f"{path}: {', '.join(said)}")
            titles.append("\n".join([ascii(Path(path).name[-20:]), *said]))
        except ValueError as error:  # the others can still be read
            print("train_mnist.py:", error, file=sys.stderr)
    if X:
        figure = Figure((2 * min(8, len(X)), 2.6 * -(-len(X) // 8)), layout="constrained")
        tiles(figure, X, titles, cmap="gray")
        with naming(plot):
            figure.savefig(plot)
        print(f"wrote {plot}")
    return 0 if len(X) == len(options.predict) else 1

def parse(arguments):
    """Return the options on the command line."""
    parser = argparse.ArgumentParser(description="Train a network on handwritten digits. "
        "99.3% in a minute or so: python train_mnist.py --hidden 512 512 --dropout 0 "
        "--augment --smooth 0.1 --batch-size 256 --epochs 25")
    parser.set_defaults(**SETTINGS)
    add = parser.add_argument
    add("--data", metavar="PATH", help="a folder with the four MNIST files, a CSV (label,"
        "pixel0,...) or synthetic; default: data/ beside this script, filled by download")
    add("--weights", metavar="FILE", help="to write or to read, default mnist.npz")
    add("--plot", metavar="FILE", help="to write, else mnist.png or predictions.png")
    add("--predict", metavar="IMAGE", nargs="+", help="read these instead of training")
    add("--hidden", type=int, nargs="*", help="neurons of each hidden layer %(default)s")
    add("--activation", choices=nn.ACTIVATIONS, help="of hidden layers [%(default)s]")
    add("--optimizer", choices=nn.OPTIMIZERS, help="how to step [%(default)s]")
    add("--schedule", choices=SCHEDULES, help="how lr falls [%(default)s]")
    add("--augment", type=float, nargs="?", const=1.0, help="vary the digits, by 1 or so")
    add("--batch-size", type=int, help="digits to a step [%(default)s]")
    numbers = {"epochs": "passes over the training digits", "lr": "learning rate",
               "l1": "penalty on |W|", "l2": "penalty on W^2", "seed": "of all chance",
               "dropout": "share of neurons off", "smooth": "share of a target to spread"}
    for name, text in numbers.items():
        add(f"--{name}", type=type(SETTINGS[name]), help=f"{text} [%(default)s]")
    options = parser.parse_args(arguments)
    for name, most in dict(lr=1e38, l1=99, l2=99, smooth=1, augment=99, seed=1e9).items():
        if not 0 <= getattr(options, name) <= most:
            parser.error(f"argument --{name}: expected a number from 0 to {most:g}")
    return options

def main(arguments=None):
    """Run the command line; return the exit code."""
    options = parse(arguments)
    try:
        return predict(options) if options.predict else train(options) or 0
    except (OSError, ValueError, ArithmeticError, MemoryError) as error:
        print("train_mnist.py:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("train_mnist.py: interrupted", file=sys.stderr)
        return 130

if __name__ == "__main__":
    with contextlib.suppress(AttributeError):  # notebooks have no reconfigure
        sys.stdout.reconfigure(errors="backslashreplace")  # for names a console lacks
    sys.exit(main())
