#!/usr/bin/env python3
"""Writes fixtures/golden/statistics: what SciPy, statsmodels and scikit-learn make of small tables.

    pip install scipy statsmodels scikit-learn
    python scripts/golden_statistics.py

`tests/library/statistics_golden.rs` reads the result, `golden.json`; versions are inside. Tango's score
test is in none of the three: its oracle here maximises the likelihood numerically under the
constraint and inverts the test with a root finder, and uses no closed form.
"""

import json
import platform
from pathlib import Path

import numpy as np
import scipy
import sklearn
import statsmodels
from scipy import optimize, special, stats
from sklearn import metrics as sk
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

OUT = Path(__file__).resolve().parent.parent / "fixtures/golden/statistics"
MASK = 2**64 - 1


class SplitMix64:
    """The generator of `statistics/bootstrap.rs`."""

    def __init__(self, seed):
        self.state = seed & MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    @classmethod
    def stream(cls, seed, index):
        inner = cls(cls(seed).next() ^ index)
        return cls(inner.next())

    def draw(self, n):
        return [(self.next() * n) >> 64 for _ in range(n)]


def special_functions():
    normal = [[x, stats.norm.cdf(x)] for x in (-30.0, -8.0, -1.5, 0.0, 0.3, 1.96, 6.0)]
    quantile = [[p, stats.norm.ppf(p)] for p in (1e-200, 1e-9, 0.025, 0.5, 0.8, 0.975, 1 - 1e-9)]
    beta = []
    for a, b in ((0.5, 0.5), (1, 1), (2, 5), (40, 3), (1000, 9000), (1, 1e6), (5e5, 5e5)):
        for p in (1e-6, 0.025, 0.5, 0.975):
            x = special.betaincinv(a, b, p)
            beta.append({"a": a, "b": b, "p": p, "inverse": x, "forward": special.betainc(a, b, x)})
    return {"normal_cdf": normal, "normal_quantile": quantile, "beta": beta}


def proportions():
    rows = []
    for k, n in ((0, 1), (1, 1), (0, 10), (10, 10), (3, 7), (158, 193), (1, 10**6), (8253, 10**4)):
        for confidence in (0.9, 0.95, 0.99):
            row = {"k": k, "n": n, "confidence": confidence}
            for name, method in (("wilson", "wilson"), ("clopper_pearson", "beta")):
                low, high = proportion_confint(k, n, 1 - confidence, method)
                # statsmodels leaves NaN or -1e-17 where an end is exactly 0 or 1.
                row[name] = [0.0 if k == 0 else float(low), 1.0 if k == n else float(high)]
            rows.append(row)
    return rows


def mcnemars():
    rows = []
    for b, c in ((0, 0), (1, 0), (0, 9), (3, 3), (5, 12), (60, 41), (700, 800), (20000, 20300)):
        p = float(mcnemar([[50, b], [c, 9]], exact=True).pvalue)
        if b + c:
            assert abs(p - stats.binomtest(b, b + c).pvalue) < 1e-11
        rows.append({"right_to_wrong": b, "wrong_to_right": c, "p": p})
    return rows


def tango_score(n, lost, won, delta):
    """Score statistic with rates that maximise the trinomial likelihood, won - lost = delta."""
    same = n - lost - won

    # Both rates are `t` above their least; what is left for the rest is 2 (width - t).
    least_lost, least_won, width = max(0.0, -delta), max(0.0, delta), (1 - abs(delta)) / 2

    def slope(t):  # of the log-likelihood
        total = -same / (width - t)
        total += lost / (least_lost + t) if lost else 0.0
        return total + (won / (least_won + t) if won else 0.0)

    near, far = width * 1e-200, width * (1 - 1e-12)
    if slope(near) <= 0:
        t = 0.0  # the likelihood only falls
    elif slope(far) >= 0:
        t = width  # it only rises
    else:
        t = optimize.brentq(slope, near, far, xtol=1e-300, rtol=8.9e-16, maxiter=5000)
    variance = n * (least_lost + least_won + 2 * t - delta**2)
    return (won - lost - n * delta) / np.sqrt(variance)


def tango():
    rows = []
    tables = (
        (1, 0, 0), (1, 1, 0), (10, 0, 0), (10, 10, 0), (10, 0, 10), (44, 9, 1), (193, 3, 2),
        (193, 0, 4), (500, 20, 8), (1000, 1, 0), (1512, 40, 30), (10000, 300, 310), (9, 4, 5),
    )  # fmt: skip
    for n, lost, won in tables:
        row = {"n": n, "right_to_wrong": lost, "wrong_to_right": won, "scores": [], "intervals": []}
        for delta in (-0.2, -0.05, -0.01, -0.005, 0.005, 0.01, 0.1):
            row["scores"].append([delta, float(tango_score(n, lost, won, delta))])
        for confidence in (0.9, 0.95):
            z = stats.norm.ppf(0.5 + confidence / 2)
            d = (won - lost) / n
            options = {"xtol": 1e-14, "rtol": 1e-14}
            edge = 1e-6  # inside: no interval of these tables is that narrow

            def end(wanted, a, b):
                return optimize.brentq(lambda t: tango_score(n, lost, won, t) - wanted, a, b, **options)

            low = -1.0 if d == -1 else end(z, -1 + edge, d - edge)
            high = 1.0 if d == 1 else end(-z, d + edge, 1 - edge)
            row["intervals"].append([confidence, low, high])
        row["tost"] = []
        for margin in (0.01, 0.05):
            loss = stats.norm.sf(tango_score(n, lost, won, -margin))
            gain = stats.norm.cdf(tango_score(n, lost, won, margin))
            row["tost"].append([margin, float(loss), float(gain)])
        rows.append(row)
    return rows


def correlations():
    random = np.random.default_rng(5)
    rows = []
    for n, shift in ((2, 0.0), (10, 0.0), (200, 1e6)):
        x = np.round(random.normal(size=n), 6) + shift
        y = np.round(0.6 * (x - shift) + random.normal(size=n), 6)
        rows.append({"x": x.tolist(), "y": y.tolist(), "r": float(stats.pearsonr(x, y).statistic)})
    return rows


def ece(truth, p):
    top, confidence = p.argmax(1), p.max(1)
    total = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            right = (top == truth)[inside].mean()
            total += inside.mean() * abs(right - confidence[inside].mean())
    return float(total)


def one_vs_rest(truth, scores, specificity):
    """AUC, best sensitivity and its specificity and threshold; None if undefined."""
    if truth.all() or not truth.any():
        return None
    fpr, tpr, thresholds = sk.roc_curve(truth, scores, drop_intermediate=False)
    fine = np.flatnonzero(1 - fpr >= specificity - 1e-12)
    best = fine[np.argmax(tpr[fine])]
    threshold = thresholds[best]
    return {
        "auc": float(sk.roc_auc_score(truth, scores)),
        "sensitivity": float(tpr[best]),
        "specificity": float(1 - fpr[best]),
        "threshold": None if np.isinf(threshold) else float(threshold),
    }


def measure(truth, p, specificity):
    k = p.shape[1]
    top = p.argmax(1)
    onehot = np.eye(k)[truth]
    per_class = dict(labels=list(range(k)), average=None, zero_division=0)
    confusion = sk.confusion_matrix(truth, top, labels=list(range(k)))
    present = np.unique(truth)
    return {
        "top1": float(sk.accuracy_score(truth, top)),
        "balanced_accuracy": float(sk.recall_score(truth, top, labels=present, average="macro")),
        "macro_f1": float(sk.f1_score(truth, top, average="macro", zero_division=0)),
        "ece_15_bins": ece(truth, p),
        "brier": float(((p - onehot) ** 2).sum(1).mean()),
        "confusion": confusion.tolist(),
        "sensitivity": sk.recall_score(truth, top, **per_class).tolist(),
        "precision": sk.precision_score(truth, top, **per_class).tolist(),
        "f1": sk.f1_score(truth, top, **per_class).tolist(),
        "classes": [one_vs_rest(truth == c, p[:, c], specificity) for c in range(k)],
    }


def evaluations():
    random = np.random.default_rng(11)

    def model(truth, k, skill, digits):
        logits = random.normal(size=(len(truth), k)) + skill * np.eye(k)[truth]
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return np.round(p, digits)  # few digits make ties

    seven = random.integers(0, 7, 90)
    absent = np.where(seven == 4, 5, seven)
    two = random.integers(0, 2, 40)
    sure = np.eye(3)[random.integers(0, 3, 12)]
    cases = [
        ("seven_classes", seven, model(seven, 7, 2.0, 6), 0.9),
        ("ties", seven, model(seven, 7, 1.0, 1), 0.8),
        ("one_class_absent", absent, model(absent, 7, 1.5, 3), 0.9),
        ("two_classes", two, model(two, 2, 1.0, 3), 0.95),
        ("one_image", np.array([1]), np.array([[0.2, 0.7, 0.1]]), 0.9),
        ("all_right", sure.argmax(1), 0.9 * sure + 0.1 / 3, 0.9),
        ("all_wrong", sure.argmax(1), np.roll(sure, 1, axis=1), 0.9),
        ("one_class_only", np.zeros(9, int), model(np.zeros(9, int), 3, 1.0, 2), 0.9),
    ]
    rows = []
    for name, truth, p, specificity in cases:
        row = {"name": name, "truth": truth.tolist(), "n_classes": p.shape[1]}
        row |= {"probabilities": p.ravel().tolist(), "specificity": specificity}
        row |= measure(truth, p, specificity)
        rows.append(row)
        if name in ("ties", "one_class_absent", "two_classes"):
            row["bootstrap"] = bootstrap(truth, p, specificity)
    return rows


def bootstrap(truth, p, specificity, seed=42, resamples=60):
    """Percentile intervals of the same resamples that the project draws."""
    draws = [SplitMix64.stream(seed, r).draw(len(truth)) for r in range(resamples)]
    measured = [measure(truth[d], p[d], specificity) for d in draws]

    def interval(values):
        values = [v for v in values if v is not None]
        if len(values) * 2 < resamples or min(values, default=0) == max(values, default=0):
            return None
        return np.quantile(values, [0.025, 0.975]).tolist()

    result = {"seed": seed, "resamples": resamples}
    for name in ("macro_f1", "ece_15_bins", "brier"):
        result[name] = interval([m[name] for m in measured])
    for name in ("auc", "sensitivity"):
        result[name] = [
            interval([m["classes"][c] and m["classes"][c][name] for m in measured])
            for c in range(p.shape[1])
        ]
    return result


def main():
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "statsmodels": statsmodels.__version__,
        "scikit-learn": sklearn.__version__,
    }
    golden = {
        "made_by": "scripts/golden_statistics.py",
        "versions": versions,
        "special": special_functions(),
        "proportions": proportions(),
        "mcnemar": mcnemars(),
        "tango": tango(),
        "correlation": correlations(),
        "evaluations": evaluations(),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    text = json.dumps(golden, default=float, allow_nan=False, separators=(",", ":"))
    # A line a case, so that differences can be read.
    (OUT / "golden.json").write_text(text.replace("},{", "},\n{").replace(':[{', ':[\n{') + "\n")


if __name__ == "__main__":
    main()
