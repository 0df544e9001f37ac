# SPDX-License-Identifier: MIT
# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.26", "matplotlib"]
# ///
"""train_xor.py: small experiments with nn.py that one can see, each in seconds.

    python train_xor.py             a network learns XOR, which no single neuron can
    python train_xor.py step        one step of training, with every number
    python train_xor.py spiral      a curved boundary; over-fitting, and what helps
    python train_xor.py search      why gradients: against guessing and against nudging
    python train_xor.py optimizers  rates too small and too large; every rule compared
    python train_xor.py vanishing   why deep networks of sigmoids hardly learn
"""
import argparse
import inspect
import os
import sys
import numpy as np
from matplotlib.animation import PillowWriter  # it needs Pillow, which matplotlib brings
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
import nn

# Colours that a colour-blind person can tell apart (Okabe & Ito 2008)
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]

SCHEDULES = {"constant": lambda done, E: 1.0,  # factor on lr after done of E epochs
             "linear": lambda done, E: 1 - done / E,
             "step": lambda done, E: 0.1 ** (3 * done // E),  # a tenth after each third
             "exponential": lambda done, E: 0.01 ** (done / E),
             "inverse": lambda done, E: 1 / (1 + 9 * done / E)}

# ---- Shared; each experiment returns (figure or None, whether it went as it should) ----
def train(X, Y, sizes, activations, loss, epochs, schedule, seed, **options):
    """Return (params, history) of nn.gradient_descent from new params."""
    return nn.gradient_descent(
        nn.init_params(sizes, activations, seed), X, Y, activations, loss, epochs=epochs,
        seed=seed, schedule=lambda done: SCHEDULES[schedule](done, epochs), **options)

def try_changes(run, settings, changes, n_seeds, what):
    """Print the mean of run(**settings)[-1] over some seeds, as it is and changed."""
    seeds = range(settings["seed"], settings["seed"] + n_seeds)
    print(f"What helps, hurting no seed? {what}, seeds {seeds[0]} to {seeds[-1]}:")
    for change in [{}, *(c for c in changes if settings | c != settings)]:
        right = np.array([run(**settings | change | {"seed": s})[-1] for s in seeds])
        before = before if change else right  # the first change, {}, is as it is
        # A change helps if it makes no seed worse, and the mean better by half a point.
        helps = (right >= before).all() and right.mean() > before.mean() + 0.005
        typed = [f"--{key} {str(value).strip('(,)')}" for key, value in change.items()]
        print(f"{right.mean():8.1%} {'helps' if helps else '':5}", *typed or ["as it is"])

def draw_regions(ax, params, activations, X, labels, title):
    """Draw what the network says, paler where less sure, and X in the true colours."""
    low, high = X.min() - 0.3, X.max() + 0.3
    xs = np.linspace(low, high, 200)
    grid = np.stack(np.meshgrid(xs, xs), axis=-1).reshape(-1, 2)
    output, _ = nn.forward(params, grid, activations)
    if output.shape[1] == 1:
        output = np.hstack([1 - output, output])  # for no and for yes
    said, sure = output.argmax(axis=1), output.max(axis=1).clip(0, 1)
    style = {"cmap": ListedColormap(COLORS[:3]), "vmin": -0.5, "vmax": 2.5}
    ax.imshow(said.reshape(200, 200), alpha=0.6 * sure.reshape(200, 200) ** 2,
              origin="lower", extent=(low, high, low, high), **style)
    ax.scatter(*X.T, c=labels, s=8 + 400 / len(X), edgecolor="black", lw=0.3, **style)
    ax.set(xlabel="x1", ylabel="x2", title=title)

def draw_curves(ax, curves, **labels):
    """Draw {name: numbers} as lines over 1, 2, ...; up to 28 lines look different."""
    ax.set_prop_cycle(color=COLORS * 4, linestyle=["-", "--", "-.", ":"] * 7)
    for name, curve in curves.items():
        ax.plot(range(1, len(curve) + 1), curve, label=name)
    ax.set(**labels)
    ax.grid(alpha=0.3)
    ax.legend()

# ---- XOR: what a single neuron cannot do -----------------------------------------------
XOR_X, XOR_Y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
LOSS_FOR = {"sigmoid": "binary_cross_entropy", "softmax": "cross_entropy"}  # or else mse

def train_on_xor(hidden, activation, output, loss, **options):
    """Return (activations, params, losses, outputs for the four points, solved)."""
    activations = (activation,) * len(hidden) + (output,)
    sizes = (2, *hidden, 2 if output == "softmax" else 1)
    loss = LOSS_FOR.get(output, "mse") if loss == "auto" else loss
    params, history = train(XOR_X, XOR_Y, sizes, activations, loss, **options)
    outputs = nn.forward(params, XOR_X, activations)[0][:, -1]
    return activations, params, history["loss"], outputs, all((outputs > 0.5) == XOR_Y)

def xor(hidden=(8,), activation="tanh", output="sigmoid", loss="auto", optimizer="adam",
        lr=0.1, schedule="constant", batch_size=4, epochs=150, seed=0):
    """A small network learns XOR; if it fails, some changes are tried over ten seeds."""
    settings = dict(locals())  # the parameters by name
    activations, params, losses, outputs, solved = train_on_xor(**settings)
    print("x1 x2 | xor | output")
    for (x1, x2), y, a in zip(XOR_X, XOR_Y, outputs):
        print(f" {x1}  {x2} |  {y}  | {a:6.3f} {'right' if (a > 0.5) == y else 'WRONG'}")
    print(f"loss {losses[-1]:.4f}:", "solved" if solved else "NOT solved")
    if not hidden or activation == "linear":
        print("No seed helps: without a hidden layer that bends, it draws a straight "
              "line, and\nnone parts (0, 1), (1, 0) from the others; 0.500 is neither.")
    if not solved:
        changes = [{"activation": "tanh", "hidden": (8,)}, {"hidden": (16,)}, {"lr": 0.1},
                   {"activation": "tanh"}, {"optimizer": "adam"}, {"epochs": 3 * epochs},
                   {"schedule": "constant"}, {"output": "sigmoid", "loss": "auto"}]
        try_changes(train_on_xor, settings, changes, 10, "Share of runs that solve XOR")
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_regions(left, params, activations, XOR_X, XOR_Y, "blue: 0, orange: 1")
    right.axhline(0, color="black", linewidth=0.8)  # so that the axis goes down to 0
    draw_curves(right, {"loss": losses}, xlabel="epoch", title="Loss")
    return figure, solved

# ---- Step: every number of one step of training ----------------------------------------
STEP = """
# One neuron, one example: the same number as a sum, a dot product, and as Z1[0, 0]
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
loss = np.mean(-np.log(np.where(Y == 1, A2, 1 - A2)))
# Backward: how fast the loss grows with each number above; with Z2, (A2 - Y) / n
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
new_loss = np.mean(-np.log(np.where(Y == 1, new_A2, 1 - new_A2)))
# Nudge: if W1[0, 0] alone is raised by a tiny h, the loss grows by about dW1[0, 0] * h
h = 0.001
up_A1 = np.maximum(X @ (W1 + [[h, 0, 0], [0, 0, 0]]) + b1, 0)
up_A2 = 1 / (1 + np.exp(-(up_A1 @ W2 + b2)))
up_loss = np.mean(-np.log(np.where(Y == 1, up_A2, 1 - up_A2)))
growth = (up_loss - loss) / h
slope = dW1[0, 0]
"""

def step(lr=0.5):
    """One step of training: lines of NumPy, executed as printed, and their numbers."""
    made = {"np": np, "lr": lr}  # by name, what the lines have made so far
    for line in STEP.strip().splitlines():
        if line.startswith("#"):
            print(f"\n{line}")
        else:
            exec(line, made)
            rows = np.atleast_2d(made[line.split(" = ")[0]])
            numbers = ["".join(f" {number + 0:9.6f}" for number in row) for row in rows]
            print(f"{line:65}" + f"\n{'':65}".join(numbers))
    activations = ("relu", "sigmoid")
    params = {key: made[key] for key in ("W1", "b1", "W2", "b2")}
    _, cache = nn.forward(params, made["X"], activations)
    grads = nn.backward(params, cache, made["Y"], activations, "binary_cross_entropy")
    new_params, _ = nn.update(params, grads, {}, lr)
    same = all(np.allclose(made["d" + key], grads[key], 1e-12, 1e-12) and
               np.allclose(made["new_" + key], new_params[key], 1e-12, 1e-12)
               for key in params)
    fell = bool(made["new_loss"] < made["loss"])
    print("\nThe loss", "fell." if fell else "did NOT fall; with --lr 0.5 it does.")
    print("nn.backward and nn.update:", "same" if same else "NOT the same", "to 1e-12.")
    return None, fell and same

# ---- Spiral: a boundary that bends -----------------------------------------------------
def spiral_data(points, noise, seed):
    """Return (X (n, 2), labels): three arms that wind out from the origin (CS231n)."""
    rng, labels = np.random.default_rng(seed), np.repeat(np.arange(3), points)
    radius = np.tile(np.linspace(0, 1, points), 3)
    angle = 4 * (labels + radius) + noise * rng.standard_normal(len(labels))
    return radius[:, None] * np.column_stack([np.sin(angle), np.cos(angle)]), labels

def train_on_spiral(points, noise, hidden, activation, seed, **options):
    """Return (activations, params after each epoch, data, new data, accuracy there)."""
    activations = (activation,) * len(hidden) + ("softmax",)
    film = []  # the params after each epoch
    data, new = spiral_data(points, noise, seed), spiral_data(1000, noise, seed + 10**6)
    train(*data, (2, *hidden, 3), activations, "cross_entropy", seed=seed, **options,
          on_epoch=lambda epoch, params, history: film.append(params))
    held_out = nn.evaluate(film[-1], *new, activations)["accuracy"]
    return activations, film, data, new, held_out

def write_film(path, film, activations, data):
    """Write the regions as they change from epoch to epoch, more slowly at first."""
    figure, writer = Figure(figsize=(4, 4), layout="constrained"), PillowWriter(fps=6)
    ax = figure.subplots()
    epochs = np.unique(np.geomspace(1, len(film), 40).astype(int)).tolist()
    with writer.saving(figure, path, dpi=80):
        for epoch in epochs + epochs[-1:] * 10:  # the last one stays
            ax.clear()
            draw_regions(ax, film[epoch - 1], activations, *data, f"epoch {epoch}")
            writer.grab_frame()
    print(f"wrote {path}")

def spiral(hidden=(64, 64), activation="relu", optimizer="adam", lr=0.01, batch_size=64,
           schedule="linear", epochs=100, seed=0, points=300, noise=0.2, l1=0.0, l2=0.0,
           dropout=0.0, gif=""):
    """A network learns three arms; if new points go much worse, changes are tried."""
    settings = {key: value for key, value in locals().items() if key != "gif"}
    activations, film, data, new, held_out = train_on_spiral(**settings)
    scores = {"training points": [nn.evaluate(p, *data, activations) for p in film],
              "new points": [nn.evaluate(p, *new, activations) for p in film]}
    own = scores["training points"][-1]["accuracy"]
    print(f"right: {own:.1%} of the training points, {held_out:.1%} of new points")
    if own - held_out > 0.03:
        print("It over-fits: it knows its own points better than new ones.")
        changes = [{"points": 4 * points}, {"l2": 0.003}, {"dropout": 0.2},
                   {"epochs": epochs // 3 + 1}, {"hidden": (16,)}]
        try_changes(train_on_spiral, settings, changes, 5, "Share of new points right")
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    draw_regions(axes[0], film[-1], activations, *data, "what the network says")
    for ax, key in zip(axes[1:], ("loss", "accuracy")):
        curves = {name: [score[key] for score in scores[name]] for name in scores}
        draw_curves(ax, curves, xlabel="epoch", title=key)
    if gif:
        write_film(gif, film, activations, data)
    return figure, True

# ---- Search: what gradients are for ----------------------------------------------------
SIZES, ACTIVATIONS = (2, 32, 32, 3), ("tanh", "tanh", "softmax")  # on the spiral again

def search(passes=600, seed=0):
    """Three ways to learn with the same work; a backward pass counts as two forward."""
    X, labels = spiral_data(100, 0.2, seed)
    rng, found = np.random.default_rng(seed), {}
    start = nn.init_params(SIZES, ACTIVATIONS, rng)
    ways = {"random guesses": lambda best: nn.init_params(SIZES, ACTIVATIONS, rng),
            "nudges kept if better": lambda best: {
                key: p + rng.normal(0, 0.1, p.shape) for key, p in best.items()}}
    for name, propose in ways.items():
        found[name], lowest = start, nn.evaluate(start, X, labels, ACTIVATIONS)["loss"]
        for _ in range(passes):
            params = propose(found[name])
            loss = nn.evaluate(params, X, labels, ACTIVATIONS)["loss"]
            if loss < lowest:
                found[name], lowest = params, loss
    found["gradient descent"], _ = nn.gradient_descent(start, X, labels, ACTIVATIONS,
        epochs=-(-passes // 3), batch_size=None, lr=0.03, optimizer="adam")
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for ax, (name, params) in zip(figure.subplots(1, 3), found.items()):
        right = nn.evaluate(params, X, labels, ACTIVATIONS)["accuracy"]
        print(f"{name}: {right:.1%} right")
        draw_regions(ax, params, ACTIVATIONS, X, labels, f"{name}: {right:.0%}")
    print("A gradient tells every weight its way; a guess or a nudge tries one of many.")
    return figure, True

# ---- Optimizers: many ways to use the same gradients -----------------------------------
def losses_of(optimizer, lr, epochs, seed):
    """Return the loss at each step on all points of a spiral, infinite if it diverges."""
    try:
        data = spiral_data(100, 0.2, seed)
        _, history = train(*data, SIZES, ACTIVATIONS, "cross_entropy", epochs, "constant",
                           seed, batch_size=None, lr=lr, optimizer=optimizer)
        return history["loss"]
    except FloatingPointError:
        return [np.inf] * epochs

def optimizers(epochs=200, seed=0):
    """Learning rates of sgd, and every rule of nn.OPTIMIZERS from the same start."""
    rates = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
    best = {}  # the rate with the lowest loss, a mean over all steps and three seeds
    for name in nn.OPTIMIZERS:
        means = [np.mean([losses_of(name, lr, epochs, seed + i) for i in range(3)])
                 for lr in rates]
        best[name] = rates[np.argmin(means)]
    lrs = best["sgd"] / 30, best["sgd"], best["sgd"] * 3
    panels = {"sgd with a rate too small, best, too large": [("sgd", lr) for lr in lrs],
              "each rule with the best of ten rates": best.items()}
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    for ax, (title, runs) in zip(figure.subplots(1, 2), panels.items()):
        print(f"{title}; loss before the first and before the last of {epochs} steps:")
        curves = {f"{name}, lr {lr:.2g}": losses_of(name, lr, epochs, seed)
                  for name, lr in runs}
        for label, losses in curves.items():
            print(f"  {label:20} {losses[0]:8.4f} {losses[-1]:8.4f}")
        draw_curves(ax, curves, title=title, xlabel="step", ylabel="loss", yscale="log")
    return figure, True

# ---- Vanishing gradients: why deep sigmoid networks hardly learn -----------------------
def vanishing(layers=10, width=64, seed=0):
    """How large the entries of dW are in each hidden layer before any training."""
    X, labels = spiral_data(100, 0.2, seed)
    Y, curves = nn.one_hot(labels, 3), {}
    print("Size of the entries of dW in the hidden layers, before any training:")
    for name in ("sigmoid", "tanh", "relu"):
        activations = (name,) * layers + ("softmax",)
        params = nn.init_params((2,) + (width,) * layers + (3,), activations, seed)
        _, cache = nn.forward(params, X, activations)
        grads = nn.backward(params, cache, Y, activations)
        curves[name] = [np.mean(grads[f"W{l}"] ** 2) ** 0.5 for l in range(1, layers + 1)]
        print(f"{name:8} layer 1: {curves[name][0]:.2g}, last: {curves[name][-1]:.2g}")
    print("Going back, each layer multiplies by W and a slope; sigmoid's is at most 1/4.")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    draw_curves(figure.subplots(), curves, title="How much gradient reaches each layer",
                xlabel="hidden layer", ylabel="root mean square of the entries of dW",
                yscale="log", xticks=range(1, layers + 1))
    return figure, True

# ---- Command line ----------------------------------------------------------------------
EXPERIMENTS = {f.__name__: f for f in (xor, step, spiral, search, optimizers, vanishing)}
CHOICES = {"activation": [name for name, (_, slope) in nn.ACTIVATIONS.items() if slope],
           "output": nn.ACTIVATIONS, "loss": ["auto", *nn.LOSSES],
           "optimizer": nn.OPTIMIZERS, "schedule": SCHEDULES}
HELP = {"hidden": "neurons in each hidden layer; no number: no hidden layer",
        "activation": "of the hidden layers", "loss": "auto: what fits the output",
        "schedule": "of the learning rate lr", "points": "to train on, in each arm",
        "noise": "standard deviation of the angles, in radians", "l1": "penalty on |W|",
        "l2": "penalty on W^2", "dropout": "share of hidden activations to drop",
        "passes": "for each of the three", "layers": "number of hidden layers",
        "width": "neurons in each of them", "gif": "file for a film of the training"}

def command_line():
    """Return the parser: an experiment's options are the parameters of its function."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="experiment")
    for name, experiment in EXPERIMENTS.items():
        command = commands.add_parser(name, description=experiment.__doc__)
        parameters = inspect.signature(experiment).parameters.values()
        options = {parameter.name: parameter.default for parameter in parameters}
        if experiment is not step:  # which has no picture
            options["plot"] = f"{name}.png"
        for key, default in options.items():
            many = isinstance(default, tuple)
            command.add_argument(
                "--" + key.replace("_", "-"), default=default, choices=CHOICES.get(key),
                type=int if many else type(default), nargs="*" if many else None,
                help=HELP.get(key, "") + f" (default: {default!r})")
    return parser

def main(arguments):
    """Run an experiment, xor by default, as the arguments say; return the exit code."""
    if not arguments or arguments[0] not in (*EXPERIMENTS, "-h", "--help"):
        arguments = ["xor", *arguments]
    parser = command_line()
    options = vars(parser.parse_args(arguments))
    experiment, path = EXPERIMENTS[options.pop("experiment")], options.pop("plot", None)
    for key, value in options.items():
        if isinstance(value, int) and value < 1 and key != "seed":
            parser.error(f"--{key.replace('_', '-')} {value}: expected 1 or more")
    try:
        with np.errstate(all="ignore"):  # what is not finite shows in what is printed
            figure, solved = experiment(**options)
        if figure:
            figure.savefig(path, dpi=100, format=os.path.splitext(path)[1][1:] or "png")
            print(f"wrote {path}")
        return 0 if solved else 1
    except (OSError, ValueError, ArithmeticError, MemoryError, KeyboardInterrupt) as e:
        text = f"train_xor.py {' '.join(arguments)}: {str(e) or type(e).__name__}"
        print(" ".join(text.split()), file=sys.stderr)
        return 1

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
