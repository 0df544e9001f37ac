# SPDX-License-Identifier: MIT
# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.26", "matplotlib", "pytest"]
# ///
"""test_nn.py: the proof that goes with nn.py.

    python -m pytest                all; without PyTorch, JAX or MNIST some are skipped
    python test_nn.py --benchmark   seconds beside PyTorch, scikit-learn and JAX

The banners say what is proved, and against what. An activation or a loss that is added to
its table in nn.py has its gradients checked here without another line; an optimizer, that
it is pure and descends.
"""
import concurrent.futures
import contextlib
import copy
import functools
import gzip
import hashlib
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tracemalloc
import types
from pathlib import Path
import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps
import nn
import train_mnist
import train_xor

HERE = Path(__file__).resolve().parent
HIDDEN = [name for name, (_, slope) in nn.ACTIVATIONS.items() if slope]
PAIRS = [(output, loss) for loss, (_, _, only) in nn.LOSSES.items()
         for output in (HIDDEN if only is None else [only])]
RELU_NET = ("relu", "softmax")

# ---- Networks and data to test with ----------------------------------------------------
def case(activations=RELU_NET, sizes=(4, 6, 3), n=8, seed=0):
    """Return (params, X, Y): no Z, W or b is near 0, where a slope could jump; no layer
    gives only 0. Y goes from 0 to 1; for softmax, in rows that sum to 1."""
    for number in range(1000 * seed, 1000 * seed + 1000):
        rng = np.random.default_rng(number)
        params = {key: rng.normal(size=p.shape) if key[0] == "b" else p for key, p in
                  nn.init_params(sizes, activations, rng, np.float64).items()}
        X, Y = rng.normal(size=(n, sizes[0])), rng.random((n, sizes[-1]))
        Y = Y / Y.sum(axis=1, keepdims=True) if activations[-1] == "softmax" else Y
        _, cache = nn.forward(params, X, activations)
        arrays = [cache[key] for key in cache if key[0] == "Z"] + list(params.values())
        alive = all(cache[key].any() for key in cache if key[0] == "A")
        if alive and min(abs(array).min() for array in arrays) > 1e-3:
            return params, X, Y
    raise AssertionError("no smooth case found")

def bits(tree):
    """Return nested dicts of arrays as dtypes, shapes and bytes, to be compared by ==."""
    if isinstance(tree, dict):
        return {key: bits(value) for key, value in tree.items()}
    return np.asarray(tree).dtype, np.shape(tree), np.asarray(tree).tobytes()

# ---- Gradients: backward against central differences -----------------------------------
def slopes(f, array, h=1e-5):
    """Return how fast f grows with each entry of array, by central differences."""
    result = np.zeros_like(array)
    for i in np.ndindex(array.shape):
        up, down = array.copy(), array.copy()
        up[i] += h
        down[i] -= h
        result[i] = (f(up) - f(down)) / (2 * h)
    return result

@pytest.mark.parametrize("sizes, l1, l2, dropout", [
    ((4, 6, 5, 3), 0, 0, 0), ((4, 6, 5, 3), 0.02, 0, 0.4), ((4, 5, 2), 0, 0.3, 0)])
@pytest.mark.parametrize("output, loss", PAIRS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_gradients_by_central_differences(hidden, output, loss, sizes, l1, l2, dropout):
    activations = (hidden,) * (len(sizes) - 2) + (output,)
    params, X, Y = case(activations, sizes)
    def loss_at(params, X):
        rng = np.random.default_rng(5)  # the same masks every time
        _, cache = nn.forward(params, X, activations, dropout, rng)
        return nn.compute_loss(params, cache, Y, activations, loss, l1, l2)
    _, cache = nn.forward(params, X, activations, dropout, np.random.default_rng(5))
    grads = nn.backward(params, cache, Y, activations, loss, l1, l2, wrt_input=True)
    assert grads.keys() == {*params, "X"}
    expected = {key: slopes(lambda p: loss_at({**params, key: p}, X), params[key])
                for key in params}
    expected["X"] = slopes(lambda X: loss_at(params, X), X)
    for key, value in expected.items():
        g, norm = grads[key], np.linalg.norm
        assert norm(g - value) <= 1e-6 * norm(value) + 1e-9, f"{key}: {g}, not {value}"

# ---- PyTorch: forty steps of training, and so losses, gradients and optimizers ---------
TORCH_KNOWS = {
    "linear": lambda Z: Z, "relu": lambda Z: Z.relu(), "tanh": lambda Z: Z.tanh(),
    "sigmoid": lambda Z: Z.sigmoid(), "softmax": lambda Z: Z.softmax(1)}
TORCH_LOSSES = {"mse": "mse_loss", "cross_entropy": "cross_entropy",
                "binary_cross_entropy": "binary_cross_entropy_with_logits"}
TORCH_RULES = {"sgd": ("SGD", {}), "momentum": ("SGD", {"momentum": 0.9}), "adam":
               ("Adam", {}), "adagrad": ("Adagrad", {}), "rmsprop": ("RMSprop", {})}
SCHEDULES = [  # ours, PyTorch's class and its arguments
    (lambda done: 0.5 ** (done // 2), "StepLR", {"step_size": 2, "gamma": 0.5}),
    (lambda done: 0.8 ** int(done), "ExponentialLR", {"gamma": 0.8})]

def setting(seed):
    """Return (sizes, activations, loss, l1, l2) of a random network of 1 to 4 layers."""
    rng = np.random.default_rng(seed)
    known = [(output, loss) for output, loss in PAIRS
             if output in TORCH_KNOWS and loss in TORCH_LOSSES]
    output, loss = known[seed % len(known)]
    depth = rng.integers(1, 5)
    hidden = tuple(str(name) for name in rng.choice([*TORCH_KNOWS][:-1], depth - 1))
    l1, l2 = [(0.0, 0.0), (0.01, 0.0), (0.02, 0.3)][rng.integers(3)]
    return tuple(rng.integers(2, 9, depth + 1).tolist()), (*hidden, output), loss, l1, l2

def torch_loss(torch, params, X, Y, activations, loss, l1=0.0, l2=0.0):
    """Return the loss that nn.py should have, computed by PyTorch from its own parts."""
    A = X
    for l, name in enumerate(activations, start=1):
        Z = A @ params[f"W{l}"] + params[f"b{l}"]
        A = TORCH_KNOWS[name](Z)
    value = getattr(torch.nn.functional, TORCH_LOSSES[loss])(A if loss == "mse" else Z, Y)
    for W in (p for key, p in params.items() if key[0] == "W"):
        value = value + l1 * W.abs().sum() + l2 / 2 * (W * W).sum()
    return value

@pytest.mark.parametrize("optimizer", TORCH_RULES)
@pytest.mark.parametrize("seed", range(12))
def test_forty_steps_equal_pytorch(seed, optimizer):
    """Each step's loss and rate, and the parameters at the end, of a random network."""
    torch = pytest.importorskip("torch")
    sizes, activations, loss, l1, l2 = setting(seed)
    params, X, Y = case(activations, sizes, seed=seed)
    ours, theirs, options = SCHEDULES[seed // 6]  # setting goes round in six seeds
    trained, history = nn.gradient_descent(
        params, X, Y, activations, loss, epochs=40, batch_size=None, lr=0.02,
        optimizer=optimizer, schedule=ours, l1=l1, l2=l2)
    tensors = {key: torch.tensor(p, requires_grad=True) for key, p in params.items()}
    name, defaults = TORCH_RULES[optimizer]
    rule = getattr(torch.optim, name)(list(tensors.values()), lr=0.02, **defaults)
    scheduler = getattr(torch.optim.lr_scheduler, theirs)(rule, **options)
    given = torch, tensors, torch.tensor(X), torch.tensor(Y), activations, loss
    for step in range(40):
        assert history["lr"][step] == pytest.approx(rule.param_groups[0]["lr"], rel=1e-12)
        assert history["loss"][step] == pytest.approx(torch_loss(*given).item(), rel=1e-9)
        rule.zero_grad()
        torch_loss(*given, l1, l2).backward()
        rule.step()
        scheduler.step()
    for key, tensor in tensors.items():
        assert abs(trained[key] - tensor.detach().numpy()).max() < 1e-8, key

# ---- JAX: automatic differentiation, and the compiled step -----------------------------
@pytest.mark.parametrize("seed", range(10))
def test_jax_differentiates_and_compiles_nn(seed, monkeypatch):
    """jax.grad of nn's own loss equals backward; ten compiled steps equal NumPy's."""
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    sizes, activations, loss, l1, l2 = setting(seed + 500)  # other networks than above
    params, X, Y = case(activations, sizes, seed=seed)
    optimizer = [*nn.OPTIMIZERS][seed % len(nn.OPTIMIZERS)]
    def loss_and_grads(params, X):
        _, cache = nn.forward(params, X, activations)
        settings = params, cache, Y, activations, loss, l1, l2
        return nn.compute_loss(*settings), nn.backward(*settings, wrt_input=True)
    def step(params, state):
        return nn.update(params, loss_and_grads(params, X)[1], state, 0.05, optimizer)
    def ten(step, params, state):
        for _ in range(10):
            params, state = step(params, state)
        return params
    stepped = ten(step, params, {})
    monkeypatch.setattr(nn, "np", jax.numpy)
    differentiate = jax.grad(loss_and_grads, (0, 1), has_aux=True)
    (expected, of_X), grads = differentiate(params, X)
    for key, gradient in {**expected, "X": of_X}.items():
        assert np.allclose(grads[key], gradient, rtol=1e-9, atol=1e-12), key
    for key, p in ten(jax.jit(step), params, {}).items():
        assert isinstance(p, jax.Array) and abs(p - stepped[key]).max() < 1e-9, key

# ---- By hand: a published example, and the losses --------------------------------------
def test_worked_example_of_mazur():
    """Matt Mazur, A Step by Step Backpropagation Example (2015). His error, half the sum
    of two squares, is our mean; his weights go to a neuron in a row, and biases stay."""
    activations, near = ("sigmoid",) * 2, functools.partial(pytest.approx, abs=1e-8)
    params = {"W1": np.array([[0.15, 0.20], [0.25, 0.30]]).T, "b1": np.array([0.35] * 2),
              "W2": np.array([[0.40, 0.45], [0.50, 0.55]]).T, "b2": np.array([0.60] * 2)}
    Y = np.array([[0.01, 0.99]])
    output, cache = nn.forward(params, [[0.05, 0.10]], activations)
    assert cache["A1"][0] == near([0.593269992, 0.596884378])
    assert output[0] == near([0.75136507, 0.772928465])
    assert nn.compute_loss(params, cache, Y, activations, "mse") == near(0.298371109)
    grads = nn.backward(params, cache, Y, activations, "mse")
    new, _ = nn.update(params, grads, {}, 0.5)
    assert new["W2"].T.ravel() == near([0.35891648, 0.40866619, 0.51130127, 0.56137012])
    assert new["W1"].T.ravel() == near([0.14978072, 0.19956143, 0.24975114, 0.29950229])

TWO_A, TWO_Y = [[0.1, 0.9], [0.4, 0.6]], [[0, 1], [1, 0]]

@pytest.mark.parametrize("output, loss, A, Y, expected, db", [
    ("linear", "mse", TWO_A, TWO_Y, (0.1 ** 2 + 0.6 ** 2) / 2, [-0.25, 0.25]),
    ("softmax", "cross_entropy", TWO_A, TWO_Y, -np.log(0.9 * 0.4) / 2, [-0.25, 0.25]),
    ("sigmoid", "binary_cross_entropy", TWO_A, TWO_Y, -np.log(0.9 * 0.4) / 2,
     [-0.125, 0.125]),
    ("softmax", "cross_entropy", [[0.2, 0.3, 0.5]], [[0, 1, 0]], -np.log(0.3),
     [0.2, -0.7, 0.5])])  # the example in nn.py
def test_losses_are_means_and_penalties_sums(output, loss, A, Y, expected, db):
    """Means over the rows, and for mse and binary over a row; no penalty on biases."""
    A, Y, k = np.array(A), np.array(Y), len(A[0])
    Z = {"linear": A, "softmax": np.log(A), "sigmoid": np.log(A / (1 - A))}[output]
    params = {"W1": np.eye(k), "b1": np.zeros(k), "W2": -np.eye(k), "b2": np.full(k, 3.0)}
    given, cache = nn.forward(params, 3 - Z, ("linear", output))
    assert given == pytest.approx(A)
    for l1, l2, penalty in ((0, 0, 0), (0.5, 0, 0.5 * 2 * k), (0, 0.25, 0.125 * 2 * k)):
        settings = params, cache, Y, ("linear", output), loss, l1, l2
        assert nn.compute_loss(*settings) == pytest.approx(expected + penalty)
        grads = nn.backward(*settings)  # W has zeros: there sign(W), but not W / |W|
        assert grads["b2"] == pytest.approx(db) and np.isfinite(grads["W2"]).all()

# ---- Training: gradient_descent against a plain loop -----------------------------------
def plain_descent(params, X, Y, activations, loss, rng, *, epochs=10, batch_size=32,
                  lr=0.01, optimizer="sgd", schedule=None, l1=0.0, l2=0.0, dropout=0.0,
                  validation=None, augment=None):
    """Return what gradient_descent's docstring says, for Y as rows."""
    state, log = {}, []
    for epoch in range(epochs):
        order, total = rng.permutation(len(X)), 0.0
        for start in range(0, len(X), batch_size or len(X)):
            rows = order[start:start + (batch_size or len(X))]
            batch = augment(X[rows], rng) if augment else X[rows]
            rate = float(lr * schedule(epoch + start / len(X))) if schedule else lr
            _, cache = nn.forward(params, batch, activations, dropout, rng)
            value = nn.compute_loss(params, cache, Y[rows], activations, loss)
            total += float(value) * len(rows)
            grads = nn.backward(params, cache, Y[rows], activations, loss, l1, l2)
            params, state = nn.update(params, grads, state, rate, optimizer)
        log.append({"loss": total / len(X), "lr": rate})
        if validation:
            measured = nn.evaluate(params, *validation, activations, loss)
            log[-1] |= {f"val_{key}": value for key, value in measured.items()}
    return params, {key: [scores[key] for scores in log] for key in log[0]}

def noisy(X_batch, rng):
    """Write into the batch, as augment may, and return another."""
    X_batch *= 1.1
    return X_batch + rng.normal(0, 0.1, X_batch.shape)

OPTIONS = {
    "defaults": {}, "a batch of one": {"batch_size": 1}, "all": {"batch_size": None},
    "adam": {"optimizer": "adam"}, "penalties": {"l1": 0.01, "l2": 0.1},
    "a rule": {"optimizer": functools.partial(nn.momentum, beta=0.5)},
    "schedule": {"schedule": lambda done: np.cos(done / 8)}, "dropout": {"dropout": 0.4},
    "augment": {"augment": noisy}, "larger than all": {"batch_size": 99},
    "validation": {"validation": 5},  # on so many rows
    "everything": {"schedule": lambda done: 0.5 ** (done // 2), "l1": 0.01, "l2": 0.1,
                   "dropout": 0.2, "augment": noisy, "optimizer": "rmsprop", "lr": 0.05,
                   "epochs": 4, "validation": 7}}

@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("output, loss", PAIRS)
def test_gradient_descent_equals_a_plain_loop(output, loss, option):
    """To the last bit: only the loop is tested, its calls are nn's own. It gets float32,
    gradient_descent float64, to be converted before augment; and np.cos a np.float64."""
    activations, options = ("tanh", output), dict(OPTIONS[option])
    params, X, Y = case(activations, n=70)
    start, X32, Y32 = ({key: p.astype("f") for key, p in params.items()},
                       X.astype("f"), Y.astype("f"))
    if rows := options.get("validation"):
        options["validation"] = X[:rows], Y[:rows]
    given, shared = np.random.default_rng(3), np.random.default_rng(3)
    trained, history = nn.gradient_descent(
        start, X, Y, activations, loss, seed=given, **options)
    expected, log = plain_descent(start, X32, Y32, activations, loss, shared, **options)
    assert bits(trained) == bits(expected) and history == log
    assert given.random() == shared.random()  # as many draws
    assert all(type(value) is float for values in history.values() for value in values)

# ---- Faults that well-known from-scratch networks have ---------------------------------
# Caught above, by differences: a relu whose slope is 1 everywhere, dropout unscaled in
# backward, l2 added to dZ, db summed over the neurons, too, 1/n twice. By the plain loop:
# X and Y shuffled apart or only once, a last batch that is dropped. By PyTorch, and by
# hand below: an adam without the power of t.
def test_dropout_keeps_the_mean_and_float32_stays_float32():
    net, rng = ("relu", "tanh", "softmax"), np.random.default_rng(0)
    params = nn.init_params((4, 60, 60, 3), net)
    X, Y = rng.normal(size=(90, 4)), nn.one_hot(np.arange(90) % 3, 3, float)
    for dropout, factor in ((0.75, 4), (0.2, 1.25)):
        output, cache = nn.forward(params, X, net, dropout, rng)
        assert list(cache) == "X1 Z1 A1 mask1 X2 Z2 A2 mask2 X3 Z3 A3".split()
        assert (cache["X1"] == X.astype("f")).all() and (cache["A3"] == output).all()
        for l in (1, 2):
            mask = cache[f"mask{l}"]
            assert set(mask.flat) == {0, factor} and abs(mask.mean() - 1) < 0.1
            assert len(np.unique(mask, axis=0)) == 90  # one for each row
            assert bits(cache[f"X{l + 1}"]) == bits(cache[f"A{l}"] * mask)
        arrays = [*cache.values(), *nn.backward(params, cache, Y, net).values()]
        assert {array.dtype.char for array in arrays} == {"f"}
    with pytest.raises(AttributeError, match="random"):  # no rng: not just no dropout
        nn.forward(params, X, net, dropout=0.5)

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_are_exact_at_extreme_logits_in_one_batch(dtype):
    """Naive softmax is NaN at logit 100 in float32, an epsilon bends the loss, and a
    maximum over the whole batch makes 0 / 0 of its small rows."""
    Z = np.array([[1000, -1000], [-1000, 1000], [-1000, -1000], [100, 0], [0, 0]], dtype)
    (softmax, _), (sigmoid, _) = nn.ACTIVATIONS["softmax"], nn.ACTIVATIONS["sigmoid"]
    many, many_dZ, _ = nn.LOSSES["cross_entropy"]
    binary, binary_dZ, _ = nn.LOSSES["binary_cross_entropy"]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        A = softmax(Z)
        assert np.array_equal(A.sum(axis=1), np.ones(5)) and A[2, 0] == 0.5
        ln2 = np.log(2).astype(dtype)
        for label, losses in ((0, [0, 2000, ln2, 0, ln2]), (1, [2000, 0, ln2, 100, ln2])):
            Y = nn.one_hot([label] * 5, 2, dtype)
            assert many(Z, A, Y) == pytest.approx(losses)
            assert np.array_equal(many_dZ(A, Y, None), A - Y)
        A, Y = sigmoid(Z), np.array([[1, 0], [1, 1], [0, 0], [1, 1], [0, 1]], dtype)
        assert binary(Z, A, Y) == pytest.approx([0, 500, 0, ln2 / 2, ln2])
        assert (binary_dZ(A, Y, nn.ACTIVATIONS["sigmoid"][1]) == (A - Y) / 2).all()
        # logaddexp(0, Z) - Y * Z, which is shorter, is 1% off where the answer is sure.
        sure = binary(np.array([[30.0]]), None, np.array([[1.0]]))
        assert sure == pytest.approx(np.exp(-30), rel=1e-9, abs=0)
        # Sigmoid written with tanh loses all digits below Z = -17.
        Z = np.linspace(-80, 80, 1001, dtype=dtype)
        assert np.allclose(sigmoid(Z), 1 / (1 + np.exp(-Z.astype(float))), 1e-6, 0)
        assert sigmoid(dtype(-1e4)) < 2e-35 and sigmoid(dtype(1e4)) == 1

def test_nothing_given_is_changed_piles_up_or_is_printed(capsys):
    """In micrograd and its children, a second backward adds to the first."""
    params, X, Y = case()
    _, cache = nn.forward(params, X, RELU_NET, 0.5, np.random.default_rng(0))
    given = {"params": params, "X": X, "Y": Y, "cache": cache, "labels": Y.argmax(axis=1)}
    before = copy.deepcopy(given)
    nn.compute_loss(params, cache, Y, RELU_NET, l1=0.1, l2=0.1)
    grads = nn.backward(params, cache, Y, RELU_NET, l1=0.1, l2=0.1)
    assert bits(grads) == bits(nn.backward(params, cache, Y, RELU_NET, l1=0.1, l2=0.1))
    assert grads.keys() == params.keys()  # that of X only on demand
    nn.accuracy(given["labels"], nn.predict(params, X, RELU_NET))
    for targets in (Y, given["labels"]):
        nn.gradient_descent(params, X, targets, RELU_NET, dropout=0.2, batch_size=None,
                            validation=(X, targets), augment=noisy, optimizer="adam")
    assert bits(given) == bits(before) and capsys.readouterr() == ("", "")

# ---- Optimizers: by hand; then whether they are pure, and descend ----------------------
# From p = 0 with lr 0.1: [p after g = 1, p after then g = 3] and, for a rule with an eps,
# (a g of its size, p after this one step from 0)
BY_HAND = {
    "sgd": [-0.1, -0.4], "momentum": [-0.1, -0.1 - 0.1 * (0.9 * 1 + 3)],
    "adagrad": [-0.1, -0.1 - 0.1 * 3 / (1 + 9) ** 0.5, (1e-10, -0.1 / (1 + 1))],
    "rmsprop": [-1.0, -1.0 - 0.1 * 3 / (0.0099 + 0.09) ** 0.5, (1e-8, -0.1 / (0.1 + 1))],
    "adam": [-0.1, -0.1 - 0.1 * ((0.9 * 0.1 + 0.1 * 3) / 0.19)
             / ((0.999 * 0.001 + 0.001 * 9) / 0.001999) ** 0.5, (1e-8, -0.1 / (1 + 1))]}

@pytest.mark.parametrize("name", BY_HAND)
def test_steps_of_each_optimizer_by_hand(name):
    rule, (first, second, *tiny) = nn.OPTIMIZERS[name], BY_HAND[name]
    p, memory = rule(0.0, 1.0, {}, 0.1)
    assert p == pytest.approx(first)
    assert rule(p, 3.0, memory, 0.1)[0] == pytest.approx(second)
    assert all(rule(0.0, g, {}, 0.1)[0] == pytest.approx(after) for g, after in tiny)

def shares(p, g, memory, lr):
    """Return one array as p and as memory: neither may be written to."""
    p = p - lr * g
    return p, {"p": p}

@pytest.mark.parametrize("optimizer", [*nn.OPTIMIZERS, shares])
def test_each_optimizer_is_pure_keeps_dtype_and_descends(optimizer):
    target = np.array([[1.0, -2.0, 3.0]], np.float32)
    params, state, steep = {"W1": 0 * target, "b1": target[0] + 1}, {}, []
    for _ in range(300):  # of sum((W1 - target)^2) + sum(b1^2); an "X" is left out
        grads = {"W1": 2 * (params["W1"] - target), "b1": 2 * params["b1"], "X": target}
        steep.append([np.linalg.norm(grads[key]) for key in params])
        given = {"params": params, "grads": grads, "state": state}
        before = copy.deepcopy(given)
        params, state = nn.update(params, grads, state, np.float64(0.1), optimizer)
        assert bits(given) == bits(before) and params.keys() == {"W1", "b1"}
        for key, p in params.items():
            assert p.dtype == np.float32 and p.shape == grads[key].shape
    assert (np.divide(steep[-1], steep[0]) < 0.5).all()  # each array by itself

# ---- The contract, function by function, by hand ---------------------------------------
def test_init_params_has_the_spread_of_he_and_of_glorot():
    params = nn.init_params((400, 300, 200, 100), ("relu", "tanh", "softmax"))
    assert list(params) == ["W1", "b1", "W2", "b2", "W3", "b3"]
    for l, variance in ((1, 2 / 400), (2, 2 / 500), (3, 2 / 300)):
        W, b = params[f"W{l}"], params[f"b{l}"]
        assert W.var() == pytest.approx(variance, rel=0.03) and abs(W.mean()) < 0.002
        assert not b.any() and W.dtype == b.dtype == np.float32
    assert abs(np.corrcoef(params["W2"].flat[:20_000], params["W3"].flat)[0, 1]) < 0.1
    seven, same, eight = (nn.init_params((4, 3), ("softmax",), seed) for seed in (
        7, np.random.default_rng(7), 8))
    assert bits(seven) == bits(same) and bits(seven) != bits(eight)

def test_targets_and_losses_come_from_any_source(monkeypatch):
    """A loss under another name, too: nothing may depend on a name."""
    params, X, Y = case()
    labels, rng = Y.argmax(axis=1), np.random.default_rng(5)
    wanted = nn.gradient_descent(params, X, nn.one_hot(labels, 3), RELU_NET, seed=rng)[0]
    monkeypatch.setitem(nn.LOSSES, "copy", nn.LOSSES["cross_entropy"])
    for y in (labels, list(labels), labels.astype(np.uint8), labels.astype(float)):
        trained, _ = nn.gradient_descent(params, X.tolist(), y, RELU_NET, "copy", seed=5)
        assert bits(trained) == bits(wanted)
    nn.LOSSES["copy"] = lambda Z, A, Y: abs(A - Y), *nn.LOSSES["copy"][1:]
    with pytest.raises(ValueError, match="reshape"):  # not one number for each row
        nn.evaluate(params, X, Y, RELU_NET, "copy")
    for output, loss in (("linear", "mse"), ("sigmoid", "binary_cross_entropy")):
        activations = ("tanh", output)
        params, X, Y = case(activations, (4, 5, 1))
        Y = np.round(Y)
        wanted = nn.gradient_descent(params, X, Y, activations, loss)[0]
        for y in (Y[:, 0], Y[:, 0].astype(bool), Y[:, 0].astype(int).tolist()):
            trained, _ = nn.gradient_descent(params, X, y, activations, loss)
            assert bits(trained) == bits(wanted)

def test_predict_and_evaluate_go_by_the_output():
    eye = {f"W{l}": np.eye(3) for l in "123"} | {f"b{l}": np.zeros(3) for l in "123"}
    one = {**eye, "W3": np.ones((3, 1)), "b3": np.zeros(1)}
    X, yes = np.array([[3.0, 1, 0], [-1, -2, -3]]), np.array([[1, 0, 0], [0, 0, 0]])
    many, several, numbers = (("tanh", "linear", name)
                              for name in ("softmax", "sigmoid", "linear"))
    assert nn.predict(eye, X, many).tolist() == [0, 0]
    assert nn.predict(eye, X, several).tolist() == [[1, 1, 0], [0, 0, 0]]  # 0.5 is no yes
    assert nn.predict(eye, X, numbers).tolist() == np.tanh(X).tolist()
    assert nn.predict(one, X, several).tolist() == [1, 0]
    assert nn.predict(one, X, numbers) == pytest.approx(np.tanh(X).sum(axis=1))
    assert nn.evaluate(eye, X, np.tanh(X), numbers, "mse") == {"loss": 0.0}
    for y, Y, activations, loss, right in (
            (yes, yes, several, "binary_cross_entropy", 5 / 6),
            ([0, 1], np.eye(3)[:2], many, "cross_entropy", 1 / 2)):
        _, cache = nn.forward(eye, X, activations)
        loss_here = nn.compute_loss(eye, cache, Y, activations, loss)
        assert nn.evaluate(eye, X, y, activations, loss) == pytest.approx(
            {"loss": loss_here, "accuracy": right})
    assert nn.accuracy([1, 2, 3, 4], [1.0, 2.0, 3.0, 0.0]) == 0.75
    assert nn.one_hot([2.0, 0.0], 3, "d").tolist() == [[0, 0, 1], [1, 0, 0]]

def test_on_epoch_is_told_can_stop_and_may_keep_params_and_history():
    (params, X, Y), calls = case(), []
    def on_epoch(epoch, params, history):
        calls.append((epoch, params, copy.deepcopy(params), history))
        return epoch == 3
    trained, history = nn.gradient_descent(
        params, X, Y, RELU_NET, epochs=9, on_epoch=on_epoch)
    assert [(call[0], len(call[3]["lr"])) for call in calls] == [(1, 1), (2, 2), (3, 3)]
    assert len(history["loss"]) == 3 and bits(trained) == bits(calls[-1][1])
    assert all(bits(kept) == bits(then) for _, kept, then, _ in calls)

# ---- Bad input: one line that says what is wrong ---------------------------------------
NET, ROWS, LABELS = nn.init_params((4, 6, 3), RELU_NET), np.ones((5, 4)), np.arange(5) % 3
LINEAR_NET, ONES = ("tanh", "linear"), np.ones((5, 3))
YES_OR_NO = {"params": nn.init_params((4, 6, 1), ("tanh", "sigmoid")),
             "activations": ("tanh", "sigmoid"), "loss": "binary_cross_entropy"}

def fit(X=ROWS, Y=LABELS, params=NET, activations=RELU_NET, loss="cross_entropy",
        **options):
    """Train for an epoch on data that is right but for what is given."""
    return nn.gradient_descent(
        params, X, Y, activations, loss, **{"epochs": 1, **options})

def after(function, Y, activations=RELU_NET, *loss):
    """Call compute_loss or backward after a forward pass that is right."""
    _, cache = nn.forward(NET, ROWS, RELU_NET)
    return function(NET, cache, Y, activations, *loss)

BAD_INPUT = [  # the call, what its message must hold
    (lambda: nn.init_params((4, 3), ("reluu",)), "activation reluu - choose from"),
    (lambda: nn.init_params((4, 6, 3), ("softmax",)), "sizes (4, 6, 3): expected"),
    (lambda: nn.init_params((4, 0), ("relu",)), "sizes (4, 0): expected"),
    (lambda: nn.init_params((4, 3), ("relu",), dtype=int), "must be floats"),
    (lambda: nn.init_params((4, 3, 2), ("softmax",) * 2), "softmax is only for the"),
    (lambda: nn.forward(NET, ROWS, ("softmax",)), "expected {'W1': (4, 6), 'b1': (6,)}"),
    (lambda: nn.forward(NET, ROWS, ("relu", *RELU_NET)), "'W3': (3, 0)"),
    (lambda: nn.forward(NET, ROWS[:, :3], RELU_NET), "X has the shape (5, 3) - expected"),
    (lambda: nn.forward(NET, ROWS[0], RELU_NET), "X has the shape (4,) - expected (4,"),
    (lambda: nn.forward({**NET, "b2": NET["b2"][:1]}, ROWS, RELU_NET), "'b2': (1,)} - "),
    (lambda: nn.forward({**NET, "W2": np.ones((6, 3), int)}, ROWS, RELU_NET), "must be"),
    (lambda: after(nn.compute_loss, LABELS), "Y has the shape (5,) - expected (5, 3)"),
    (lambda: after(nn.compute_loss, ONES, RELU_NET, "entropy"), "loss entropy - choose"),
    (lambda: after(nn.compute_loss, ONES, LINEAR_NET), "cross_entropy goes with softmax"),
    (lambda: after(nn.compute_loss, ONES, RELU_NET, "mse"), "not with softmax"),
    (lambda: after(nn.backward, ONES[:, :1]), "Y has the shape (5, 1) - expected (5, 3)"),
    (lambda: after(nn.backward, ONES, LINEAR_NET), "cross_entropy goes with softmax"),
    (lambda: nn.update(NET, NET, {}, 0.1, "adamm"), "optimizer adamm - choose from"),
    (lambda: fit(**{**YES_OR_NO, "loss": "cross_entropy"}), "not with sigmoid"),
    (lambda: fit(ROWS[:3]), "Y has the shape (5, 3) - expected (3, 3)"),
    *((lambda x=x: fit(np.where(np.eye(5, 4), x, 1)), "X or Y holds NaN")
      for x in (np.nan, -np.inf, np.inf)),
    *((lambda y=y: fit(Y=y), "labels: expected (n,) of 0 to 2; see np.unique(")
      for y in (LABELS + 1, LABELS - 1, LABELS + 0.5, list("abcba"))),
    (lambda: fit(Y=[[1, 0, 0]] * 4 + [[0.5, 0, 0]]), "rows of Y do not sum to 1"),
    (lambda: fit(Y=np.tile([2.0, -1, 0], (5, 1))), "Y goes from -1.0 to 2.0"),
    (lambda: fit(Y=np.full((5, 3), np.nan)), "X or Y holds NaN"),
    (lambda: fit(activations=LINEAR_NET, loss="mse"), "Y has the shape (5, 1) - expect"),
    (lambda: fit(**YES_OR_NO), "Y goes from 0 to 2, expected 0 to 1"),
    (lambda: fit(Y=LABELS % 2 - 0.5, **YES_OR_NO), "Y goes from -0.5 to 0.5"),
    (lambda: fit(epochs=0), "epochs 0, batch_size 32, dropout 0.0: expected"),
    (lambda: fit(batch_size=0), "batch_size 0"), (lambda: fit(lr=-1), "the rate -1.0"),
    (lambda: fit(dropout=-0.1), "dropout -0.1"), (lambda: fit(dropout=1), "dropout 1:"),
    (lambda: fit(epochs=12, schedule=lambda done: 1 - done / 10), "epoch 12 has the"),
    (lambda: fit(validation=(ROWS[:2], LABELS), augment=lambda X, rng: 1 / 0),
     "Y has the shape (5, 3) - expected (2, 3)"),  # before the first step
    (lambda: nn.predict(NET, np.where(np.eye(5, 4), np.nan, 1), RELU_NET), "holds NaN"),
    (lambda: nn.one_hot([[0, 1]], 3), "labels: expected (n,)"),
    (lambda: nn.accuracy(np.zeros(5), np.zeros((5, 1))), "the shape (5, 1) - expected (")]

@pytest.mark.parametrize("call, words", BAD_INPUT)
def test_bad_input_is_one_clear_line(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value)

@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("optimizer", BY_HAND)
def test_divergence_ends_training_without_warnings(optimizer):
    params, X, _ = case(("relu", "linear"), (4, 6, 1))
    with pytest.raises(FloatingPointError, match=r"epoch 1: diverged, .*1e\+200; "):
        nn.gradient_descent(params, X, X[:, 0], ("relu", "linear"), "mse", lr=1e200,
                            batch_size=2, optimizer=optimizer)

def test_divergence_is_seen_at_its_step_and_also_after_the_last():
    batches = []
    def break_the_third(X, rng):
        batches.append(X)
        return X * (np.nan if len(batches) == 3 else 1)
    with pytest.raises(FloatingPointError, match="loss nan"):
        fit(batch_size=1, augment=break_the_third)
    assert len(batches) == 3
    params = {"W1": np.zeros((4, 2), "f"), "b1": np.zeros(2, "f")}
    with pytest.raises(FloatingPointError, match="epoch 1"):  # only b1[0] is inf
        fit(0 * ROWS, np.tile([2, 0], (5, 1)), params, ("linear",), "mse", lr=3e38)

# ---- Files: back bit for bit, or refused -----------------------------------------------
def test_saved_networks_come_back_bit_for_bit(tmp_path):
    for dtype, path in ((np.float32, tmp_path / "net.npz"),
                        (np.float64, str(tmp_path / "no_suffix"))):
        params = nn.init_params((4, 6, 3), RELU_NET, 0, dtype)
        nn.save_params(path, params, RELU_NET)
        loaded, activations = nn.load_params(path)
        assert activations == RELU_NET and bits(loaded) == bits(params)
    assert sorted(os.listdir(tmp_path)) == ["net.npz", "no_suffix"]

def test_a_failed_save_leaves_the_old_file_and_writers_share_none(tmp_path, monkeypatch):
    path, written = tmp_path / "net.npz", set()
    nn.save_params(path, NET, RELU_NET)
    def crash(part, *_, **arrays):
        written.add(getattr(part, "name", part))
        raise OSError("disk full")
    for module, function in ((np, "savez"), (os, "replace")):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
            patch.setattr(module, function, crash)
            nn.save_params(path, NET, RELU_NET)
    assert bits(nn.load_params(path)[0]) == bits(NET) and len(written) == 2

WRONG_ARRAYS = [  # what is in the file instead; None: nothing
    {"W2": None}, {"activations": None}, {"activations": ("relu", "relu", "softmax")},
    {"activations": ("relu", "swish")}, {"activations": "softmax"}, {"W9": NET["W1"]},
    {"W2": NET["W1"]}, {"b1": NET["b2"]}, {"b1": np.ones(1, "f")}, {"W1": np.float32(1)},
    {"W1": np.full((4, 6), "1")}, {"W2": np.ones((6, 3), int)}]

def test_damaged_files_are_refused(tmp_path):
    path, damaged = tmp_path / "net.npz", []
    for change in WRONG_ARRAYS:
        arrays = {**NET, "activations": RELU_NET, **change}
        np.savez(path, **{key: p for key, p in arrays.items() if p is not None})
        damaged.append(path.read_bytes())
    nn.save_params(path, NET, RELU_NET)
    whole = path.read_bytes()
    damaged += [whole[:cut] for cut in (0, 1, 10, 100, len(whole) // 2, len(whole) - 1)]
    damaged += [b"<html>404</html>", whole[50:], whole.replace(b"?", b"!")]  # a checksum
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError) as error:
            nn.load_params(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    np.savez(path, **NET, activations=np.array([{}]))
    with pytest.raises(ValueError) as error:  # a pickle could run any code: it stays shut
        nn.load_params(path)
    assert "allow_pickle=False" in str(error.value.__cause__)

# ---- train_mnist.py: data, downloads, weights, with a folder as the mirror -------------
QUICK = ["--hidden", "8", "--epochs", "2", "--batch-size", "16"]

def idx(array):
    """Return the bytes of an idx file, gzipped."""
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(head + array.astype(np.uint8).tobytes())

@pytest.fixture(scope="session")
def digits():
    """The four files of MNIST, with 60 and 40 digits drawn from fonts: {name: bytes}."""
    contents = []
    for n in (60, 40):
        X, labels = train_mnist.draw_digits(["cmss10"], n, np.random.default_rng(n))
        contents += [idx((255 * X).reshape(-1, 28, 28)), idx(labels)]
    return dict(zip(train_mnist.FILES, contents))

@pytest.fixture
def home(digits, tmp_path, monkeypatch):
    """A folder to work in, with the files in mirror/, which is the only mirror."""
    monkeypatch.chdir(tmp_path)
    write_all(tmp_path / "mirror", digits)
    monkeypatch.setattr(train_mnist, "SHA256", [
        hashlib.sha256(content).hexdigest() for content in digits.values()])
    monkeypatch.setattr(train_mnist, "FOLDER", tmp_path / "data")
    monkeypatch.setattr(train_mnist, "MIRRORS", [(tmp_path / "mirror").as_uri() + "/"])
    return tmp_path

def write_all(folder, contents):
    """Write {name: bytes} into a new folder."""
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)

def complaint(capsys, *arguments, code=1, script=train_mnist):
    """Return the one line, after argparse's usage, with which a script refuses these."""
    with pytest.raises(SystemExit) as end:
        sys.exit(script.main(arguments))
    *usage, line = capsys.readouterr().err.splitlines()
    assert end.value.code == code and (code == 2 or not usage), (usage, line)
    assert code == 2 or line.startswith(f"{script.__name__}.py"), line
    return line

def test_training_downloads_trains_and_writes(home, capsys):
    assert train_mnist.main(QUICK) == 0
    out = capsys.readouterr().out
    assert "MNIST: 55 to train, 5 to validate, 40 to test" in out
    assert "784-8-10, relu, softmax: 6,370 parameters" in out and "epoch 2/2 | " in out
    params, activations = nn.load_params("mnist.npz")
    assert activations == RELU_NET and params["W1"].shape == (784, 8)
    assert Image.open("mnist.png").size == (1400, 1100)
    assert not list(home.glob("*unfinished*")) and not list(home.glob("*.part"))
    wrong = int(re.search(r"\((\d+) of 40 wrong\)", out)[1])
    X, labels = train_mnist.load(None)[3]
    assert (nn.predict(params, X, RELU_NET) != labels).sum() == wrong

def test_every_setting_reaches_gradient_descent(home, monkeypatch):
    got = {}
    monkeypatch.setattr(nn, "gradient_descent", lambda params, X, Y, names, **options: (
        got.update(options, params=params, Y=Y, names=names) or 1 / 0))  # 1 / 0 ends main
    given = {"epochs": 6, "batch_size": 5, "lr": 0.2, "optimizer": "rmsprop", "l1": 0.1,
             "l2": 0.2, "dropout": 0.4, "seed": 7}
    typed = " ".join(f"--{key.replace('_', '-')} {given[key]}" for key in given)
    train_mnist.main(f"--hidden 9 8 --activation tanh --schedule step --smooth 0.5 "
                     f"--augment 0.5 {typed}".split())
    assert {key: got[key] for key in given} == given
    assert got["names"] == ("tanh", "tanh", "softmax")
    assert bits(got["params"]) == bits(nn.init_params((784, 9, 8, 10), got["names"], 7))
    np.testing.assert_equal(got["validation"], train_mnist.load(None)[2])
    assert (got["Y"].min(), got["Y"].max()) == pytest.approx((0.05, 0.55))
    assert [got["schedule"](done) for done in (0, 2, 4)] == pytest.approx([1, 0.1, 0.01])
    X, (one, other) = np.ones((1, 784), "f"), map(np.random.default_rng, (0, 0))
    assert bits(got["augment"](X, one)) == bits(train_mnist.augment(X, other, 0.5))

@pytest.mark.parametrize("table", [train_mnist.SCHEDULES, train_xor.SCHEDULES])
def test_schedules_start_at_one_and_end_where_they_should(table):
    ends = {"constant": 1, "linear": 0.1, "step": 0.01, "exponential": 0.01 ** 0.9,
            "inverse": 1 / 9.1}
    assert {name: f(9, 10) for name, f in table.items()} == pytest.approx(ends)
    assert all(schedule(0, 10) == 1 for schedule in table.values())

@pytest.mark.parametrize("arguments, code, words", [
    ("--epochs 0", 1, "epochs 0"), ("--batch-size 0", 1, "batch_size 0"),
    ("--dropout 1", 1, "dropout 1.0"), ("--hidden 0", 1, "sizes (784, 0, 10)"),
    ("--lr 1e30 --optimizer sgd", 1, "diverged"), ("--weights mirror", 1, "mirror: is a"),
    ("--data nowhere.csv", 1, "nowhere.csv: No such"), ("--epochs two", 2, "int value: "),
    ("--weights nowhere/a.npz", 1, "nowhere/a.npz: No such"), ("--lr -1", 2, "--lr: exp"),
    ("--seed -1", 2, "--seed: exp"), ("--smooth nan", 2, "--smooth: expected a number"),
    ("--optimizer adamm", 2, "choice: 'adamm'"), ("--nonsense", 2, "unrecognized"),
    ("--schedule step:3", 2, "choice: 'step:3'")])
def test_bad_settings_are_one_line(arguments, code, words, home, capsys):
    assert words in complaint(capsys, *QUICK, *arguments.split(), code=code)

DAMAGED = {  # what: (which of the four files, what is in it in place of its bytes)
    "empty": (0, lambda data: b""), "half": (0, lambda data: data[:len(data) // 2]),
    "flipped": (0, lambda data: data[:999] + bytes([data[999] ^ 64]) + data[1000:]),
    "a header": (0, lambda data: gzip.decompress(data)[:16]),
    "not bytes": (0, lambda data: b"\0\0\x0d" + gzip.decompress(data)[3:]),
    "no dimension": (0, lambda data: b"\0\0\x08\0" + gzip.decompress(data)[4:]),
    "small images": (0, lambda data: idx(np.zeros((60, 10, 10)))),
    "fewer labels": (1, lambda data: idx(np.zeros(59))),
    "labels up to 10": (1, lambda data: idx(np.arange(60) % 11))}

@pytest.mark.parametrize("number, damage", DAMAGED.values(), ids=DAMAGED)
def test_damaged_idx_files_are_refused_in_one_line(number, damage, digits, home, capsys):
    name, content = list(digits.items())[number]
    (home / "mirror" / name).write_bytes(damage(content))
    assert "mirror" in complaint(capsys, "--data", "mirror")

def test_idx_files_under_their_other_names(home, digits):
    images, labels, test_images, test_labels = digits
    expected = train_mnist.load("mirror")
    Path("mirror", images).rename(Path("mirror", images.replace("-idx", ".idx")))
    for name, other in ((test_images, test_images[:-3]),
                        (test_labels, test_labels[:-3].replace("-idx", ".idx"))):
        Path("mirror", name).unlink()
        Path("mirror", other).write_bytes(gzip.decompress(digits[name]))
    np.testing.assert_equal(train_mnist.load("mirror"), expected)

def csv_text(n=60, header="", end="\n", label="{}", pixel="{}"):
    """Return lines of label,pixel0,...,pixel783, each with pixels of its own."""
    rows = (",".join([label.format(i % 10), *[pixel.format(i)] * 784]) for i in range(n))
    return header + end.join(rows) + end

@pytest.mark.parametrize("mark, end", [(None, "\n"), ("", "\n"), ("\ufeff", "\r\n")])
def test_csv_of_any_kind_is_split_80_10_10_without_overlap(mark, end, home):
    names = ",".join(["label", *(f"pixel{i}" for i in range(784))])
    text = csv_text(header="" if mark is None else mark + names + end, end=end)
    Path("digits.csv").write_bytes(text.encode())
    name, *parts = train_mnist.load("digits.csv")
    assert name == "digits.csv" and [len(X) for X, _ in parts] == [48, 6, 6]
    pixels = np.concatenate([X[:, 0] * 255 for X, _ in parts]).round()
    assert sorted(pixels) == list(range(60))
    assert np.array_equal(pixels % 10, np.concatenate([labels for _, labels in parts]))

@pytest.mark.parametrize("text", [
    "", "label,pixel\n", csv_text(9), csv_text(pixel="256"), csv_text(pixel="-1"),
    csv_text(pixel="x"), csv_text(pixel="0.5"), csv_text(label="1{}"),
    csv_text(label="-{}"), csv_text() + "1,2,3\n", 60 * "1,2,3\n", "\0" * 999])
def test_damaged_csv_is_one_line(text, home, capsys):
    Path("bad.csv").write_text(text)
    assert "bad.csv: " in complaint(capsys, "--data", "bad.csv")

def test_what_is_damaged_or_missing_is_fetched(home, digits, monkeypatch, capsys):
    write_all(home / "empty", {})
    write_all(home / "html", dict.fromkeys(digits, b"<html>"))
    write_all(home / "half", {name: data[:2000] for name, data in digits.items()})
    write_all(home / "data", {train_mnist.FILES[0]: b"damaged"})
    good, = train_mnist.MIRRORS
    bad = [good.replace("mirror", folder) for folder in ("empty", "html", "half")]
    monkeypatch.setattr(train_mnist, "MIRRORS", [*bad, good])
    assert train_mnist.load(None)[0] == "MNIST"
    out = capsys.readouterr().out
    assert all(out.count(f"failed: {mirror}") == 1 for mirror in bad)
    assert {path.name: path.read_bytes() for path in home.glob("data/*")} == digits
    monkeypatch.setattr(train_mnist, "MIRRORS", ["file:///nowhere/"])
    assert train_mnist.load(None)[0] == "MNIST"  # all is there: no mirror is asked

def test_offline_it_trains_on_synthetic_digits_and_says_so(home, monkeypatch, capsys):
    monkeypatch.setattr(train_mnist, "MIRRORS", ["http://localhost:9/certificate/"])
    draw = train_mnist.draw_digits  # all fonts, but fewer digits
    monkeypatch.setattr(train_mnist, "draw_digits", lambda faces, n, rng: draw(
        faces, n // 100, rng))
    Path("mnist.npz").write_bytes(b"of an earlier run")
    assert train_mnist.main(QUICK) == 0
    out = capsys.readouterr().out
    assert "failed: http://localhost:9/" in out and str(train_mnist.FOLDER) in out
    assert "ca-certificates" in out  # as the error speaks of a certificate
    assert "on synthetic digits, not MNIST" in out and "--data" in out
    assert Path("mnist.npz").read_bytes() == b"of an earlier run"
    assert Path("synthetic.npz").exists() and Path("synthetic.png").exists()
    picture("7").save("seven.png")
    Path("mnist.npz").unlink()
    assert train_mnist.main(["--predict", "seven.png"]) == 0
    assert "using synthetic.npz" in capsys.readouterr().out

def test_a_data_folder_that_cannot_be_written_is_an_error(home, capsys):
    Path("data").write_text("a file where the folder should be")
    assert f"{home / 'data'} (else --data" in complaint(capsys)
    assert not list(home.glob("synthetic*"))

def test_the_last_epoch_is_in_a_file_and_survives_interrupts(home, monkeypatch, capsys):
    save, saved = nn.save_params, []
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt
    def save_and_interrupt(path, *network):
        save(path, *network)
        saved.append((path, network[0]))
        if len(saved) == 2:
            interrupt()
    with monkeypatch.context() as patch:
        patch.setattr(nn, "gradient_descent", interrupt)
        complaint(capsys, code=130)  # before the first epoch
        assert not list(home.glob("*.npz"))
        patch.undo()
        patch.setattr(nn, "save_params", save_and_interrupt)
        assert train_mnist.main([*QUICK, "--epochs", "9"]) == 0
    assert "interrupted: keeping the weights of epoch 2" in capsys.readouterr().out
    assert [path for path, _ in saved] == [*["mnist.unfinished.npz"] * 2, "mnist.npz"]
    assert bits(nn.load_params("mnist.npz")[0]) == bits(saved[1][1])
    assert Path("mnist.png").exists() and not Path("mnist.unfinished.npz").exists()
    assert "nowhere/a.png: " in complaint(
        capsys, *QUICK, "--weights", "b.npz", "--plot", "nowhere/a.png")
    assert nn.load_params("b.npz")[1] == RELU_NET

# ---- train_mnist.py: augment, and digits of one's own ----------------------------------
def varied(y=0.0, x=0.0, angle=0.0, slant=0.0, scale=0.0, bend=np.zeros((2, 1, 16))):
    """Return what augment makes of a dot at row 8, column 13, when it draws these."""
    numbers, image = iter([angle, slant, scale, y, x]), np.zeros((28, 28), np.float32)
    rng = types.SimpleNamespace(normal=lambda mean, std, shape: bend,
                                uniform=lambda low, high, n: np.full(n, next(numbers)))
    image[8, 13] = 1
    return train_mnist.augment(image.reshape(1, 784), rng).reshape(28, 28)

def test_augment_moves_ink_where_it_should():
    def at(image):
        return tuple(int(i) for i in np.argwhere(image == image.max())[0])
    assert at(varied()) == (8, 13) and at(varied(y=1, x=-2)) == (7, 15)
    assert varied(y=12.0)[-4:].sum() == 0  # nothing wraps around
    assert at(varied(angle=np.pi / 2)) == (14, 8) and at(varied(slant=1)) == (8, 18)
    assert at(varied(scale=1)) == (11, 13)
    bend = np.zeros((2, 1, 16))
    bend[0, 0, 5] = 3.0  # the point at row 1, column 1 of 4 x 4: at pixel 9, 9
    assert at(varied(bend=bend))[0] < 8 and at(varied(bend=np.roll(bend, 10))) == (8, 13)
    assert at(varied(bend=bend[::-1]))[1] < 13
    images = train_mnist.augment(  # each by itself, and by about twice 1.5 pixels
        np.tile(varied().ravel(), (300, 1)), np.random.default_rng(0), 2.0)
    assert images.sum(axis=1).mean() == pytest.approx(1, abs=0.1)  # the ink stays
    row, column = np.divmod(images.argmax(axis=1), 28)
    moved = np.hypot(row - 8, column - 13)
    assert moved.mean() == pytest.approx(3, abs=0.4) and moved.max() < 10

def test_drawn_digits_are_what_their_labels_say():
    X, labels = train_mnist.draw_digits(["DejaVuSans"], 500, np.random.default_rng(0))
    plain = np.array([train_mnist.prepare(picture(str(digit))) for digit in range(10)])
    drawn = np.array([X[labels == digit].mean(axis=0) for digit in range(10)])
    assert np.corrcoef(drawn, plain)[:10, 10:].argmax(axis=1).tolist() == list(range(10))

def picture(text, side=200, paper=255, ink=0):
    """Return a Pillow image of this text."""
    image = Image.new("L", (side, side), paper)
    font = matplotlib.get_data_path() + "/fonts/ttf/DejaVuSans.ttf"
    ImageDraw.Draw(image).text((side // 3, side // 2), text, ink,
                               ImageFont.truetype(font, side // 2), anchor="mm")
    return image

def test_prepare_sees_the_same_digit_in_pictures_of_every_kind():
    plain = picture("5")
    digit = train_mnist.prepare(plain).reshape(28, 28)
    assert digit.max() == 1 and np.ptp(np.nonzero(digit > 0.1)[0]) == 19  # 20 pixels high
    y, x = (np.average(at, weights=digit) for at in np.indices((28, 28)))
    assert (y, x) == pytest.approx((14, 14), abs=1)
    clear = Image.new("RGBA", plain.size, (0, 0, 0, 0))
    clear.putalpha(ImageOps.invert(plain))
    sixteen = Image.fromarray(np.asarray(plain).astype(np.uint16) * 257)
    turned = plain.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # as a camera says that it was held upright
    for other in (
            ImageOps.invert(plain), plain.convert("RGB"), plain.convert("P"), clear,
            turned, sixteen, picture("5", 1400), picture("5", 99, 180, 90),
            ImageOps.expand(plain, (250, 250, 0, 0), 255)):  # in a corner
        assert np.corrcoef(train_mnist.prepare(other), digit.ravel())[0, 1] > 0.9

def test_predict_names_what_it_cannot_read_and_reads_the_rest(home, capsys):
    assert train_mnist.main([*QUICK, "--data", "mirror"]) == 0
    capsys.readouterr()
    picture("7").save("seven.png")
    picture("").save("blank.png")
    Path("text.png").write_text("no image")
    names = ["none.png", "blank.png", "text.png"]
    assert train_mnist.main(["--predict", *names, "seven.png"]) == 1
    out, error = capsys.readouterr()
    assert [line.split(": ")[1] for line in error.splitlines()] == names
    said = re.match(r"seven\.png: (\d) \((.+?)%\), \d \(.+?%\), \d \(.+?%\)\n", out)
    X = train_mnist.prepare(Image.open("seven.png"))[None]
    output, _ = nn.forward(nn.load_params("mnist.npz")[0], X, RELU_NET)
    assert int(said[1]) == output.argmax()
    assert float(said[2]) == pytest.approx(100 * output.max(), abs=0.1)
    assert Path("predictions.png").exists()
    nn.save_params("small.npz", NET, RELU_NET)
    for weights in ("none.npz", "seven.png", "small.npz"):
        assert weights in complaint(capsys, "--predict", "7.png", "--weights", weights)

def test_the_picture_shows_curves_mistakes_and_neurons():
    labels, rng = np.arange(60) % 10, np.random.default_rng(0)
    X, W = rng.random((60, 784)), rng.random((784, 50)) * np.arange(50)
    said = np.where(np.arange(60) < 40, (labels + 1) % 10, labels)  # 40 are wrong
    output = nn.one_hot(said, 10) * np.linspace(0.5, 0.9, 60)[:, None]
    history = {"loss": [2, 1], "val_loss": [3, 2], "val_accuracy": [0.5, 0.6]}
    figure = train_mnist.draw("title", history, {"W1": W}, X, labels, output)
    curves, digits, mistakes, neurons = figure.subfigs
    for ax, expected in zip(curves.axes, ([[2, 1], [3, 2]], [[0.5, 0.6]])):
        assert [[*line.get_ydata()] for line in ax.lines] == expected
        assert ax.get_xlabel() == "epoch" and (ax.get_xticks() % 1 == 0).all()
    assert [ax.get_title() for ax in digits.axes] == [
        *"01234567", *(f"said {(i + 1) % 10}, is {i % 10}" for i in range(39, 15, -1))]
    counts = {text.get_position(): text.get_text() for text in mistakes.axes[0].texts}
    assert counts == {((digit + 1) % 10, digit): "4" for digit in range(10)}
    for p, i, x in ((digits, 8, X[39]), (neurons, 0, W[:, 49]), (neurons, -1, W[:, 10])):
        assert np.array_equal(p.axes[i].images[0].get_array().ravel(), x)

@pytest.mark.skipif(not [*HERE.glob("data/t*")], reason="train_mnist.py fetches it")
def test_the_default_network_reaches_98_percent_and_reads_pictures(tmp_path):
    done = subprocess.run([sys.executable, HERE / "train_mnist.py"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert "55,000 to train, 5,000 to validate, 10,000 to test" in done.stdout
    assert float(re.search(r"test accuracy (\d+\.\d+)%", done.stdout)[1]) > 98
    X, labels = (train_mnist.read_idx(HERE / "data", f) for f in train_mnist.FILES[2:])
    chosen = np.random.default_rng(0).choice(len(X), 60, replace=False)
    prepared = [train_mnist.prepare(Image.fromarray(image ^ ink).resize((side, side)))
                for image, side, ink in zip(  # white on black, then black on white
                    X[chosen], 15 * [28, 112, 300, 1400], 30 * [0] + 30 * [255])]
    params, activations = nn.load_params(tmp_path / "mnist.npz")
    said = nn.predict(params, prepared, activations)
    assert (said == labels[chosen]).sum() >= 57

# ---- train_xor.py: experiments by what they print --------------------------------------
@pytest.fixture
def run_xor(tmp_path, monkeypatch, capsys):
    """A function that runs a command in an empty folder: (exit code, what it printed)."""
    monkeypatch.chdir(tmp_path)
    Path(".github").mkdir()  # where README's commands write their pictures
    return lambda command: (train_xor.main(command.split()), capsys.readouterr().out)

EXPERIMENTS = [  # the command, its exit code, and what it prints
    ("", 0, r"1  1 \|  0  \|  0\.001 right\nloss 0\.0005: solved\nwrote xor.png"),
    ("--hidden", 1, "No seed helps"), ("xor --activation linear", 1, "No seed helps"),
    ("--hidden 2 --activation relu", 1, "helps --activation tanh --hidden 8"),
    ("--hidden 2 --seed 1", 1, "NOT solved"), ("step --lr 100", 1, "loss did NOT fall"),
    ("--hidden 4 --output tanh --loss mse --epochs 1000 --optimizer sgd --schedule step",
     0, ": solved"),
    ("step", 0, r"\nz = .* 1\.200000\n(.|\n)*nn.backward and nn.update: same to 1e-12"),
    ("step --lr 0.1", 0, r"growth = .* (\S+)\d{3}\nslope = .* \1(.|\n)*The loss fell."),
    ("search --plot .github/search.png", 0,
     r"guesses: [34]\d\..*\n.*better: [5-8]\d\..*\n.*descent: 9\d\."),
    ("optimizers --epochs 30", 0,  # three rates; of the last rule, a loss from 1.x to 0.x
     rf":\n.*0.033 .*\n.* 1 .*\n.* 3 (.|\n)*{[*nn.OPTIMIZERS][-1]}, lr .* 1\..* 0\."),
    ("vanishing", 0, r"sigmoid .*e-.*t: 0\.0(.|\n)*relu +layer 1: 0\.0(.|\n)*at most"),
    ("spiral --activation sigmoid", 0, r"right: 9\d\..*, 9\d\..*\nwrote spiral.png"),
    ("spiral --gif .github/spiral.gif --epochs 20", 0, r"right: 9\d\..*, 9\d\..*\nwrote"),
    ("spiral --points 30 --noise 0.6", 0, r"It over-fits(.|\n)*helps --points 120\n")]

@pytest.mark.parametrize("command, code, words", EXPERIMENTS)
def test_experiments_say_what_they_find(command, code, words, run_xor):
    got, out = run_xor(command)
    assert got == code and re.search(words, out), out
    if "--gif" in command:
        assert Image.open(".github/spiral.gif").n_frames > 10

def test_xor_is_solved_for_every_seed():
    names, defaults = train_xor.xor.__code__.co_varnames, train_xor.xor.__defaults__
    for seed in range(100):
        settings = dict(zip(names, defaults), seed=seed)
        assert train_xor.train_on_xor(**settings)[-1], seed

def test_a_change_helps_if_it_hurts_no_seed(capsys):
    right = {1: [0.5, 0.5], 2: [0.4, 0.9], 3: [0.6, 0.6]}  # of two seeds each
    train_xor.try_changes(lambda seed, way: [right[way][seed]], {"seed": 0, "way": 1},
                          [{"way": 2}, {"way": 3}], 2, "Share")
    assert re.findall("helps .*", capsys.readouterr().out) == ["helps --way 3"]

def test_pictures_are_not_empty_and_regions_are_where_they_should_be():
    for figure, _ in (train_xor.xor(), train_xor.optimizers(5), train_xor.search(9)):
        assert all(ax.has_data() and ax.get_title() for ax in figure.axes)
    (regions, *curves), (X, labels) = (
        train_xor.spiral(epochs=20)[0].axes, train_xor.spiral_data(300, 0.2, 0))
    low, high, *_ = regions.images[0].get_extent()
    column, row = (200 * (X - low) / (high - low)).astype(int).T
    assert nn.accuracy(labels, regions.images[0].get_array()[row, column]) > 0.95
    assert np.array_equal(regions.collections[0].get_offsets(), X)
    assert [len(ax.lines) for ax in curves] == [2, 2]

@pytest.mark.parametrize("command, code, words", [
    ("spiral --nonsense", 2, "unrecognized"), ("nonsense", 2, "unrecognized"),
    ("vanishing --layers 0", 2, "expected 1 or more"), ("--lr x", 2, "float value: 'x'"),
    ("--output softmax --loss mse", 1, "mse goes with another"),
    ("--plot nowhere/a.png", 1, "No such file"), ("--lr 1e300", 1, "diverged")])
def test_bad_options_of_the_experiments_are_one_line(command, code, words, capsys):
    assert words in complaint(capsys, *command.split(), code=code, script=train_xor)

@pytest.mark.parametrize("script", ["train_xor.py", "train_mnist.py --data mirror "
                                    "--epochs 1 --weights \N{GREEK SMALL LETTER PI}.npz"])
def test_each_script_runs_with_nn_py_alone(script, home):
    name, *arguments = script.split()
    for file in ("nn.py", name):
        shutil.copy(HERE / file, home)
    done = subprocess.run([sys.executable, name, *arguments], capture_output=True,
                          text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and done.stderr == "", done.stderr

# ---- README.md: its blocks print what they say, its commands are there -----------------
README = (HERE / "README.md").read_text(encoding="utf-8")
# Each block of Python, with the block of output that may follow it.
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:```\n(.*?)```)?", README, re.DOTALL)
FIRST, TABLE, SETUP, *RECIPES, DEVICES, HOSTS = [code for code, _ in BLOCKS]
FLOWERS = "length,width,kind\n" + "".join(
    f"{length:.1f},{width:.1f},{kind}\n" for (a, b), kind in zip(
        [(5.0, 1.5), (5.9, 4.3), (6.6, 5.6)], ["setosa", "versicolor", "virginica"])
    for length, width in np.random.default_rng(0).normal((a, b), 0.4, (50, 2))
).replace("5.1,", ",", 1)  # a gap

def run_code(code, folder, devices=1):
    """Run Python code as a user would who has nn.py in reach; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(HERE), "JAX_PLATFORMS": "cpu",
                   "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, text=True,
                          capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout

def test_the_blocks_of_the_readme_print_what_they_say(tmp_path):
    (tmp_path / "flowers.csv").write_text(FLOWERS)
    assert run_code(FIRST, tmp_path) == BLOCKS[0][1]
    assert run_code(TABLE, tmp_path) == BLOCKS[1][1]
    params, activations = nn.load_params(tmp_path / "flowers.npz")
    assert nn.predict(params, [[5.0, 1.5], [6.6, 5.6]], activations).tolist() == [0, 2]

def test_the_recipes_do_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nn, "LOSSES", dict(nn.LOSSES))
    names = {}
    exec(SETUP + RECIPES[0], names)  # early stopping
    X, Y, labels, start, best = map(names.get, ("X", "Y", "labels", "start", "best"))
    lowest = nn.gradient_descent(
        start, X[:400], labels[:400], RELU_NET, epochs=best["epoch"] + 5, lr=0.3,
        validation=(X[400:], labels[400:]))[1]["val_loss"]
    assert best["val_loss"] == min(lowest) and best["epoch"] == 1 + np.argmin(lowest)
    assert names["keep_best"](best["epoch"] + 5, start, {"val_loss": lowest})  # stops
    score = nn.evaluate(best["params"], X[400:], labels[400:], RELU_NET)["loss"]
    assert score == best["val_loss"]
    exec(RECIPES[1], names)  # a loop of one's own, stopped and resumed
    whole, _ = names["train"](start, {}, 0, 4, X, Y)
    assert bits(names["params"]) == bits(whole) and bits(whole) != bits(start)
    exec(RECIPES[2], names)  # clipping
    grads = nn.backward(start, nn.forward(start, X, RELU_NET)[1], Y, RELU_NET)
    clipped = names["clip"](grads, 0.01)
    assert sum((g * g).sum() for g in clipped.values()) ** 0.5 == pytest.approx(0.01)
    assert bits(names["clip"](grads, 99)) == bits(grads)
    exec(RECIPES[3], names)  # a new last layer
    assert bits(names["tuned"]["W1"]) == bits(whole["W1"])
    assert nn.evaluate(names["tuned"], X, names["three"], RELU_NET)["accuracy"] > 0.8
    exec(RECIPES[4], names)  # AdamW, weighted classes
    for p, decayed in ((np.full((2, 2), 3.0), 2.997), (np.ones(2), 1.0)):  # no biases
        expected, _ = nn.adam(decayed, 1.0, {}, 0.1)
        assert names["adamw"](p, 1.0, {}, 0.1)[0] == pytest.approx(expected)
    assert nn.predict(names["params"], X, RELU_NET).mean() > labels.mean() + 0.03
    exec(RECIPES[5], names)  # the gradient of the inputs
    assert names["saliency"].shape == (5, 2) and (names["saliency"] > 0).all()

def test_both_loops_train_over_a_file_larger_than_their_memory(tmp_path, monkeypatch):
    """README's loop and gradient_descent, over bytes, which float32 would make four times
    as large: the peak of all arrays together stays below a quarter of the file."""
    monkeypatch.chdir(tmp_path)
    np.lib.format.open_memmap("images.npy", "w+", np.uint8, (40_000, 784)).flush()
    X, Y, names = np.load("images.npy", mmap_mode="r"), nn.one_hot([0, 1] * 20_000, 2), {}
    exec(SETUP + RECIPES[1].split("params, state = train")[0], names)
    params = nn.init_params((784, 16, 2), RELU_NET)
    tracemalloc.start()
    names["train"](params, {}, 0, 1, X, Y)
    nn.gradient_descent(params, X, Y, RELU_NET, epochs=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < X.nbytes / 4

COMPARED = """
nn.np = np
expected, state = nn.init_params((784, 128, 10), activations), {}
rng = np.random.default_rng(0)
X, Y = rng.random((512, 784), np.float32), nn.one_hot(rng.integers(0, 10, 512), 10)
for _ in range(10):
    expected, state = step.__wrapped__(expected, state, X, Y)  # not compiled
for key in expected:
    assert len(params[key].sharding.device_set) == 4
    assert abs(np.asarray(params[key]) - expected[key]).max() < 1e-5, key
"""

def test_many_devices_and_many_hosts_give_the_parameters_of_numpy(tmp_path):
    """README's own lines: four devices, then two processes with two devices each."""
    pytest.importorskip("jax")
    assert run_code(DEVICES + COMPARED, tmp_path, 4) == "4 devices, 10 steps\n"
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    start, shares = HOSTS.replace("12355", str(port)).split("\n\n")
    code = DEVICES.replace("import jax\n", f"import jax\n{start}\n", 1).replace(
        "X, Y = jax.device_put((X, Y), split)\n", shares, 1)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        outputs = list(pool.map(lambda number: run_code(
            f"process_id = {number}\n" + code + COMPARED, tmp_path, 2), range(2)))
    assert all("4 devices, 10 steps" in output for output in outputs)

def test_the_commands_and_pictures_of_the_readme_are_there():
    """Those of train_xor.py ran above, or with fewer epochs; the others are parsed."""
    commands = set(re.findall(r"`python (train_\w+)\.py ?([^`]*)`", README))
    assert len(commands) > 15
    for script, arguments in commands:
        if script == "train_mnist":
            train_mnist.parse(arguments.split())
        elif "--help" not in arguments:
            assert any(command.startswith(arguments) for command, _, _ in EXPERIMENTS)
    assert all((HERE / path).stat().st_size < 1_500_000
               for path in re.findall(r"!\[.+?\]\((.*?)\)", README))

# ---- Benchmark: python test_nn.py --benchmark ------------------------------------------
# Each trains from params by a recipe, calls tick() after each epoch, returns predict.
def with_nn(X, labels, params, tick, **recipe):
    """Train by gradient_descent, checks and loss included."""
    curves = ("relu",) * (len(params) // 2 - 1) + ("softmax",)
    params, _ = nn.gradient_descent(params, X, labels, curves, on_epoch=tick, **recipe)
    return lambda X: nn.predict(params, X, curves)

def with_torch(X, labels, params, tick, optimizer, epochs, batch_size, lr, dropout=0.0,
               schedule=lambda done: 1.0, tutorial=False):
    """Train in PyTorch: tuned, or as its tutorials do (DataLoader, default optimizer)."""
    import torch
    layers, data = [], torch.utils.data.TensorDataset(*map(torch.from_numpy, (X, labels)))
    for W in (p for p in params.values() if p.ndim == 2):
        layers += [torch.nn.Linear(*W.shape), torch.nn.ReLU(), torch.nn.Dropout(dropout)]
        layers[-3].weight.data = torch.from_numpy(W.T.copy())
    model, (name, more) = torch.nn.Sequential(*layers[:-2]), TORCH_RULES[optimizer]
    rule = getattr(torch.optim, name)(model.parameters(), lr, fused=not tutorial, **more)
    loader = torch.utils.data.DataLoader(data, batch_size, shuffle=True)
    for epoch in range(epochs):
        loss_sum, batches = 0.0, loader if tutorial else (
            data[rows] for rows in torch.randperm(len(X)).split(batch_size))
        for step, (x, y) in enumerate(batches):
            rule.param_groups[0]["lr"] = lr * schedule(epoch + step * batch_size / len(X))
            loss = torch.nn.functional.cross_entropy(model(x), y)
            rule.zero_grad()
            loss.backward()
            rule.step()
            loss_sum += loss.item() * len(x)
        tick()
    return lambda X: model.eval()(torch.from_numpy(X)).argmax(1).numpy()

def with_sklearn(X, labels, params, tick, optimizer, epochs, batch_size, lr, **left_out):
    """Train scikit-learn's MLPClassifier, which has no dropout and no such schedule."""
    from sklearn.neural_network import MLPClassifier
    model = MLPClassifier(
        [len(p) for p in params.values() if p.ndim == 1][:-1], batch_size=batch_size,
        learning_rate_init=lr, solver="adam" if optimizer == "adam" else "sgd",
        momentum=0.9 * (optimizer == "momentum"), nesterovs_momentum=False, alpha=0)
    for _ in range(epochs):
        model.partial_fit(X, labels, classes=np.arange(10))
        tick()
    return model.predict

def with_jax(X, labels, params, tick, optimizer, epochs, batch_size, lr):
    """Train by a jitted step of nn.py under jax.numpy, its loss included."""
    import jax
    @jax.jit
    def step(loss_sum, params, state, X, Y):
        _, cache = nn.forward(params, X, RELU_NET)
        loss_sum += nn.compute_loss(params, cache, Y, RELU_NET) * len(X)
        grads = nn.backward(params, cache, Y, RELU_NET)
        return loss_sum, *nn.update(params, grads, state, lr, optimizer)
    Y, state, rng = nn.one_hot(labels, 10), {}, np.random.default_rng(0)
    nn.np = jax.numpy
    for _ in range(epochs):
        order, loss_sum = rng.permutation(len(X)), np.float32(0)  # 0.0 compiles anew
        for rows in np.split(order, range(batch_size, len(X), batch_size)):
            loss_sum, params, state = step(loss_sum, params, state, X[rows], Y[rows])
        tick(float(loss_sum))  # waits for all steps
    nn.np = np

def bare(X, labels, params, tick, optimizer, epochs, batch_size, lr):
    """Compute only the five matrix products of each step, which NumPy cannot spare."""
    for _ in range(epochs):
        for batch in np.split(X, range(batch_size, len(X), batch_size)):
            A1, dZ2 = batch @ params["W1"], batch[:, :10]
            A1 @ params["W2"], A1.T @ dZ2, dZ2 @ params["W2"].T, batch.T @ A1
        tick()

CONTESTANTS = {"nn.py": with_nn, "PyTorch": with_torch, "sklearn": with_sklearn,
               "JAX": with_jax, "products": bare,
               "tutorial": functools.partial(with_torch, tutorial=True)}

def race(names, sizes, digits, rounds=3, **recipe):
    """Return {name: [(times of the start and of each epoch's end, predict), ...]}."""
    runs, activations = {}, ("relu",) * (len(sizes) - 2) + ("softmax",)
    for seed, name in itertools.product(range(rounds), names):  # interleaved
        time.sleep(0.15)  # until the threads of the one before stop spinning
        params, times = nn.init_params(sizes, activations, seed), [time.perf_counter()]
        with contextlib.suppress(ImportError):  # one that is not installed is left out
            predict = CONTESTANTS[name](
                *digits, params, lambda *_: times.append(time.perf_counter()), **recipe)
            runs.setdefault(name, []).append((times, predict))
    return runs

def benchmark(layers=(10, 128, 512, 800)):
    """Print medians of seconds per epoch, then how fast and how good the whole job is."""
    digits = train_mnist.draw_digits(train_mnist.FACES, 20_000, np.random.default_rng(0))
    print("an epoch of 20,000 digits, 784-H-10, batch 128: seconds (nn.py's are x times)")
    for H, rule in itertools.product(layers, ("sgd", "momentum", "adam")):
        runs = race(CONTESTANTS, (784, H, 10), digits, optimizer=rule, epochs=3,
                    batch_size=128, lr=1e-3)
        # Set-up and the first epoch, a warm-up, go free.
        medians = {name: np.median([(times[3] - times[1]) / 2 for times, _ in results])
                   for name, results in runs.items()}
        print(f"H={H} {rule}:", ", ".join(f"{name} {s:.3f} ({medians['nn.py'] / s:.2f})"
                                          for name, s in medians.items()), flush=True)
    _, training, _, (X, labels) = train_mnist.load(None)
    given, keys = train_mnist.SETTINGS, "optimizer epochs batch_size lr dropout".split()
    runs = race(("nn.py", "PyTorch", "sklearn"), (784, *given["hidden"], 10), training,
                **{key: given[key] for key in keys},
                schedule=lambda done: 1 - done / given["epochs"])
    for name, results in runs.items():
        seconds = np.median([times[-1] - times[0] for times, _ in results])
        right = [nn.accuracy(labels, predict(X)) for _, predict in results]
        print(f"whole job: {name} {seconds:.1f} s, mean {np.mean(right):.2%} of {right}")

if __name__ == "__main__":
    sys.exit(benchmark() if "--benchmark" in sys.argv else pytest.main(sys.argv))
