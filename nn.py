# SPDX-License-Identifier: MIT
# Copyright (c) 2026 the nn.py authors
"""nn.py: a fully connected neural network in NumPy, to be read from top to bottom.

    n examples, one per row; layers 1 to L, of which the first takes d0 numbers, gives d1
    X   (n, d0)             the inputs, also called A0
    W1  (d0, d1), b1 (d1,)  weights and biases of layer 1: what the network learns
    Z1  (n, d1)             A0 @ W1 + b1: weighted sums of the inputs, plus a bias each
    A1  (n, d1)             f(Z1), the activations: the inputs of layer 2, and so on
    ZL, AL  (n, dL)         the last Z, called logits, and the output of the network
    Y   (n, dL)             what the output should be
    dZ1, dA1, dW1, ...      gradients: how fast the loss grows with each entry of Z1, ...

    params      = {"W1": ..., "b1": ..., "W2": ..., "b2": ...}
    activations = ("relu", "softmax"): one name per layer, the last is the output
    cache       = {"A0": X, "Z1": ..., "A1": ..., "Z2": ..., "A2": ...}
No function prints, keeps state, or changes an array that it was given.
"""
import os
import numpy as np  # always used as np.name: after nn.np = jax.numpy, JAX computes

def _check(ok, message):
    if not ok:
        raise ValueError(message)

def _pick(table, name, kind):
    _check(name in [*table], f"unknown {kind} {name!r}: choose from {', '.join(table)}")
    return table[name]

# ---- Activations: without them, any number of layers would equal a single one ----------
def softmax(Z):
    """Return each row as probabilities that sum to 1: exp(Z) over its sum in the row."""
    # exp(100) overflows float32. A number subtracted from a whole row cancels out of the
    # quotient, so subtract the row's maximum: then no exponent is above 0.
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)

def softmax_backward(dA, A):
    """Return dZ[k] = sum over j of dA[j] A[j] ((1 if j == k else 0) - A[k])."""
    return A * (dA - (dA * A).sum(axis=1, keepdims=True))

# name: (f, f_backward), where A = f(Z) and dZ = f_backward(dA, A): dA times f's slope,
# written in terms of A (softmax: summed over the row). To add an activation, add a line.
ACTIVATIONS = {
    # hidden layers: first choice; slope 1 where Z > 0, so gradients fade less with depth
    "relu": (lambda Z: np.maximum(Z, 0), lambda dA, A: dA * (A > 0)),
    # hidden layers of small networks: smooth, from -1 to 1
    "tanh": (lambda Z: np.tanh(Z), lambda dA, A: dA * (1 - A * A)),
    "linear": (lambda Z: Z, lambda dA, A: dA),  # output, any number: regression
    # output, yes or no: equals 1 / (1 + exp(-Z)), but has no exp that could overflow
    "sigmoid": (lambda Z: 0.5 + 0.5 * np.tanh(0.5 * Z), lambda dA, A: dA * A * (1 - A)),
    "softmax": (softmax, softmax_backward),  # output, one class of many
}

# ---- Losses: how wrong the output is, entry by entry -----------------------------------
def cross_entropy(Z, A, Y):
    """Return -Y log A, where A = softmax(Z), so that log A = Z - log(sum(exp(Z)))."""
    # Not log(A): -inf where A was rounded to 0. The maximum is subtracted as in softmax.
    Z = Z - Z.max(axis=1, keepdims=True)
    return Y * (np.log(np.exp(Z).sum(axis=1, keepdims=True)) - Z)

def binary_cross_entropy(Z, A, Y):
    """Return -Y log A - (1 - Y) log(1 - A); A = 1 / (1 + exp(-Z)), 1 - A: same at -Z."""
    return Y * np.logaddexp(0, -Z) + (1 - Y) * np.logaddexp(0, Z)  # log(1 + exp(...))

# name: (loss, gradient, output). If output is None, any output fits, and gradient is dA.
# Otherwise only that output fits, and gradient is dZ, as the slopes of loss and output
# simplify together: Y sums to 1, so a row's loss is log(sum(exp(Z))) - sum(Y * Z), and
# dZ = exp(Z) / sum(exp(Z)) - Y = A - Y: A [0.2, 0.3, 0.5], Y [0, 1, 0]: [0.2, -0.7, 0.5].
# Sigmoid: Y (slope of -log A: A - 1) + (1 - Y) (slope of -log(1 - A): A) = A - Y.
LOSSES = {
    "mse": (lambda Z, A, Y: (A - Y) ** 2, lambda A, Y: 2 * (A - Y), None),
    "cross_entropy": (cross_entropy, lambda A, Y: A - Y, "softmax"),
    "binary_cross_entropy": (binary_cross_entropy, lambda A, Y: A - Y, "sigmoid"),
}

# ---- Parameters: what the network learns -----------------------------------------------
def _check_network(params, activations, loss="mse"):
    keys = {f"{kind}{l + 1}" for l in range(len(activations)) for kind in "Wb"}
    floats = all(p.dtype.kind == "f" for p in params.values())
    _check(keys and keys == set(params) and floats and not isinstance(activations, str),
           f"params {[*params]}: expected a float W and b for each of {activations!r}")
    for name in activations:
        _pick(ACTIVATIONS, name, "activation")
    _, _, output = _pick(LOSSES, loss, "loss")
    _check(output in (None, activations[-1]), f"{loss} needs the output {output}, not "
           f"{activations[-1]}; mse goes with any")

def init_params(sizes, activations, seed=0, dtype=np.float32):
    """Return params for sizes such as (784, 128, 10); seed is an int or a Generator.
    Weights are random, or a layer's neurons would all learn the same. The spread keeps
    signals from fading or exploding (relu: He et al. 2015, else Glorot & Bengio 2010)."""
    whole = all(isinstance(d, (int, np.integer)) and d > 0 for d in sizes)
    _check(whole and len(sizes) == len(activations) + 1, f"sizes are {sizes!r}: expected "
           f"whole numbers, the inputs and then one for each of {activations!r}")
    rng, params = np.random.default_rng(seed), {}
    for l, (d_in, d_out, name) in enumerate(zip(sizes, sizes[1:], activations), start=1):
        spread = (2 / d_in if name == "relu" else 2 / (d_in + d_out)) ** 0.5
        params[f"W{l}"] = (spread * rng.standard_normal((d_in, d_out))).astype(dtype)
        params[f"b{l}"] = np.zeros(d_out, dtype)
    _check_network(params, activations)
    return params

# ---- Forward: from the inputs to the output --------------------------------------------
def forward(params, X, activations, dropout=0.0, rng=None):
    """Return (output, cache): the output (n, dL), and every array on the way to it.
    A neuron is f(x . w + b); f(A @ W + b) is all neurons for all examples. Only if rng is
    given, each hidden activation is set to 0 with probability dropout, so that the next
    layer cannot rely on any single one (Srivastava et al. 2014)."""
    _check_network(params, activations)
    A = np.asarray(X, dtype=params["b1"].dtype)
    cache = {"A0": A}
    for l, name in enumerate(activations, start=1):
        W, b, (f, _) = params[f"W{l}"], params[f"b{l}"], ACTIVATIONS[name]
        _check(A.ndim == 2 and b.ndim == 1 and W.shape == A.shape[1:] + b.shape,
               f"layer {l}: {A.shape} @ W {W.shape} + b {b.shape} do not fit; X: (n, d0)")
        Z = A @ W + b
        A = f(Z)
        cache[f"Z{l}"], cache[f"A{l}"] = Z, A
        if rng is not None and dropout > 0 and l < len(activations):
            # Inverted dropout: what stays is divided by its probability to stay, so the
            # sums are the same on average, and prediction needs no correction.
            mask = (rng.random(A.shape, dtype=np.float32) >= dropout).astype(A.dtype)
            mask /= 1 - dropout
            cache[f"mask{l}"] = mask
            A = A * mask  # the cache keeps A before the mask: f_backward needs f's result
    return A, cache

def _output(params, cache, Y, loss):
    # The loss is a mean over n answers: rows for cross_entropy, entries for other losses.
    L = len(params) // 2
    Z, A = cache[f"Z{L}"], cache[f"A{L}"]
    Y = np.asarray(Y, dtype=A.dtype)
    _check(Y.shape == A.shape,  # otherwise (n,) - (n, 1) would quietly become (n, n)
           f"Y has shape {Y.shape}, the output {A.shape}: labels go through one_hot")
    return Z, A, Y, len(Y) if loss == "cross_entropy" else Y.size

def compute_loss(params, cache, Y, loss="cross_entropy", l1=0.0, l2=0.0):
    """Return the mean loss of the batch + l1 * sum(|W|) + l2 / 2 * sum(W^2), a scalar.
    The penalty favours small weights, so gentle slopes. Biases only shift and go free."""
    f, _, _ = _pick(LOSSES, loss, "loss")
    Z, A, Y, n = _output(params, cache, Y, loss)
    total = f(Z, A, Y).sum() / n
    if l1 or l2:
        for W in [p for key, p in params.items() if "W" in key]:
            total += l1 * np.abs(W).sum() + l2 / 2 * (W * W).sum()
    return total

# ---- Backward: the chain rule, from the loss back to the inputs ------------------------
# Z[i, k] = sum over j of A[i, j] * W[j, k], plus b[k]; i: example, A: the layer's input.
# Raise W[j, k] by h: each Z[i, k] grows by A[i, j] h, the loss by dZ[i, k] A[i, j] h. So:
#     dW[j, k] = sum over i of A[i, j] * dZ[i, k]      dW = A.T @ dZ
#     db[k]    = sum over i of dZ[i, k]                db = dZ.sum(axis=0)
#     dA[i, j] = sum over k of dZ[i, k] * W[j, k]      dA = dZ @ W.T
def backward(params, cache, Y, activations, loss="cross_entropy", l1=0.0, l2=0.0,
             wrt_input=False):
    """Return the gradients of compute_loss, keyed as params, and "X" if wrt_input."""
    _check_network(params, activations, loss)
    _, gradient, output = LOSSES[loss]
    _, A, Y, n = _output(params, cache, Y, loss)
    L = len(activations)
    dA = gradient(A, Y) / n  # 1/n enters once, here. If output is set, this is dZ, not dA
    grads = {}
    for l in range(L, 0, -1):
        _, f_backward = ACTIVATIONS[activations[l - 1]]
        dZ = dA if l == L and output else f_backward(dA, cache[f"A{l}"])
        W, A, mask = params[f"W{l}"], cache[f"A{l - 1}"], cache.get(f"mask{l - 1}")
        dW = (A if mask is None else A * mask).T @ dZ  # A as the layer received it
        if l1 or l2:
            dW += l1 * np.sign(W) + l2 * W
        grads[f"W{l}"], grads[f"b{l}"] = dW, dZ.sum(axis=0)
        if l > 1 or wrt_input:
            dA = dZ @ W.T
        if mask is not None:
            dA *= mask  # forward multiplied A by it
    if wrt_input:
        grads["X"] = dA
    return grads

# ---- Optimizers: from gradients to better parameters -----------------------------------
# rule(g, slots, t, lr) -> (change, slots), for one array: g is its gradient, slots a dict
# of what the rule remembers, t = 1, 2, ... the step; update adds change, a new array.
def sgd(g, slots, t, lr):
    """change = -lr g."""
    return -lr * g, slots

def momentum(g, slots, t, lr, beta=0.9):
    """v = beta v + g, change = -lr v: rolls on like a ball (Polyak 1964)."""
    v = beta * slots.get("v", 0.0) + g
    return -lr * v, {"v": v}

def adagrad(g, slots, t, lr, eps=1e-10):
    """s = s + g^2, change = -lr g / (sqrt(s) + eps) (Duchi et al. 2011)."""
    s = slots.get("s", 0.0) + g * g
    return -lr * g / (s ** 0.5 + eps), {"s": s}

def rmsprop(g, slots, t, lr, alpha=0.99, eps=1e-8):
    """s = alpha s + (1 - alpha) g^2, change as in adagrad; old g fade (Hinton 2012)."""
    s = alpha * slots.get("s", 0.0) + (1 - alpha) * g * g
    return -lr * g / (s ** 0.5 + eps), {"s": s}

def adam(g, slots, t, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2: averages of g and g^2.
    They start at 0, so at step t the shares of all g sum to only 1 - beta^t: divide, m' =
    m / (1 - beta1^t), v' = v / (1 - beta2^t). change = -lr m' / (sqrt(v') + eps): about
    lr in size while g is steady, at any scale; less where it flips (Kingma & Ba 2015)."""
    # += on an array just made is as pure as m = m + ..., and saves making another.
    m = beta1 * slots.get("m", 0.0)
    m += (1 - beta1) * g
    v = beta2 * slots.get("v", 0.0)
    v += (1 - beta2) * (g * g)
    c = (1 - beta2 ** t) ** 0.5  # sqrt(v') = sqrt(v) / c: expand change's fraction by c
    change = v ** 0.5
    change += eps * c
    change = m / change
    change *= -lr * c / (1 - beta1 ** t)
    return change, {"m": m, "v": v}

OPTIMIZERS = {rule.__name__: rule for rule in (sgd, momentum, adagrad, rmsprop, adam)}

def update(params, grads, state, lr, optimizer="sgd"):
    """Return (params, state) after one step, both new; the state before the first is {}.
    optimizer is a name or a rule of your own, such as partial(adam, beta1=0.8)."""
    rule = optimizer if callable(optimizer) else _pick(OPTIMIZERS, optimizer, "optimizer")
    new_params, new_state = {}, {"t": state.get("t", 0) + 1}
    for key, p in params.items():
        change, new_state[key] = rule(grads[key], state.get(key, {}), new_state["t"], lr)
        change += p
        new_params[key] = np.asarray(change, dtype=p.dtype)  # an np.float64 lr changes it
    return new_params, new_state

def step_decay(step_size, gamma=0.1):
    """Return schedule(epochs done), a factor on lr: times gamma each step_size epochs."""
    return lambda epoch: gamma ** (epoch // step_size)

def exponential_decay(gamma):
    """Return schedule(epochs done), a factor on lr: times gamma every epoch."""
    return step_decay(1, gamma)

# ---- Labels, scores and files ----------------------------------------------------------
def _numbers(name, values, dtype):
    values = np.asarray(values)
    _check(np.can_cast(values.dtype, dtype, "same_kind") and values.ndim and len(values),
           f"{name}: {values.dtype} {values.shape}, expected rows of {np.dtype(dtype)}")
    values = values.astype(dtype, copy=False)
    _check(np.isfinite(values).all(), f"{name} holds NaN or infinite {np.dtype(dtype)}")
    return values

def one_hot(labels, n_classes, dtype=np.float32):
    """Return (n, n_classes): for each of labels 0, 1, ... a row of zeros with one 1."""
    labels = _numbers("labels", labels, int)
    _check(labels.ndim == 1 and 0 <= labels.min() <= labels.max() < n_classes,
           f"labels {labels.shape}: {labels.min()}..{labels.max()}, not 0..{n_classes-1}")
    return (labels[:, None] == np.arange(n_classes)).astype(dtype)

def predict(params, X, activations):
    """Return labels (n,): argmax of the outputs, or output > 0.5 if there is just one."""
    A, _ = forward(params, _numbers("X", X, params["b1"].dtype), activations)
    return A.argmax(axis=1) if A.shape[1] > 1 else (A[:, 0] > 0.5).astype(int)

def accuracy(labels, predicted):
    """Return the share of labels, 0 to 1, that was predicted right."""
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    _check(labels.shape == predicted.shape and labels.size,
           f"labels {labels.shape}, predicted {predicted.shape}: expected the same (n,)")
    return float((labels == predicted).mean())

def save_params(path, params, activations):
    """Write params and activations into one .npz file, completely or not at all."""
    _check_network(params, activations)
    with open(f"{path}.part", "wb") as file:
        np.savez(file, **params, activations=np.array(activations))
    os.replace(f"{path}.part", path)

def load_params(path):
    """Return (params, activations) as saved; ValueError if the file holds no network."""
    with open(path, "rb") as file:
        try:
            params = dict(np.load(file, allow_pickle=False))  # a pickle can run code
            activations = tuple(str(name) for name in params.pop("activations"))
            forward(params, np.zeros((1, len(params["W1"]))), activations)  # do they fit?
        except Exception as error:  # a damaged archive fails in a dozen ways
            raise ValueError(f"{path} holds no network: {error}") from error
    return params, activations

# ---- Training --------------------------------------------------------------------------
def _data(params, X, Y, loss, name=""):
    # X and Y with the dtype and the shapes of the network
    b = params[f"b{len(params) // 2}"]
    Y = one_hot(Y, len(b)) if loss == "cross_entropy" and np.ndim(Y) == 1 else Y
    X, Y = _numbers(f"{name}X", X, b.dtype), _numbers(f"{name}Y", Y, b.dtype)
    Y = Y[:, None] if Y.ndim == 1 == len(b) else Y
    _check(Y.shape == (len(X), len(b)), f"{name}Y is {Y.shape}, expected "
           f"{(len(X), len(b))}: rows as in {name}X, columns as outputs, or labels (n,)")
    _check(loss != "cross_entropy" or Y.min() >= 0 and abs(Y.sum(1) - 1).max() < 1e-3,
           f"{name}Y has rows that are not probabilities, which sum to 1")
    _check(loss != "binary_cross_entropy" or np.isin(Y, (0, 1)).all(),
           f"{name}Y, from {Y.min()} to {Y.max()}, has values other than 0 and 1")
    return X, Y

def _scores(params, A, cache, Y, loss):
    # [loss, accuracy]: one choice per row, or yes or no per entry (dropped for mse later)
    hits = (A.argmax(axis=1) == Y.argmax(axis=1) if loss == "cross_entropy"
            else (A > 0.5) == (Y > 0.5))
    return np.array([compute_loss(params, cache, Y, loss), hits.mean()])

@np.errstate(over="ignore", invalid="ignore")  # no warnings: divergence is an error below
def gradient_descent(params, X, Y, activations, loss="cross_entropy", *, epochs=10,
                     batch_size=32, lr=0.01, optimizer="sgd", schedule=None,
                     l1=0.0, l2=0.0, dropout=0.0, validation=None, augment=None,
                     seed=0, on_epoch=None):
    """Return (params, history), history a dict of lists: "loss" (as trained: dropout on,
    params moving, no penalty), "lr" (first of the epoch), "accuracy" for the entropies;
    with validation=(X, Y) "val_loss", "val_accuracy". Y: (n, dL), (n,) for one output or
    labels. batch_size None: all rows. schedule(epochs done, say 2.25) -> factor on lr, as
    lambda epoch: 1 - epoch / epochs; augment(X_batch, rng) -> X_batch; on_epoch(epoch,
    params, history) -> True to stop. FloatingPointError if a loss is no longer finite."""
    _check_network(params, activations, loss)
    X, Y = _data(params, X, Y, loss)
    if validation is not None:
        X_val, Y_val = _data(params, *validation, loss, "validation ")
    n, batch_size = len(X), len(X) if batch_size is None else batch_size
    _check(batch_size >= 1, f"batch_size is {batch_size}, expected 1 or more, or None")
    _check(0 <= dropout < 1, f"dropout is {dropout}, expected 0 or more and below 1")
    rng, state, history = np.random.default_rng(seed), {}, {}
    for epoch in range(1, epochs + 1):
        record, sums, order = {}, 0.0, rng.permutation(n)
        for start in range(0, n, batch_size):
            rows = order[start:start + batch_size]
            X_batch = X[rows] if augment is None else augment(X[rows], rng)
            Y_batch = Y[rows]
            rate = lr if schedule is None else lr * schedule(epoch - 1 + start / n)
            A, cache = forward(params, X_batch, activations, dropout, rng)
            grads = backward(params, cache, Y_batch, activations, loss, l1, l2)
            # Weighted by size: the last batch may be smaller, but examples count alike.
            sums += len(rows) * _scores(params, A, cache, Y_batch, loss)
            params, state = update(params, grads, state, rate, optimizer)
            record.setdefault("lr", rate)
        record["loss"], record["accuracy"] = sums / n
        if validation is not None:
            scores = _scores(params, *forward(params, X_val, activations), Y_val, loss)
            record["val_loss"], record["val_accuracy"] = scores
        if not all(np.isfinite(a).all() for a in (*record.values(), *params.values())):
            raise FloatingPointError(f"epoch {epoch}, lr {rate}, loss {record['loss']}: "
                                     "diverged; try a smaller lr, or scale the inputs")
        for key in [key for key in record if loss != "mse" or "accuracy" not in key]:
            history.setdefault(key, []).append(float(record[key]))
        if on_epoch is not None and on_epoch(epoch, params, history):
            break
    return params, history
