# SPDX-License-Identifier: MIT
# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.26", "matplotlib"]
# ///
"""train_xor.py: small experiments with nn.py that one can see, each in seconds.

    python train_xor.py             a network learns XOR, which no single neuron can
    python train_xor.py step        one step of training, with every number
    python train_xor.py spiral      a curved boundary; over-fitting and its cures
    python train_xor.py search      why gradients: against guessing and against nudging
    python train_xor.py optimizers  sgd, momentum, adagrad, rmsprop and adam compared
    python train_xor.py vanishing   why deep networks of sigmoids hardly learn
"""
import argparse
import inspect
import sys

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.colors import ListedColormap

import nn
from train_mnist import (BLUE, ORANGE, amount, check_picture, check_writable, complain,
                         natural, positive, pyplot, save, schedule, share)

# Colours that a colour-blind person can tell apart (Okabe & Ito 2008).
COLORS = [BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]


# ---- XOR: what a single neuron cannot do -----------------------------------------------

XOR_X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
XOR_Y = np.array([0, 1, 1, 0])
LOSS_FOR = {"sigmoid": "binary_cross_entropy", "softmax": "cross_entropy"}  # or else mse


def xor(hidden=(8,), activation="tanh", output="sigmoid", loss=None, optimizer="adam",
        lr=0.1, schedule=None, batch_size=4, epochs=150, seed=0):
    """Return a network trained on the four points of XOR, and whether it solved them."""
    loss = loss or LOSS_FOR.get(output, "mse")
    activations = (activation,) * len(hidden) + (output,)
    sizes = (2, *hidden, 2 if output == "softmax" else 1)
    Y = XOR_Y if sizes[-1] == 1 else nn.one_hot(XOR_Y, 2)
    params, history = nn.gradient_descent(
        nn.init_params(sizes, activations, seed), XOR_X, Y, activations, loss,
        epochs=epochs, batch_size=batch_size, lr=lr, optimizer=optimizer,
        schedule=schedule, seed=seed)
    predicted = nn.predict(params, XOR_X, activations)
    return {"params": params, "activations": activations, "loss": loss,
            "history": history, "predicted": predicted,
            "solved": bool((predicted == XOR_Y).all())}


def show_xor(found, plot):
    """Print the truth table and the verdict, draw the boundary; return 0 if solved."""
    params, activations = found["params"], found["activations"]
    outputs, _ = nn.forward(params, XOR_X, activations)
    print("x1 x2 | xor | output | the network says")
    for x, y, output, said in zip(XOR_X, XOR_Y, outputs, found["predicted"]):
        print(f" {x[0]}  {x[1]} |  {y}  | {output[-1]:6.3f} | {said} "
              f"{'right' if said == y else 'WRONG'}")
    history, n_right = found["history"]["loss"], (found["predicted"] == XOR_Y).sum()
    verdict = ("solved" if found["solved"] else
               f"NOT solved, {n_right} of 4 right: it is stuck; try more --hidden units, "
               "another --seed, or tanh")
    print(f"loss {history[-1]:.4f} after {len(history)} epochs: {verdict}")
    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    xs, values = grid(params, activations, -0.5, 1.5)
    values = values[:, -1].reshape(len(xs), -1)
    shades = left.contourf(xs, xs, values, np.linspace(0, 1, 11), cmap="RdBu_r",
                           extend="both", alpha=0.7)
    left.contour(xs, xs, values, [0.5], colors="black")
    for label, marker, color in ((0, "o", BLUE), (1, "s", ORANGE)):
        points = XOR_X[XOR_Y == label]
        left.scatter(*points.T, s=120, marker=marker, color=color, edgecolor="black",
                     label=f"xor is {label}", zorder=3)
    figure.colorbar(shades, ax=left, label="output of the network")
    left.set(xlabel="x1", ylabel="x2", title="Output; black where it is 0.5")
    left.legend(loc="upper right")
    right.plot(range(1, len(history) + 1), history, color=BLUE)
    right.set(xlabel="epoch", ylabel=found["loss"].replace("_", " "), title="Loss",
              ylim=(0, None))
    right.grid(alpha=0.3)
    save(plt, figure, plot)
    return 0 if found["solved"] else 1


def grid(params, activations, low, high, n=200):
    """Return (xs, outputs at every point of the square of xs by xs)."""
    xs = np.linspace(low, high, n)
    points = np.stack(np.meshgrid(xs, xs), axis=-1).reshape(-1, 2)
    return xs, nn.forward(params, points, activations)[0]


# ---- Step: every number of one step of training ----------------------------------------

STEP_PARAMS = {"W1": np.array([[0.1, -0.4, 0.3], [0.5, 0.2, -0.6]]),
               "b1": np.array([0.1, 0.3, 0.2]),
               "W2": np.array([[0.6], [-0.2], [0.4]]), "b2": np.array([-0.1])}
STEP_X, STEP_Y = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([[1.0], [0.0]])


def step(lr=0.5):
    """Return [(name, formula, value), ...], one line for each number of one step."""
    p, X, Y = STEP_PARAMS, STEP_X, STEP_Y
    activations, loss = ("relu", "sigmoid"), "binary_cross_entropy"
    x, w, b = X[0], p["W1"][:, 0], p["b1"][0]
    total = b
    for i in range(len(x)):
        total = total + x[i] * w[i]
    _, cache = nn.forward(p, X, activations)
    grads = nn.backward(p, cache, Y, activations, loss)
    new, _ = nn.update(p, grads, {}, lr)
    _, new_cache = nn.forward(new, X, activations)
    before = nn.compute_loss(p, cache, Y, loss)
    after = nn.compute_loss(new, new_cache, Y, loss)
    dZ2 = (cache["A2"] - Y) / len(X)
    dA1 = dZ2 @ p["W2"].T
    dZ1 = dA1 * (cache["A1"] > 0)
    return [
        ("One neuron, one example, three ways", None, None),
        ("x", "inputs of the first example", x),
        ("w", "weights of the first neuron", w),
        ("b", "its bias", b),
        ("z", "b + x[0] * w[0] + x[1] * w[1], in a loop", total),
        ("z", "x @ w + b, a dot product", x @ w + b),
        ("z", "X @ W1 + b1, its first number", (X @ p["W1"] + p["b1"])[0, 0]),
        ("Forward: 2 examples, 2 inputs, 3 hidden neurons, 1 output", None, None),
        ("X", "the inputs, an example in each row", X),
        ("Y", "what the output should be", Y),
        *((key, "what is learned", p[key]) for key in p),
        ("Z1", "X @ W1 + b1", cache["Z1"]),
        ("A1", "relu(Z1) = max(0, Z1)", cache["A1"]),
        ("Z2", "A1 @ W2 + b2", cache["Z2"]),
        ("A2", "sigmoid(Z2) = 1 / (1 + exp(-Z2))", cache["A2"]),
        ("loss", "mean(-Y log A2 - (1 - Y) log(1 - A2))", before),
        ("Backward: how the loss changes with each number above", None, None),
        ("dZ2", "(A2 - Y) / n, with n = 2", dZ2),
        ("dW2", "A1.T @ dZ2", grads["W2"]),
        ("db2", "dZ2 summed over the examples", grads["b2"]),
        ("dA1", "dZ2 @ W2.T", dA1),
        ("dZ1", "dA1 where Z1 > 0, else 0", dZ1),
        ("dW1", "X.T @ dZ1", grads["W1"]),
        ("db1", "dZ1 summed over the examples", grads["b1"]),
        (f"Update: one step down, with lr = {lr:g}", None, None),
        *((key, f"{key} - lr * d{key}", new[key]) for key in p),
        ("loss", "with the new weights", after),
    ]


def show_step(lines, plot):
    """Print every number beside its formula; return 0 if the loss fell."""
    for name, formula, value in lines:
        if formula is None:
            print(f"\n{name}")
            continue
        rows = np.atleast_1d(value)
        rows = rows if rows.ndim == 2 else rows[None]
        for i, row in enumerate(rows):
            head = f"{name:>5} = {formula}" if i == 0 else ""
            print(f"{head:52}" + " ".join(f"{number + 0.0:9.5f}" for number in row))
    before, after = (value for name, _, value in lines if name == "loss")
    fell = "fell" if after < before else "did NOT fall"
    print(f"\nThe loss {fell}: {before:.5f} before, {after:.5f} after.")
    return 0 if after < before else 1


# ---- Spiral: a boundary that bends -----------------------------------------------------

def spiral_data(n_per_class=300, n_classes=3, noise=0.2, seed=0):
    """Return (X (n, 2), labels): arms that wind out from the origin (CS231n notes)."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_classes), n_per_class)
    radius = np.tile(np.linspace(0, 1, n_per_class), n_classes)
    angle = 4 * (labels + radius) + noise * rng.standard_normal(len(labels))
    return radius[:, None] * np.column_stack([np.sin(angle), np.cos(angle)]), labels


def spiral(hidden=(64, 64), activation="relu", optimizer="adam", lr=0.01, schedule=None,
           batch_size=64, epochs=100, seed=0, points=300, classes=3, noise=0.2, l1=0.0,
           l2=0.0, dropout=0.0):
    """Return a network trained on the spiral, its accuracy there and on 1,000 new points
    per class, and the params after each epoch."""
    X, labels = spiral_data(points, classes, noise, seed)
    X_test, labels_test = spiral_data(1000, classes, noise, seed + 1_000_000)
    activations = (activation,) * len(hidden) + ("softmax",)
    params = nn.init_params((2, *hidden, classes), activations, seed)
    film = []
    params, history = nn.gradient_descent(
        params, X, labels, activations, epochs=epochs, batch_size=batch_size, lr=lr,
        l1=l1, l2=l2, dropout=dropout, seed=seed, optimizer=optimizer,
        schedule=schedule or (lambda epoch: 1 - epoch / epochs),
        on_epoch=lambda epoch, params, history: film.append(params))
    return {"X": X, "labels": labels, "params": params, "activations": activations,
            "history": history, "film": film,
            "training": nn.accuracy(labels, nn.predict(params, X, activations)),
            "held_out": nn.accuracy(labels_test, nn.predict(params, X_test, activations))}


def regions(ax, params, activations, X, labels):
    """Draw what the network says everywhere, and the points with their true colours."""
    n_classes = len(params[f"b{len(activations)}"])
    colors = ListedColormap([COLORS[k % len(COLORS)] for k in range(n_classes)])
    style = {"cmap": colors, "vmin": -0.5, "vmax": n_classes - 0.5}
    edge = abs(X).max() + 0.1
    xs, output = grid(params, activations, -edge, edge)
    said = output.argmax(axis=1).reshape(len(xs), -1)
    ax.imshow(said, origin="lower", extent=2 * (-edge, edge), alpha=0.35, **style)
    ax.scatter(*X.T, c=labels, s=8, edgecolor="black", linewidth=0.2, **style)
    ax.set(xlabel="x1", ylabel="x2", xticks=(-1, 0, 1), yticks=(-1, 0, 1))


def show_spiral(found, plot):
    """Print the accuracies, draw regions and loss; return 0."""
    training, held_out = found["training"], found["held_out"]
    if training > 0.9 and training - held_out > 0.03:
        verdict = "it over-fits; try --l2 0.003, --dropout 0.2 or more --points"
    elif held_out > 0.97:
        verdict = "it has learned the shape"
    else:
        verdict = "the arms overlap, or it needs more --hidden neurons or --epochs"
    print(f"accuracy {training:.2%} in training, {held_out:.2%} on new points: {verdict}")
    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    regions(left, found["params"], found["activations"], found["X"], found["labels"])
    left.set_title(f"right: {training:.1%} of these points, {held_out:.1%} of new ones")
    losses = found["history"]["loss"]
    right.plot(range(1, len(losses) + 1), losses, color=BLUE)
    right.set(xlabel="epoch", ylabel="cross entropy", yscale="log", title="Training loss")
    right.grid(alpha=0.3)
    save(plt, figure, plot)
    return 0


def write_film(found, gif):
    """Write the regions as they change from epoch to epoch, more slowly at first."""
    plt = pyplot()
    figure, ax = plt.subplots(figsize=(4, 4), layout="constrained")
    film, accuracies = found["film"], found["history"]["accuracy"]
    epochs = np.unique(np.geomspace(1, len(film), 40).astype(int)).tolist()
    writer = PillowWriter(fps=6)
    with writer.saving(figure, gif, dpi=80):
        for epoch in epochs + epochs[-1:] * 10:
            ax.clear()
            regions(ax, film[epoch - 1], found["activations"], found["X"],
                    found["labels"])
            ax.set_title(f"epoch {epoch}: {accuracies[epoch - 1]:.0%} right")
            writer.grab_frame()
    plt.close(figure)


# ---- Search: what gradients are for ----------------------------------------------------

def search(hidden=(32, 32), passes=600, seed=0):
    """Return what three strategies reach with the same network and the same work: so many
    forward passes over all points, where a backward pass counts as two."""
    X, labels = spiral_data(100, seed=seed)
    Y, activations = nn.one_hot(labels, 3), ("tanh",) * len(hidden) + ("softmax",)
    rng = np.random.default_rng(seed)
    start = nn.init_params((2, *hidden, 3), activations, rng)

    def loss_of(params):
        _, cache = nn.forward(params, X, activations)
        return nn.compute_loss(params, cache, Y)

    def best(propose):
        params, lowest = start, loss_of(start)
        for _ in range(passes - 1):
            candidate = propose(params)
            loss = loss_of(candidate)
            if loss < lowest:
                params, lowest = candidate, loss
        return params

    def guess(params):
        return nn.init_params((2, *hidden, 3), activations, rng)

    def nudge(params):
        return {key: p + rng.normal(0, 0.03, p.shape) for key, p in params.items()}

    descended, _ = nn.gradient_descent(start, X, Y, activations, epochs=passes // 3,
                                       batch_size=None, lr=0.03, optimizer="adam")
    ends = {"random guesses": best(guess), "random nudges, kept if better": best(nudge),
            "gradient descent": descended}
    return {"X": X, "labels": labels, "activations": activations, "passes": passes,
            "ends": {name: (p, nn.accuracy(labels, nn.predict(p, X, activations)))
                     for name, p in ends.items()}}


def show_search(found, plot):
    """Print and draw what each strategy has reached; return 0."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.4), layout="constrained")
    for ax, (name, (params, accuracy)) in zip(axes, found["ends"].items()):
        print(f"{name:30} {accuracy:6.1%} right")
        regions(ax, params, found["activations"], found["X"], found["labels"])
        ax.set_title(f"{name}: {accuracy:.1%} right")
    n_numbers = sum(p.size for p in params.values())
    figure.suptitle(f"The same network of {n_numbers:,} numbers after the same work, "
                    f"{found['passes']:,} forward passes")
    print(f"A gradient says of all {n_numbers:,} numbers at once which way to move them; "
          "a guess or a nudge tries one way of countless many.")
    save(plt, figure, plot)
    return 0


# ---- Optimizers: five ways to use the same gradients -----------------------------------

RATES = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]


def optimizers(hidden=(32, 32), epochs=200, seed=0):
    """Return {name: (lr, losses)} from the same start, each with the best of RATES."""
    X, labels = spiral_data(200, seed=seed)
    activations = ("tanh",) * len(hidden) + ("softmax",)
    start = nn.init_params((2, *hidden, 3), activations, seed)
    best = {}
    for name in nn.OPTIMIZERS:
        for lr in RATES:
            try:
                _, history = nn.gradient_descent(
                    start, X, labels, activations, epochs=epochs, batch_size=None, lr=lr,
                    optimizer=name)
            except FloatingPointError:
                continue
            losses = history["loss"]
            if name not in best or losses[-1] < best[name][1][-1]:
                best[name] = lr, losses
    return best


def show_optimizers(found, plot):
    """Print the first and last losses, draw all curves on one chart; return 0."""
    plt = pyplot()
    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    styles = "-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))
    for color, style, (name, (lr, losses)) in zip(COLORS, styles, found.items()):
        print(f"{name:9} lr {lr:<6g} loss {losses[0]:.4f} at first, "
              f"{losses[-1]:.4f} after {len(losses)} steps")
        ax.plot(range(1, len(losses) + 1), losses, color=color, linestyle=style,
                linewidth=2, label=f"{name}, lr {lr:g}")
    rates = ", ".join(f"{rate:g}" for rate in RATES)
    ax.set(xlabel="step (each on all points)", ylabel="cross entropy", yscale="log",
           title="The spiral from the same start, each optimizer with the learning rate\n"
                 f"that ends lowest of {rates}")
    ax.grid(alpha=0.3)
    ax.legend()
    save(plt, figure, plot)
    lowest = min(found, key=lambda name: found[name][1][-1])
    print(f"lowest loss here: {lowest}; on another problem the order may be another")
    return 0


# ---- Vanishing gradients: why deep sigmoid networks hardly learn -----------------------

def vanishing(layers=10, width=64, seed=0):
    """Return {activation: norm of dW in each hidden layer} before any training."""
    X, labels = spiral_data(100, seed=seed)
    Y, norms = nn.one_hot(labels, 3), {}
    for name in ("sigmoid", "tanh", "relu"):
        activations = (name,) * layers + ("softmax",)
        params = nn.init_params((2,) + (width,) * layers + (3,), activations, seed)
        _, cache = nn.forward(params, X, activations)
        grads = nn.backward(params, cache, Y, activations)
        norms[name] = [float(np.linalg.norm(grads[f"W{l + 1}"])) for l in range(layers)]
    return norms


def show_vanishing(found, plot):
    """Print and draw how the gradient shrinks from the last hidden layer to the first."""
    plt = pyplot()
    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    for color, marker, (name, norms) in zip(COLORS, "osd", found.items()):
        ratio = norms[-1] / norms[0] if norms[0] else np.inf
        print(f"{name:8} gradient of the last hidden layer / of the first: {ratio:,.1f}")
        ax.plot(range(1, len(norms) + 1), norms, marker=marker, color=color,
                label=f"{name}: last / first = {ratio:,.1f}")
    ax.set(xlabel="hidden layer, counted from the inputs", yscale="log",
           ylabel="norm of the gradient dW", xticks=range(1, len(norms) + 1),
           title="Before training: how much of the gradient reaches each layer")
    ax.grid(alpha=0.3)
    ax.legend()
    save(plt, figure, plot)
    print("A sigmoid's slope is at most 1/4, and every layer multiplies by it: the first "
          "layers hardly learn.")
    return 0


# ---- Command line ----------------------------------------------------------------------

# name: (what is computed, what shows it)
EXPERIMENTS = {"xor": (xor, show_xor), "step": (step, show_step),
               "spiral": (spiral, show_spiral), "search": (search, show_search),
               "optimizers": (optimizers, show_optimizers),
               "vanishing": (vanishing, show_vanishing)}


def options_of(name):
    """Return {option: default} of an experiment."""
    parameters = inspect.signature(EXPERIMENTS[name][0]).parameters
    return {key: parameter.default for key, parameter in parameters.items()}


def parse(arguments):
    """Return (parser, the options that were given)."""
    taken = ""
    for name in EXPERIMENTS:
        pairs = [f"{option}={default}" for option, default in options_of(name).items()]
        taken += f"\n  {name:11} " + " ".join(pairs).replace("_", "-")
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS, description=__doc__,
        epilog=f"Which experiment takes which options, with their defaults:{taken}")
    add = parser.add_argument
    add("experiment", nargs="?", choices=list(EXPERIMENTS), default="xor")
    add("--hidden", metavar="N", nargs="*", type=positive, help="hidden layers' sizes")
    add("--activation", choices=list(nn.ACTIVATIONS), help="of the hidden layers")
    add("--output", choices=list(nn.ACTIVATIONS), help="activation of the output")
    add("--loss", choices=list(nn.LOSSES), help="by default the one that fits the output")
    add("--optimizer", choices=list(nn.OPTIMIZERS))
    add("--lr", type=amount, help="learning rate")
    add("--schedule", help="of lr: constant, linear, step:N[:GAMMA], exponential:GAMMA, "
        "inverse:RATE")
    add("--batch-size", metavar="N", type=positive)
    add("--epochs", metavar="N", type=positive)
    add("--seed", metavar="N", type=natural)
    add("--points", metavar="N", type=positive, help="per class, to train on")
    add("--classes", metavar="N", type=positive, help="arms of the spiral")
    add("--noise", type=amount, help="standard deviation of the angles, in radians")
    add("--l1", type=amount, help="penalty on |W|")
    add("--l2", type=amount, help="penalty on W^2")
    add("--dropout", type=share, help="share of hidden activations to drop")
    add("--passes", metavar="N", type=positive, help="forward passes for each strategy")
    add("--layers", metavar="N", type=positive, help="number of hidden layers")
    add("--width", metavar="N", type=positive, help="neurons in each of them")
    add("--gif", metavar="FILE", nargs="?", const="spiral.gif",
        help="film of the spiral, default spiral.gif")
    add("--plot", metavar="FILE", help="the picture, by default named as the experiment")
    return parser, vars(parser.parse_args(arguments))


def main(arguments=None):
    """Run the command line; return the exit code."""
    parser, options = parse(arguments)
    name = options.pop("experiment")
    run, show = EXPERIMENTS[name]
    plot = f"{name}.png" if name == "step" else options.pop("plot", f"{name}.png")
    gif = options.pop("gif", None) if name == "spiral" else None
    for option in options:
        if option not in options_of(name):
            parser.error(f"{name} takes no --{option.replace('_', '-')}")
    try:
        if "schedule" in options:
            epochs = options.get("epochs", options_of(name)["epochs"])
            options["schedule"] = schedule(options["schedule"], epochs)
        if name != "step":
            check_picture(plot)
        if gif:
            check_writable(gif)
        found = run(**options)
        code = show(found, plot)
        if name != "step":
            print(f"wrote {plot}")
        if gif:
            write_film(found, gif)
            print(f"wrote {gif}")
        return code
    except (OSError, ValueError, FloatingPointError, MemoryError) as error:
        complain(error)
        return 1
    except KeyboardInterrupt:
        complain("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
