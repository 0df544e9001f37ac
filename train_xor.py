# SPDX-License-Identifier: MIT
"""train_xor.py: small experiments with nn.py that one can see, each in seconds.

    python train_xor.py             learns XOR; with --hidden 1, one neuron, it cannot
    python train_xor.py step        one step of training, with every number
    python train_xor.py spiral      a curved boundary; --points 30 --noise 0.6 over-fits
    python train_xor.py search      why gradients, not guesses, nor nudges
    python train_xor.py optimizers  rates too low and too high; every rule
    python train_xor.py vanishing   why deep networks of sigmoids hardly learn
"""
import argparse
import os
import sys
from pathlib import Path

SCRIPT = __name__ == "__main__" and "__file__" in globals()  # not pasted into a cell
if SCRIPT:
    os.environ["MPLBACKEND"] = "agg"  # the backend of a notebook may be missing here
# Waiting threads of OpenBLAS spin: beside busy programs, all takes much longer.
os.environ.setdefault("OPENBLAS_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))

import numpy as np
from matplotlib.animation import PillowWriter  # it needs Pillow, which matplotlib brings
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure

import nn

# Colours that a colour-blind person can tell apart (Okabe & Ito 2008)
COLORS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000"]

# ---- Shared ----------------------------------------------------------------------------
def train(X, Y, sizes, activations, seed, **training):
    """Return (params, history) of nn.gradient_descent from new weights."""
    rng = np.random.default_rng(seed)  # first for the weights, then for the order of X
    params = nn.init_params(sizes, activations, rng)
    return nn.gradient_descent(params, X, Y, activations, seed=rng, **training)

def typed(key, value):
    """Return a setting as one types it: typed("hidden", [16, 8]) is --hidden 16 8."""
    values = value if isinstance(value, list) else [value]
    return " ".join(["--" + key.replace("_", "-"), *map(str, values)])

def try_changes(train_once, settings, changes, n_seeds, judge_by):
    """Print what runs get right, and their loss, as it is and with each change."""
    seeds = range(settings["seed"], settings["seed"] + n_seeds)
    print(f"   right    loss       means of seeds {seeds[0]} to {seeds[-1]}; "
          f"helps: {judge_by} never worse")
    costs = {}  # for each change an array, a number for each seed: lower is better
    for change in [{}, *changes]:
        new = {key: value for key, value in change.items() if settings[key] != value}
        words = " ".join(typed(*item) for item in new.items()) or "as it is"
        if words in costs:  # it changes nothing, or repeats one above
            continue
        results = []
        for seed in seeds:
            try:
                results.append(train_once(**(settings | new | {"seed": seed})))
            except FloatingPointError:  # one that diverges must not cost the others
                results.append({"right": 0.0, "loss": np.inf})
        right = np.array([result["right"] for result in results])
        loss = np.array([result["loss"] for result in results])
        costs[words] = loss if judge_by == "loss" else 1 - right
        before = costs["as it is"]
        better = np.all(costs[words] <= before) and np.any(costs[words] < before)
        verdict = "helps" if better else ""
        print(f"{right.mean():8.1%} {loss.mean():7.3f} {verdict:5} {words}")

def draw_regions(ax, params, activations, X, labels, title):
    """Draw what the network says, white where undecided, and X with the labels."""
    low, high = X.min() - 0.3, X.max() + 0.3
    xs = np.linspace(low, high, 200)
    grid = np.stack(np.meshgrid(xs, xs), axis=-1).reshape(-1, 2)
    output, _ = nn.forward(params, grid, activations)
    if output.shape[1] == 1:
        output = np.hstack([1 - output, output])  # for no and for yes
    colors = to_rgba_array(COLORS)[output.argmax(axis=1)]
    second, first = np.sort(output, axis=1)[:, -2:].T
    colors[:, 3] = 0.65 * (first - second).clip(0, 1).round(1)  # 11 shades: a small file
    ax.imshow(colors.reshape(200, 200, 4), origin="lower", extent=(low, high, low, high))
    for label, mark in zip(np.unique(labels), "os^Dv*P"):  # marks for a grey printer
        ax.scatter(*X[labels == label].T, s=9 + 400 / len(X), color=COLORS[label],
                   marker=mark, edgecolor="black", linewidth=0.4)
    ax.set(xlabel="x1", ylabel="x2", title=title)

def draw_curves(ax, curves, title, **labels):
    """Draw {name: numbers} over 1, 2, ...; the names stand below, in no one's way."""
    ax.set_prop_cycle(color=COLORS * 4, linestyle=["-", "--", "-.", ":"] * 7)
    for name, curve in curves.items():
        ax.plot(range(1, len(curve) + 1), curve, label=name, marker=".", markevery=[-1])
    ax.set(title=title, **labels)
    if len(curves) > 1:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)

# ---- XOR: what a single neuron cannot do -----------------------------------------------
XOR_SETTINGS = dict(hidden=[8], activation="tanh", output="sigmoid", loss="auto",
    optimizer="adam", lr=0.1, schedule="constant", batch_size=4, epochs=150, seed=0,
    plot="xor.png")
XOR_CHANGES = [{"hidden": [8], "activation": "tanh"}, {"optimizer": "adam", "lr": 0.1},
    {"hidden": [8], "activation": "tanh", "optimizer": "adam", "lr": 0.1},
    {"hidden": [16]}, {"activation": "tanh"}, {"optimizer": "adam"}, {"lr": 0.1},
    {"epochs": 2000}, {"schedule": "constant"}, {"output": "sigmoid", "loss": "auto"}]
XOR_X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
XOR_Y = np.array([0, 1, 1, 0])
LOSS_FOR = {"sigmoid": "binary_cross_entropy", "softmax": "cross_entropy"}  # else mse

def train_on_xor(hidden, activation, output, loss, **training):
    """Return a dict: what was trained, what it says of the four points, how right."""
    activations = (activation,) * len(hidden) + (output,)
    sizes = (2, *hidden, 2 if output == "softmax" else 1)
    loss = LOSS_FOR.get(output, "mse") if loss == "auto" else loss
    params, history = train(XOR_X, XOR_Y, sizes, activations, loss=loss, **training)
    outputs, _ = nn.forward(params, XOR_X, activations)
    outputs = np.round(outputs[:, -1], 3)  # as printed; the last of softmax is for 1
    verdicts = np.select([outputs == 0.5, (outputs > 0.5) == XOR_Y],
                         ["undecided", "right"], "WRONG")
    return {"params": params, "activations": activations, "losses": history["loss"],
            "outputs": outputs, "verdicts": verdicts,
            "right": float(all(verdicts == "right")),
            "loss": nn.evaluate(params, XOR_X, XOR_Y, activations, loss)["loss"]}

def xor(**settings):
    """A small network learns XOR; if it fails, changes are tried over ten seeds."""
    run = train_on_xor(**settings)
    solved = run["right"] == 1
    print("x1 x2 | xor | output")
    for (x1, x2), y, said, verdict in zip(XOR_X, XOR_Y, run["outputs"], run["verdicts"]):
        print(f" {x1}  {x2} |  {y}  | {said:6.3f} {verdict}")
    print(f"loss {run['loss']:.4f}:", "solved" if solved else "NOT solved")
    if not solved:
        if settings["hidden"] in ([], [1]) or settings["activation"] == "linear":
            print("No seed helps, nor lr: this network can only draw one straight line,\n"
                  "and none parts (0, 1), (1, 0) from the other two.")
        try_changes(train_on_xor, settings, XOR_CHANGES, n_seeds=10, judge_by="right")

    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    regions, curve = figure.subplots(1, 2)
    draw_regions(regions, run["params"], run["activations"], XOR_X, XOR_Y,
                 "blue: 0, orange: 1, white: undecided")
    draw_curves(curve, {"loss": run["losses"]}, "loss", xlabel="epoch",
                ylim=(0, 1.1 * max(run["losses"])))
    return {"figure": figure, "solved": solved}

# ---- Step: every number of one step of training ----------------------------------------
STEP_SETTINGS = dict(lr=0.5)
STEP = """
# One neuron, one example: the same number as a sum, a dot product, as Z1[0, 0]
X = np.array([[1.0, 2.0], [3.0, -1.0]])
W1 = np.array([[0.1, -0.4, 0.3], [0.5, 0.2, -0.6]])
b1 = np.array([0.1, 0.3, 0.2])
z = X[0, 0] * W1[0, 0] + X[0, 1] * W1[1, 0] + b1[0]
z = X[0] @ W1[:, 0] + b1[0]
Z1 = X @ W1 + b1
# Forward: 2 examples, 2 inputs, 3 hidden neurons (relu), 1 output (sigmoid)
A1 = np.maximum(Z1, 0)
W2 = np.array([[0.6], [-0.2], [0.4]])
b2 = np.array([-0.1])
Z2 = A1 @ W2 + b2
A2 = 1 / (1 + np.exp(-Z2))
Y = np.array([[1.0], [0.0]])
loss = -np.mean(np.log(np.where(Y == 1, A2, 1 - A2)))
# Backward: how fast the loss grows with each number; with Z2: (A2 - Y) / n
dZ2 = (A2 - Y) / len(X)
dW2 = A1.T @ dZ2
db2 = dZ2.sum(axis=0)
dA1 = dZ2 @ W2.T
dZ1 = dA1 * (A1 > 0)
dW1 = X.T @ dZ1
db1 = dZ1.sum(axis=0)
# Update: each weight and bias goes lr times its gradient the other way
new_W1 = W1 - lr * dW1
new_b1 = b1 - lr * db1
new_W2 = W2 - lr * dW2
new_b2 = b2 - lr * db2
new_A1 = np.maximum(X @ new_W1 + new_b1, 0)
new_A2 = 1 / (1 + np.exp(-(new_A1 @ new_W2 + new_b2)))
new_loss = -np.mean(np.log(np.where(Y == 1, new_A2, 1 - new_A2)))
# Nudge: does the loss grow with W1[0, 0] as fast as the --> above says?
up_W1 = W1 + np.array([[0.001, 0, 0], [0, 0, 0]])
up_A1 = np.maximum(X @ up_W1 + b1, 0)
up_A2 = 1 / (1 + np.exp(-(up_A1 @ W2 + b2)))
up_loss = -np.mean(np.log(np.where(Y == 1, up_A2, 1 - up_A2)))
growth = (up_loss - loss) / 0.001
slope = dW1[0, 0]
"""

def step(lr):
    """One step of training: lines of NumPy, run as printed, and their numbers."""
    made = {"np": np, "lr": lr}  # by name, what the lines have made so far
    for line in STEP.strip().splitlines():
        if line.startswith("#"):
            print(f"\n{line}")
            continue
        exec(line, made)
        name, _, _ = line.partition(" = ")
        code = f"{line:48}-->" if name in ("dW1", "growth", "slope") else f"{line:51}"
        for row in np.atleast_2d(made[name]):
            print(code + "".join(f" {number + 0:8.5f}" for number in row))
            code = " " * len(code)

    params = {key: made[key] for key in ("W1", "b1", "W2", "b2")}
    _, cache = nn.forward(params, made["X"], ("relu", "sigmoid"))
    loss = "binary_cross_entropy"
    grads = nn.backward(params, cache, made["Y"], ("relu", "sigmoid"), loss)
    new_params, _ = nn.update(params, grads, {}, lr)
    same = all(np.allclose(made[f"d{key}"], grads[key], 1e-12, 1e-12)
               and np.allclose(made[f"new_{key}"], new_params[key], 1e-12, 1e-12)
               for key in params)
    fell = bool(made["new_loss"] < made["loss"])
    print("\nThe loss", "fell." if fell else "did NOT fall; with --lr 0.5 it does.")
    print("nn.backward and nn.update:", "same" if same else "NOT the same", "to 1e-12.")
    return {"solved": fell and same}

# ---- Spiral: a boundary that bends -----------------------------------------------------
SPIRAL_SETTINGS = dict(points=300, noise=0.2, hidden=[64, 64], activation="relu",
    optimizer="adam", lr=0.01, schedule="linear", batch_size=32, epochs=100, seed=0,
    l1=0.0, l2=0.0, dropout=0.0, gif="", plot="spiral.png")

def spiral_data(points, noise, seed):
    """Return (X (n, 2), labels): three arms that wind out from the origin (CS231n)."""
    rng = np.random.default_rng([seed, 1])  # or the noise is the first weights again
    labels = np.repeat(np.arange(3), points)
    radius = np.tile(np.linspace(0, 1, points), 3)
    angle = 4 * (labels + radius) + noise * rng.standard_normal(len(labels))
    return radius[:, None] * np.column_stack([np.sin(angle), np.cos(angle)]), labels

def train_on_spiral(points, noise, hidden, activation, seed, **training):
    """Return a dict: params, activations, history; how good they are on new points."""
    activations = (activation,) * len(hidden) + ("softmax",)
    params, history = train(
        *spiral_data(points, noise, seed), (2, *hidden, 3), activations, seed,
        validation=spiral_data(500, noise, seed + 10**6), **training)  # new points
    return {"params": params, "activations": activations, "history": history,
            "right": history["val_accuracy"][-1], "loss": history["val_loss"][-1]}

def spiral(gif, **settings):
    """A network learns three arms; if new points go much worse, changes are tried."""
    data = spiral_data(settings["points"], settings["noise"], settings["seed"])
    run = train_on_spiral(**settings)
    own = nn.evaluate(run["params"], *data, run["activations"])
    print(f"training points: {own['accuracy']:5.1%} right, loss {own['loss']:.3f}\n"
          f"new points:      {run['right']:5.1%} right, loss {run['loss']:.3f}")
    if own["accuracy"] > run["right"] + 0.03:
        print("It over-fits: it knows its own points better than new ones. On those:")
        changes = [{"points": 4 * settings["points"]}, {"l2": 0.003}, {"dropout": 0.2},
                   {"epochs": (settings["epochs"] + 1) // 2}, {"hidden": [16]}]
        try_changes(train_on_spiral, settings, changes, n_seeds=5, judge_by="loss")
        print("The surer a mistake, the more loss it costs. Usually more points make\n"
              "fewer; l2, dropout, fewer epochs make the network less sure of them.")

    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    regions, curve = figure.subplots(1, 2)
    draw_regions(regions, run["params"], run["activations"], *data, "what it says where")
    curves = {"training points, before each step": run["history"]["loss"],
              "new points, after each epoch": run["history"]["val_loss"]}
    draw_curves(curve, curves, "loss", xlabel="epoch", ylim=(0, None))
    if gif:
        write_film(gif, data, settings)
    return {"figure": figure, "solved": True}

def write_film(path, data, settings):
    """Write how the regions change, after each step at first, then more rarely."""
    # With all points in a batch, an epoch is one step. A lower lr shows more of them.
    slow = {"batch_size": 3 * settings["points"], "lr": settings["lr"] / 3,
            "epochs": 4 * settings["epochs"]}
    film = []
    run = train_on_spiral(
        **settings | slow, on_epoch=lambda epoch, params, history: film.append(params))
    figure = Figure(figsize=(4, 4), layout="constrained")
    ax = figure.subplots()
    writer = PillowWriter(fps=6)
    with writer.saving(figure, path, dpi=76):
        steps = np.unique(np.geomspace(1, len(film), 58).astype(int)).tolist()
        for shown in steps + [len(film)] * 12:  # the last one stays for two seconds
            ax.clear()
            draw_regions(ax, film[shown - 1], run["activations"], *data, f"step {shown}")
            writer.grab_frame()
    print(f"wrote {path}")

# ---- Search: what gradients are for ----------------------------------------------------
SEARCH_SETTINGS = dict(passes=600, seed=0, plot="search.png")
SIZES = (2, 32, 32, 3)  # from here on, for 300 points of the spiral
ACTIVATIONS = ("tanh", "tanh", "softmax")

def search(passes, seed):
    """Three ways to learn with the same work; a backward pass counts as two forward."""
    data = spiral_data(100, 0.2, seed)
    rng = np.random.default_rng(seed)
    start = nn.init_params(SIZES, ACTIVATIONS, rng)  # as in train, for the same seed
    ways = {"random guesses": lambda best: nn.init_params(SIZES, ACTIVATIONS, rng),
            "nudges kept if better": lambda best: {
                key: p + rng.normal(0, 0.1, p.shape) for key, p in best.items()}}
    found = {}
    for name, vary in ways.items():
        found[name] = start
        lowest = nn.evaluate(start, *data, ACTIVATIONS)["loss"]
        for _ in range(passes):
            params = vary(found[name])
            loss = nn.evaluate(params, *data, ACTIVATIONS)["loss"]
            if loss < lowest:
                found[name] = params
                lowest = loss
    found["gradient descent"], _ = train(*data, SIZES, ACTIVATIONS, seed, lr=0.03,
        optimizer="adam", batch_size=300, epochs=max(1, passes // 3))

    figure = Figure(figsize=(8.4, 3), layout="constrained")
    for ax, (name, params) in zip(figure.subplots(1, 3), found.items()):
        right = nn.evaluate(params, *data, ACTIVATIONS)["accuracy"]
        print(f"{name}: {right:.1%} right")
        draw_regions(ax, params, ACTIVATIONS, *data, f"{name}: {right:.0%}")
    print("A gradient tells every weight its way; a guess or a nudge tries one of many.")
    return {"figure": figure, "solved": True}

# ---- Optimizers: many ways to use the same gradients -----------------------------------
OPTIMIZERS_SETTINGS = dict(epochs=200, seed=0, plot="optimizers.png")
RATES = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]

def losses_of(optimizer, lr, epochs, seed):
    """Return the loss at each step on a whole spiral, infinite if it diverges."""
    try:
        _, history = train(*spiral_data(100, 0.2, seed), SIZES, ACTIVATIONS, seed, lr=lr,
                           epochs=epochs, batch_size=300, optimizer=optimizer)
        return history["loss"]
    except FloatingPointError:
        return [np.inf] * epochs

def optimizers(epochs, seed):
    """Learning rates of sgd, and every rule of nn.OPTIMIZERS from the same start."""
    runs = {name: [losses_of(name, lr, epochs, seed) for lr in RATES]
            for name in nn.OPTIMIZERS}
    best = {name: np.argmin(np.mean(runs[name], axis=1)) for name in runs}
    panels = {"sgd at three rates": [("sgd", i) for i in (0, best["sgd"], -1)],
              f"each rule, best mean of {len(RATES)} rates": list(best.items())}
    print(f"Loss before the first and before the last of {epochs} steps")
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    for ax, (title, shown) in zip(figure.subplots(1, 2), panels.items()):
        print(f"{title}:")
        curves = {f"{name}, lr {RATES[i]:g}": runs[name][i] for name, i in shown}
        for words, losses in curves.items():
            print(f"  {words:20} {losses[0]:8.4f} {losses[-1]:8.4f}")
        draw_curves(ax, curves, title, xlabel="step", ylabel="loss", yscale="log")
    print("Too low a rate crawls, too high a one jumps; the other rules get further.")
    return {"figure": figure, "solved": True}

# ---- Vanishing gradients: why deep sigmoid networks hardly learn -----------------------
VANISHING_SETTINGS = dict(layers=10, width=64, seed=0, plot="vanishing.png")

def vanishing(layers, width, seed):
    """How large the entries of dW are in each hidden layer before any training."""
    X, labels = spiral_data(100, 0.2, seed)
    curves = {}
    print("Size of the entries of dW in the hidden layers, before any training:")
    for name in ("sigmoid", "tanh", "relu"):
        activations = (name,) * layers + ("softmax",)
        sizes = (2, *[width] * layers, 3)
        params = nn.init_params(sizes, activations, seed, float)  # float32 ends at 1e-38
        _, cache = nn.forward(params, X, activations)
        grads = nn.backward(params, cache, nn.one_hot(labels, 3), activations)
        curves[name] = [np.mean(grads[f"W{l}"] ** 2) ** 0.5 for l in range(1, layers + 1)]
        print(f"{name:8} layer 1: {curves[name][0]:.2g}, last: {curves[name][-1]:.2g}")
    print("Going back, each layer multiplies by W and a slope; sigmoid's is at most 1/4.")
    figure = Figure(figsize=(8.4, 4.4), layout="constrained")
    draw_curves(figure.subplots(), curves, "how much gradient reaches each layer",
                xlabel="hidden layer", ylabel="root mean square of dW", yscale="log")
    return {"figure": figure, "solved": True}

# ---- Command line ----------------------------------------------------------------------
# To add one, write its function, its settings (each becomes an option), and a line here.
EXPERIMENTS = {  # name: (function, which returns "figure" and "solved", settings)
    "xor": (xor, XOR_SETTINGS),
    "step": (step, STEP_SETTINGS),
    "spiral": (spiral, SPIRAL_SETTINGS),
    "search": (search, SEARCH_SETTINGS),
    "optimizers": (optimizers, OPTIMIZERS_SETTINGS),
    "vanishing": (vanishing, VANISHING_SETTINGS),
}
CHOICES = {"activation": [name for name in nn.ACTIVATIONS if name != "softmax"],
           "output": list(nn.ACTIVATIONS), "loss": ["auto", *nn.LOSSES],
           "optimizer": list(nn.OPTIMIZERS), "schedule": list(nn.SCHEDULES)}
ENDINGS = {"plot": (".png", ".pdf", ".svg"), "gif": (".gif",)}
MARKS = {"plot": b"Matplotlib", "gif": b"NETSCAPE"}  # in each such file that we write

def parse(arguments):
    """Return (experiment, its settings); if the arguments name none, it is xor."""
    name = "xor"
    if arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
    parser = argparse.ArgumentParser(
        f"train_xor.py {name}", usage=argparse.SUPPRESS,
        description=f"{__doc__}\nOptions of {name}; each has its own, as in step --help",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    if name not in EXPERIMENTS:
        parser.error(f"no such experiment - choose from {', '.join(EXPERIMENTS)}")
    experiment, defaults = EXPERIMENTS[name]
    for key, default in defaults.items():
        many = isinstance(default, list)
        parser.add_argument(
            "--" + key.replace("_", "-"), default=default, choices=CHOICES.get(key),
            type=int if many else type(default), nargs="*" if many else None,
            help=f"default: {'none' if default == '' else default}")
    settings = vars(parser.parse_args(arguments))
    for key, value in settings.items():
        if key in ENDINGS and value and not value.lower().endswith(ENDINGS[key]):
            parser.error(f"--{key} {value}: expected {' or '.join(ENDINGS[key])}")
        if key in MARKS and Path(value).is_file():
            if MARKS[key] not in Path(value).read_bytes():
                parser.error(f"{value} is not ours: name another by --{key}")
        numbers = np.array(value)
        least = 1 if numbers.dtype.kind == "i" and key != "seed" else 0
        if numbers.dtype.kind != "U" and not np.all(numbers >= least):  # nor is nan
            parser.error(f"{typed(key, value)}: expected {least} or more")
    return experiment, settings

def main(arguments):
    """Run an experiment as the arguments say; return the exit code."""
    try:
        experiment, settings = parse(arguments)
        plot = settings.pop("plot", "")
        with np.errstate(all="ignore"):  # what is not finite shows in what is printed
            result = experiment(**settings)
        if plot:
            result["figure"].savefig(plot, dpi=100, format=plot[-3:].lower())
            print(f"wrote {plot}")
        return 0 if result["solved"] else 1
    except KeyboardInterrupt:
        print("train_xor.py: interrupted", file=sys.stderr)
        return 130
    except (OSError, ValueError, ArithmeticError, MemoryError) as error:
        print("train_xor.py:", " ".join(str(error).split()), file=sys.stderr)
        return 1

if SCRIPT:
    if hasattr(sys.stdout, "reconfigure"):  # not that of IPython's %run
        sys.stdout.reconfigure(errors="backslashreplace")  # for names a console lacks
    sys.exit(main(sys.argv[1:]))
