"""The linear layer: PyTorch's steps, and the optimum that scikit-learn finds."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from rats_jax.parts.probes import linear

N, PATCHES, WIDTH, CLASSES = 20, 9, 6, 4


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray, linear.Moments]:
    """Features, counts of classes that depend on them, and moments."""
    rng = np.random.default_rng(seed)
    features = rng.normal(3, 2, (N, PATCHES, WIDTH)).astype(np.float32)
    kernel = rng.normal(size=(WIDTH, CLASSES))
    noisy = features @ kernel + rng.normal(0, 4, (N, PATCHES, CLASSES))
    counts = np.zeros((N, PATCHES, CLASSES), np.uint8)
    np.put_along_axis(counts, noisy.argmax(-1)[..., None], 40, -1)
    counts[..., 1] += rng.integers(0, 20, (N, PATCHES)).astype(np.uint8)
    counts[0, :3] = 0  # void
    flat = features.reshape(-1, WIDTH)
    return features, counts, linear.Moments(flat.mean(0), flat.std(0))


def test_steps_are_pytorchs():
    """BatchNorm, a 1 x 1 convolution, AdamW and cross-entropy of pixels."""
    features, counts, moments = data()
    rates, iterations = (0.02, 0.3), 30
    points = np.array([7, 0, 90, 2])
    order = []

    def read(images):
        order.append(images)
        return features[images], counts[images]

    fitted = linear.fit(
        read, np.arange(N), moments, points=points, rates=rates, iterations=iterations
    )
    for i, rate in enumerate(rates):
        norm = torch.nn.BatchNorm1d(WIDTH, affine=False).eval()
        norm.running_mean = torch.from_numpy(moments.mean)
        norm.running_var = torch.from_numpy(moments.deviation**2)
        layer = torch.nn.Linear(WIDTH, CLASSES)
        torch.nn.init.zeros_(layer.weight)
        layer.bias.data = torch.log(torch.tensor([8, 1, 91, 3]) / 103)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=1.0, weight_decay=1e-3)
        for number, images in enumerate(order):
            for group in optimizer.param_groups:
                group["lr"] = rate * linear.schedule(number, iterations)
            patches = torch.from_numpy(features[images]).reshape(-1, WIDTH)
            pixels = torch.from_numpy(counts[images].reshape(-1, CLASSES).astype(np.int64))
            owner, label = (x.repeat_interleave(pixels.flatten()) for x in (
                torch.arange(len(pixels)).repeat_interleave(CLASSES),
                torch.arange(CLASSES).repeat(len(pixels)),
            ))  # fmt: skip
            loss = torch.nn.functional.cross_entropy(layer(norm(patches))[owner], label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        kernel, bias = (x.detach().numpy() for x in (layer.weight.T, layer.bias))
        # Adam divides by small gradients, which enlarges rounding; a step is 0.02 or 0.3
        np.testing.assert_allclose(fitted.kernel[i], kernel, atol=1e-3 * rate)
        np.testing.assert_allclose(fitted.bias[i], bias, atol=1e-3 * rate)


def test_the_optimum_is_scikit_learns():
    features, counts, moments = data(1)
    fitted = linear.fit(
        lambda images: (features[images], counts[images]),
        np.arange(N),
        moments,
        points=counts.sum((0, 1)),
        rates=[0.05],
        iterations=1500,
    )
    logits = np.asarray(linear.logits(fitted, moments, features))[0]
    flat = np.asarray(linear.standardized(features.reshape(-1, WIDTH), moments))
    weights = counts.reshape(-1, CLASSES)
    known = LogisticRegression(C=1e6, max_iter=2000).fit(
        np.repeat(flat, CLASSES, 0),
        np.tile(np.arange(CLASSES), len(flat)),
        sample_weight=weights.ravel(),
    )
    np.testing.assert_allclose(
        np.exp(logits - logits.max(-1, keepdims=True)).reshape(-1, CLASSES)
        / np.exp(logits - logits.max(-1, keepdims=True)).sum(-1).reshape(-1, 1),
        known.predict_proba(flat),
        atol=0.02,
    )


def test_each_image_is_once_in_an_epoch_and_a_constant_feature_counts_nothing():
    batches = list(linear._batches(np.arange(40), 5, 0))
    assert sorted(np.concatenate(batches).tolist()) == sorted([*range(40)] * 2)
    assert all(len(set(batch.tolist())) == 16 for batch in batches[:2])
    moments = linear.Moments(np.array([2.0], np.float32), np.array([0.0], np.float32))
    assert np.asarray(linear.standardized(np.full((3, 1), 2.0), moments)).tolist() == [[0]] * 3


def test_the_rate_rises_linearly_and_falls_to_0():
    rates = [linear.schedule(i, 4000) for i in range(4000)]
    assert rates[0] == 1 / 150 and rates[149] == rates[150] == 1
    assert rates[2075] == 0.5 and 0 < rates[-1] < 1e-5
    assert linear.schedule(0, 1) == 1
