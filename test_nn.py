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
it is pure and descends; a schedule, that it begins at 1 and falls.
"""
import os

# As in the scripts: idle threads of OpenBLAS spin, and slow down whatever runs beside.
if "OMP_NUM_THREADS" not in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import concurrent.futures
import contextlib
import copy
import functools
import gzip
import itertools
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
RELU_NET = ("relu", "softmax")
HIDDEN = [name for name in nn.ACTIVATIONS if name != "softmax"]
PAIRS = []  # of an output and a loss that go together
for loss_name, (_, _, required) in nn.LOSSES.items():
    PAIRS += [(output, loss_name) for output in HIDDEN + ["softmax"]
              if output == required or (required is None and output != "softmax")]

# ---- Networks and data to test with ----------------------------------------------------
def case(activations=RELU_NET, sizes=(4, 6, 3), n=8, seed=0):
    """Return (params, X, Y): no Z, W or b is near 0, where a slope could jump; no layer
    gives only 0. Y goes from 0 to 1; for softmax, in rows that sum to 1."""
    for attempt in range(1000):
        rng = np.random.default_rng([seed, attempt])
        params = nn.init_params(sizes, activations, rng, np.float64)
        for l in range(1, len(sizes)):
            params[f"b{l}"] = rng.normal(size=sizes[l])
        X = rng.normal(size=(n, sizes[0]))
        Y = rng.random((n, sizes[-1]))
        if activations[-1] == "softmax":
            Y = Y / Y.sum(axis=1, keepdims=True)
        _, cache = nn.forward(params, X, activations)
        sums = [cache[f"Z{l}"] for l in range(1, len(sizes))]
        outputs = [cache[f"A{l}"] for l in range(1, len(sizes))]
        smooth = min(abs(array).min() for array in [*sums, *params.values()]) > 1e-3
        if smooth and all(A.any() for A in outputs):
            return params, X, Y
    raise AssertionError("no smooth case found")

def bits(tree):
    """Return nested dicts of arrays as dtypes, shapes and bytes, to be compared by ==."""
    if isinstance(tree, dict):
        return {key: bits(value) for key, value in tree.items()}
    array = np.asarray(tree)
    return array.dtype, array.shape, array.tobytes()

# ---- Gradients: backward against central differences -----------------------------------
def central_differences(f, array, h=1e-5):
    """Return how fast f grows with each entry of array."""
    slopes = np.zeros_like(array)
    for i in np.ndindex(array.shape):
        step = np.zeros_like(array)
        step[i] = h
        slopes[i] = (f(array + step) - f(array - step)) / (2 * h)
    return slopes

def check_gradient(key, gradient, expected):
    """Fail unless they are equal to 1e-6, and begin the message with what is wrong."""
    assert np.shape(gradient) == expected.shape, f"{key} has the shape {np.shape(gradient)}"
    off = np.linalg.norm(gradient - expected)
    if off <= 1e-6 * np.linalg.norm(expected) + 1e-9:
        return
    factor = (gradient * expected).sum() / (expected * expected).sum()
    if np.linalg.norm(gradient - factor * expected) < 1e-4 * off:
        problem = f"{factor:.2f} times what it should be, everywhere"
    else:
        wrong = abs(gradient - expected) > 1e-6 * abs(expected).max()
        worst = np.unravel_index(np.argmax(abs(gradient - expected)), expected.shape)
        problem = (f"wrong at {wrong.sum()} of {wrong.size} places, most at "
                   f"{tuple(map(int, worst))}: {gradient[worst]:.6g}, not "
                   f"{expected[worst]:.6g}")
    raise AssertionError(f"the gradient of {key} is {problem}\n{gradient}\nexpected\n"
                         f"{expected}")

@pytest.mark.parametrize("sizes, l1, l2, dropout", [
    ((4, 6, 5, 3), 0.0, 0.0, 0.0),
    ((4, 6, 5, 3), 0.02, 0.0, 0.4),
    ((4, 5, 2), 0.0, 0.3, 0.0)])
@pytest.mark.parametrize("output, loss", PAIRS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_gradients_by_central_differences(hidden, output, loss, sizes, l1, l2, dropout):
    activations = (hidden,) * (len(sizes) - 2) + (output,)
    params, X, Y = case(activations, sizes)

    def forward(params, X):
        rng = np.random.default_rng(5)  # the same masks every time
        _, cache = nn.forward(params, X, activations, dropout, rng)
        return cache

    def loss_at(params, X):
        return nn.compute_loss(params, forward(params, X), Y, activations, loss, l1, l2)

    def loss_with(key, array):
        return loss_at({**params, key: array}, X)

    grads = nn.backward(params, forward(params, X), Y, activations, loss, l1, l2,
                        wrt_input=True)
    assert grads.keys() == {*params, "X"}
    for key, p in params.items():
        check_gradient(key, grads[key],
                       central_differences(functools.partial(loss_with, key), p))
    check_gradient("X", grads["X"],
                   central_differences(functools.partial(loss_at, params), X))

def swish_slope(Z, A):
    """Return the slope of Z * sigmoid(Z), which needs Z as well as A."""
    sigmoid = 1 / (1 + np.exp(-Z))
    return A + sigmoid * (1 - A)

ADDED = {  # one line each in nn.ACTIVATIONS
    "swish": (lambda Z: Z / (1 + np.exp(-Z)), swish_slope, 1.4),
    "leaky relu": (lambda Z: np.where(Z > 0, Z, 0.1 * Z),
                   lambda Z, A: np.where(Z > 0, 1, 0.1), 1.4)}

@pytest.mark.parametrize("name", ADDED)
def test_an_added_activation_needs_no_other_line(name, monkeypatch, tmp_path):
    monkeypatch.setitem(nn.ACTIVATIONS, name, ADDED[name])
    test_gradients_by_central_differences(
        name, "softmax", "cross_entropy", (4, 6, 5, 3), 0.02, 0.3, 0.4)
    test_gradients_by_central_differences(name, name, "mse", (4, 5, 2), 0.0, 0.0, 0.0)
    params, X, Y = case((name, "softmax"))
    trained, _ = nn.gradient_descent(params, X, Y, (name, "softmax"))
    nn.save_params(tmp_path / "net.npz", trained, (name, "softmax"))
    assert nn.load_params(tmp_path / "net.npz")[1] == (name, "softmax")
    monkeypatch.delitem(nn.ACTIVATIONS, name)
    with pytest.raises(ValueError, match=f"{name} - not in linear"):
        nn.load_params(tmp_path / "net.npz")  # it is not damaged, only unknown

@pytest.mark.parametrize("change, words", [
    (lambda g: 8 * g, "8.00 times what it should be, everywhere"),
    (lambda g: -g, "-1.00 times what it should be, everywhere"),
    (lambda g: g + np.eye(2, 3), r"wrong at 2 of 6 places, most at \([01], [01]\): ")])
def test_a_wrong_gradient_is_told_by_its_factor_or_its_place(change, words):
    expected = np.arange(1.0, 7).reshape(2, 3)
    check_gradient("W1", expected + 1e-9, expected)
    with pytest.raises(AssertionError, match=f"^the gradient of W1 is {words}"):
        check_gradient("W1", change(expected), expected)

# ---- PyTorch: forty steps of training, and so losses, gradients and optimizers ---------
TORCH_ACTIVATIONS = {
    "linear": lambda Z: Z, "relu": lambda Z: Z.relu(), "tanh": lambda Z: Z.tanh(),
    "sigmoid": lambda Z: Z.sigmoid(), "softmax": lambda Z: Z.softmax(1)}
TORCH_LOSSES = {"mse": "mse_loss", "cross_entropy": "cross_entropy",
                "binary_cross_entropy": "binary_cross_entropy_with_logits"}
TORCH_RULES = {"sgd": ("SGD", {}), "momentum": ("SGD", {"momentum": 0.9}),
               "adam": ("Adam", {})}
TORCH_SCHEDULES = [  # ours, PyTorch's class and its arguments
    (lambda done, E: 0.5 ** (done // 2), "StepLR", {"step_size": 2, "gamma": 0.5}),
    (lambda done, E: 0.8 ** int(done), "ExponentialLR", {"gamma": 0.8}),
    ("linear", "LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 40})]

def setting(seed):
    """Return (sizes, activations, loss, l1, l2) of a random network of 1 to 4 layers."""
    rng = np.random.default_rng(seed)
    known = [(output, loss) for output, loss in PAIRS
             if output in TORCH_ACTIVATIONS and loss in TORCH_LOSSES]
    output, loss = known[seed % len(known)]
    depth = rng.integers(1, 5)
    curves = [name for name in TORCH_ACTIVATIONS if name != "softmax"]
    hidden = tuple(str(name) for name in rng.choice(curves, depth - 1))
    l1, l2 = [(0.0, 0.0), (0.01, 0.0), (0.02, 0.3)][rng.integers(3)]
    sizes = tuple(rng.integers(2, 9, depth + 1).tolist())
    return sizes, (*hidden, output), loss, l1, l2

def torch_loss(torch, params, X, Y, activations, loss, l1=0.0, l2=0.0):
    """Return the loss that nn.py should have, computed by PyTorch from its own parts."""
    A = X
    for l, name in enumerate(activations, start=1):
        Z = A @ params[f"W{l}"] + params[f"b{l}"]
        A = TORCH_ACTIVATIONS[name](Z)
    given = A if loss == "mse" else Z  # the others take logits
    value = getattr(torch.nn.functional, TORCH_LOSSES[loss])(given, Y)
    for key, p in params.items():
        if key.startswith("W"):
            value = value + l1 * p.abs().sum() + l2 / 2 * (p * p).sum()
    return value

@pytest.mark.parametrize("optimizer", TORCH_RULES)
@pytest.mark.parametrize("seed", range(12))
def test_forty_steps_equal_pytorch(seed, optimizer):
    """Each step's loss and rate, and the parameters at the end, of a random network."""
    torch = pytest.importorskip("torch")
    sizes, activations, loss, l1, l2 = setting(seed)
    params, X, Y = case(activations, sizes, seed=seed)
    schedule, torch_schedule, arguments = TORCH_SCHEDULES[seed % len(TORCH_SCHEDULES)]
    trained, history = nn.gradient_descent(
        params, X, Y, activations, loss, epochs=40, batch_size=len(X), lr=0.02,
        optimizer=optimizer, schedule=schedule, l1=l1, l2=l2)

    tensors = {key: torch.tensor(p, requires_grad=True) for key, p in params.items()}
    data = torch.tensor(X), torch.tensor(Y)
    torch_rule, defaults = TORCH_RULES[optimizer]
    rule = getattr(torch.optim, torch_rule)(tensors.values(), lr=0.02, **defaults)
    scheduler = getattr(torch.optim.lr_scheduler, torch_schedule)(rule, **arguments)
    for step in range(40):
        assert history["lr"][step] == pytest.approx(rule.param_groups[0]["lr"], rel=1e-12)
        value = torch_loss(torch, tensors, *data, activations, loss)
        assert history["loss"][step] == pytest.approx(value.item(), rel=1e-9)
        rule.zero_grad()
        torch_loss(torch, tensors, *data, activations, loss, l1, l2).backward()
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
    rules = list(nn.OPTIMIZERS)
    optimizer = rules[seed % len(rules)]

    def loss_and_grads(params, X):
        _, cache = nn.forward(params, X, activations)
        given = (params, cache, Y, activations, loss, l1, l2)
        return nn.compute_loss(*given), nn.backward(*given, wrt_input=True)

    def step(params, state):
        _, grads = loss_and_grads(params, X)
        return nn.update(params, grads, state, 0.05, optimizer)

    def ten(step):
        stepped, state = params, {}
        for _ in range(10):
            stepped, state = step(stepped, state)
        return stepped

    of_numpy = ten(step)
    monkeypatch.setattr(nn, "np", jax.numpy)
    differentiate = jax.grad(loss_and_grads, (0, 1), has_aux=True)
    (of_params, of_X), grads = differentiate(params, X)
    for key, gradient in {**of_params, "X": of_X}.items():
        assert np.allclose(grads[key], gradient, rtol=1e-9, atol=1e-12), key
    for key, p in ten(jax.jit(step)).items():
        assert isinstance(p, jax.Array)
        assert abs(p - of_numpy[key]).max() < 1e-9, key

# ---- By hand: a published example, and the losses --------------------------------------
def test_worked_example_of_mazur():
    """Matt Mazur, A Step by Step Backpropagation Example (2015). His error, half the sum
    of two squares, is our mean; his weights go to a neuron in a row, and biases stay."""
    near = functools.partial(pytest.approx, abs=1e-8)
    activations = ("sigmoid", "sigmoid")
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

TWO_A = [[0.1, 0.9], [0.4, 0.6]]
TWO_Y = [[0, 1], [1, 0]]

@pytest.mark.parametrize("output, loss, A, Y, expected, db", [
    ("linear", "mse", TWO_A, TWO_Y, (0.1 ** 2 + 0.6 ** 2) / 2, [-0.25, 0.25]),
    ("softmax", "cross_entropy", TWO_A, TWO_Y, -np.log(0.9 * 0.4) / 2, [-0.25, 0.25]),
    ("sigmoid", "binary_cross_entropy", TWO_A, TWO_Y, -np.log(0.9 * 0.4) / 2,
     [-0.125, 0.125]),
    ("softmax", "cross_entropy", [[0.2, 0.3, 0.5]], [[0, 1, 0]], -np.log(0.3),
     [0.2, -0.7, 0.5])])  # the example in nn.py
def test_losses_are_means_and_penalties_sums(output, loss, A, Y, expected, db):
    """Means over the rows, and for mse and binary over a row; no penalty on biases."""
    A = np.array(A)
    Z = {"linear": A, "softmax": np.log(A), "sigmoid": np.log(A / (1 - A))}[output]
    k = A.shape[1]
    params = {"W1": np.eye(k), "b1": np.zeros(k), "W2": -np.eye(k), "b2": np.full(k, 3.0)}
    activations = ("linear", output)
    given, cache = nn.forward(params, 3 - Z, activations)
    assert given == pytest.approx(A)
    for l1, l2, penalty in ((0, 0, 0), (0.5, 0, 0.5 * 2 * k), (0, 0.25, 0.125 * 2 * k)):
        value = nn.compute_loss(params, cache, Y, activations, loss, l1, l2)
        assert value == pytest.approx(expected + penalty)
        grads = nn.backward(params, cache, Y, activations, loss, l1, l2)
        assert grads["b2"] == pytest.approx(db)
        assert np.isfinite(grads["W2"]).all()  # W has zeros: sign(W), not W / |W|

# ---- Training: gradient_descent against a plain loop -----------------------------------
def plain_descent(params, X, Y, activations, loss, rng, *, epochs=10, batch_size=32,
                  lr=0.01, optimizer="sgd", schedule="constant", l1=0.0, l2=0.0,
                  dropout=0.0, validation=None, augment=None):
    """Return what gradient_descent's docstring says, for Y as rows."""
    state = {}
    log = []
    if isinstance(schedule, str):
        schedule = nn.SCHEDULES[schedule]
    for epoch in range(epochs):
        order = rng.permutation(len(X))
        losses = []
        for start in range(0, len(X), batch_size):
            rows = order[start:start + batch_size]
            batch = X[rows]
            if augment:
                batch = augment(batch, rng)
            rate = float(lr * schedule(epoch + start / len(X), epochs))
            _, cache = nn.forward(params, batch, activations, dropout, rng)
            value = nn.compute_loss(params, cache, Y[rows], activations, loss)
            losses.append(float(value) * len(rows))
            grads = nn.backward(params, cache, Y[rows], activations, loss, l1, l2)
            params, state = nn.update(params, grads, state, rate, optimizer)
        scores = {"loss": sum(losses) / len(X), "lr": rate}
        if validation:
            measured = nn.evaluate(params, *validation, activations, loss)
            scores |= {f"val_{name}": value for name, value in measured.items()}
        log.append(scores)
    return params, {name: [scores[name] for scores in log] for name in log[0]}

def noisy(X_batch, rng):
    """Write into the batch, as augment may, and return another."""
    X_batch *= 1.1
    return X_batch + rng.normal(0, 0.1, X_batch.shape)

OPTIONS = {
    "defaults": {}, "a batch of one": {"batch_size": 1}, "all": {"batch_size": 70},
    "adam": {"optimizer": "adam"}, "penalties": {"l1": 0.01, "l2": 0.1},
    "a rule": {"optimizer": functools.partial(nn.momentum, beta=0.5)},
    "a schedule": {"schedule": lambda done, E: np.cos(done / E)},
    "dropout": {"dropout": 0.4}, "augment": {"augment": noisy},
    "larger than all": {"batch_size": 99}, "validation": {"validation": 5},
    "everything": {"schedule": "exponential", "l1": 0.01, "l2": 0.1, "dropout": 0.2,
                   "augment": noisy, "optimizer": "adam", "lr": 0.05, "epochs": 4,
                   "validation": 7}}  # on so many rows

@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("output, loss", PAIRS)
def test_gradient_descent_equals_a_plain_loop(output, loss, option):
    """To the last bit: only the loop is tested, its calls are nn's own. The plain loop has
    float32; gradient_descent float64, to be converted before augment; np.cos an np.float64."""
    activations = ("tanh", output)
    options = dict(OPTIONS[option])
    params, X, Y = case(activations, n=70)
    start = {key: p.astype(np.float32) for key, p in params.items()}
    if "validation" in options:
        rows = options["validation"]
        options["validation"] = (X[:rows], Y[:rows])
    given = np.random.default_rng(3)
    trained, history = nn.gradient_descent(
        start, X, Y, activations, loss, seed=given, **options)
    shared = np.random.default_rng(3)
    expected, log = plain_descent(start, X.astype(np.float32), Y.astype(np.float32),
                                  activations, loss, shared, **options)
    assert bits(trained) == bits(expected)
    assert history == log
    assert given.random() == shared.random()  # as many draws
    assert all(type(value) is float for values in history.values() for value in values)

@pytest.mark.parametrize("name", nn.SCHEDULES)
def test_schedules_begin_at_one_and_do_not_rise(name):
    factors = [nn.SCHEDULES[name](done, 12) for done in np.linspace(0, 11.9, 100)]
    assert factors[0] == 1
    assert (np.diff(factors) <= 0).all() and factors[-1] >= 0

def test_schedules_end_where_their_comments_say():
    nearly = 1 - 1e-12  # of the last epoch
    ends = {"constant": 1, "linear": 0, "step": 0.01, "exponential": 0.01, "inverse": 0.1}
    for name, end in ends.items():
        assert nn.SCHEDULES[name](10 * nearly, 10) == pytest.approx(end, abs=1e-9)
    assert nn.SCHEDULES["step"](4.1, 12) == pytest.approx(0.1)
    assert nn.SCHEDULES["linear"](3, 12) == 0.75

# ---- Faults that well-known from-scratch networks have ---------------------------------
# Caught above, by differences: a relu whose slope is 1 everywhere, dropout unscaled in
# backward, l2 added to dZ, db summed over the neurons, too, 1/n twice. By the plain loop:
# X and Y shuffled apart or only once, a last batch that is dropped. By PyTorch, and by
# hand below: an adam whose means are wrong in the first steps.
def test_dropout_keeps_the_mean_and_float32_stays_float32():
    activations = ("relu", "tanh", "softmax")
    rng = np.random.default_rng(0)
    params = nn.init_params((4, 60, 60, 3), activations)
    X = rng.normal(size=(90, 4))
    Y = nn.one_hot(np.arange(90) % 3, 3, np.float64)
    for dropout, factor in ((0.75, 4), (0.2, 1.25)):
        output, cache = nn.forward(params, X, activations, dropout, rng)
        assert list(cache) == "X1 Z1 A1 mask1 X2 Z2 A2 mask2 X3 Z3 A3".split()
        assert np.array_equal(cache["X1"], X.astype(np.float32))
        assert np.array_equal(cache["A3"], output)
        for l in (1, 2):
            mask = cache[f"mask{l}"]
            assert set(mask.flat) == {0, factor}
            assert abs(mask.mean() - 1) < 0.1
            assert len(np.unique(mask, axis=0)) == 90  # one for each row
            assert bits(cache[f"X{l + 1}"]) == bits(cache[f"A{l}"] * mask)
        strengths = np.logspace(-3, -2, 2)  # of numbers that would make float64 of all
        grads = nn.backward(params, cache, Y, activations, "cross_entropy", *strengths)
        for array in [*cache.values(), *grads.values()]:
            assert array.dtype == np.float32
    with pytest.raises(AttributeError, match="random"):  # no rng: not just no dropout
        nn.forward(params, X, activations, dropout=0.5)

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_are_exact_at_extreme_logits_in_one_batch(dtype):
    """Naive softmax is NaN at logit 100 in float32, an epsilon bends the loss, and a
    maximum over the whole batch makes 0 / 0 of its small rows."""
    Z = np.array([[1000, -1000], [-1000, 1000], [-1000, -1000], [100, 0], [0, 0]], dtype)
    softmax, _, _ = nn.ACTIVATIONS["softmax"]
    sigmoid, slope, _ = nn.ACTIVATIONS["sigmoid"]
    many, many_dZ, _ = nn.LOSSES["cross_entropy"]
    binary, binary_dZ, _ = nn.LOSSES["binary_cross_entropy"]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        A = softmax(Z)
        assert np.array_equal(A.sum(axis=1), np.ones(5))
        assert A[2, 0] == 0.5
        ln2 = np.log(2).astype(dtype)
        for label, losses in ((0, [0, 2000, ln2, 0, ln2]), (1, [2000, 0, ln2, 100, ln2])):
            Y = nn.one_hot([label] * 5, 2, dtype)
            assert many(Z, A, Y) == pytest.approx(losses)
            assert np.array_equal(many_dZ(A, Y, None), A - Y)
        A = sigmoid(Z)
        Y = np.array([[1, 0], [1, 1], [0, 0], [1, 1], [0, 1]], dtype)
        assert binary(Z, A, Y) == pytest.approx([0, 500, 0, ln2 / 2, ln2])
        assert np.array_equal(binary_dZ(A, Y, slope(Z, A)), (A - Y) / 2)
        # logaddexp(0, Z) - Y * Z, which is shorter, is 1% off where the answer is sure.
        sure = binary(np.array([[30.0]]), None, np.array([[1.0]]))
        assert sure == pytest.approx(np.exp(-30), rel=1e-9, abs=0)
        # Sigmoid written with tanh loses all digits below Z = -17.
        Z = np.linspace(-80, 80, 1001, dtype=dtype)
        assert np.allclose(sigmoid(Z), 1 / (1 + np.exp(-Z.astype(float))), 1e-6, 0)
        assert sigmoid(dtype(-1e4)) < 2e-35
        assert sigmoid(dtype(1e4)) == 1

@pytest.mark.parametrize("name", nn.ACTIVATIONS)
def test_no_activation_overflows_in_float32(name):
    """softplus written as log(1 + exp(Z)) is infinite from Z = 89 on."""
    f, slope, _ = nn.ACTIVATIONS[name]
    Z = np.array([[-1000, -100, 0, 100, 1000]], np.float32)
    with np.errstate(over="raise", invalid="raise"):
        A = f(Z)
        assert np.isfinite(A).all(), f"{name} overflows: {A}"
        if name != "softmax":
            assert np.isfinite(slope(Z, A)).all(), f"the slope of {name} overflows"

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
        nn.gradient_descent(params, X, targets, RELU_NET, dropout=0.2, batch_size=9,
                            validation=(X, targets), augment=noisy, optimizer="adam")
    assert bits(given) == bits(before)
    assert capsys.readouterr() == ("", "")

# ---- Optimizers: by hand; then whether they are pure, and descend ----------------------
BY_HAND = {  # from p = 0 with lr 0.1: p after g = 1, and p after then g = 3
    "sgd": (-0.1, -0.4),
    "momentum": (-0.1, -0.1 - 0.1 * (0.9 * 1 + 3)),
    "adam": (-0.1, -0.1 - 0.1 * ((0.9 * 0.1 + 0.1 * 3) / 0.19)
             / ((0.999 * 0.001 + 0.001 * 9) / 0.001999) ** 0.5)}

@pytest.mark.parametrize("name", BY_HAND)
def test_steps_of_each_optimizer_by_hand(name):
    rule = nn.OPTIMIZERS[name]
    first, second = BY_HAND[name]
    p, memory = rule(0.0, 1.0, {}, 0.1)
    assert p == pytest.approx(first)
    p, _ = rule(p, 3.0, memory, 0.1)
    assert p == pytest.approx(second)

def test_eps_keeps_a_tiny_gradient_from_a_full_step():
    p, _ = nn.adam(0.0, 1e-8, {}, 0.1)  # as small as eps
    assert p == pytest.approx(-0.1 / (1 + 1))

def test_a_rule_that_goes_on_from_another_starts_with_memories_of_its_own():
    """momentum and adam that both called theirs "v" gave NaN."""
    for first, second in itertools.permutations(nn.OPTIMIZERS, 2):
        _, memory = nn.OPTIMIZERS[first](0.0, -2.0, {}, 0.1)
        goes_on, _ = nn.OPTIMIZERS[second](0.0, 1.0, memory, 0.1)
        afresh, _ = nn.OPTIMIZERS[second](0.0, 1.0, {}, 0.1)
        assert goes_on == afresh, (first, second)

def shares(p, g, memory, lr):
    """Return one array as p and as memory: neither may be written to."""
    p = p - lr * g
    return p, {"p": p}

@pytest.mark.parametrize("optimizer", [*nn.OPTIMIZERS, shares])
def test_each_optimizer_is_pure_keeps_dtype_and_descends(optimizer):
    target = np.array([[1.0, -2.0, 3.0]], np.float32)
    params = {"W1": 0 * target, "b1": target[0] + 1}
    state = {}
    steepness = []
    for _ in range(300):  # of sum((W1 - target)^2) + sum(b1^2); an "X" is left out
        grads = {"W1": 2 * (params["W1"] - target), "b1": 2 * params["b1"], "X": target}
        steepness.append([np.linalg.norm(grads[key]) for key in params])
        given = {"params": params, "grads": grads, "state": state}
        before = copy.deepcopy(given)
        params, state = nn.update(params, grads, state, np.float64(0.1), optimizer)
        assert bits(given) == bits(before)
        assert list(params) == ["W1", "b1"]
        for key, p in params.items():
            assert p.dtype == np.float32
            assert p.shape == grads[key].shape
    assert (np.divide(steepness[-1], steepness[0]) < 0.5).all()  # each array by itself

def test_arrays_without_a_gradient_stay_with_their_memory():
    params, X, Y = case()
    _, cache = nn.forward(params, X, RELU_NET)
    grads = nn.backward(params, cache, Y, RELU_NET)
    params, state = nn.update(params, grads, {}, 0.1, "adam")
    some = {"W2": grads["W2"]}
    new_params, new_state = nn.update(params, some, state, 0.1, "adam")
    for key in ("W1", "b1", "b2"):
        assert new_params[key] is params[key]
        assert bits(new_state[key]) == bits(state[key])
    assert (new_params["W2"] != params["W2"]).all()

# ---- The contract, function by function, by hand ---------------------------------------
def test_init_params_has_the_spread_of_lecun_and_of_he():
    params = nn.init_params((400, 300, 200, 100), ("relu", "tanh", "softmax"))
    assert list(params) == ["W1", "b1", "W2", "b2", "W3", "b3"]
    for l, variance in ((1, 2 / 400), (2, 1 / 300), (3, 1 / 200)):
        W = params[f"W{l}"]
        b = params[f"b{l}"]
        assert W.var() == pytest.approx(variance, rel=0.03)
        assert abs(W.mean()) < 0.002
        assert not b.any()
        assert W.dtype == b.dtype == np.float32
    assert abs(np.corrcoef(params["W2"].flat[:20_000], params["W3"].flat)[0, 1]) < 0.1
    seven = nn.init_params((4, 3), ("softmax",), 7)
    assert bits(seven) == bits(
        nn.init_params((4, 3), ("softmax",), np.random.default_rng(7)))
    assert bits(seven) != bits(nn.init_params((4, 3), ("softmax",), 8))

def test_twenty_layers_keep_the_size_of_what_they_are_given():
    X = np.random.default_rng(0).normal(size=(50, 300))
    for name, least in (("linear", 0.5), ("relu", 0.3), ("tanh", 0.05)):
        params = nn.init_params((300,) * 21, (name,) * 20)
        output, _ = nn.forward(params, X, (name,) * 20)
        assert least < np.mean(output ** 2) ** 0.5 < 2, name

def test_targets_come_from_any_source(monkeypatch):
    params, X, Y = case()
    labels = Y.argmax(axis=1)
    wanted, _ = nn.gradient_descent(params, X, nn.one_hot(labels, 3), RELU_NET)
    for y in (labels, list(labels), labels.astype(np.uint8), labels.astype(float),
              labels[:, None]):
        trained, _ = nn.gradient_descent(params, X.tolist(), y, RELU_NET)
        assert bits(trained) == bits(wanted)
    for output, loss in (("linear", "mse"), ("sigmoid", "binary_cross_entropy")):
        activations = ("tanh", output)
        params, X, Y = case(activations, (4, 5, 1))
        Y = np.round(Y)
        wanted, _ = nn.gradient_descent(params, X, Y, activations, loss)
        for y in (Y[:, 0], Y[:, 0].astype(bool), Y[:, 0].astype(int).tolist()):
            trained, _ = nn.gradient_descent(params, X, y, activations, loss)
            assert bits(trained) == bits(wanted)

def test_images_go_in_as_they_are_and_reach_augment_so():
    params, X, Y = case(sizes=(6, 5, 3))
    images = X.reshape(-1, 2, 3)
    shapes = []

    def augment(batch, rng):
        shapes.append(batch.shape)
        return batch

    trained, _ = nn.gradient_descent(params, images, Y, RELU_NET, augment=augment)
    expected, _ = nn.gradient_descent(params, X, Y, RELU_NET)
    assert set(shapes) == {(8, 2, 3)}
    assert bits(trained) == bits(expected)
    assert np.array_equal(nn.predict(params, images, RELU_NET),
                          nn.predict(params, X, RELU_NET))
    assert nn.evaluate(params, images, Y, RELU_NET) == nn.evaluate(params, X, Y, RELU_NET)

def test_a_loss_is_a_name_or_three_of_ones_own(monkeypatch):
    params, X, Y = case()
    triple = nn.LOSSES["cross_entropy"]
    wanted, _ = nn.gradient_descent(params, X, Y, RELU_NET)
    monkeypatch.setitem(nn.LOSSES, "copy", triple)
    for loss in ("copy", triple):
        trained, _ = nn.gradient_descent(params, X, Y, RELU_NET, loss)
        assert bits(trained) == bits(wanted)
        assert nn.evaluate(params, X, Y, RELU_NET, loss) == nn.evaluate(
            params, X, Y, RELU_NET)

    def not_summed(Z, A, Y):
        return abs(A - Y)

    monkeypatch.setitem(nn.LOSSES, "mine", (not_summed, triple[1], "softmax"))
    with pytest.raises(ValueError, match="loss mine .* one number for each row"):
        nn.evaluate(params, X, Y, RELU_NET, "mine")

def test_predict_and_evaluate_go_by_the_output():
    eye = {}
    for l in (1, 2, 3):
        eye |= {f"W{l}": np.eye(3), f"b{l}": np.zeros(3)}
    one = {**eye, "W3": np.ones((3, 1)), "b3": np.zeros(1)}
    X = np.array([[3.0, 1, 0], [-1, -2, -3]])
    yes = np.array([[1, 0, 0], [0, 0, 0]])
    many = ("tanh", "linear", "softmax")
    several = ("tanh", "linear", "sigmoid")
    numbers = ("tanh", "linear", "linear")
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
    params, X, Y = case()
    calls = []

    def on_epoch(epoch, params, history):
        calls.append({"epoch": epoch, "params": params, "history": history,
                      "params then": copy.deepcopy(params)})
        return epoch == 3

    trained, history = nn.gradient_descent(
        params, X, Y, RELU_NET, epochs=9, on_epoch=on_epoch)
    assert [call["epoch"] for call in calls] == [1, 2, 3]
    assert [len(call["history"]["lr"]) for call in calls] == [1, 2, 3]
    assert [len(values) for values in history.values()] == [3, 3]
    for call in calls:
        assert bits(call["params"]) == bits(call["params then"])
    assert bits(trained) == bits(call["params"])

# ---- Bad input: one line that says what is wrong ---------------------------------------
NET = nn.init_params((4, 6, 3), RELU_NET)
ROWS = np.ones((5, 4))
LABELS = np.arange(5) % 3
ONES = np.ones((5, 3))
LINEAR_NET = ("tanh", "linear")
YES_OR_NO = {"params": nn.init_params((4, 6, 1), ("tanh", "sigmoid")),
             "activations": ("tanh", "sigmoid"), "loss": "binary_cross_entropy"}
ONE_SOFTMAX = {"params": nn.init_params((4, 6, 1), RELU_NET), "Y": LABELS % 2}

def fit(X=ROWS, Y=LABELS, params=NET, activations=RELU_NET, loss="cross_entropy",
        **options):
    """Train for an epoch on data that is right but for what is given."""
    return nn.gradient_descent(
        params, X, Y, activations, loss, **{"epochs": 1, **options})

def after_forward(function, Y, activations=RELU_NET, *loss):
    """Call compute_loss or backward after a forward pass that is right."""
    _, cache = nn.forward(NET, ROWS, RELU_NET)
    return function(NET, cache, Y, activations, *loss)

def call(function, *arguments, **options):
    """Return a call to be made later."""
    return functools.partial(function, *arguments, **options)

BAD_INPUT = [  # the call, what its message must hold
    (call(nn.init_params, (4, 3), ("reluu",)), "activation reluu - not in linear"),
    (call(nn.init_params, (4, 6, 3), ("softmax",)), "sizes (4, 6, 3) - expected"),
    (call(nn.init_params, (4, 3), "softmax"), "sizes (4, 3) - expected"),
    (call(nn.init_params, (4, 0), ("relu",)), "sizes (4, 0) - expected"),
    (call(nn.forward, NET, ROWS[:, :3], RELU_NET), "size 15 into shape (5,4)"),
    (call(nn.predict, NET, ROWS, ("swish", "softmax")), "activations swish - not in"),
    (call(nn.predict, NET, ROWS, ("softmax",)), "do not fit the tuple ('softmax',)"),
    (call(fit, activations=(abs, "softmax")), "entry of activations <built-in"),
    (call(after_forward, nn.compute_loss, LABELS), "Y has the shape (5,) - expected (5, 3)"),
    (call(after_forward, nn.compute_loss, ONES, RELU_NET, "entropy"), "loss entropy - not in"),
    (call(after_forward, nn.compute_loss, ONES, LINEAR_NET), "cross_entropy goes with softm"),
    (call(after_forward, nn.compute_loss, ONES, RELU_NET, "mse"), "not with softmax"),
    (call(after_forward, nn.backward, ONES[:, :1]), "Y has the shape (5, 1) - expected (5"),
    (call(after_forward, nn.backward, ONES, LINEAR_NET), "cross_entropy goes with softmax"),
    (call(nn.update, NET, NET, {}, 0.1, "adamm"), "optimizer adamm - not in sgd"),
    (call(fit, schedule="linaer"), "schedule linaer - not in constant"),
    (call(fit, activations="softmax"), "do not fit the tuple softmax"),
    (call(fit, activations=("softmax",)), "params W1 b1 W2 b2 do not fit the tuple ('softmax',)"),
    (call(fit, activations=("relu", *RELU_NET)), "params W1 b1 W2 b2 do not fit"),
    (call(fit, params={**NET, "b2": NET["b2"][:1]}), "W2 is float32 (6, 3) b2 float32 (1,) - need floats (6, 1)"),
    (call(fit, params={**NET, "W2": np.ones((6, 3), int)}), "W2 is int64"),
    (call(fit, activations=("softmax", "softmax")), "softmax is for the output"),
    (call(fit, **ONE_SOFTMAX), "one softmax is always 1: use sigmoid"),
    (call(fit, **{**YES_OR_NO, "loss": "cross_entropy", "Y": LABELS % 2}), "not with sigmoid"),
    (call(fit, ROWS[:3]), "Y float32 (5, 3) - expected numbers, a row for"),
    (call(fit, ROWS[:, :3]), "size 15 into shape (5,4)"),
    (call(fit, None), "X object (1,) - expected numbers"),
    (call(fit, [["a"] * 4] * 5), "X <U1 (5, 4) - expected numbers"),
    (call(fit, ROWS[:0], LABELS[:0]), "X float64 (0, 4) - expected"),
    (call(fit, np.where(np.eye(5, 4), np.nan, 1)), "X holds NaN or inf"),
    (call(fit, np.where(np.eye(5, 4), -np.inf, 1)), "X holds NaN or inf"),
    (call(fit, np.where(np.eye(5, 4), np.inf, 1)), "X holds NaN or inf"),
    (call(fit, Y=LABELS + 1), "labels hold 3 - expected 0 to 2"),
    (call(fit, Y=LABELS - 1), "labels hold -1 - expected 0 to 2"),
    (call(fit, Y=LABELS + 0.5), "labels hold 0.5 - expected 0 to 2"),
    (call(fit, Y=list("abcba")), "labels hold a - expected 0 to 2"),
    (call(fit, Y=[[1, 0, 0]] * 4 + [[0.5, 0, 0]]), "rows of Y do not sum to 1"),
    (call(fit, Y=np.tile([2.0, -1, 0], (5, 1))), "Y: 0 to 1, not -1.0 to 2.0"),
    (call(fit, Y=np.full((5, 3), np.nan)), "Y holds NaN or inf"),
    (call(fit, activations=LINEAR_NET, loss="mse"), "Y has the shape (5, 1) - expected"),
    (call(fit, **YES_OR_NO), "Y: 0 to 1, not 0.0 to 2.0"),
    (call(fit, Y=LABELS % 2 - 0.5, **YES_OR_NO), "Y: 0 to 1, not -0.5 to 0.5"),
    (call(fit, epochs=0), "epochs 0 batch_size 32 dropout 0.0 - expected"),
    (call(fit, batch_size=0), "batch_size 0"),
    (call(fit, dropout=-0.1), "dropout -0.1"),
    (call(fit, dropout=1), "dropout 1 "),
    (call(fit, validation=(ROWS[:2], LABELS)), "Y float32 (5, 3) - expected"),
    (call(nn.predict, NET, np.where(np.eye(5, 4), np.nan, 1), RELU_NET), "holds NaN"),
    (call(nn.one_hot, [[0, 1]], 3), "reshape"),
    (call(nn.accuracy, np.zeros(5), np.zeros((5, 1))), "(5,) - expected as predicted (5, 1)")]

@pytest.mark.parametrize("call, words", BAD_INPUT)
def test_bad_input_is_one_clear_line(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value)
    assert "\n" not in str(error.value)

@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
@pytest.mark.parametrize("optimizer", BY_HAND)
def test_divergence_is_an_error_that_says_what_to_try(optimizer):
    params, X, _ = case(("relu", "linear"), (4, 6, 1))
    with pytest.raises(FloatingPointError, match="epoch 1, .*1e\\+200.* scale X"):
        nn.gradient_descent(params, X, X[:, 0], ("relu", "linear"), "mse", lr=1e200,
                            batch_size=2, optimizer=optimizer)

@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_divergence_is_seen_in_the_loss_and_in_each_array_before_on_epoch():
    calls = []

    def break_one(X, rng):
        return X * (np.nan if rng.random() < 0.5 else 1)

    with pytest.raises(FloatingPointError, match="nan"):
        fit(batch_size=1, augment=break_one, on_epoch=lambda *given: calls.append(given))
    assert not calls
    params = {"W1": np.zeros((4, 2), "f"), "b1": np.zeros(2, "f")}
    with pytest.raises(FloatingPointError, match="epoch 1, "):  # only b1[0] is inf
        fit(0 * ROWS, np.tile([2, 0], (5, 1)), params, ("linear",), "mse", lr=3e38)

# ---- Files: back bit for bit, or refused -----------------------------------------------
def test_saved_networks_come_back_bit_for_bit(tmp_path):
    for dtype, path in ((np.float32, tmp_path / "net.npz"),
                        (np.float64, str(tmp_path / "no_suffix"))):
        params = nn.init_params((4, 6, 3), RELU_NET, 0, dtype)
        params["b1"][0] = np.nan  # of a run that failed: to be looked at
        nn.save_params(path, params, RELU_NET)
        loaded, activations = nn.load_params(path)
        assert activations == RELU_NET
        assert bits(loaded) == bits(params)
    assert sorted(os.listdir(tmp_path)) == ["net.npz", "no_suffix"]

def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.npz"
    nn.save_params(path, NET, RELU_NET)
    other = {key: p + 1 for key, p in NET.items()}

    def crash(*_, **arrays):
        raise OSError("disk full")

    for module, function in ((np, "savez"), (os, "replace")):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
            patch.setattr(module, function, crash)
            nn.save_params(path, other, RELU_NET)
    assert bits(nn.load_params(path)[0]) == bits(NET)

WRONG_ARRAYS = [  # what is in the file instead; None: nothing
    {"W2": None}, {"activations": ("relu", "relu", "softmax")}, {"W9": NET["W1"]},
    {"W2": NET["W1"]}, {"b1": NET["b2"]}, {"b1": np.ones(1, "f")},
    {"W1": np.full((4, 6), "1")}, {"W2": np.ones((6, 3), int)}, {"W1": np.float32(1)},
    {"activations": ("relu", "swish")}, {"activations": ("softmax", "softmax")}]

def write_arrays(path, change):
    """Write NET with this change into an .npz; return its params and activations."""
    arrays = {**NET, "activations": RELU_NET, **change}
    arrays = {key: array for key, array in arrays.items() if array is not None}
    np.savez(path, **arrays)
    activations = arrays.pop("activations", None)
    return arrays, activations

@pytest.mark.parametrize("change", WRONG_ARRAYS)
def test_files_of_wrong_arrays_are_refused_and_not_written(change, tmp_path):
    params, activations = write_arrays(tmp_path / "net.npz", change)
    with pytest.raises(ValueError) as error:
        nn.load_params(tmp_path / "net.npz")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError):
        nn.save_params(tmp_path / "other.npz", params, activations)
    assert os.listdir(tmp_path) == ["net.npz"]

@pytest.mark.parametrize("change", [{"activations": None}, {"activations": "softmax"}])
def test_files_without_a_tuple_of_activations_are_refused(change, tmp_path):
    write_arrays(tmp_path / "net.npz", change)
    with pytest.raises(ValueError, match="is damaged, or holds no network"):
        nn.load_params(tmp_path / "net.npz")

def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "net.npz"
    nn.save_params(path, NET, RELU_NET)
    whole = path.read_bytes()
    flipped = whole.replace(b"?", b"!")  # its checksum no longer fits
    assert flipped != whole
    damaged = [whole[:cut] for cut in (0, 1, 10, 100, len(whole) // 2, len(whole) - 1)]
    for content in [*damaged, flipped, whole[50:], b"<html>404</html>"]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged, or holds no network") as error:
            nn.load_params(path)
        assert str(path) in str(error.value)
    np.savez(path, **NET, activations=np.array([{}]))
    with pytest.raises(ValueError) as error:  # a pickle could run any code: it stays shut
        nn.load_params(path)
    assert "allow_pickle=False" in str(error.value.__cause__)

# ---- train_xor.py: experiments by what they print --------------------------------------
@pytest.fixture
def run_xor(tmp_path, monkeypatch, capsys):
    """A function that runs a command in an empty folder: (exit code, printed, complaint)."""
    monkeypatch.chdir(tmp_path)
    Path(".github").mkdir()  # where README's commands write their pictures

    def run(command):
        code = train_xor.main(command.split())
        printed, complaint = capsys.readouterr()
        return code, printed, complaint

    return run

EXPERIMENTS = [  # the command, its exit code, and what it prints
    ("", 0, ["1.000 right\n", ": solved\nwrote xor.png\n"]),
    ("--hidden", 1, ["No seed helps", "undecided"]),
    ("xor --activation linear", 1, ["No seed helps"]),
    ("--hidden 2 --seed 1", 1, ["NOT solved", "helps"]),
    ("--hidden 2 --activation sigmoid --optimizer sgd --lr 0.01", 1, ["helps"]),
    ("--hidden 2 --activation relu", 1, ["helps --hidden 8 --activation tanh\n"]),
    ("--hidden 4 --output tanh --loss mse --epochs 1000 --optimizer sgd --schedule step",
     0, [": solved"]),
    ("step", 0, ["1.20000\n", "The loss fell.\n", "nn.update: same to 1e-12.\n"]),
    ("step --lr 0.1", 0, ["The loss fell.\n"]),
    ("step --lr 100", 1, ["loss did NOT fall"]),
    ("search --plot .github/search.png", 0, ["guesses: ", "descent: 9"]),
    ("optimizers --epochs 30", 0, ["sgd at three rates:\n", "  adam, lr "]),
    ("vanishing", 0, ["at most 1/4"]),
    ("spiral --activation sigmoid", 0, ["right, loss", "wrote spiral.png"]),
    ("spiral --gif .github/spiral.gif --epochs 20", 0, ["wrote .github/spiral.gif"]),
    ("spiral --points 30 --noise 0.6", 0, ["It over-fits", "helps --dropout 0.2\n",
                                           "helps --l2 0.003\n"])]

@pytest.mark.parametrize("command, code, words", EXPERIMENTS)
def test_experiments_say_what_they_find(command, code, words, run_xor):
    got, printed, complaint = run_xor(command)
    assert got == code and complaint == ""
    for part in words:
        assert part in printed, printed
    assert max(map(len, printed.splitlines())) < 80
    for path in Path().rglob("*.gif"):
        assert path.stat().st_size < 1_000_000
        assert Image.open(path).n_frames > 10

def xor_settings(**changes):
    """Return the default settings of an experiment with changes."""
    _, settings = train_xor.EXPERIMENTS["xor"]
    return {**settings, **changes}

def test_xor_is_solved_for_every_seed():
    for seed in range(100):
        run = train_xor.train_on_xor(**xor_settings(seed=seed))
        assert run["right"] == 1, seed

def test_an_output_that_prints_as_half_is_undecided():
    run = train_xor.train_on_xor(**xor_settings(hidden=[]))
    assert set(run["verdicts"]) == {"undecided"}
    assert run["outputs"] == pytest.approx([0.5] * 4)

@pytest.mark.parametrize("wrong", ["dW1", "new_b2"])
def test_step_compares_its_numbers_with_nn(wrong, monkeypatch, run_xor):
    line, = [line for line in train_xor.STEP.splitlines() if line.startswith(f"{wrong} = ")]
    monkeypatch.setattr(train_xor, "STEP", train_xor.STEP.replace(
        line, f"{line} + 1e-9"))
    code, printed, _ = run_xor("step")
    assert code == 1
    assert "NOT the same" in printed

def test_step_marks_the_slope_and_the_growth_that_confirm_each_other(run_xor):
    _, printed, _ = run_xor("step --lr 0.1")
    marked = [line for line in printed.splitlines() if "-->" in line and line[0] != "#"]
    dW1, growth, slope = [float(line.split("-->")[1].split()[0]) for line in marked]
    assert [line.split()[0] for line in marked] == ["dW1", "growth", "slope"]
    assert dW1 == slope == pytest.approx(growth, rel=0.01)

RIGHT = {"as it is": [0.5, 0.5], "way 2": [0.4, 0.9], "way 3": [0.5, 0.6]}  # for two seeds

def test_a_change_helps_if_it_hurts_no_seed_and_one_that_diverges_costs_nothing(capsys):
    def train_once(seed, way):
        if way == 4:
            raise FloatingPointError("diverged")
        name = {1: "as it is", 2: "way 2", 3: "way 3"}[way]
        return {"right": RIGHT[name][seed], "loss": 1 - RIGHT[name][seed]}

    changes = [{"way": 1}, {"way": 2}, {"way": 3}, {"way": 4}]
    for judge in ("right", "loss"):
        train_xor.try_changes(train_once, {"seed": 0, "way": 1}, changes, 2, judge)
        _, *lines = capsys.readouterr().out.splitlines()
        assert [line.split()[2:] for line in lines] == [
            ["as", "it", "is"], ["--way", "2"], ["helps", "--way", "3"], ["--way", "4"]]

def test_changes_are_printed_as_they_are_typed():
    assert train_xor.typed("hidden", [16, 8]) == "--hidden 16 8"
    assert train_xor.typed("batch_size", 4) == "--batch-size 4"

def test_data_and_weights_come_from_different_streams_and_new_points_are_new():
    X, labels = train_xor.spiral_data(50, 0.2, 3)
    again, _ = train_xor.spiral_data(50, 0.2, 3)
    straight, _ = train_xor.spiral_data(50, 0.0, 3)
    assert np.array_equal(X, again)
    assert np.bincount(labels).tolist() == [50, 50, 50]
    radius = np.hypot(*X.T)
    assert radius == pytest.approx(np.tile(np.linspace(0, 1, 50), 3))
    turned = np.arctan2(*X.T) - np.arctan2(*straight.T)
    noise = ((turned + np.pi) % (2 * np.pi) - np.pi)[radius > 0] / 0.2
    drawn = np.random.default_rng(3).standard_normal(150)[radius > 0]
    assert noise.std() == pytest.approx(1, abs=0.2)
    assert abs(np.corrcoef(noise, drawn)[0, 1]) < 0.3

def test_the_three_ways_of_search_do_equal_work(monkeypatch, run_xor):
    forwards = []
    forward = nn.forward

    def counted(params, X, *others):
        if len(X) == 300:
            forwards.append(len(X))
        return forward(params, X, *others)

    monkeypatch.setattr(nn, "forward", counted)
    run_xor("search --passes 30")
    guesses_and_nudges = 2 * (1 + 30) + 3  # each start, each trial; three scores
    assert len(forwards) == guesses_and_nudges + 30 // 3  # a step counts as three

def test_regions_are_where_they_should_be_and_white_where_undecided():
    result = train_xor.spiral(**{**train_xor.EXPERIMENTS["spiral"][1], "epochs": 30})
    regions, curves = result["figure"].axes
    X, labels = train_xor.spiral_data(300, 0.2, 0)
    image = regions.images[0]
    low, high, *_ = image.get_extent()
    column, row = (200 * (X - low) / (high - low)).astype(int).T
    colors = np.array([train_xor.to_rgba_array(color)[0, :3] for color in train_xor.COLORS])
    shown = image.get_array()[row, column]
    said = abs(shown[:, None, :3] - colors[:3]).sum(axis=2).argmin(axis=1)
    assert nn.accuracy(labels, said) > 0.95
    assert shown[:, 3].mean() > 0.4  # sure where the points are
    opacity = image.get_array()[:, :, 3]
    assert opacity.min() < 0.1  # and white between the arms
    points = np.concatenate([dots.get_offsets() for dots in regions.collections])
    assert sorted(points.tolist()) == sorted(X.tolist())
    assert len(curves.lines) == 2

def test_pictures_are_not_empty_and_need_no_legend_for_one_line(run_xor):
    for name in ("xor", "search", "optimizers", "vanishing"):
        experiment, settings = train_xor.EXPERIMENTS[name]
        small = {key: 9 for key in settings if key in ("epochs", "passes")}
        figure = experiment(**{**settings, **small})["figure"]
        for ax in figure.axes:
            assert ax.has_data() and ax.get_title()
            assert (ax.get_legend() is not None) == (len(ax.lines) > 1)

def test_the_film_begins_with_chaos_and_ends_solved(run_xor, monkeypatch):
    frames = []
    draw = train_xor.draw_regions

    def watch(ax, params, activations, X, labels, title):
        frames.append((title, nn.evaluate(params, X, labels, activations)["accuracy"]))
        draw(ax, params, activations, X, labels, title)

    monkeypatch.setattr(train_xor, "draw_regions", watch)
    run_xor("spiral --gif film.gif")
    film = [frame for frame in frames if frame[0].startswith("step ")]
    assert [title for title, _ in film[:3]] == ["step 1", "step 2", "step 3"]
    scores = [score for _, score in film]
    assert scores[0] < 0.6 and scores[-1] > 0.95
    assert np.mean(np.array(scores) < 0.95) > 0.3  # a good part of it is learning

@pytest.mark.parametrize("command, code, words", [
    ("spiral --nonsense", 2, "unrecognized"),
    ("spirals", 2, "choose from xor, step, spiral"),
    ("vanishing --layers 0", 2, "--layers 0: expected 1"),
    ("--lr x", 2, "float value: 'x'"), ("step --lr nan", 2, "--lr nan: expected"),
    ("--optimizer adamm", 2, "choice: 'adamm'"),
    ("--output softmax --loss mse", 1, "mse goes with another"),
    ("--plot run_lr0.003", 2, "--plot run_lr0.003: expected .png"),
    ("--plot nowhere/a.png", 1, "No such file"), ("--lr 1e300", 1, "epoch 1, ")])
def test_bad_options_of_the_experiments_are_one_line(command, code, words, run_xor):
    got, printed, complaint = run_xor(command)
    assert got == code
    assert words in complaint
    assert complaint.count("\n") == 1
    assert "wrote" not in printed

def test_ctrl_c_in_an_experiment_is_one_line(run_xor, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(nn, "gradient_descent", interrupt)
    code, _, complaint = run_xor("xor")
    assert (code, complaint) == (130, "train_xor.py: interrupted\n")

def test_train_xor_runs_with_nn_py_alone_whatever_the_notebook_hands_on(tmp_path):
    for name in ("nn.py", "train_xor.py"):
        shutil.copy(HERE / name, tmp_path)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii",
                   "MPLBACKEND": "module://matplotlib_inline.no_such_backend"}
    done = subprocess.run(
        [sys.executable, "train_xor.py", "xor", "--plot", "\N{GREEK SMALL LETTER PI}.png"],
        cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "\N{GREEK SMALL LETTER PI}.png").exists()

# ---- Benchmark: python test_nn.py --benchmark ------------------------------------------
# Each contestant trains params by a recipe, calls tick() after each epoch, and returns a
# function that predicts. All have as many threads as the environment says: see main.
def with_nn(X, labels, params, tick, **recipe):
    """Train by gradient_descent, checks and loss included."""
    activations = ("relu",) * (len(params) // 2 - 1) + ("softmax",)
    params, _ = nn.gradient_descent(
        params, X, labels, activations, on_epoch=tick, **recipe)
    return functools.partial(nn.predict, params, activations=activations)

def with_torch(X, labels, params, tick, optimizer, epochs, batch_size, lr,
               schedule="constant", augment=None, tutorial=False):
    """Train in PyTorch: tuned, or as its tutorials do (DataLoader, default optimizer)."""
    import torch
    torch.set_num_threads(int(os.environ["OPENBLAS_NUM_THREADS"]))
    layers = []
    for W in (p for p in params.values() if p.ndim == 2):
        linear = torch.nn.Linear(*W.shape)
        linear.weight.data = torch.from_numpy(W.T.copy())
        layers += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    name, more = TORCH_RULES[optimizer]
    rule = getattr(torch.optim, name)(model.parameters(), lr, fused=not tutorial, **more)
    factor = nn.SCHEDULES[schedule]
    rng = np.random.default_rng(0)
    data = torch.utils.data.TensorDataset(*map(torch.from_numpy, (X, labels)))
    loader = torch.utils.data.DataLoader(data, batch_size, shuffle=True)
    for epoch in range(epochs):
        loss_sum = 0.0
        batches = loader
        if not tutorial:
            batches = (data[rows] for rows in torch.randperm(len(X)).split(batch_size))
        for step, (x, y) in enumerate(batches):
            if augment:
                x = torch.from_numpy(augment(x.numpy(), rng))
            done = epoch + step * batch_size / len(X)
            rule.param_groups[0]["lr"] = lr * factor(done, epochs)
            loss = torch.nn.functional.cross_entropy(model(x), y)
            rule.zero_grad()
            loss.backward()
            rule.step()
            loss_sum += loss.item() * len(x)
        tick()
    return lambda X: model(torch.from_numpy(X)).argmax(1).numpy()

def with_sklearn(X, labels, params, tick, optimizer, epochs, batch_size, lr):
    """Train scikit-learn's MLPClassifier."""
    from sklearn.neural_network import MLPClassifier
    model = MLPClassifier(
        [len(p) for p in params.values() if p.ndim == 1][:-1], batch_size=batch_size,
        learning_rate_init=lr, solver="adam" if optimizer == "adam" else "sgd",
        momentum=0.9 * (optimizer == "momentum"), nesterovs_momentum=False, alpha=0)
    for _ in range(epochs):
        model.partial_fit(X, labels, classes=np.arange(10))
        tick()
    return model.predict

CONTESTANTS = {"nn.py": with_nn, "PyTorch": with_torch, "sklearn": with_sklearn,
               "tutorial": functools.partial(with_torch, tutorial=True)}

def race(names, sizes, digits, rounds=3, **recipe):
    """Return {name: [(times of the start and of each epoch's end, predict), ...]}."""
    runs = {}
    activations = ("relu",) * (len(sizes) - 2) + ("softmax",)
    for seed, name in itertools.product(range(rounds), names):  # interleaved
        params = nn.init_params(sizes, activations, seed)
        times = [time.perf_counter()]
        with contextlib.suppress(ImportError):  # one that is not installed is left out
            predict = CONTESTANTS[name](
                *digits, params, lambda *_: times.append(time.perf_counter()), **recipe)
            runs.setdefault(name, []).append((times, predict))
    return runs

def benchmark():
    """Print medians of seconds per epoch, then how fast and how good the whole job is."""
    print("threads:", os.environ["OPENBLAS_NUM_THREADS"])
    digits = train_mnist.draw_digits(train_mnist.FACES, 20_000, np.random.default_rng(0))
    print("an epoch of 20,000 digits, 784-H-10, batch 128: seconds (nn.py's are x times)")
    for H, rule in itertools.product((10, 128, 512, 800), ("sgd", "momentum", "adam")):
        runs = race(CONTESTANTS, (784, H, 10), digits, optimizer=rule, epochs=3,
                    batch_size=128, lr=1e-3)
        # Set-up and the first epoch, a warm-up, go free.
        medians = {name: np.median([(times[3] - times[1]) / 2 for times, _ in results])
                   for name, results in runs.items()}
        print(f"H={H} {rule}:", ", ".join(f"{name} {s:.3f} ({medians['nn.py'] / s:.2f})"
                                          for name, s in medians.items()), flush=True)
    data = train_mnist.load(None)
    X, labels = data["test"]
    given = train_mnist.SETTINGS
    recipe = {key: given[key] for key in ("optimizer", "epochs", "batch_size", "lr",
                                          "schedule")}
    runs = race(("nn.py", "PyTorch"), (784, *given["hidden"], 10), data["train"],
                augment=train_mnist.augment, **recipe)
    for name, results in runs.items():
        seconds = np.median([times[-1] - times[0] for times, _ in results])
        right = [nn.accuracy(labels, predict(X)) for _, predict in results]
        print(f"whole job: {name} {seconds:.1f} s, mean {np.mean(right):.2%} of {right}")

def main():
    """Run the benchmark, once with one thread and once with all; or the tests."""
    if "--benchmark" not in sys.argv:
        return pytest.main(sys.argv)
    if "--here" in sys.argv:
        return benchmark()
    for threads in (1, os.cpu_count()):
        subprocess.run([sys.executable, __file__, "--benchmark", "--here"], check=True,
                       env={**os.environ, "OPENBLAS_NUM_THREADS": str(threads),
                            "OMP_NUM_THREADS": str(threads)})
    return 0

if __name__ == "__main__":
    sys.exit(main())
