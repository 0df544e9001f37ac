# Copyright (c) 2026 the nn.py authors. SPDX-License-Identifier: MIT
"""nn.py: a fully connected neural network in NumPy, to be read from top to bottom.

A neuron multiplies each number it takes by a weight, adds up the products and one more
number, its bias, and bends the sum by a curve, its activation function. A layer is a set
of neurons that all take the same numbers. A network is a chain of layers: each takes what
the layer before it gives, and the last one gives the output. The others are hidden, as
nobody says what they should give. The loss says in one number how wrong the outputs are.
To learn is to change the weights and biases, bit by bit, so that the loss falls.

    X1 (n, 784)    what layer 1 takes: n images of 28 x 28 pixels, a row for each image
    W1 (784, 128)  its weights: a row for each pixel, a column for each of 128 neurons
    b1 (128,)      its biases: one for each neuron
    Z1 (n, 128)    X1 @ W1 + b1, the sums: a row for each image, a column for each neuron
    A1 (n, 128)    f1(Z1): what layer 1, the hidden one, gives; layer 2 takes it as X2
    Z2 (n, 10)     X2 @ W2 + b2, with W2 (128, 10) and b2 (10,): a neuron for each digit
    A2 (n, 10)     f2(Z2), the output: in each row, a probability for each digit
    Y  (n, 10)     the targets, what A2 should be: 1 at the true digit, 0 elsewhere

    params      = {"W1": ..., "b1": ..., "W2": ..., "b2": ...}
    activations = ("relu", "softmax")    the names of f1 and f2
    cache       = {"X1": ..., "Z1": ..., "A1": ..., "X2": ..., ...}    kept for backward

The whole idea is four lines. The gradient of a weight says how fast the loss grows when
that weight is raised, so update moves each weight and bias a little the other way:

    output, cache = forward(params, X, activations)        what does the network say?
    loss = compute_loss(params, cache, Y, activations)     how wrong is the last A?
    grads = backward(params, cache, Y, activations)        the gradients, keyed as params
    params, state = update(params, grads, state, lr=0.1)   lr: how far; state: {} at first

gradient_descent repeats them, some images at a time, and makes Y from labels such as
[7 2 1 ...]. Ten passes over 55,000 images, pixels 0 to 1, take some seconds; then 98 of
100 new images are read right. (Names that begin with _ check, and stand last.)

    params = init_params((784, 128, 10), activations)
    params, history = gradient_descent(params, X, labels, activations, lr=0.1)
    print(predict(params, X_new, activations))             [1 2 8 ...], a digit for each
"""
import os
import numpy as np

# ---- Activations: the curve f of a layer, A = f(Z) -------------------------------------
# Without curves, two layers could do no more than one: (X @ W1) @ W2 is X @ (W1 @ W2).
def softmax(Z):
    """Return exp(Z) / sum(exp(Z)), a sum for each row: k probabilities that sum to 1."""
    # exp(89) overflows float32. Z - c divides each exp(Z), and so their sum, by exp(c):
    # the quotient stays. With the row's maximum as c, no Z - c is above 0.
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)

# name: (f, slope, gain). slope(Z, A) is how fast A grows with Z, computed from either.
# gain scales the random weights that a layer starts with. Your own: add such a line.
#     tanh is sinh / cosh, of slope (cosh^2 - sinh^2) / cosh^2 = 1 - tanh^2. With
#     E = exp(-Z), sigmoid is A = 1 / (1 + E), of slope E / (1 + E)^2 = A * (1 - A).
ACTIVATIONS = {
    "linear": (lambda Z: Z, lambda Z, A: 1.0, 1.0),  # output: any number, with mse
    "relu": (lambda Z: np.maximum(Z, 0), lambda Z, A: Z > 0, 2 ** 0.5),  # hidden: simple
    "tanh": (lambda Z: np.tanh(Z), lambda Z, A: 1 - A * A, 1.0),  # hidden: -1 to 1
    "sigmoid": (lambda Z: 1 / (1 + np.exp(-np.maximum(Z, -80))),  # -80: no overflow
                lambda Z, A: A * (1 - A), 1.0),  # output: a probability of yes
    "softmax": (softmax, lambda Z, A: None, 1.0),  # output: one of k, with cross_entropy
}  # (softmax: an A needs its whole row, so no slope. lambda: so that np can be replaced.)

# ---- Parameters: the weights and biases, which learning changes ------------------------
def init_params(sizes, activations, seed=0, dtype=np.float32):
    """Return new params for sizes such as (784, 128, 10); seed: an int or a Generator."""
    _require(len(sizes) == len(activations) + 1 and min(sizes) >= 1, "sizes", sizes,
             "- expected the inputs, then the width of each layer of", activations)
    rng = np.random.default_rng(seed)
    params = {}
    layers = zip(sizes, sizes[1:], activations)  # what each takes, what it gives, its f
    for l, (d_in, d_out, name) in enumerate(layers, start=1):
        _, _, gain = _look_up("activation", name, ACTIVATIONS)
        # Random, as neurons that start alike would get the same gradients and stay alike.
        # Z adds up d_in products of random sign. In Z^2 mixed terms cancel, d_in squares
        # stay: Z grows like root(d_in). Weights of size 1 / root(d_in) undo that (LeCun
        # et al. 1998). relu sets half of Z, and of Z^2, to 0: gain^2 is 2 (He 2015).
        W = gain / d_in ** 0.5 * rng.standard_normal((d_in, d_out))
        params |= {f"W{l}": W.astype(dtype), f"b{l}": np.zeros(d_out, dtype)}
    return params

# ---- Forward: from the inputs to the output --------------------------------------------
def forward(params, X, activations, dropout=0.0, rng=None):
    """Return (output, cache), the output (n, k). dropout, for training, needs an rng."""
    X = np.asarray(X, dtype=params["W1"].dtype)
    X = X.reshape(len(X), len(params["W1"]))  # an image becomes a row
    cache = {}
    for l, name in enumerate(activations, start=1):
        f, _, _ = _look_up("activation", name, ACTIVATIONS)
        Z = X @ params[f"W{l}"] + params[f"b{l}"]  # b is added to each row
        A = f(Z)
        cache |= {f"X{l}": X, f"Z{l}": Z, f"A{l}": A}  # backward needs them
        X = A  # the next layer takes what this one gives
        if dropout > 0 and l < len(activations):
            # Neurons that rely on each other can learn the examples by heart, and fail on
            # new ones. So each number in A becomes 0 in the next X with this probability
            # (Srivastava et al. 2014). Dividing by the share that stays keeps the next
            # sums, on average, as in predict, which drops none: no chance in an answer.
            mask = (rng.random(A.shape, dtype=np.float32) >= dropout) / (1 - dropout)
            cache[f"mask{l}"] = mask.astype(A.dtype)
            X = A * cache[f"mask{l}"]
    return A, cache

# ---- Losses: how wrong the output is, one number for each row --------------------------
def cross_entropy(Z, A, Y):  # each loss may use these three
    """Return -sum(Y * log(A)) of each row. If Y is 1 at the true class and p is A there,
    it is -log(p), the surprise at the truth: 0 for p = 1, 0.7 for 1/2, 4.6 for 1/100."""
    # A may be rounded to 0, and log(0) is -inf. So from Z: with S = sum(exp(Z)), A is
    # exp(Z) / S, and log(A) is Z - log(S). The row's maximum cancels out, as in softmax.
    # The loss, sum(Y * (log(S) - Z)), is log(S) - sum(Y * Z), as Y sums to 1. Raise one
    # Z[k] by a tiny h: S grows by exp(Z[k]) * h, log(S) by exp(Z[k]) / S * h = A[k] * h,
    # sum(Y * Z) by Y[k] * h. So its slope is A - Y: for A = [0.2, 0.3, 0.5], the second
    # class true, [0.2, -0.7, 0.5]. The second Z should rise, the others fall.
    Z = Z - Z.max(axis=1, keepdims=True)
    S = np.exp(Z).sum(axis=1, keepdims=True)
    return (Y * (np.log(S) - Z)).sum(axis=1)

def binary(Z, A, Y):
    """Return each row's mean surprise, -log(A) at each yes and -log(1 - A) at each no."""
    # A is 1 / (1 + exp(-Z)), 1 - A is 1 / (1 + exp(Z)). So -log(A) is log(1 + exp(-Z)),
    # of slope A - 1; -log(1 - A) is log(1 + exp(Z)), of slope A. Both are A - Y.
    # logaddexp(0, Z) is log(1 + exp(Z)), but about Z, not infinite, where Z is large.
    return (Y * np.logaddexp(0, -Z) + (1 - Y) * np.logaddexp(0, Z)).mean(axis=1)

# name: (loss, dZ, output). Your own: add such a line, or pass the three as loss.
#     loss(Z, A, Y)      a number for each row
#     dZ(A, Y, slope)    how fast it grows with each last Z; slope: how fast A grows
#     output             the activation that it needs; None: any but softmax
LOSSES = {
    "mse": (lambda Z, A, Y: ((A - Y) ** 2).mean(axis=1),  # mean squared error
            lambda A, Y, slope: 2 * (A - Y) * slope / A.shape[1], None),  # / k: a mean
    "cross_entropy": (cross_entropy, lambda A, Y, slope: A - Y, "softmax"),
    "binary_cross_entropy": (binary, lambda A, Y, slope: (A - Y) / A.shape[1], "sigmoid"),
}

def compute_loss(params, cache, Y, activations, loss="cross_entropy", l1=0.0, l2=0.0):
    """Return the mean loss of the rows + l1 * sum(|W|) + l2 / 2 * sum(W^2), a number."""
    L = len(activations)
    A = cache[f"A{L}"]
    loss_of_rows, _, Y = _loss_and_targets(loss, activations, Y, A)
    losses = loss_of_rows(cache[f"Z{L}"], A, Y)
    _require(np.size(losses) == len(A), "loss", loss, "must give one number for each row")
    total = losses.mean()
    if l1 or l2:
        # Large weights let the output jump between inputs that hardly differ. A penalty
        # holds them back, at the cost of some fit. Biases only shift sums: no penalty.
        for W in [params[f"W{l}"] for l in range(1, L + 1)]:
            total = total + l1 * np.abs(W).sum() + l2 / 2 * (W * W).sum()
    return total

# ---- Backward: the gradients, from the loss back to the inputs -------------------------
# dZ is short for d loss / dZ, how fast the loss grows with each number in Z; likewise dW,
# db, dX, dA, each shaped as its array. Z[i, k] is b[k] + sum over j of X[i, j] * W[j, k],
# with example i, input j, neuron k. Raise one W[j, k] by a tiny h: for each i, Z[i, k]
# grows by X[i, j] * h, the loss by X[i, j] * h * dZ[i, k]. Add up, divide by h:
#     dW[j, k] = sum over i of X[i, j] * dZ[i, k]    W[j, k] enters Z[i, k] times X[i, j]
#     db[k]    = sum over i of dZ[i, k]              b[k] enters Z[i, k] times 1
#     dX[i, j] = sum over k of dZ[i, k] * W[j, k]    X[i, j] enters Z[i, k] times W[j, k]
# @ sums over inner indices, hence .T: X.T @ dZ over i, dZ @ W.T over k. The layer before
# needs dX, so the last layer goes first. For the network at the top, backward computes
#     dZ2 = (A2 - Y) / n          dW2 = X2.T @ dZ2       db2 = dZ2.sum(axis=0)
#     dA1 = dZ2 @ W2.T            this is dX2, as A1 is X2; now times the slope of relu:
#     dZ1 = dA1 * (Z1 > 0)        dW1 = X1.T @ dZ1       db1 = dZ1.sum(axis=0)
def backward(params, cache, Y, activations, loss="cross_entropy", l1=0.0, l2=0.0,
             wrt_input=False):
    """Return the gradients, keyed as params; wrt_input adds "X": which inputs matter."""
    L = len(activations)
    A = cache[f"A{L}"]
    _, loss_dZ, Y = _loss_and_targets(loss, activations, Y, A)
    _, slope, _ = _look_up("activation", activations[-1], ACTIVATIONS)
    # In a mean of n rows each counts 1/n. Only here: dZ carries it into what follows.
    dZ = loss_dZ(A, Y, slope(cache[f"Z{L}"], A)) / len(A)
    grads = {}
    for l in range(L, 0, -1):
        W = params[f"W{l}"]
        dW = cache[f"X{l}"].T @ dZ
        if l1 or l2:  # |W| has the slope sign(W), and W^2 / 2 the slope W
            dW = dW + float(l1) * np.sign(W) + float(l2) * W  # np.float64 would widen dW
        grads |= {f"W{l}": dW, f"b{l}": dZ.sum(axis=0)}
        if l > 1:  # on to layer l - 1, whose A became X: what was dropped had no effect
            dA = (dZ @ W.T) * cache.get(f"mask{l - 1}", 1.0)
            _, slope, _ = _look_up("activation", activations[l - 2], ACTIVATIONS)
            dZ = dA * slope(cache[f"Z{l - 1}"], cache[f"A{l - 1}"])
    if wrt_input:
        grads["X"] = dZ @ params["W1"].T
    return grads

# ---- Optimizers: from the gradients to better parameters -------------------------------
# rule(p, g, memory, lr) -> (new p, new memory): p is an array of params, g its gradient,
# memory a dict, {} at first; state holds one for each array. lr, the learning rate, is
# how far to step: too little takes for ever, too much jumps over the lowest point. A rule
# must not write into p, g or memory, which others keep: v = v + g is safe, v += g is not.
def sgd(p, g, memory, lr):
    """Gradient descent, stochastic as g is of a few examples. g is uphill, so minus."""
    return p - lr * g, memory

def momentum(p, g, memory, lr, beta=0.9):
    """Steps add up while g keeps its sign and cancel where it flips (Polyak 1964)."""
    v = beta * memory.get("v", 0.0) + g  # for each weight: beta is the share kept of v
    return p - lr * v, {"v": v}

def adam(p, g, memory, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """Steps of about lr, whether g is large or small (Kingma & Ba 2015)."""
    # sum1 adds up g, sum2 g * g. In each step old terms fade, and n1 and n2 count what is
    # left: n1 is 1, 1.9, 2.71, ... up to 10. So sum / n is a mean, from the first step.
    sum1 = beta1 * memory.get("sum1", 0.0) + g
    sum2 = beta2 * memory.get("sum2", 0.0) + g * g
    n1 = beta1 * memory.get("n1", 0.0) + 1
    n2 = beta2 * memory.get("n2", 0.0) + 1
    step = (sum1 / n1) / ((sum2 / n2) ** 0.5 + eps)  # 1 or -1 for steady g; eps: no 0 / 0
    return p - lr * step, {"sum1": sum1, "sum2": sum2, "n1": n1, "n2": n2}

OPTIMIZERS = {"sgd": sgd, "momentum": momentum, "adam": adam}  # your own: add, or pass

def update(params, grads, state, lr, optimizer="sgd"):
    """Return new (params, state): a step for each array; one left out of grads stays."""
    rule = _look_up("optimizer", optimizer, OPTIMIZERS)
    new_params = dict(params)
    new_state = dict(state)
    for key in [key for key in params if key in grads]:
        p, new_state[key] = rule(params[key], grads[key], state.get(key, {}), lr)
        new_params[key] = np.asarray(p, dtype=params[key].dtype)
    return new_params, new_state

# ---- Predictions and labels ------------------------------------------------------------
def decide(output, activations):
    """Return the likeliest class for softmax, 0 or 1 for sigmoid, else the numbers."""
    _require(not np.isnan(output).any(), "the output holds NaN: look at X and at params")
    if activations[-1] == "softmax":
        return output.argmax(axis=1)
    if activations[-1] == "sigmoid":
        output = (output > 0.5).astype(int)
    return output[:, 0] if output.shape[1] == 1 else output

def predict(params, X, activations):
    """Return what decide says of the output. X: as in training, one x as x[None]."""
    _check_network(params, activations)
    return decide(forward(params, X, activations)[0], activations)  # [0]: the output

def accuracy(labels, predicted):
    """Return the share of predicted, from 0 to 1, that equals labels."""
    _require(np.shape(labels) == np.shape(predicted),  # (n,) == (n, 1) would be (n, n)
             "labels", np.shape(labels), "- expected as predicted", np.shape(predicted))
    return float((np.asarray(labels) == np.asarray(predicted)).mean())

def one_hot(labels, n_classes, dtype=np.float32):
    """Return (n, n_classes): for each label 0, 1, ... a row of zeros with a 1 there."""
    hits = np.reshape(labels, (len(labels), 1)) == np.arange(n_classes)  # each with each
    wrong = np.ravel(labels)[~hits.any(axis=1)]
    _require(len(wrong) == 0, "labels hold", *wrong[:1], "- expected 0 to", n_classes - 1)
    return hits.astype(dtype)

def evaluate(params, X, Y, activations, loss="cross_entropy"):
    """Return {"loss": ..., "accuracy": ...}, accuracy only for softmax and sigmoid. Y is
    rows (n, k), or labels (n,) for softmax, or numbers (n,) for a single output."""
    X, Y = _check_data(params, X, Y, activations)  # as arrays, and Y as rows
    output, cache = forward(params, X, activations)
    scores = {"loss": float(compute_loss(params, cache, Y, activations, loss))}
    if activations[-1] in ("softmax", "sigmoid"):
        labels = decide(Y, activations)  # Y is rows here; decide makes labels of them
        scores["accuracy"] = accuracy(labels, decide(output, activations))
    return scores

# ---- Training: the four lines, repeated ------------------------------------------------
# An epoch is one pass over all examples, a batch of, say, 32 at a time, in a new order
# each time, so that no one order steers. The gradient of a batch is a rough guess at
# that of all, but so cheap that many rough steps beat a few exact ones. In the end, they
# only jump around the lowest point, unless a schedule shortens them.
SCHEDULES = {  # factor(done, E) times lr, after done of E epochs. Your own: add, or pass
    "constant": lambda done, E: 1.0,
    "linear": lambda done, E: 1 - done / E,             # down to 0
    "step": lambda done, E: 0.1 ** (3 * done // E),     # a tenth after each third
    "exponential": lambda done, E: 0.01 ** (done / E),  # down to a hundredth
    "inverse": lambda done, E: 1 / (1 + 9 * done / E),  # down to a tenth, early
}

def gradient_descent(params, X, Y, activations, loss="cross_entropy", *,
        epochs=10, batch_size=32,  # passes over all examples; examples in a step
        lr=0.01,              # small, to be safe; try 0.1, with adam 0.003
        optimizer="sgd",      # a name in OPTIMIZERS, or a rule
        schedule="constant",  # a name in SCHEDULES, or a function
        l1=0.0, l2=0.0,       # penalties: l1 pulls all W alike, l2 large W more
        dropout=0.0,          # the share of each hidden A that a step leaves out
        validation=None,      # (X, Y) not trained on: val_loss rises if learned by heart
        augment=None,         # augment(X_batch, rng): the same rows varied, say shifted
        seed=0,               # of the order and the masks: an int or a Generator
        on_epoch=None):       # on_epoch(epoch, params, history): print, save; True: stop
    """Return (params, history). history is a dict of lists, a number for each epoch:
    "loss", the mean of all examples, each before its batch's step, with dropout, without
    penalty; "lr", of the last step; "val_loss", "val_accuracy", after it. Keep X about
    -1 to 1, as larger X make larger steps; Y: see evaluate. Each call has its own state.
    FloatingPointError if after an epoch the loss or params are infinite or NaN."""
    X, Y = _check_data(params, X, Y, activations)
    _require(epochs >= 1 and batch_size >= 1 and 0 <= dropout < 1, "epochs", epochs,
             "batch_size", batch_size, "dropout", dropout, "- expected 1.., 1.., 0 to <1")
    factor = _look_up("schedule", schedule, SCHEDULES)
    rng = np.random.default_rng(seed)
    state = {}
    history = {}
    for epoch in range(1, epochs + 1):
        order = rng.permutation(len(X))
        loss_sum = 0.0
        for start in range(0, len(X), batch_size):
            rows = order[start:start + batch_size]  # perhaps fewer at the end
            X_batch = np.asarray(X[rows], dtype=params["W1"].dtype)
            if augment is not None:
                X_batch = augment(X_batch, rng)
            done = epoch - 1 + start / len(X)
            rate = float(lr * factor(done, epochs))  # float(): keeps dtype

            _, cache = forward(params, X_batch, activations, dropout, rng)
            batch_loss = compute_loss(params, cache, Y[rows], activations, loss)
            grads = backward(params, cache, Y[rows], activations, loss, l1, l2)
            params, state = update(params, grads, state, rate, optimizer)
            loss_sum += float(batch_loss) * len(rows)  # so that each example counts alike

        scores = {"loss": loss_sum / len(X), "lr": rate}
        _check_finite(epoch, scores, params)
        if validation is not None:
            val = evaluate(params, *validation, activations, loss)
            scores |= {f"val_{name}": val[name] for name in val}
        history = {name: history.get(name, []) + [scores[name]] for name in scores}
        if on_epoch is not None and on_epoch(epoch, params, history):  # may keep both
            break
    return params, history

# ---- Files -----------------------------------------------------------------------------
def save_params(path, params, activations):
    """Write what predict needs, but your scaling of X, to a file, whole or not at all."""
    _check_network(params, activations)
    with open(f"{path}.part", "wb") as file:  # a failure spoils no older file
        np.savez(file, **params, activations=np.array(activations))
    os.replace(f"{path}.part", path)

def load_params(path):
    """Return (params, activations) as saved; ValueError if the file holds no network."""
    with open(path, "rb") as file:
        try:
            params = dict(np.load(file, allow_pickle=False))  # a pickle can run any code
            activations = tuple(str(name) for name in params.pop("activations"))
        except Exception as error:  # a damaged file fails in a dozen ways
            raise ValueError(f"{path} is damaged, or holds no network") from error
    _check_network(params, activations)
    return params, activations

# ---- Checks: mistakes that would otherwise pass quietly --------------------------------
def _require(ok, *words):
    if not ok:
        raise ValueError(" ".join(map(str, words)))

def _look_up(kind, name, table):
    found = table.get(name, name)  # if not in the table, perhaps the user's own
    _require(callable(found) or isinstance(found, tuple), kind, name, "- not in", *table)
    return found

def _check_network(params, activations):
    keys = {f"{kind}{l}" for kind in "Wb" for l in range(1, len(activations) + 1)}
    _require(set(params) == keys != set(), "params", *params, "do not fit", activations)
    for l, name in enumerate(activations, start=1):
        _look_up("entry of activations", str(name), ACTIVATIONS)
        W, b = params[f"W{l}"], params[f"b{l}"]
        before = params.get(f"b{l - 1}", W)  # there is no b0: W1 may take any width
        expected = (*before.shape[:1], *b.shape)
        _require(W.shape == expected and W.dtype.kind == b.dtype.kind == "f", f"W{l} is",
                 W.dtype, W.shape, f"b{l}", b.dtype, b.shape, "- need floats", expected)
        _require(name != "softmax" or l == len(activations), "softmax is for the output")
        _require(name != "softmax" or b.size > 1, "one softmax is always 1: use sigmoid")

def _loss_and_targets(loss, activations, Y, A):
    loss_of_rows, loss_dZ, output = _look_up("loss", loss, LOSSES)
    last = activations[-1]
    _require(last == output or (output is None and last != "softmax"), "loss", loss,
             "goes with", output or "another", "as the output, not with", last)
    _require(np.shape(Y) == A.shape, "Y has the shape", np.shape(Y), "- expected",
             A.shape, "- numbers go in as y[:, None], labels by one_hot")
    return loss_of_rows, loss_dZ, np.asarray(Y, dtype=A.dtype)

def _check_data(params, X, Y, activations):
    _check_network(params, activations)
    X, Y = np.atleast_1d(X), np.atleast_1d(Y)
    if activations[-1] == "softmax" and Y.size == len(Y):  # (n,) or (n, 1)
        Y = one_hot(Y, len(params[f"b{len(activations)}"]))
    for name, array in (("X", X), ("Y", Y)):
        numeric = array.dtype.kind in "biuf"  # bool, int, unsigned, float
        _require(numeric and len(array) == len(X) > 0, name, array.dtype, array.shape,
                 "- expected numbers; rows of X:", len(X), "of Y:", len(Y))
        _require(np.isfinite([array.min(), array.max()]).all(), name, "holds NaN or inf")
    Y = Y.reshape(len(Y), -1).astype(params["W1"].dtype)
    if activations[-1] in ("softmax", "sigmoid"):
        _require(Y.min() >= 0 and Y.max() <= 1, "Y: 0 to 1, not", Y.min(), "to", Y.max())
    if activations[-1] == "softmax":
        _require(abs(Y.sum(axis=1) - 1).max() < 1e-3, "rows of Y do not sum to 1")
    return X, Y

def _check_finite(epoch, scores, params):
    if not all(np.isfinite(p).all() for p in (scores["loss"], *params.values())):
        raise FloatingPointError(f"epoch {epoch}, {scores}: lower lr, or scale X (or Y)")
