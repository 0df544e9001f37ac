# SPDX-License-Identifier: MIT
# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.26", "matplotlib", "pytest"]
# ///
"""test_nn.py: the proof that goes with nn.py.

    python -m pytest                all tests; those that need PyTorch, JAX, scikit-learn
                                    or the MNIST files are skipped where these are missing
    python test_nn.py               the same
    python test_nn.py --benchmark   seconds beside PyTorch, scikit-learn and JAX

Gradients are compared with finite differences, then with PyTorch and JAX; training with a
plain loop; then come the faults that other networks have, the contract line by line, bad
input, files, the two scripts and README. An activation or a loss that is added to its
table has its gradients tested without another line here; an optimizer, that it descends.
"""
import concurrent.futures
import functools
import gzip
import hashlib
import importlib.util
import inspect
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
import types
import urllib.error
import urllib.request
import warnings
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
def network(sizes, activations, seed=0, dtype=np.float64):
    """Return params with biases that are not zero, so that mistakes with them show."""
    rng = np.random.default_rng(seed)
    params = nn.init_params(sizes, activations, rng, dtype)
    return {key: p if key[0] == "W" else rng.normal(size=p.shape).astype(dtype)
            for key, p in params.items()}

def case(activations, loss, sizes=(4, 6, 5, 3), n=7, seed=0):
    """Return (params, X, Y) away from all points at which a slope could jump. Y is rows
    of probabilities for softmax, answers from 0 to 1 for sigmoid, or else numbers."""
    for number in range(1000 * seed, 1000 * seed + 1000):
        rng = np.random.default_rng(number)
        params, X = network(sizes, activations, number), rng.normal(size=(n, sizes[0]))
        Y = {"softmax": rng.dirichlet(np.ones(sizes[-1]), n), "sigmoid": rng.random(
            (n, sizes[-1]))}.get(activations[-1], rng.normal(size=(n, sizes[-1])))
        _, cache = nn.forward(params, X, activations)
        arrays = [cache[key] for key in cache if key[0] == "Z"] + list(params.values())
        if min(abs(array).min() for array in arrays) > 1e-3:
            return params, X, Y
    raise AssertionError("no smooth case found")

def small(activations=RELU_NET, sizes=(4, 6, 3), n=8):
    """Return (params, X, Y, cache) of a small network after one forward pass."""
    params, X, Y = case(activations, None, sizes, n)
    return params, X, Y, nn.forward(params, X, activations)[1]

def same_bits(one, other):
    """Return whether two nested dicts of arrays agree in every bit, dtype and shape."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            same_bits(one[key], other[key]) for key in one)
    one, other = np.asarray(one), np.asarray(other)
    return (one.dtype == other.dtype and one.shape == other.shape
            and one.tobytes() == other.tobytes())

def copies(tree):
    """Return the same nested dicts with every array copied."""
    if isinstance(tree, dict):
        return {key: copies(value) for key, value in tree.items()}
    return tree.copy() if isinstance(tree, np.ndarray) else tree

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
    ((4, 6, 5, 3), 0, 0, 0), ((4, 6, 5, 3), 0.02, 0, 0.4), ((4, 5, 1), 0.01, 0.3, 0),
    ((3, 2), 0, 0.1, 0)])
@pytest.mark.parametrize("output, loss", PAIRS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_gradients_by_central_differences(hidden, output, loss, sizes, l1, l2, dropout):
    activations = (hidden,) * (len(sizes) - 2) + (output,)
    params, X, Y = case(activations, loss, sizes)
    def loss_at(params, X):
        masks = np.random.default_rng(5)  # the same every time
        _, cache = nn.forward(params, X, activations, dropout, masks)
        return nn.compute_loss(params, cache, Y, activations, loss, l1, l2)
    _, cache = nn.forward(params, X, activations, dropout, np.random.default_rng(5))
    grads = nn.backward(params, cache, Y, activations, loss, l1, l2, wrt_input=True)
    assert grads.keys() == {*params, "X"}
    expected = {key: slopes(lambda p: loss_at({**params, key: p}, X), params[key])
                for key in params}
    expected["X"] = slopes(lambda X: loss_at(params, X), X)
    for key, value in expected.items():
        g, norm = grads[key], np.linalg.norm
        assert norm(g - value) <= 1e-6 * norm(value) + 1e-9, (key, "is times", g / value)

# ---- PyTorch: loss, gradients, whole trainings -----------------------------------------
TORCH_KNOWS = ("linear", "relu", "tanh", "sigmoid", "softmax")
TORCH_LOSSES = {"mse": "mse_loss", "cross_entropy": "cross_entropy",
                "binary_cross_entropy": "binary_cross_entropy_with_logits"}
TORCH_RULES = {"sgd": ("SGD", {}), "momentum": ("SGD", {"momentum": 0.9}), "adam":
               ("Adam", {}), "adagrad": ("Adagrad", {}), "rmsprop": ("RMSprop", {})}

def setting(seed):
    """Return (sizes, activations, loss, l1, l2) of a random network of 1 to 4 layers."""
    rng = np.random.default_rng(seed)
    known = [(output, loss) for output, loss in PAIRS
             if output in TORCH_KNOWS and loss in TORCH_LOSSES]
    output, loss = known[rng.integers(len(known))]
    depth = rng.integers(1, 5)
    hidden = tuple(str(name) for name in rng.choice(TORCH_KNOWS[:-1], depth - 1))
    l1, l2 = [(0.0, 0.0), (0.01, 0.0), (0.02, 0.3)][rng.integers(3)]
    return tuple(rng.integers(2, 9, depth + 1).tolist()), (*hidden, output), loss, l1, l2

def torch_loss(torch, params, X, Y, activations, loss, l1=0.0, l2=0.0):
    """Return the loss that nn.py should have, computed by PyTorch from its own parts."""
    A = X
    for l, name in enumerate(activations, start=1):
        Z = A @ params[f"W{l}"] + params[f"b{l}"]
        A = {"linear": lambda Z: Z, "softmax": lambda Z: torch.softmax(Z, 1)}.get(
            name, getattr(torch, name, None))(Z)
    value = getattr(torch.nn.functional, TORCH_LOSSES[loss])(A if loss == "mse" else Z, Y)
    for W in (p for key, p in params.items() if key[0] == "W"):
        value = value + l1 * W.abs().sum() + l2 / 2 * (W * W).sum()
    return value

@pytest.mark.parametrize("seed", range(30))
def test_loss_and_gradients_equal_pytorch(seed):
    torch = pytest.importorskip("torch")
    sizes, activations, loss, l1, l2 = setting(seed)
    params, X, Y = case(activations, loss, sizes, seed=seed)
    tensors = {key: torch.tensor(p, requires_grad=True)
               for key, p in {**params, "X": X}.items()}
    expected = torch_loss(
        torch, tensors, tensors["X"], torch.tensor(Y), activations, loss, l1, l2)
    expected.backward()
    _, cache = nn.forward(params, X, activations)
    value = nn.compute_loss(params, cache, Y, activations, loss, l1, l2)
    assert value == pytest.approx(expected.item(), rel=1e-12)
    grads = nn.backward(params, cache, Y, activations, loss, l1, l2, wrt_input=True)
    for key, tensor in tensors.items():
        assert np.allclose(grads[key], tensor.grad.numpy(), rtol=1e-9, atol=1e-12), key

SCHEDULES = {  # name: (ours, PyTorch's class and its arguments); an epoch has 5 steps
    "constant": (None, "ConstantLR", {"factor": 1.0}),
    "step": (lambda done: 0.5 ** (done // 2), "StepLR", {"step_size": 2, "gamma": 0.5}),
    "exponential": (lambda done: 0.8 ** int(done), "ExponentialLR", {"gamma": 0.8}),
    "linear": (lambda done: 1 - done / 8, "LambdaLR",
               {"lr_lambda": lambda step: 1 - (step // 5 + step % 5 * 5 / 22) / 8})}

@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", TORCH_RULES)
@pytest.mark.parametrize("seed", range(3))
def test_forty_steps_equal_pytorch(seed, optimizer, schedule):
    torch = pytest.importorskip("torch")
    n, batch_size, epochs, lr = 22, 5, 8, 0.02
    number = 100 * seed + 10 * list(TORCH_RULES).index(optimizer) + len(schedule)
    sizes, activations, loss, l1, l2 = setting(number)
    params, X, Y = case(activations, loss, sizes, n, number)
    ours, theirs, options = SCHEDULES[schedule]
    trained, history = nn.gradient_descent(
        params, X, Y, activations, loss, epochs=epochs, batch_size=batch_size, lr=lr,
        optimizer=optimizer, schedule=ours, l1=l1, l2=l2, seed=seed)
    tensors = {key: torch.tensor(p, requires_grad=True) for key, p in params.items()}
    name, defaults = TORCH_RULES[optimizer]
    rule = getattr(torch.optim, name)(list(tensors.values()), lr, **defaults)
    scheduler = getattr(torch.optim.lr_scheduler, theirs)(rule, **options)
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        order, data_loss = rng.permutation(n), 0.0
        for start in range(0, n, batch_size):
            rows = order[start:start + batch_size]
            batch = torch.tensor(X[rows]), torch.tensor(Y[rows])
            data_loss += len(rows) / n * torch_loss(
                torch, tensors, *batch, activations, loss).item()
            rate = rule.param_groups[0]["lr"]
            rule.zero_grad()
            torch_loss(torch, tensors, *batch, activations, loss, l1, l2).backward()
            rule.step()
            if theirs == "LambdaLR":
                scheduler.step()
        if theirs != "LambdaLR":
            scheduler.step()
        assert history["lr"][epoch] == pytest.approx(rate, rel=1e-12)
        assert history["loss"][epoch] == pytest.approx(data_loss, rel=1e-9)
    for key, tensor in tensors.items():
        assert abs(trained[key] - tensor.detach().numpy()).max() < 1e-8, key

# ---- JAX: automatic differentiation, and the compiled step -----------------------------
@pytest.mark.parametrize("seed", range(10))
def test_jax_grad_of_compute_loss_equals_backward(seed, monkeypatch):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    sizes, activations, loss, l1, l2 = setting(seed + 500)
    params, X, Y = case(activations, loss, sizes, seed=seed)
    monkeypatch.setattr(nn, "np", jax.numpy)
    def loss_at(params, X):
        _, cache = nn.forward(params, X, activations)
        return nn.compute_loss(params, cache, Y, activations, loss, l1, l2)
    expected, expected_X = jax.grad(loss_at, argnums=(0, 1))(params, X)
    _, cache = nn.forward(params, X, activations)
    grads = nn.backward(params, cache, Y, activations, loss, l1, l2, wrt_input=True)
    for key, gradient in {**expected, "X": expected_X}.items():
        assert isinstance(grads[key], jax.Array)
        assert np.allclose(grads[key], gradient, rtol=1e-9, atol=1e-12), key

@pytest.mark.parametrize("optimizer", nn.OPTIMIZERS)
def test_ten_jitted_steps_equal_numpy(optimizer, monkeypatch):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    activations = ("relu", "tanh", "softmax")
    params, X, Y = case(activations, "cross_entropy")
    def step(params, state):
        _, cache = nn.forward(params, X, activations)
        grads = nn.backward(params, cache, Y, activations, l2=0.1)
        return nn.update(params, grads, state, 0.05, optimizer)
    def ten(step):
        p, state = params, {}
        for _ in range(10):
            p, state = step(p, state)
        return p
    expected = ten(step)
    monkeypatch.setattr(nn, "np", jax.numpy)
    for key, p in ten(jax.jit(step)).items():
        assert isinstance(p, jax.Array) and abs(p - expected[key]).max() < 1e-12

# ---- A worked example from the literature ----------------------------------------------
def test_worked_example_of_mazur():
    """Matt Mazur, A Step by Step Backpropagation Example (2015). His error, half the sum
    of two squares, is our mean; he leaves the biases as they are."""
    activations, near = ("sigmoid", "sigmoid"), functools.partial(pytest.approx, abs=1e-8)
    params = {"W1": np.array([[0.15, 0.25], [0.20, 0.30]]), "b1": np.array([0.35, 0.35]),
              "W2": np.array([[0.40, 0.50], [0.45, 0.55]]), "b2": np.array([0.60, 0.60])}
    X, Y = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])
    for number in range(10_001):
        output, cache = nn.forward(params, X, activations)
        error = nn.compute_loss(params, cache, Y, activations, "mse")
        grads = nn.backward(params, cache, Y, activations, "mse")
        if number == 0:
            assert cache["Z1"][0, 0] == near(0.3775) and error == near(0.298371109)
            assert cache["A1"][0] == near([0.593269992, 0.596884378])
            assert output[0] == near([0.75136507, 0.772928465])
            assert grads["W2"][0, 0] == near(0.082167041)
            assert grads["W1"][0, 0] == near(0.000438568)
        if number == 1:
            assert params["W2"].T.ravel() == near(
                [0.35891648, 0.408666186, 0.511301270, 0.561370121])
            assert params["W1"].T.ravel() == near(
                [0.149780716, 0.19956143, 0.24975114, 0.29950229])
        params, _ = nn.update(
            params, {**grads, "b1": np.zeros(2), "b2": np.zeros(2)}, {}, 0.5)
    assert error == pytest.approx(0.0000351085, rel=1e-3)
    assert output[0] == pytest.approx([0.015912196, 0.984065734], rel=1e-4)

def test_the_example_in_the_comment_on_losses():
    params = {"W1": np.eye(3), "b1": np.zeros(3)}
    output, cache = nn.forward(params, np.log([[0.2, 0.3, 0.5]]), ("softmax",))
    grads = nn.backward(params, cache, nn.one_hot([1], 3), ("softmax",))
    assert output[0] == pytest.approx([0.2, 0.3, 0.5])
    assert grads["b1"] == pytest.approx([0.2, -0.7, 0.5])

# ---- Training: gradient_descent against a plain loop -----------------------------------
def plain_descent(params, X, Y, activations, loss, epochs, batch_size, lr, optimizer,
                  schedule, l1, l2, dropout, validation, augment, rng):
    """Return what gradient_descent's docstring says, for Y as rows."""
    state, history = {}, {"loss": [], "lr": [], "val_loss": [], "val_accuracy": []}
    for epoch in range(epochs):
        order, total = rng.permutation(len(X)), 0.0
        for start in range(0, len(X), batch_size or len(X)):
            rows = order[start:start + (batch_size or len(X))]
            batch = augment(X[rows], rng) if augment else X[rows]
            rate = lr * schedule(epoch + start / len(X)) if schedule else lr
            _, cache = nn.forward(params, batch, activations, dropout, rng)
            value = nn.compute_loss(params, cache, Y[rows], activations, loss)
            total += value * len(rows)
            grads = nn.backward(params, cache, Y[rows], activations, loss, l1, l2)
            params, state = nn.update(params, grads, state, rate, optimizer)
        history["loss"].append(total / len(X))
        history["lr"].append(rate)
        if validation:
            output, cache = nn.forward(params, validation[0], activations)
            history["val_loss"].append(
                nn.compute_loss(params, cache, validation[1], activations, loss))
            if activations[-1] in ("softmax", "sigmoid"):
                said, truth = (
                    rows.argmax(axis=1) if activations[-1] == "softmax" else rows > 0.5
                    for rows in (output, validation[1]))
                history["val_accuracy"].append((said == truth).mean())
    return params, {key: values for key, values in history.items() if values}

def noisy(X_batch, rng):
    """Write into the batch, as augment may, and return another."""
    X_batch *= 1.1
    return X_batch + rng.normal(0, 0.1, X_batch.shape)

DEFAULTS = {"epochs": 3, "batch_size": 4, "lr": 0.05, "optimizer": "sgd",
            "schedule": None, "l1": 0.0, "l2": 0.0, "dropout": 0.0, "validation": None,
            "augment": None}
OPTIONS = {
    "a batch of one": {"batch_size": 1}, "all": {"batch_size": None},
    "larger than all": {"batch_size": 99}, "adam": {"optimizer": "adam", "lr": 0.01},
    "a rule": {"optimizer": functools.partial(nn.momentum, beta=0.5)}, "validation": {},
    "schedule": {"schedule": lambda done: 1 - done / 3}, "augment": {"augment": noisy},
    "penalties": {"l1": 0.01, "l2": 0.1}, "dropout": {"dropout": 0.4},
    "everything": {"schedule": lambda done: 0.5 ** (done // 2), "l1": 0.01, "l2": 0.1,
                   "dropout": 0.2, "augment": noisy, "optimizer": "rmsprop"}}

@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("output, loss", PAIRS)
def test_gradient_descent_equals_a_plain_loop(output, loss, option):
    activations = ("tanh", output)
    params, X, Y, _ = small(activations, n=11)
    options, before = {**DEFAULTS, **OPTIONS[option]}, X.copy()
    if option in ("validation", "everything"):
        options["validation"] = X[:5], Y[:5]
    given, shared = np.random.default_rng(3), np.random.default_rng(3)
    trained, history = nn.gradient_descent(
        params, X, Y, activations, loss, seed=given, **options)
    expected, log = plain_descent(params, X, Y, activations, loss, rng=shared, **options)
    assert same_bits(trained, expected) and same_bits(X, before)
    assert history.keys() == log.keys()
    for key, values in log.items():
        assert history[key] == pytest.approx(values, rel=1e-12), key
        assert all(type(value) is float for value in history[key])
    assert given.random() == shared.random()  # as many draws

# ---- Faults that well-known from-scratch networks have ---------------------------------
def test_dropout_scales_and_relu_masks_the_backward_pass_too():
    """numpy-tutorials leaves out 1 / (1 - dropout), and masks with >= 0, so nothing."""
    params, Y = network((4, 60, 3), RELU_NET), nn.one_hot(np.arange(90) % 3, 3)
    X = np.random.default_rng(1).normal(size=(90, 4))
    output, cache = nn.forward(params, X, RELU_NET, 0.75, np.random.default_rng(0))
    assert set(np.unique(cache["mask1"])) == {0.0, 4.0} and "mask2" not in cache
    assert cache["mask1"].mean() == pytest.approx(1, abs=0.1) and (cache["Z1"] < 0).any()
    assert np.array_equal(cache["X2"], cache["A1"] * cache["mask1"])
    grads, dZ2 = nn.backward(params, cache, Y, RELU_NET), (output - Y) / len(Y)
    dZ1 = dZ2 @ params["W2"].T * cache["mask1"] * (cache["Z1"] > 0)
    assert np.allclose(grads["W1"], X.T @ dZ1)
    assert np.allclose(grads["W2"], (cache["A1"] * cache["mask1"]).T @ dZ2)

def test_the_penalty_multiplies_the_weights_and_spares_the_biases():
    """homemade-machine-learning multiplies the delta; others penalise biases as well."""
    params, _, Y, cache = small()
    plain = nn.backward(params, cache, Y, RELU_NET)
    for key, gradient in nn.backward(params, cache, Y, RELU_NET, l1=0.5, l2=0.25).items():
        W = params[key] if key[0] == "W" else 0
        assert np.allclose(gradient - plain[key], 0.5 * np.sign(W) + 0.25 * W)

def test_every_output_bias_learns_and_gradients_do_not_pile_up():
    """A widely copied notebook sums all of dZ2 into one number, which is always zero; in
    micrograd and its children, a second backward adds to the first."""
    params, _, Y, cache = small()
    grads = nn.backward(params, cache, Y, RELU_NET)
    assert grads["b2"].shape == (3,) and abs(grads["b2"]).min() > 1e-6
    assert same_bits(grads, nn.backward(params, cache, Y, RELU_NET))

@pytest.mark.parametrize("output, loss", PAIRS)
def test_one_over_n_is_there_once(output, loss):
    """The same rows twice over: neither the loss nor its gradient may change."""
    activations = ("tanh", output)
    params, X, Y, cache = small(activations)
    both = np.concatenate([Y, Y])
    _, double = nn.forward(params, np.concatenate([X, X]), activations)
    assert nn.compute_loss(params, double, both, activations, loss) == pytest.approx(
        nn.compute_loss(params, cache, Y, activations, loss), rel=1e-12)
    grads = nn.backward(params, cache, Y, activations, loss)
    for key, gradient in nn.backward(params, double, both, activations, loss).items():
        assert np.allclose(gradient, grads[key], rtol=1e-12)

def test_losses_are_means_over_rows_and_over_the_numbers_of_a_row():
    A, Y = np.array([[0.1, 0.9], [0.4, 0.6]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    params = {"W1": np.eye(2), "b1": np.zeros(2)}
    for output, loss, Z, expected in [
            ("linear", "mse", A, ((A - Y) ** 2).mean()),
            ("softmax", "cross_entropy", np.log(A), -np.log(0.9 * 0.4) / 2),
            ("sigmoid", "binary_cross_entropy", np.log(A / (1 - A)),
             -np.log([0.9, 0.9, 0.4, 0.4]).mean())]:
        _, cache = nn.forward(params, Z, (output,))
        value = nn.compute_loss(params, cache, Y, (output,), loss)
        assert value == pytest.approx(expected)

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_are_exact_at_extreme_logits_in_one_batch(dtype):
    """Naive softmax is NaN at logit 100 in float32, an epsilon bends the loss, and a
    maximum over the whole batch makes 0 / 0 of its small rows."""
    Z = np.array([[1000, -1000], [-1000, 1000], [-1000, -1000], [100, 0], [0, 0]], dtype)
    (softmax, _), (sigmoid, _) = nn.ACTIVATIONS["softmax"], nn.ACTIVATIONS["sigmoid"]
    many, binary = nn.LOSSES["cross_entropy"][0], nn.LOSSES["binary_cross_entropy"][0]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        A = softmax(Z)
        assert np.array_equal(A.sum(axis=1), np.ones(5)) and A[2, 0] == 0.5
        for labels, expected in ([0, 1, 0, 0, 0], [0, 0, np.log(2), 0, np.log(2)]), (
                [1, 0, 1, 1, 1], [2000, 2000, np.log(2), 100, np.log(2)]):
            rows = many(Z, A, nn.one_hot(labels, 2, dtype))
            assert np.array_equal(rows, np.asarray(expected, dtype))
        Y = np.array([[1, 0], [1, 1], [0, 0], [1, 1], [0, 1]], dtype)
        rows = binary(Z, sigmoid(Z), Y)
        assert rows == pytest.approx([0, 500, 0, np.log(2) / 2, np.log(2)], rel=1e-6)
    # logaddexp(0, Z) - Y * Z, which is shorter, gives 0 for a sure and right answer.
    assert binary(np.array([[30.0]]), None, np.array([[1.0]]))[0] == pytest.approx(
        np.exp(-30), rel=1e-9)

def test_sigmoid_keeps_its_digits_in_float32():
    """Written with tanh it loses all of them below Z = -17."""
    Z, (f, _) = np.linspace(-80, 80, 1001, dtype=np.float32), nn.ACTIVATIONS["sigmoid"]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert np.allclose(f(Z), 1 / (1 + np.exp(-Z.astype(float))), rtol=1e-6, atol=0)
        assert f(np.float32([-1e4]))[0] < 2e-35 and f(np.float32([1e4]))[0] == 1

def test_bytes_are_converted_before_arithmetic():
    """uint8 pixels wrap around at 256, in forward and in augment."""
    params = {"W1": np.ones((2, 1), "f"), "b1": np.ones(1, "f")}
    X, seen = np.array([[200, 100], [255, 255]], np.uint8), []
    assert nn.forward(params, X, ("linear",))[0].tolist() == [[301], [511]]
    nn.gradient_descent(params, X, [0.0, 0.0], ("linear",), "mse", epochs=1, lr=1e-9,
                        augment=lambda batch, rng: seen.append(batch + batch) or batch)
    assert seen[0].dtype == np.float32 and seen[0].max() == 510

def test_large_inputs_are_not_copied_whole():
    """A file of bytes would need four times its memory as float32."""
    X = np.zeros((20_000, 1_000), np.uint8)
    params = nn.init_params((1_000, 2), ("softmax",))
    tracemalloc.start()
    nn.gradient_descent(params, X, np.arange(len(X)) % 2, ("softmax",), epochs=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < X.nbytes / 4

def test_x_and_y_are_shuffled_together_anew_and_the_seed_decides():
    """Others shuffle apart, once, or with a generator that calls share."""
    X, seen = np.arange(20.0)[:, None], []
    params = {"W1": np.ones((1, 1)), "b1": np.zeros(1)}
    def train(seed):
        return nn.gradient_descent(
            params, X, X[:, 0], ("linear",), "mse", epochs=2, batch_size=6, seed=seed,
            augment=lambda batch, rng: seen.extend(batch[:, 0]) or batch)[1]
    assert train(0)["loss"] == [0, 0]  # y = x in every batch: rows and targets match
    assert sorted(seen[:20]) == sorted(seen[20:]) == list(range(20))
    train(0), train(1)
    assert seen[40:80] == seen[:40] != seen[80:] and seen[:20] != seen[20:40]
    assert same_bits(*(nn.init_params((4, 3), ("softmax",)) for _ in range(2)))

# ---- Optimizers, and rules of one's own ------------------------------------------------
# What 0 becomes by the gradients 1 and then 3, with lr 0.1. ML-From-Scratch's adam has
# no power of t.
BY_HAND = {
    "sgd": [-0.1, -0.4], "momentum": [-0.1, -0.1 - 0.1 * (0.9 * 1 + 3)],
    "adagrad": [-0.1, -0.1 - 0.1 * 3 / (1 + 9) ** 0.5],
    "rmsprop": [-1.0, -1.0 - 0.1 * 3 / (0.99 * 0.01 + 0.01 * 9) ** 0.5],
    "adam": [-0.1, -0.1 - 0.1 * ((0.9 * 0.1 + 0.1 * 3) / 0.19)
             / ((0.999 * 0.001 + 0.001 * 9) / 0.001999) ** 0.5]}

@pytest.mark.parametrize("name", BY_HAND)
def test_two_steps_of_each_optimizer_by_hand(name):
    params, state = {"W1": np.zeros((1, 1)), "b1": np.zeros(1)}, {}
    for gradient, expected in zip((1.0, 3.0), BY_HAND[name]):
        grads = {key: np.full_like(p, gradient) for key, p in params.items()}
        params, state = nn.update(params, grads, state, 0.1, name)
        assert params["W1"][0, 0] == params["b1"][0] == pytest.approx(expected, rel=1e-6)

@pytest.mark.parametrize("name", nn.OPTIMIZERS)
def test_each_optimizer_is_pure_keeps_dtype_and_descends(name):
    target = np.array([[1.0, -2.0, 3.0]], np.float32)
    params, state, sizes = {"W1": 0 * target, "b1": target[0] + 1}, {}, []
    for _ in range(300):
        grads = {"W1": 2 * (params["W1"] - target), "b1": 2 * params["b1"]}
        sizes.append(sum((g * g).sum() for g in grads.values()))
        given = {"params": params, "grads": grads, "state": state}
        before = copies(given)
        params, state = nn.update(params, grads, state, np.float64(0.03), name)
        assert same_bits(given, before)
        for key, p in params.items():
            assert p.dtype == np.float32 and p.shape == grads[key].shape
    assert sizes[-1] < 0.7 * sizes[0]

def test_what_a_rule_returned_is_never_written_to():
    """With change += p in update, these trained to 1e36, and overwrote the gradients."""
    def remembers(p, g, memory, lr):
        v = 0.9 * memory.get("v", 0.0) - lr * g
        return v, {"v": v}
    params, _, Y, cache = small()
    grads = nn.backward(params, cache, Y, RELU_NET, wrt_input=True)
    before = copies(grads)
    new, state = nn.update(params, grads, {}, 0.1, remembers)
    assert all(np.allclose(state[key]["v"], -0.1 * grads[key]) for key in params)
    assert new.keys() == params.keys()  # the gradient of the inputs is left out
    new, _ = nn.update(params, grads, {}, 0.1, lambda p, g, memory, lr: (g, memory))
    assert same_bits(new["W1"], grads["W1"]) and same_bits(grads, before)

def test_a_rate_is_a_plain_float():
    """np.cos gives np.float64, which made all of a float32 training float64."""
    params, X, Y, _ = small()
    params, seen = {key: p.astype("f") for key, p in params.items()}, []
    def spy(p, g, memory, lr):
        seen.append((type(lr), g.dtype))
        return p - lr * g, memory
    nn.gradient_descent(params, X, Y, RELU_NET, optimizer=spy, dropout=np.float64(0.2),
                        schedule=lambda done: np.cos(done / 20))
    assert set(seen) == {(float, np.dtype("f"))}

# ---- The contract, line by line --------------------------------------------------------
def test_init_params_has_the_spread_of_he_and_of_glorot():
    params = nn.init_params((400, 300, 200, 100), ("relu", "tanh", "softmax"))
    assert list(params) == ["W1", "b1", "W2", "b2", "W3", "b3"]
    for l, variance in ((1, 2 / 400), (2, 2 / 500), (3, 2 / 300)):
        W, b = params[f"W{l}"], params[f"b{l}"]
        assert W.var() == pytest.approx(variance, rel=0.03) and abs(W.mean()) < 0.002
        assert not b.any() and W.dtype == b.dtype == np.float32
    seven = nn.init_params((4, 3), ("softmax",), np.random.default_rng(7))
    assert same_bits(nn.init_params((4, 3), ("softmax",), 7), seven)

def test_cache_holds_what_the_docstring_says():
    params, X, _, cache = small()
    assert list(cache) == ["X1", "Z1", "A1", "X2", "Z2", "A2"]
    assert np.array_equal(cache["X1"], X) and np.array_equal(cache["X2"], cache["A1"])
    for l, name in enumerate(RELU_NET, start=1):
        Z = cache[f"X{l}"] @ params[f"W{l}"] + params[f"b{l}"]
        assert np.allclose(cache[f"Z{l}"], Z, rtol=1e-12)
        assert np.allclose(cache[f"A{l}"], nn.ACTIVATIONS[name][0](Z), rtol=1e-12)

def test_nothing_given_is_changed_and_nothing_is_printed(capsys):
    params, X, Y, _ = small()
    _, cache = nn.forward(params, X, RELU_NET, 0.5, np.random.default_rng(0))
    given = {"params": params, "X": X, "Y": Y, "cache": cache, "labels": Y.argmax(axis=1)}
    before = copies(given)
    nn.compute_loss(params, cache, Y, RELU_NET, l1=0.1, l2=0.1)
    nn.backward(params, cache, Y, RELU_NET, l1=0.1, l2=0.1, wrt_input=True)
    nn.accuracy(given["labels"], nn.predict(params, X, RELU_NET))
    for targets in (Y, given["labels"]):
        nn.gradient_descent(params, X, targets, RELU_NET, dropout=0.2, batch_size=None,
                            validation=(X, targets), augment=noisy, optimizer="adam")
    assert same_bits(given, before) and capsys.readouterr() == ("", "")

def test_targets_come_as_rows_labels_or_numbers_from_any_source():
    params, X, Y, _ = small()
    labels = Y.argmax(axis=1)
    expected = nn.gradient_descent(params, X, nn.one_hot(labels, 3), RELU_NET)[0]
    for y in (labels, list(labels), labels.astype(np.uint8), labels.astype(float)):
        trained, _ = nn.gradient_descent(params, X.tolist(), y, RELU_NET)
        assert same_bits(trained, expected)
    for output, loss in (("linear", "mse"), ("sigmoid", "binary_cross_entropy")):
        activations = ("tanh", output)
        params, X, Y, _ = small(activations, (4, 5, 1))
        assert same_bits(*(nn.gradient_descent(params, X, y, activations, loss)[0]
                           for y in (Y, Y[:, 0])))
    yes = nn.gradient_descent(params, X, Y[:, 0] > 0.5, activations, loss)[1]
    assert np.isfinite(yes["loss"]).all()

def test_predict_and_evaluate_go_by_the_output():
    eye, X = {"W1": np.eye(3), "b1": np.zeros(3)}, np.array([[3.0, 1, -1], [-1, -2, -3]])
    assert nn.predict(eye, X, ("softmax",)).tolist() == [0, 0]
    assert nn.predict(eye, X, ("sigmoid",)).tolist() == [[1, 1, 0], [0, 0, 0]]
    assert nn.predict(eye, X, ("linear",)).tolist() == X.tolist()
    one = {"W1": np.ones((3, 1)), "b1": np.zeros(1)}
    assert nn.predict(one, X, ("sigmoid",)).tolist() == [1, 0]
    assert nn.predict(one, X, ("linear",)).tolist() == [3, -6]
    several = nn.evaluate(
        eye, X, [[1, 0, 0], [0, 0, 0]], ("sigmoid",), "binary_cross_entropy")
    assert several["accuracy"] == pytest.approx(5 / 6) and type(several["loss"]) is float
    assert nn.evaluate(eye, X, X, ("linear",), "mse") == {"loss": 0.0}
    assert nn.evaluate(eye, X, [0, 1], ("softmax",))["accuracy"] == 0.5
    with pytest.raises(AttributeError):  # without an rng, dropout used to do nothing
        nn.forward(NET, np.ones((1, 4)), RELU_NET, dropout=0.5)

def test_losses_of_ones_own_need_one_line(monkeypatch):
    """A copy once trained with a tenth of the gradient, and refused labels."""
    monkeypatch.setitem(nn.LOSSES, "copy", nn.LOSSES["cross_entropy"])
    params, X, Y, _ = small()
    labels = Y.argmax(axis=1)
    one, other = (nn.gradient_descent(params, X, labels, RELU_NET, loss,
                                      validation=(X, labels))
                  for loss in ("copy", "cross_entropy"))
    assert same_bits(one[0], other[0]) and one[1] == other[1] and "val_accuracy" in one[1]
    monkeypatch.setitem(nn.LOSSES, "absolute", (
        lambda Z, A, Y: abs(A - Y).mean(axis=1),
        lambda A, Y, slope: np.sign(A - Y) * slope(A) / A.shape[1], None))
    activations = ("tanh", "linear")
    params, X, Y, _ = small(activations)
    _, history = nn.gradient_descent(
        params, X, Y, activations, "absolute", epochs=50, validation=(X, Y))
    assert history.keys() == {"loss", "lr", "val_loss"}
    assert history["loss"][-1] < history["loss"][0]
    monkeypatch.setitem(nn.LOSSES, "entries", (
        lambda Z, A, Y: abs(A - Y), *nn.LOSSES["absolute"][1:]))
    with pytest.raises(ValueError, match="reshape"):  # one number a row, not each entry
        nn.evaluate(params, X, Y, activations, "entries")

def test_one_hot_and_accuracy():
    assert nn.one_hot([2.0, 0.0], 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert nn.one_hot([True, False], 2).dtype == np.float32
    assert nn.one_hot(np.array([1], np.uint8), 2, np.float64).dtype == np.float64
    assert nn.accuracy([1, 2, 3, 4], [1, 2, 3, 0]) == 0.75
    assert type(nn.accuracy([[1, 0]], [[1, 1]])) is float

def test_on_epoch_is_told_can_stop_and_may_keep_params_and_history():
    params, X, Y, _ = small()
    calls = []
    def on_epoch(epoch, params, history):
        calls.append((epoch, params, copies(params), history))
        return epoch == 3
    trained, history = nn.gradient_descent(
        params, X, Y, RELU_NET, epochs=9, on_epoch=on_epoch)
    assert [(call[0], len(call[3]["lr"])) for call in calls] == [(1, 1), (2, 2), (3, 3)]
    assert len(history["loss"]) == 3 and same_bits(trained, calls[-1][1])
    assert all(same_bits(kept, then) for _, kept, then, _ in calls)

# ---- Bad input: one line that says what is wrong ---------------------------------------
NET, ROWS, LABELS = nn.init_params((4, 6, 3), RELU_NET), np.ones((5, 4)), np.arange(5) % 3
BINARY, MSE = ("tanh", "sigmoid"), ("tanh", "linear")
BINARY_NET, THREES = nn.init_params((4, 6, 1), BINARY), np.ones((5, 3))

def fit(X=ROWS, Y=LABELS, params=NET, activations=RELU_NET, loss="cross_entropy",
        **options):
    """Train for an epoch on data that is right but for what is given."""
    return nn.gradient_descent(
        params, X, Y, activations, loss, **{"epochs": 1, **options})

def binary(Y):
    """Train a yes-or-no network on these targets."""
    return fit(Y=Y, params=BINARY_NET, activations=BINARY, loss="binary_cross_entropy")

def after(function, Y, activations=RELU_NET, *loss):
    """Call compute_loss or backward after a forward pass that is right."""
    _, cache = nn.forward(NET, ROWS, RELU_NET)
    return function(NET, cache, Y, activations, *loss)

BAD_INPUT = [  # the call, what its message must hold
    (lambda: nn.init_params((4, 3), ("reluu",)), "activation reluu - choose from"),
    (lambda: nn.init_params((4, 6, 3), ("softmax",)), "sizes (4, 6, 3): expected"),
    (lambda: nn.init_params((4, 0), ("relu",)), "sizes (4, 0): expected"),
    (lambda: nn.init_params((4, 3), ("relu",), dtype=int), "must be floats"),
    (lambda: nn.init_params((4, 3, 2), ("softmax",) * 2), "softmax is only for the outp"),
    (lambda: nn.forward(NET, ROWS, ("relu", "sotfmax")), "sotfmax - choose from"),
    (lambda: nn.forward(NET, ROWS, ("softmax",)), "expected {'W1': (4, 6), 'b1': (6,)}"),
    (lambda: nn.forward(NET, ROWS, ("relu", *RELU_NET)), "'W3': (3, 0)"),
    (lambda: nn.forward(NET, ROWS[:, :3], RELU_NET), "X has the shape (5, 3) - expected"),
    (lambda: nn.forward(NET, ROWS[0], RELU_NET), "X has the shape (4,) - expected (4, 4"),
    (lambda: nn.forward({**NET, "W2": NET["W1"]}, ROWS, RELU_NET), "'W2': (4, 6), 'b2':"),
    (lambda: nn.forward({**NET, "b2": NET["b2"][:1]}, ROWS, RELU_NET), "'b2': (1,)} - e"),
    (lambda: nn.forward({**NET, "W2": np.ones((6, 3), int)}, ROWS, RELU_NET), "be float"),
    (lambda: after(nn.compute_loss, LABELS), "Y has the shape (5,) - expected (5, 3)"),
    (lambda: after(nn.compute_loss, THREES, RELU_NET, "mae"), "loss mae - choose from"),
    (lambda: after(nn.compute_loss, THREES, MSE), "cross_entropy goes with softmax"),
    (lambda: after(nn.compute_loss, THREES, RELU_NET, "mse"), "not with softmax"),
    (lambda: after(nn.backward, LABELS), "labels by one_hot"),
    (lambda: after(nn.backward, THREES[:, :1]), "Y has the shape (5, 1) - expected (5,"),
    (lambda: after(nn.backward, THREES, RELU_NET, "hinge"), "unknown loss hinge"),
    (lambda: after(nn.backward, THREES, MSE), "goes with softmax as the output, not wi"),
    (lambda: nn.update(NET, NET, {}, 0.1, "adamm"), "optimizer adamm - choose from"),
    (lambda: nn.update(NET, NET, {}, 0.1, None), "unknown optimizer None"),
    (lambda: fit(params=BINARY_NET, activations=BINARY), "not with sigmoid"),
    (lambda: fit(ROWS[:, :2]), "X has the shape (5, 2) - expected (5, 4)"),
    (lambda: fit(ROWS[:3]), "Y has the shape (5, 3) - expected (3, 3)"),
    (lambda: fit(ROWS[:0], LABELS[:0]), "zero-size array"),
    (lambda: fit(np.where(np.eye(5, 4) > 0, np.nan, 1.0)), "X or Y holds NaN"),
    (lambda: fit(np.where(np.eye(5, 4) > 0, -np.inf, 1.0)), "X or Y holds NaN"),
    (lambda: fit(np.where(np.eye(5, 4) > 0, np.inf, 1.0)), "X or Y holds NaN"),
    (lambda: fit(Y=LABELS + 1), "labels: expected (n,) of 0 to 2; see np.unique"),
    (lambda: fit(Y=LABELS - 1), "labels: expected"),
    (lambda: fit(Y=LABELS + 0.5), "labels: expected"),
    (lambda: fit(Y=np.where(LABELS, 1, np.nan)), "labels: expected"),
    (lambda: fit(Y=["a", "b", "c", "b", "a"]), "labels: expected"),
    (lambda: fit(Y=LABELS[:, None]), "Y has the shape (5, 1) - expected (5, 3)"),
    (lambda: fit(Y=[[1, 0, 0]] * 4 + [[0.5, 0, 0]]), "rows of Y do not sum to 1"),
    (lambda: fit(Y=np.tile([2.0, -1, 0], (5, 1))), "Y goes from -1.0 to 2.0"),
    (lambda: fit(Y=np.full((5, 3), np.nan)), "X or Y holds NaN"),
    (lambda: fit(Y=LABELS, activations=MSE, loss="mse"), "Y has the shape (5, 1) - expe"),
    (lambda: binary(LABELS), "Y goes from 0 to 2, expected 0 to 1"),
    (lambda: binary(LABELS % 2 - 0.5), "Y goes from -0.5 to 0.5"),
    (lambda: binary(np.ones((5, 2))), "Y has the shape (5, 2) - expected (5, 1)"),
    (lambda: fit(epochs=0), "epochs 0, batch_size 32, dropout 0.0: expected"),
    (lambda: fit(batch_size=0), "batch_size 0"), (lambda: fit(batch_size=-3), "batch_si"),
    (lambda: fit(dropout=1.0), "dropout 1.0:"), (lambda: fit(dropout=-0.1), "dropout -0"),
    (lambda: fit(lr=-1), "epoch 1 has the rate -1.0"),
    (lambda: fit(epochs=20, batch_size=2, schedule=lambda done: 1 - done / 10), "epoch"),
    (lambda: fit(validation=(ROWS[:2], LABELS)), "Y has the shape (5, 3) - expected (2,"),
    (lambda: fit(validation=(ROWS[:, :2], LABELS)), "X has the shape (5, 2)"),
    (lambda: fit(augment=lambda X, rng: X[:2]), "Y has the shape (5, 3) - expected (2,"),
    (lambda: nn.evaluate(NET, ROWS, LABELS, RELU_NET, "mse"), "mse goes with another as"),
    (lambda: nn.predict(NET, ROWS * np.nan, RELU_NET), "the output holds NaN"),
    (lambda: nn.one_hot([0, 1, 5], 3), "0 to 2"),
    (lambda: nn.one_hot([[0, 1]], 3), "labels: expected (n,)"),
    (lambda: nn.accuracy([0, 1], [0, 1, 1]), "predicted has the shape (3,) - expected ("),
    (lambda: nn.accuracy(np.zeros(5), np.zeros((5, 1))), "the shape (5, 1) - expected (")]

@pytest.mark.parametrize("number", range(len(BAD_INPUT)))
def test_bad_input_is_one_clear_line(number):
    call, words = BAD_INPUT[number]
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value)

@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "rmsprop"])
def test_divergence_ends_training_at_its_step_without_warnings(optimizer):
    params, X, _, _ = small(("relu", "linear"), (4, 6, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FloatingPointError, match=r"epoch 1: diverged, .*1e\+200; "):
            nn.gradient_descent(params, X, X[:, 0], ("relu", "linear"), "mse", lr=1e200,
                                batch_size=2, optimizer=optimizer)
    batches = []
    with pytest.raises(FloatingPointError, match="loss nan"):
        fit(batch_size=1, augment=lambda X, rng: batches.append(1) or X * (
            1 if len(batches) < 3 else np.nan))
    assert len(batches) == 3

def test_a_rate_of_0_changes_nothing_and_divergence_in_the_last_step_is_seen():
    assert same_bits(fit(lr=0.0)[0], NET)
    params = {"W1": np.ones((4, 1), np.float32), "b1": np.ones(1, np.float32)}
    with pytest.raises(FloatingPointError, match="epoch 1"):
        fit(params=params, activations=("linear",), loss="mse", lr=1e39, batch_size=None)

# ---- Files -----------------------------------------------------------------------------
def test_saved_networks_come_back_bit_for_bit(tmp_path):
    for dtype in (np.float32, np.float64):
        params = network((4, 6, 3), RELU_NET, dtype=dtype)
        for path in (tmp_path / "net.npz", str(tmp_path / "no_suffix")):
            nn.save_params(path, params, RELU_NET)
            loaded, activations = nn.load_params(path)
            assert activations == RELU_NET and same_bits(loaded, params)
    assert sorted(os.listdir(tmp_path)) == ["net.npz", "no_suffix"]
    with pytest.raises(FileNotFoundError):
        nn.load_params(tmp_path / "none.npz")

def test_a_file_is_always_whole_also_with_two_writers(tmp_path, monkeypatch):
    """With one .part file for both, 484 of 512 loads failed."""
    path, stop = tmp_path / "net.npz", threading.Event()
    nn.save_params(path, NET, RELU_NET)
    def write():
        while not stop.is_set():
            nn.save_params(path, NET, RELU_NET)
    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        assert all(same_bits(nn.load_params(path)[0], NET) for _ in range(100))
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    def crash(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")
    monkeypatch.setattr(np, "savez", crash)
    with pytest.raises(OSError, match="disk full"):
        nn.save_params(path, NET, RELU_NET)
    assert same_bits(nn.load_params(path)[0], NET)

DAMAGED_ARRAYS = {  # what is in the file instead
    "a layer is missing": {"W2": None}, "no activations": {"activations": None},
    "too many activations": {"activations": ("relu", "relu", "softmax")},
    "an unknown activation": {"activations": ("relu", "swish")},
    "activations are one text": {"activations": "softmax"},
    "an array too many": {"W9": NET["W1"]}, "layers do not fit": {"W2": NET["W1"]},
    "a bias does not fit": {"b1": NET["b2"]}, "broadcasts": {"b1": np.ones(1, "f")},
    "a weight is text": {"W1": np.full((4, 6), "1")}, "a number": {"W1": np.float32(1)},
    "integers": {"W2": np.ones((6, 3), int)}, "an object": {"W1": np.full((4, 6), {})}}

@pytest.mark.parametrize("what", DAMAGED_ARRAYS)
def test_files_with_wrong_arrays_are_refused(what, tmp_path):
    path = tmp_path / "net.npz"
    arrays = {**NET, "activations": RELU_NET, **DAMAGED_ARRAYS[what]}
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(ValueError) as error:
        nn.load_params(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    if what == "an object":  # a pickle could run any code, so it is not even opened
        assert "allow_pickle=False" in str(error.value.__cause__)

def test_damaged_bytes_are_refused_or_harmless(tmp_path):
    path, rng, refused = tmp_path / "net.npz", np.random.default_rng(0), 0
    nn.save_params(path, NET, RELU_NET)
    whole = path.read_bytes()
    contents = [whole[:cut] for cut in (0, 1, 10, 100, len(whole) // 2, len(whole) - 1)]
    contents += [b"<html>404</html>", rng.bytes(1000), whole[50:]]
    for at in rng.integers(len(whole), size=200):
        contents.append(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1:])
    for content in contents:
        path.write_bytes(content)
        try:
            loaded, _ = nn.load_params(path)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert same_bits(loaded, NET)  # the flipped bit was one that nobody reads
    assert refused > 100

# ---- train_mnist.py: data, downloads, weights ------------------------------------------
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
        rng = np.random.default_rng(n)
        X, labels = train_mnist.draw_digits(["cmr10", "cmss10"], n, rng)
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

def complaint(capsys, *arguments, code=1):
    """Return the one line on stderr with which the script refuses these arguments."""
    assert train_mnist.main([*QUICK, *arguments]) == code
    _, error = capsys.readouterr()
    assert error.startswith("train_mnist.py: ") and error.count("\n") == 1, error
    return error

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
    assert train_mnist.main([*QUICK, "--weights", "other.npz"]) == 0
    assert same_bits(nn.load_params("other.npz")[0], params)  # same seed, same weights
    assert Path("other.png").exists()

def test_every_setting_reaches_gradient_descent(home, monkeypatch):
    seen = {}
    def spy(params, X, Y, activations, **options):
        seen.update(options, Y=Y, activations=activations)
        raise ValueError("enough")
    monkeypatch.setattr(nn, "gradient_descent", spy)
    train_mnist.main("--hidden 9 8 --activation tanh --epochs 6 --batch-size 5 --lr 0.2 "
                     "--optimizer rmsprop --schedule step --l1 0.1 --l2 0.2 "
                     "--dropout 0.4 --smooth 0.5 --augment 0.5 --seed 7".split())
    expected = {"activations": ("tanh", "tanh", "softmax"), "epochs": 6, "batch_size": 5,
                "lr": 0.2, "optimizer": "rmsprop", "l1": 0.1, "l2": 0.2, "dropout": 0.4}
    assert {key: seen[key] for key in expected} == expected and seen["seed"] == 7
    assert (seen["Y"].min(), seen["Y"].max()) == pytest.approx((0.05, 0.55))
    factors = [seen["schedule"](done) for done in (0, 1.9, 2, 4)]
    assert factors == pytest.approx([1, 1, 0.1, 0.01])
    X, seed = np.ones((1, 784), "f"), np.random.default_rng
    assert same_bits(seen["augment"](X, seed(0)), train_mnist.augment(X, seed(0), 0.5))

@pytest.mark.parametrize("script", [train_mnist, train_xor])
def test_schedules_start_at_one_and_fall_over_the_epochs(script):
    ends = {"constant": 1, "linear": 0.1, "step": 0.01, "exponential": 0.01 ** 0.9,
            "inverse": 1 / 9.1}
    assert script.SCHEDULES.keys() == ends.keys()
    for name, schedule in script.SCHEDULES.items():
        assert schedule(0, 10) == 1 and schedule(9, 10) == pytest.approx(ends[name])

@pytest.mark.parametrize("arguments, words", [
    ("--epochs 0", "epochs 0"), ("--batch-size 0", "_size 0"), ("--dropout 1", "out 1"),
    ("--hidden 0", "sizes (784, 0, 10)"), ("--lr 1e30 --optimizer sgd", "diverged"),
    ("--data nowhere.csv", "nowhere.csv: No such"), ("--weights mirror", "mirror")])
def test_bad_settings_are_one_line(arguments, words, home, capsys):
    assert words in complaint(capsys, *arguments.split())

@pytest.mark.parametrize("arguments", [
    "--epochs two", "--lr -1", "--optimizer adamm", "--schedule step:3", "--seed -1",
    "--hidden a", "--smooth nan", "--nonsense"])
def test_wrong_usage_is_exit_code_two(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        train_mnist.main(arguments.split())
    assert arguments.split()[0] in capsys.readouterr().err.splitlines()[-1]

def damaged_files(digits):
    """Return {what: (name, bytes)} of files that must not be trained on."""
    (images, X), (labels, y), (test, _), _ = digits.items()
    raw, middle = gzip.decompress(X), len(X) // 2
    return {"empty": (images, b""), "HTML": (images, b"<html>404</html>"),
            "half": (images, X[:middle]), "too long": (images, raw + b"\0"),
            "flipped": (images, X[:middle] + bytes([X[middle] ^ 64]) + X[middle + 1:]),
            "half, not gzipped": (images, raw[:9_000]), "a header": (images, raw[:16]),
            "not bytes": (images, raw[:2] + b"\x0d" + raw[3:]), "labels": (images, y),
            "no dimension": (images, b"\0\0\x08\0" + raw[4:]), "images": (labels, X),
            "other images": (images, idx(np.zeros((60, 10, 10)))),
            "fewer labels": (labels, idx(np.zeros(59))),
            "labels up to 10": (labels, idx(np.arange(60) % 11)),
            "too few": (test, idx(np.zeros((3, 28, 28))))}

@pytest.mark.parametrize("what", list(damaged_files(dict.fromkeys(
    train_mnist.FILES, idx(np.zeros((60, 28, 28)))))))
def test_damaged_idx_files_are_one_line_and_healed(what, digits, home, capsys):
    name, content = damaged_files(digits)[what]
    write_all(home / "data", {name: content})
    assert train_mnist.main(QUICK) == 0
    assert (home / "data" / name).read_bytes() == digits[name]
    (home / "mirror" / name).write_bytes(content)
    assert "mirror" in complaint(capsys, "--data", "mirror", "--weights", "damaged.npz")
    assert not list(home.glob("damaged*"))

def test_idx_files_under_their_other_names(home, digits):
    images, labels, test_images, test_labels = digits
    write_all(home / "other", {
        images.replace("-idx", ".idx"): digits[images], labels: digits[labels],
        test_images[:-3]: gzip.decompress(digits[test_images]),
        test_labels[:-3].replace("-idx", ".idx"): gzip.decompress(digits[test_labels])})
    for one, other in zip(train_mnist.load("other")[1:], train_mnist.load("mirror")[1:]):
        assert same_bits(one[0], other[0]) and same_bits(one[1], other[1])

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

def test_mirrors_that_fail_are_left_and_named(home, digits, monkeypatch, capsys):
    write_all(home / "empty", {})
    write_all(home / "html", dict.fromkeys(digits, b"<html>"))
    write_all(home / "half", {name: data[:2000] for name, data in digits.items()})
    good, = train_mnist.MIRRORS
    bad = [good.replace("mirror", folder) for folder in ("empty", "html", "half")]
    monkeypatch.setattr(train_mnist, "MIRRORS", [*bad, good])
    assert train_mnist.main(QUICK) == 0
    out = capsys.readouterr().out
    assert all(out.count(f"failed: {mirror}") == 1 for mirror in bad)
    assert sorted(path.name for path in (home / "data").iterdir()) == sorted(digits)
    monkeypatch.setattr(train_mnist, "MIRRORS", ["file:///nowhere/"])
    assert train_mnist.load(None)[0] == "MNIST"  # all is there: no mirror is asked

def test_offline_it_trains_on_synthetic_digits_and_says_so(home, monkeypatch, capsys):
    monkeypatch.setattr(train_mnist, "MIRRORS", ["http://localhost:9/"])
    draw = train_mnist.draw_digits
    monkeypatch.setattr(train_mnist, "draw_digits", lambda faces, n, rng: draw(
        faces[:2], n // 100, rng))
    Path("mnist.npz").write_bytes(b"of an earlier run")
    assert train_mnist.main(QUICK) == 0
    out = capsys.readouterr().out
    assert "failed: http://localhost:9/" in out and str(train_mnist.FOLDER) in out
    assert "on synthetic digits, not MNIST" in out and "--data" in out
    assert Path("mnist.npz").read_bytes() == b"of an earlier run"
    assert Path("synthetic.npz").exists() and Path("synthetic.png").exists()
    picture("7").save("seven.png")
    Path("mnist.npz").unlink()
    assert train_mnist.main(["--predict", "seven.png"]) == 0
    assert "using synthetic.npz" in capsys.readouterr().out
    def refuse(*args, **options):
        raise urllib.error.URLError(ssl.SSLCertVerificationError("certificate"))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert train_mnist.main(QUICK) == 0
    assert "ca-certificates" in capsys.readouterr().out

def test_a_data_folder_that_cannot_be_written_is_an_error(home, capsys):
    Path("data").write_text("a file where the folder should be")
    error = complaint(capsys)
    assert "--data" in error and str(home / "data") in error
    assert not list(home.glob("synthetic*"))

def test_the_last_epoch_survives_interrupts_and_kills(home, monkeypatch, capsys):
    save, calls = nn.save_params, []
    def interrupt(path, params, activations, *rest):
        calls.append(params)
        if not rest:
            save(path, params, activations)
        if rest or len(calls) == 2:
            raise KeyboardInterrupt
    monkeypatch.setattr(nn, "save_params", interrupt)
    assert train_mnist.main([*QUICK, "--epochs", "9"]) == 0
    assert "interrupted: keeping the weights of epoch 2" in capsys.readouterr().out
    assert same_bits(nn.load_params("mnist.npz")[0], calls[1])
    assert Path("mnist.png").exists() and not Path("mnist.unfinished.npz").exists()
    Path("mnist.npz").unlink()
    monkeypatch.setattr(nn, "save_params", save)
    with monkeypatch.context() as patch:
        patch.setattr(nn, "backward", interrupt)
        complaint(capsys, code=130)  # before the first epoch
        assert not Path("mnist.npz").exists()
    assert "nowhere/a.png: " in complaint(capsys, "--plot", "nowhere/a.png")
    assert nn.load_params("mnist.npz")[1] == RELU_NET
    assert "nowhere/a.npz: " in complaint(capsys, "--weights", "nowhere/a.npz")
    run = subprocess.Popen([sys.executable, HERE / "train_mnist.py", "--data", "mirror",
                            "--epochs", "100000"], stdout=subprocess.PIPE, text=True)
    assert any(line.startswith("epoch      2/") for line in run.stdout)
    run.kill()
    assert nn.load_params("mnist.unfinished.npz")[1] == ("relu", "relu", "softmax")

# ---- train_mnist.py: augment, and digits of one's own ----------------------------------
def varied(y=0.0, x=0.0, angle=0.0, slant=0.0, scale=0.0, bend=np.zeros((2, 1, 16))):
    """Return what augment makes of a dot at row 8, column 13, for these very changes."""
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
    assert at(varied(angle=np.pi / 2)) in [(14, 8), (13, 19)]
    assert at(varied(scale=1)) == (11, 13)
    bend = np.zeros((2, 1, 16))
    bend[0, 0, 5] = 3.0  # the point at row 1, column 1 of 4 x 4: at pixel 9, 9
    assert at(varied(bend=bend))[0] < 8 and at(varied(bend=np.roll(bend, 10))) == (8, 13)
    dots = np.tile(varied().ravel(), (300, 1))
    images = train_mnist.augment(dots, np.random.default_rng(0))
    assert images.sum(axis=1).mean() == pytest.approx(1, abs=0.1)  # the ink stays
    assert len(np.unique(images.argmax(axis=1))) > 10  # each image by itself

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
    for other in (
            ImageOps.invert(plain), plain.convert("RGB"), plain.convert("P"), clear,
            sixteen, picture("5", 1400), picture("5", 120), picture("5", 200, 180, 90)):
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
    assert Image.open("predictions.png").size[0] > 100
    nn.save_params("small.npz", NET, RELU_NET)
    for weights in ("none.npz", "seven.png", "small.npz"):
        assert weights in complaint(capsys, "--predict", "7.png", "--weights", weights)

# ---- train_xor.py ----------------------------------------------------------------------
@pytest.fixture
def run_xor(tmp_path, monkeypatch, capsys):
    """A function that runs a command in an empty folder: (exit code, what it printed)."""
    monkeypatch.chdir(tmp_path)
    return lambda command: (train_xor.main(command.split()), capsys.readouterr().out)

def test_xor_is_solved_for_every_seed():
    options = {key: parameter.default for key, parameter in
               inspect.signature(train_xor.xor).parameters.items()}
    for seed in range(100):
        assert train_xor.train_on_xor(**options | {"seed": seed})[-1], seed

HISTORIC = "--hidden 4 --output tanh --loss mse --epochs 1000 --optimizer sgd --schedule "

@pytest.mark.parametrize("command, code, words", [
    ("", 0, "1  1 |  0  |  0.001 right\nloss 0.0005: solved"),
    ("--hidden", 1, "No seed helps"),
    ("xor --activation linear", 1, "No seed helps"),
    ("--hidden 2 --activation relu", 1, "helps --activation tanh --hidden 8"),
    (HISTORIC + "step", 0, "solved"),
    (HISTORIC + "exponential", 1, "helps --epochs 3000"),
    ("step", 0, "nn.backward and nn.update: same to 1e-12"),
    ("step --lr 100", 1, "The loss did NOT fall"),
    ("search --passes 150", 0, "gradient descent: ")])
def test_experiments_say_what_they_find(command, code, words, run_xor):
    got, out = run_xor(command)
    assert got == code and words in out, out

def test_step_prints_lines_that_it_executes_and_a_nudge_that_agrees(run_xor):
    numbers = {line.split(" = ")[0]: float(line.split()[-1])
               for line in run_xor("step --lr 0.25")[1].splitlines() if " = " in line}
    assert numbers["growth"] == pytest.approx(numbers["slope"], abs=1e-3)
    assert numbers["z"] == pytest.approx(1.2) and numbers["new_loss"] < numbers["loss"]

def test_spiral_shows_over_fitting_and_a_cure_that_works(run_xor):
    code, out = run_xor("spiral --points 30 --noise 0.6 --gif film.gif")
    right = {change: (float(share), cure) for share, cure, change in re.findall(
        r"^ +(\d+\.\d)% (helps| {5}) (.*)$", out, re.MULTILINE)}
    assert code == 0 and "It over-fits" in out and "over-fits" not in run_xor("spiral")[1]
    assert right["--points 120"] > (right["as it is"][0] + 0.5, "helps")
    assert not right["--dropout 0.2"][1].strip()
    assert Image.open("film.gif").n_frames > 20 and Path("spiral.png").exists()

def test_optimizers_take_up_an_added_rule(run_xor, monkeypatch):
    monkeypatch.setattr(nn, "OPTIMIZERS", {"sgd": nn.sgd, "added": nn.adam})
    code, out = run_xor("optimizers --epochs 30")
    assert code == 0 and "added, lr " in out and "adagrad" not in out

def test_gradients_vanish_in_deep_sigmoid_networks_only(run_xor):
    first, last = zip(*(map(float, re.findall(r"[\d.e-]+(?=,|$)", line))
                        for line in run_xor("vanishing")[1].splitlines()[1:4]))
    growth = np.divide(last, first)
    assert growth[0] > 1e4 and growth[1] < 10 and growth[2] < 10

@pytest.mark.parametrize("command, code", [
    ("spiral --nonsense", 2), ("nonsense", 2), ("vanishing --layers 0", 2), ("--lr x", 2),
    ("--output softmax --loss mse", 1), ("--plot nowhere/a.png", 1), ("--lr 1e300", 1)])
def test_bad_options_of_the_experiments_are_one_line(command, code, tmp_path):
    done = subprocess.run([sys.executable, HERE / "train_xor.py", *command.split()],
                          cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == code and "Traceback" not in done.stderr
    assert code == 2 or done.stderr.count("\n") == 1, done.stderr

@pytest.mark.parametrize("script", ["train_mnist.py --data synthetic --epochs 1",
                                    "train_xor.py"])
def test_each_script_runs_with_nn_py_alone(script, tmp_path):
    name, *arguments = script.split()
    for file in ("nn.py", name):
        shutil.copy(HERE / file, tmp_path)
    done = subprocess.run([sys.executable, name, *arguments], cwd=tmp_path, text=True,
                          capture_output=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr

# ---- The real thing --------------------------------------------------------------------
def as_a_person_draws(digit, style):
    """Return one of MNIST's digits as a picture: colours, size, place, noise."""
    side, paper, pen, corner, noise = [
        (200, 255, 0, 0, 0), (112, 0, 255, 0, 0), (28, 255, 30, 0, 0),
        (1400, 250, 20, 0, 0), (300, 240, 90, 0, 0), (600, 165, 70, 0, 8),
        (120, 255, 0, 250, 0), (280, 200, 40, 0, 20)][style % 8]
    image = Image.fromarray(digit).resize((side, side), Image.BICUBIC)
    ink = np.pad(np.asarray(image) / 255, (corner, corner // 3))
    pixels = paper + (pen - paper) * ink
    pixels += np.random.default_rng(style).normal(0, noise, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

@pytest.mark.skipif(not [*HERE.glob("data/t*")], reason="train_mnist.py fetches it")
def test_the_default_network_reaches_98_percent_and_reads_pictures(tmp_path):
    done = subprocess.run([sys.executable, HERE / "train_mnist.py"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert "55,000 to train, 5,000 to validate, 10,000 to test" in done.stdout
    assert float(re.search(r"test accuracy (\d+\.\d+)%", done.stdout)[1]) > 98
    X, labels = (train_mnist.read_idx(HERE / "data", f) for f in train_mnist.FILES[2:])
    chosen = np.random.default_rng(0).choice(len(X), 60, replace=False)
    prepared = [train_mnist.prepare(as_a_person_draws(X[i], style))
                for style, i in enumerate(chosen)]
    said = nn.predict(nn.load_params(tmp_path / "mnist.npz")[0], prepared,
                      ("relu", "relu", "softmax"))
    assert (said == labels[chosen]).sum() >= 57

# ---- README.md -------------------------------------------------------------------------
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
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "PYTHONPATH": str(HERE), "JAX_PLATFORMS": "cpu",
                   "XLA_FLAGS": flags}
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
    names, stopping = {}, RECIPES[0]
    exec(SETUP + stopping, names)
    X, Y, labels, start = names["X"], names["Y"], names["labels"], names["start"]
    best = names["best"]
    lowest = nn.gradient_descent(
        start, X[:400], labels[:400], RELU_NET, epochs=best["epoch"] + 5, lr=0.3,
        validation=(X[400:], labels[400:]))[1]["val_loss"]
    assert best["val_loss"] == min(lowest) and best["epoch"] == 1 + np.argmin(lowest)
    exec(RECIPES[1], names)  # a loop of one's own, stopped and resumed
    whole, _ = names["train"](start, {}, 0, 4, X, Y)
    assert same_bits(names["params"], whole) and not same_bits(whole, start)
    exec(RECIPES[2], names)  # clipping
    grads = nn.backward(start, nn.forward(start, X, RELU_NET)[1], Y, RELU_NET)
    clipped = names["clip"](grads, 0.01)
    assert sum((g * g).sum() for g in clipped.values()) ** 0.5 == pytest.approx(0.01)
    assert same_bits(names["clip"](grads, np.float32(99)), grads)
    exec(RECIPES[3], names)  # a new last layer
    assert same_bits(names["tuned"]["W1"], whole["W1"])
    scores = nn.evaluate(names["tuned"], X, names["three"], RELU_NET)
    assert scores["accuracy"] > 0.8
    exec(RECIPES[4], names)  # AdamW, weighted classes; then the gradient of the inputs
    assert nn.predict(names["params"], X, RELU_NET).mean() > labels.mean() + 0.03
    exec(RECIPES[5], names)
    assert names["saliency"].shape == (5, 2) and (names["saliency"] > 0).all()
    torch = pytest.importorskip("torch")
    p, memory = np.ones((2, 2)), {}
    tensor = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    rule = torch.optim.AdamW([tensor], lr=0.1, weight_decay=0.01)
    for _ in range(5):
        tensor.grad = torch.from_numpy(p + 1)
        p, memory = names["adamw"](p, p + 1, memory, 0.1)
        rule.step()
    assert np.allclose(p, tensor.detach().numpy(), rtol=1e-9)

@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="RssAnon is Linux's")
def test_the_loop_trains_over_a_file_larger_than_its_memory(tmp_path):
    """300 MB of images; the process's anonymous memory must stay far below that."""
    n, path = 100_000, tmp_path / "images.npy"
    gauge = "int(open('/proc/self/status').read().split('RssAnon:')[1].split()[0])"
    images = np.lib.format.open_memmap(path, "w+", np.float32, (n, 784))
    for start in range(0, n, 10_000):
        images[start:start + 10_000] = start / n
    del images
    out = run_code(SETUP + RECIPES[1].split("params, state = train")[0] + f"""
before = {gauge}
X = np.load("images.npy", mmap_mode="r")
Y = nn.one_hot(np.arange(len(X)) % 2, 2)
start = nn.init_params((784, 16, 2), activations)
params, _ = train(start, {{}}, 0, 1, X, Y)
nn.gradient_descent(params, X, Y, activations, epochs=1)
print({gauge} - before)""", tmp_path)
    assert int(out) * 1024 < n * 784 * 4 / 5, out

COMPARED = """
nn.np = np
expected, state = nn.init_params((784, 128, 10), activations), {}
rng = np.random.default_rng(0)
X, Y = rng.random((512, 784), np.float32), nn.one_hot(rng.integers(0, 10, 512), 10)
for _ in range(10):
    _, cache = nn.forward(expected, X, activations)
    grads = nn.backward(expected, cache, Y, activations)
    expected, state = nn.update(expected, grads, state, 0.001, "adam")
for key in expected:
    assert len(params[key].sharding.device_set) == 4
    assert abs(np.asarray(params[key]) - expected[key]).max() < 1e-5, key
"""

def test_many_devices_give_the_parameters_of_numpy(tmp_path):
    pytest.importorskip("jax")
    assert run_code(DEVICES + COMPARED, tmp_path, 4) == "4 devices, 10 steps\n"

def test_many_hosts_give_the_parameters_of_numpy(tmp_path):
    """README's own lines, as two processes with two devices each."""
    pytest.importorskip("jax")
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    start, shares = HOSTS.replace("12355", str(port)).split("\n\n")
    code = DEVICES.replace("import jax\n", f"import jax\n{start}\n", 1).replace(
        "X, Y = jax.device_put((X, Y), split)\n", shares, 1)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        outputs = list(pool.map(lambda number: run_code(
            f"process_id = {number}\n" + code + COMPARED, tmp_path, 2), range(2)))
    assert all("4 devices, 10 steps" in output for output in outputs)

COMMANDS = sorted(set(re.findall(r"`python (train_\w+\.py[^`]*)`", README)))

@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_readme_run(command, home, monkeypatch):
    """Those that train on MNIST read their options, and train on few digits."""
    script, *arguments = command.split()
    (home / ".github").mkdir()
    if script == "train_mnist.py":
        if "--predict" in arguments:
            picture("7").save("digit.png")
            assert train_mnist.main([*QUICK, "--data", "mirror"]) == 0
        else:
            arguments += ["--epochs", "1", "--data", "mirror"]
        assert train_mnist.main(arguments) == 0
    elif "--help" not in arguments:
        code = train_xor.main(arguments)
        assert code == ("--hidden" in arguments)
    assert all((HERE / path).stat().st_size < 1_500_000
               for path in re.findall(r"!\[.+?\]\((.*?)\)", README))

# ---- Benchmark: python test_nn.py --benchmark ------------------------------------------
BATCH, EPOCHS = 128, 3

def nn_epochs(X, labels, params, rule, tick):
    """Train by gradient_descent, checks and loss included; tick after each epoch."""
    nn.gradient_descent(params, X, labels, RELU_NET, epochs=EPOCHS, batch_size=BATCH,
                        lr=1e-3, optimizer=rule, on_epoch=lambda *_: tick())

def bare_epochs(X, labels, params, rule, tick):
    """Compute only the five matrix products of each step, which NumPy cannot spare."""
    W1, W2, A1, dZ2 = params["W1"], params["W2"], X[:BATCH] @ params["W1"], X[:BATCH, :10]
    for _ in range(EPOCHS):
        for start in range(0, len(X) - BATCH + 1, BATCH):
            batch = X[start:start + BATCH]
            batch @ W1, A1 @ W2, A1.T @ dZ2, dZ2 @ W2.T, batch.T @ A1
        tick()

def torch_epochs(X, labels, params, rule, tick, tutorial=False, epochs=EPOCHS, lr=1e-3,
                 dropout=0.0, schedule=lambda done: 1.0):
    """Train in PyTorch and return the model: tuned, with tensors in memory and a fused
    optimizer, or as its tutorials do, with a DataLoader and the default optimizer."""
    import torch
    layers = []
    for W in (params[f"W{l}"] for l in range(1, len(params) // 2 + 1)):
        layers += [torch.nn.Linear(*W.shape), torch.nn.ReLU(), torch.nn.Dropout(dropout)]
        layers[-3].weight.data = torch.from_numpy(W.T.copy())
    model, data = torch.nn.Sequential(*layers[:-2]), [*map(torch.from_numpy, (X, labels))]
    name, options = TORCH_RULES[rule]
    optimizer = getattr(torch.optim, name)(
        model.parameters(), lr, fused=not tutorial, **options)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*data), batch_size=BATCH, shuffle=True)
    for epoch in range(epochs):
        loss_sum, batches = 0.0, loader if tutorial else (
            [part[rows] for part in data] for rows in torch.randperm(len(X)).split(BATCH))
        for number, (x, y) in enumerate(batches):
            done = epoch + number * BATCH / len(X)
            optimizer.param_groups[0]["lr"] = lr * schedule(done)
            loss = torch.nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(x)
        tick()
    return model.eval()

def sklearn_epochs(X, labels, params, rule, tick):
    """Train scikit-learn's MLPClassifier."""
    from sklearn.neural_network import MLPClassifier
    solver, momentum = "adam" if rule == "adam" else "sgd", 0.9 * (rule == "momentum")
    model = MLPClassifier(len(params["b1"]), batch_size=BATCH, alpha=0.0, solver=solver,
                          momentum=momentum, nesterovs_momentum=False)
    for _ in range(EPOCHS):
        model.partial_fit(X, labels, classes=np.arange(10))
        tick()

def jax_epochs(X, labels, params, rule, tick):
    """Train by a jitted step of nn.py under jax.numpy, its loss included."""
    import jax
    @jax.jit
    def step(params, state, X, Y):
        _, cache = nn.forward(params, X, RELU_NET)
        loss = nn.compute_loss(params, cache, Y, RELU_NET)
        grads = nn.backward(params, cache, Y, RELU_NET)
        return *nn.update(params, grads, state, 1e-3, rule), loss * len(X)
    Y, state, rng = nn.one_hot(labels, 10), {}, np.random.default_rng(0)
    nn.np = jax.numpy
    for _ in range(EPOCHS):
        losses = []
        for rows in np.split(rng.permutation(len(X)), range(BATCH, len(X), BATCH)):
            params, state, loss = step(params, state, X[rows], Y[rows])
            losses.append(loss)
        sum(map(float, losses))
        tick()
    nn.np = np

CONTESTANTS = {"nn.py": (nn_epochs, "numpy"), "PyTorch": (torch_epochs, "torch"),
               "tutorial": (functools.partial(torch_epochs, tutorial=True), "torch"),
               "sklearn": (sklearn_epochs, "sklearn"), "JAX": (jax_epochs, "jax"),
               "products": (bare_epochs, "numpy")}

def benchmark(rounds=3, layers=(10, 128, 512, 800)):
    """Print seconds per epoch, medians of interleaved rounds, and ratios."""
    names = [name for name, (_, module) in CONTESTANTS.items()
             if importlib.util.find_spec(module)]
    rng = np.random.default_rng(0)
    X, labels = train_mnist.draw_digits(train_mnist.FACES, 20_000, rng)
    print(f"seconds per epoch of 20,000 digits, 784-H-10, batch 128, medians of {rounds}")
    print(f"{'':15}" + "".join(f"{name:>9}" for name in names) + "  nn.py / PyTorch")
    for H in layers:
        params = nn.init_params((784, H, 10), RELU_NET)
        for rule in ("sgd", "momentum", "adam"):
            times = {name: [] for name in names}
            for name in rounds * names:
                time.sleep(0.15)  # until the threads of the one before stop spinning
                ticks = []
                CONTESTANTS[name][0](X, labels, params, rule,
                                     lambda: ticks.append(time.perf_counter()))
                # From tick to tick: set-up and the first epoch, a warm-up, go free.
                times[name].append((ticks[-1] - ticks[0]) / (EPOCHS - 1))
            medians = {name: np.median(values) for name, values in times.items()}
            ratio = medians["nn.py"] / medians.get("PyTorch", np.nan)
            print(f"H={H:<4} {rule:8}" + "".join(f"{s:9.3f}" for s in medians.values())
                  + f"  {ratio:.2f}", flush=True)

def whole_job(rounds=3):
    """Print seconds and test accuracy of train_mnist.py's recipe here and elsewhere."""
    options = train_mnist.parse([])
    _, (X, labels), _, (X_test, labels_test) = train_mnist.load(options.data)
    shared = {"epochs": options.epochs, "lr": options.lr, "dropout": options.dropout,
              "schedule": lambda done: 1 - done / options.epochs}
    activations = ("relu", "relu", "softmax")
    def here(params):
        params, _ = nn.gradient_descent(params, X, labels, activations, optimizer="adam",
                                        batch_size=BATCH, **shared)
        return nn.predict(params, X_test, activations)
    def torch(params):
        model = torch_epochs(X, labels, params, "adam", lambda: None, **shared)
        return model(__import__("torch").from_numpy(X_test)).argmax(1).numpy()
    def sklearn(params):
        from sklearn.neural_network import MLPClassifier
        return MLPClassifier(options.hidden, batch_size=BATCH, max_iter=options.epochs,
                             learning_rate_init=options.lr).fit(X, labels).predict(X_test)
    found = {name: [] for name in (here, torch, sklearn)
             if name is here or importlib.util.find_spec(name.__name__)}
    for seed in range(rounds):
        params = nn.init_params((784, *options.hidden, 10), activations, seed)
        for contestant, results in found.items():
            start = time.perf_counter()
            said = contestant(params)
            results.append((time.perf_counter() - start, nn.accuracy(labels_test, said)))
    for contestant, results in found.items():
        seconds, right = zip(*results)
        print(f"the whole job, {contestant.__name__:8}{np.median(seconds):6.1f} s, "
              f"{np.mean(right):.2%} right ({min(right):.2%} to {max(right):.2%})")

if __name__ == "__main__":
    if "--benchmark" in sys.argv:
        benchmark()
        whole_job()
    else:
        sys.exit(pytest.main([__file__, *sys.argv[1:]]))
