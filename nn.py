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
    A1 (n, 128)    f1(Z1): what layer 1, the hidden one, gives, and layer 2 takes as X2
    Z2 (n, 10)     X2 @ W2 + b2, with W2 (128, 10) and b2 (10,): a neuron for each digit
    A2 (n, 10)     f2(Z2), the output: in each row, a probability for each digit
    Y  (n, 10)     the targets, what A2 should be: 1 at the true digit, 0 elsewhere

    params      = {"W1": ..., "b1": ..., "W2": ..., "b2": ...}
    activations = ("relu", "softmax")    the names of f1 and f2
    cache       = {"X1": ..., "Z1": ..., "A1": ..., "X2": ..., ...}    kept for backward

The whole idea is four lines. The gradient of a weight says how fast the loss grows when
that weight is raised, so update moves each weight and bias a little the other way:
    output, cache = forward(params, X, activations)        what does the network say?
    loss = compute_loss(params, cache, Y, activations)     how wrong is that?
    grads = backward(params, cache, Y, activations)        the gradients, keyed as params
    params, state = update(params, grads, state, lr=0.1)   step size lr; state starts {}
gradient_descent repeats them. Ten passes over 55,000 images, pixels 0 to 1, take some
ten seconds; the loss falls from 0.30 to 0.03, and 98 of 100 new images are read right:
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
    # exp(89) overflows float32. Subtracting a number from a whole row divides exp(Z) and
    # its sum alike, so it changes nothing; the row's maximum leaves no Z above 0.
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)

# name: (f, slope). slope(A) is how fast A grows with Z, from A alone: for sigmoid, with
# E = exp(-Z), 1 / (1 + E) has the slope E / (1 + E)^2, which is A * (1 - A). Softmax
# mixes a row, so it has no such slope (None) and is only an output. Your own: add a line.
ACTIVATIONS = {
    "linear": (lambda Z: Z, lambda A: 1.0),                 # output: any number
    "relu": (lambda Z: np.maximum(Z, 0), lambda A: A > 0),  # hidden: gradients fade less
    "tanh": (lambda Z: np.tanh(Z), lambda A: 1 - A * A),    # hidden: smooth, -1 to 1
    "sigmoid": (lambda Z: 1 / (1 + np.exp(-np.maximum(Z, -80))),  # -80: no overflow
                lambda A: A * (1 - A)),                     # output: probability of a yes
    "softmax": (softmax, None),                             # output: one of k classes
}

# ---- Parameters: the weights and biases, which learning changes ------------------------
def init_params(sizes, activations, seed=0, dtype=np.float32):
    """Return new params for sizes such as (784, 128, 10); seed: an int or a Generator."""
    _require(len(sizes) == len(activations) + 1 and min(sizes) >= 1,  # Checks: at the end
             f"sizes {sizes}: expected the inputs, and a width for each of {activations}")
    rng, params = np.random.default_rng(seed), {}
    for l, (d_in, d_out, name) in enumerate(zip(sizes, sizes[1:], activations), start=1):
        # Random: neurons of equal weights would get equal gradients, and stay equal.
        # Z adds up d_in products of random sign, so their mean squares add up: weights of
        # mean square (variance) 1 / d_in keep Z as large as X. backward adds up d_out and
        # wants 1 / d_out; 2 / (d_in + d_out) lies between the two (Glorot & Bengio 2010).
        # relu makes about half of A 0: twice 1 / d_in makes up for that (He et al. 2015).
        variance = 2 / d_in if name == "relu" else 2 / (d_in + d_out)
        W = variance ** 0.5 * rng.standard_normal((d_in, d_out))
        params[f"W{l}"], params[f"b{l}"] = W.astype(dtype), np.zeros(d_out, dtype)
    _check_network(params, activations)
    return params

# ---- Forward: from the inputs to the output --------------------------------------------
def forward(params, X, activations, dropout=0.0, rng=None):
    """Return (output, cache), the output (n, k). dropout, for training, needs an rng."""
    _check_network(params, activations)
    _check_shape("X", np.shape(X), (len(X), len(params["W1"])))
    X, cache = np.asarray(X, dtype=params["W1"].dtype), {}
    for l, name in enumerate(activations, start=1):
        f, _ = ACTIVATIONS[name]
        Z = X @ params[f"W{l}"] + params[f"b{l}"]  # b is added to each row
        A = f(Z)
        cache[f"X{l}"], cache[f"Z{l}"], cache[f"A{l}"] = X, Z, A
        X = A  # the next layer takes what this one gives
        if dropout > 0 and l < len(activations):
            # A network can learn its examples by heart and fail on all others. To hinder
            # it, each hidden A is set to 0 with probability dropout, anew in each step:
            # no neuron can rely on a single other one (Srivastava et al. 2014). Dividing
            # by the share that stays keeps sums, on average, as in predict, without it.
            mask = (rng.random(A.shape, dtype=np.float32) >= dropout) / (1 - dropout)
            cache[f"mask{l}"] = mask.astype(A.dtype)
            X = A * cache[f"mask{l}"]
    return A, cache

# ---- Losses: how wrong the output is, one number for each row --------------------------
def cross_entropy(Z, A, Y):
    """Return -sum(Y * log(A)) of each row. If Y is 1 at the true class, and p is A there,
    it is -log(p), the surprise at the truth: 0 for p = 1, 0.7 for 1/2, 4.6 for 1/100."""
    # A is exp(Z) / S, so -log(A) is log(S) - Z: no log of an A that was rounded to 0.
    Z = Z - Z.max(axis=1, keepdims=True)  # as in softmax
    S = np.exp(Z).sum(axis=1, keepdims=True)
    return (Y * (np.log(S) - Z)).sum(axis=1)

# name: (loss, dZ, output). dZ(A, Y, slope) says how fast a row's loss grows with each Z
# of the last layer, whose activation has this slope. output is the activation that the
# loss requires; None: any but softmax. To add your own, add a line. Why A - Y: as Y sums
# to 1, cross_entropy is log(S) - sum(Y * Z), of slope exp(Z) / S - Y, which is A - Y.
# If A is [0.2, 0.3, 0.5] and the second class is true, this is [0.2, -0.7, 0.5]: the
# second Z should rise, the others fall. Sigmoid has A - Y again: a yes costs -log(A)
# = log(1 + exp(-Z)), of slope A - 1; a no -log(1 - A) = log(1 + exp(Z)), of slope A.
LOSSES = {
    "mse": (lambda Z, A, Y: ((A - Y) ** 2).mean(axis=1),  # mean squared error
            lambda A, Y, slope: 2 * (A - Y) * slope(A) / A.shape[1], None),  # / k: a mean
    "cross_entropy": (cross_entropy, lambda A, Y, slope: A - Y, "softmax"),
    "binary_cross_entropy": (  # the mean surprise; logaddexp(0, Z) is log(1 + exp(Z))
        lambda Z, A, Y: (Y * np.logaddexp(0, -Z) + (1 - Y) * np.logaddexp(0, Z)).mean(1),
        lambda A, Y, slope: (A - Y) / A.shape[1], "sigmoid"),
}

def compute_loss(params, cache, Y, activations, loss="cross_entropy", l1=0.0, l2=0.0):
    """Return the mean loss of the rows + l1 * sum(|W|) + l2 / 2 * sum(W^2), a number."""
    _check_network(params, activations, loss)
    L, (loss_of_rows, _, _) = len(activations), LOSSES[loss]
    _check_shape("Y", np.shape(Y), cache[f"A{L}"].shape)
    total = loss_of_rows(cache[f"Z{L}"], cache[f"A{L}"], Y).reshape(len(Y)).mean()
    if l1 or l2:
        # Large weights let the output jump between inputs that hardly differ: a penalty
        # keeps them small. A bias only shifts a sum, the same for all inputs: no penalty.
        weights = (params[f"W{l}"] for l in range(1, L + 1))
        total += sum(l1 * np.abs(W).sum() + l2 / 2 * (W * W).sum() for W in weights)
    return total

# ---- Backward: the gradients, from the loss back to the inputs -------------------------
# dZ is how fast the loss grows with each entry of Z; likewise dW, db, dX, dA. In a layer,
# Z[i, k] = b[k] + sum over j of X[i, j] * W[j, k]: i-th example, j-th input, k-th neuron.
# Raise one W[j, k] by a tiny h: in each example, Z[i, k] grows by X[i, j] * h, the loss
# by X[i, j] * h * dZ[i, k]. Add up the examples, divide by h. (X[i, j] feeds every k.)
#     dW[j, k] = sum over i of X[i, j] * dZ[i, k]      dW = X.T @ dZ
#     db[k]    = sum over i of dZ[i, k]                db = dZ.sum(axis=0)
#     dX[i, j] = sum over k of dZ[i, k] * W[j, k]      dX = dZ @ W.T
# This X is A = f(Z) of the layer before, whose dZ is dX * slope(A): the last goes first.
def backward(params, cache, Y, activations, loss="cross_entropy", l1=0.0, l2=0.0,
             wrt_input=False):
    """Return the gradients, keyed as params, and if wrt_input also "X", of the inputs."""
    _check_network(params, activations, loss)
    L, (_, loss_dZ, _) = len(activations), LOSSES[loss]
    slopes = [ACTIVATIONS[name][1] for name in activations]
    A, grads = cache[f"A{L}"], {}
    _check_shape("Y", np.shape(Y), A.shape)
    # The loss is a mean of n rows: each counts 1/n. It enters once, here; what follows,
    # penalty aside, is sums of products with dZ, which carry it along.
    dZ = loss_dZ(A, np.asarray(Y, A.dtype), slopes[-1]) / len(Y)
    for l in range(L, 0, -1):
        if l < L:  # dZ is still that of layer l + 1: bring it back to this layer
            dA = (dZ @ params[f"W{l + 1}"].T) * cache.get(f"mask{l}", 1.0)  # dX * mask
            dZ = dA * slopes[l - 1](cache[f"A{l}"])
        dW = cache[f"X{l}"].T @ dZ
        if l1 or l2:  # the slope of |W| is the sign of W, that of W^2 / 2 is W
            dW = dW + l1 * np.sign(params[f"W{l}"]) + l2 * params[f"W{l}"]
        grads[f"W{l}"], grads[f"b{l}"] = dW, dZ.sum(axis=0)
    return {**grads, "X": dZ @ params["W1"].T} if wrt_input else grads

# ---- Optimizers: from the gradients to better parameters -------------------------------
# rule(p, g, memory, lr) -> (new p, new memory): p is an array of params, g its gradient,
# memory a dict for the rule's next step, {} at first. lr, the learning rate, is how far
# to step: too short takes for ever, too far lands higher, across the valley. Your own:
# add it to OPTIMIZERS, or pass it as optimizer. It must not write into p, g or memory,
# which are still in use: v = v + g is safe, v += g is not.
def sgd(p, g, memory, lr):
    """Stochastic gradient descent: g points to where the loss grows, so minus."""
    return p - lr * g, memory

def momentum(p, g, memory, lr, beta=0.9):
    """Steps add up while g agrees and cancel where it flips (Polyak 1964)."""
    v = beta * memory.get("v", 0.0) + g
    return p - lr * v, {"v": v}

def adagrad(p, g, memory, lr, eps=1e-10):
    """The larger the g of a weight so far, the shorter its steps (Duchi et al. 2011)."""
    s = memory.get("s", 0.0) + g * g
    return p - lr * g / (s ** 0.5 + eps), {"s": s}  # eps: no division by 0

def rmsprop(p, g, memory, lr, alpha=0.99, eps=1e-8):
    """As adagrad, with an average of g^2 in which the old ones fade (Hinton 2012)."""
    s = alpha * memory.get("s", 0.0) + (1 - alpha) * g * g
    return p - lr * g / (s ** 0.5 + eps), {"s": s}

def adam(p, g, memory, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """Mean g over the root of mean g^2: steps of lr if g is steady (Kingma & Ba 2015)."""
    t = memory.get("t", 0) + 1
    m = beta1 * memory.get("m", 0.0) + (1 - beta1) * g
    v = beta2 * memory.get("v", 0.0) + (1 - beta2) * g * g
    M = m / (1 - beta1 ** t)  # m began at 0, and after t steps that 0 still weighs
    V = v / (1 - beta2 ** t)  # beta1^t, all g together the rest: divide by it; v likewise
    return p - lr * (M / (V ** 0.5 + eps)), {"t": t, "m": m, "v": v}

OPTIMIZERS = {rule.__name__: rule for rule in (sgd, momentum, adagrad, rmsprop, adam)}

def update(params, grads, state, lr, optimizer="sgd"):
    """Return new (params, state): a step for each array; state holds their memories."""
    rule = optimizer if callable(optimizer) else _pick("optimizer", optimizer, OPTIMIZERS)
    new_params, new_state = {}, {}
    for key, p in params.items():
        new_p, new_state[key] = rule(p, grads[key], state.get(key, {}), lr)
        new_params[key] = np.asarray(new_p, dtype=p.dtype)
    return new_params, new_state

# ---- Predictions and labels ------------------------------------------------------------
def decide(output, activations):
    """Return the likeliest class for softmax, 0 or 1 for sigmoid, else output itself."""
    _require(not np.isnan(output).any(), "the output holds NaN: look at X and at params")
    if activations[-1] == "softmax":
        return output.argmax(axis=1)
    answer = (output > 0.5).astype(int) if activations[-1] == "sigmoid" else output
    return answer[:, 0] if answer.shape[1] == 1 else answer

def predict(params, X, activations):
    """Return what decide says of the output; the probabilities are in forward(...)[0]."""
    return decide(forward(params, X, activations)[0], activations)

def accuracy(labels, predicted):
    """Return the share of predicted, from 0 to 1, that equals labels."""
    _check_shape("predicted", np.shape(predicted), np.shape(labels))
    return float((np.asarray(labels) == np.asarray(predicted)).mean())

def one_hot(labels, n_classes, dtype=np.float32):
    """Return (n, n_classes): for each label 0, 1, ... a row of zeros with a 1 there."""
    hits = np.reshape(labels, (-1, 1)) == np.arange(n_classes)
    _require(np.ndim(labels) == 1 and hits.any(axis=1).all(), f"labels: expected (n,) of "
             f"0 to {n_classes - 1}; see np.unique(labels, return_inverse=True)")
    return hits.astype(dtype)

def evaluate(params, X, Y, activations, loss="cross_entropy"):
    """Return {"loss": ..., "accuracy": ...}, accuracy only for softmax and sigmoid. Y is
    rows (n, k), or labels (n,) for softmax, or numbers (n,) for a single output."""
    X, Y = _check_data(params, X, Y, activations, loss)  # as arrays, and Y as rows
    output, cache = forward(params, X, activations)
    scores = {"loss": float(compute_loss(params, cache, Y, activations, loss))}
    if activations[-1] in ("softmax", "sigmoid"):
        scores["accuracy"] = accuracy(decide(Y, activations), decide(output, activations))
    return scores

# ---- Training: the four lines, repeated ------------------------------------------------
# An epoch is one pass over all examples in a new random order, a batch of, say, 32 at a
# time. A batch's gradient is a rough guess at that of all, but so cheap that many rough
# steps beat a few exact ones. In the end, rough steps only jump around the lowest point,
# unless a schedule shortens them. Learning by heart shows in validation, on new examples.
@np.errstate(over="ignore", invalid="ignore")  # no warnings: divergence is an error below
def gradient_descent(params, X, Y, activations, loss="cross_entropy", *, epochs=10,
                     batch_size=32, lr=0.01, optimizer="sgd", schedule=None,
                     l1=0.0, l2=0.0, dropout=0.0, validation=None, augment=None,
                     seed=0, on_epoch=None):
    """Return (params, history). history is a dict of lists, a number for each epoch: its
    mean "loss" while learning (no penalty), last "lr" and, given validation=(X, Y), its
    "val_loss" and "val_accuracy". X should lie about -1..1; Y: see evaluate; batch_size:
    None is all. schedule(done) is a factor on lr; done is 2.5 in the middle of epoch 3:
        lambda done: 1 - done / epochs      down to 0 in a line
        lambda done: 0.1 ** (done // 30)    a tenth after every 30 epochs
        lambda done: 0.95 ** int(done)      5% less after every epoch
    augment(X_batch, rng) returns what to train on instead; on_epoch(epoch, params,
    history), True to stop. FloatingPointError if loss or params get infinite or NaN."""
    X, Y = _check_data(params, X, Y, activations, loss)
    if validation:
        evaluate(params, *validation, activations, loss)  # its mistakes should show now
    n, rng, state, history = len(X), np.random.default_rng(seed), {}, {}
    batch_size = n if batch_size is None else batch_size
    _require(epochs >= 1 and batch_size >= 1 and 0 <= dropout < 1, f"epochs {epochs}, "
             f"batch_size {batch_size}, dropout {dropout}: expected >= 1, >= 1, 0 to <1")
    for epoch in range(1, epochs + 1):
        order, loss_sum = rng.permutation(n), 0.0
        for start in range(0, n, batch_size):
            rows = order[start:start + batch_size]  # perhaps fewer at the end
            X_batch, Y_batch = np.asarray(X[rows], params["W1"].dtype), Y[rows]
            X_batch = augment(X_batch, rng) if augment else X_batch
            factor = schedule(epoch - 1 + start / n) if schedule else 1.0
            rate = float(lr * factor)  # an np.float64 would make each step float64
            _, cache = forward(params, X_batch, activations, dropout, rng)
            # Recorded without the penalty, so that it can be compared with the val_loss.
            batch_loss = float(compute_loss(params, cache, Y_batch, activations, loss))
            _check_step(epoch, rate, batch_loss)
            grads = backward(params, cache, Y_batch, activations, loss, l1, l2)
            params, state = update(params, grads, state, rate, optimizer)
            loss_sum += batch_loss * len(rows)  # so that each example counts the same
        _check_step(epoch, rate, batch_loss, *params.values())
        val = evaluate(params, *validation, activations, loss) if validation else {}
        scores = {"loss": loss_sum / n, "lr": rate, **{f"val_{k}": val[k] for k in val}}
        history = {key: history.get(key, []) + [scores[key]] for key in scores}
        if on_epoch is not None and on_epoch(epoch, params, history):
            break
    return params, history

# ---- Files -----------------------------------------------------------------------------
def save_params(path, params, activations):
    """Write all that predict needs (no optimizer's state) into one .npz, whole or not."""
    part = f"{path}.{os.urandom(4).hex()}.part"  # two writers must not share one
    with open(part, "wb") as file:  # given a name, np.savez would append .npz to it
        np.savez(file, **params, activations=np.array(activations))
    os.replace(part, path)

def load_params(path):
    """Return (params, activations) as saved; ValueError if the file holds no network."""
    with open(path, "rb") as file:
        try:
            params = dict(np.load(file, allow_pickle=False))  # a pickle can run any code
            activations = tuple(str(name) for name in params.pop("activations"))
            _check_network(params, activations)
        except Exception as error:  # a damaged file fails in a dozen ways
            raise ValueError(f"{path} is damaged, or holds no network") from error
    return params, activations

# ---- Checks: mistakes that would otherwise pass quietly, or cost an epoch --------------
def _require(ok, *words):
    if not ok:
        raise ValueError(" ".join(map(str, words)))

def _pick(kind, name, table):
    _require(name in table, "unknown", kind, name, "- choose from", *table)
    return table[name]

def _check_network(params, activations, loss=None):
    shapes = {key: p.shape for key, p in params.items()}
    expected, d_out = {}, shapes.get("W1", (0,))[0]
    for l, name in enumerate(activations, start=1):
        _, slope = _pick("activation", name, ACTIVATIONS)
        _require(slope or l == len(activations), name, "is only for the output")
        d_in, d_out = d_out, shapes.get(f"b{l}", (0,))[0]
        expected |= {f"W{l}": (d_in, d_out), f"b{l}": (d_out,)}
    _require(shapes == expected, "params have the shapes", shapes, "- expected", expected)
    _require(all(p.dtype.kind == "f" for p in params.values()), "params must be floats")
    if loss is not None:  # name and slope are now those of the last layer
        _, _, output = _pick("loss", loss, LOSSES)
        _require(output == name or (output is None and slope), loss, "goes with",
                 output or "another", "as the output, not with", name)

def _check_shape(name, shape, expected):  # else (n,) - (n, 1) would become (n, n)
    _require(shape == expected, name, "has the shape", shape, "- expected", expected,
             "- one x goes in as x[None], numbers y as y[:, None], labels by one_hot")

def _check_data(params, X, Y, activations, loss):
    _check_network(params, activations, loss)
    X, Y, k = np.asarray(X), np.asarray(Y), len(params[f"b{len(activations)}"])
    if Y.ndim == 1:
        Y = one_hot(Y, k) if activations[-1] == "softmax" else Y[:, None]
    _check_shape("Y", Y.shape, (len(X), k))
    low, high, error = Y.min(), Y.max(), abs(Y.sum(axis=1) - 1).max()
    _require(np.isfinite([X.min(), X.max(), low, high]).all(), "X or Y holds NaN or inf")
    if activations[-1] in ("softmax", "sigmoid"):
        _require(low >= 0 and high <= 1, f"Y goes from {low} to {high}, expected 0 to 1")
    _require(activations[-1] != "softmax" or error < 1e-3, "rows of Y do not sum to 1")
    return X, Y.astype(params["W1"].dtype)

def _check_step(epoch, rate, loss, *arrays):
    _require(rate >= 0, "epoch", epoch, "has the rate", rate, "- below 0 it goes uphill")
    if not all(np.isfinite(array).all() for array in (loss, *arrays)):
        raise FloatingPointError(f"epoch {epoch}: diverged, loss {loss}, lr {rate}; try "
                                 "a smaller lr, or scale X to about -1..1")
