"""The keras.applications models that the tests import, with seeded weights that no framework drew.

usage: python scripts/app_models.py OUT_DIR [NAME...]     writes OUT_DIR/NAME.keras

Needs keras and any backend that can build models (scripts/setup-python.sh has jax, the golden
outputs were made with TensorFlow): every weight comes from numpy, in the order of the model's variables.
"""
import os
import re
import sys
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# name: input size, and how the tests' inputs u in [0, 1) become the model's: u * scale + shift
MODELS = {
    "efficientnetv2s": (300, 255.0, 0.0),
    "efficientnetb0": (224, 255.0, 0.0),
    "mobilenetv2": (224, 2.0, -1.0),
    "mobilenetv3small": (224, 255.0, 0.0),
    "resnet50": (224, 255.0, -118.0),
    "densenet121": (224, 4.4, -2.0),
    "inceptionv3": (299, 2.0, -1.0),
}
CLASSES = 7


def build(name):
    import keras

    size = MODELS[name][0]
    make = {
        "efficientnetv2s": keras.applications.EfficientNetV2S,
        "efficientnetb0": keras.applications.EfficientNetB0,
        "mobilenetv2": keras.applications.MobileNetV2,
        "mobilenetv3small": keras.applications.MobileNetV3Small,
        "resnet50": keras.applications.ResNet50,
        "densenet121": keras.applications.DenseNet121,
        "inceptionv3": keras.applications.InceptionV3,
    }[name]
    shape = (size, size, 3)
    if name == "efficientnetv2s":
        # As an app builds it: the base model nested in a model with a head of its own.
        base = make(weights=None, include_top=False, input_shape=shape)
        image = keras.Input(shape, name="image")
        x = keras.layers.GlobalAveragePooling2D(name="pool")(base(image))
        x = keras.layers.Dropout(0.3, name="dropout")(x)
        x = keras.layers.Dense(CLASSES, activation="softmax", name="head")(x)
        model = keras.Model(image, x, name=name)
    else:
        model = make(weights=None, classes=CLASSES, input_shape=shape)
    draw_weights(model, name)
    return model


# Variance of a kernel times its fan-in, by the end of its layer's name; the first that fits counts.
# 2 keeps the signal before ReLU (He et al. 2015), 1 / E[silu(x)^2] = 2.8 before SiLU, 1 where the
# input is a linear bottleneck; after squeeze-and-excite, whose gates are near one half, 4 times as much.
# The numbers were found by trial: logits that differ between pictures by a percent or more of
# their range, and a range between 1 and 200.
GAINS = {
    "efficientnetv2s": {"expand_conv": 1.0, "project_conv": 6.0, "": 2.5},
    "efficientnetb0": {"expand_conv": 1.0, "project_conv": 9.0, "": 2.5},
    "mobilenetv3small": {"expand": 2.5, "project": 14.0, "": 4.5},
    "resnet50": {"": 1.6},
}
# How much of a residual branch its last normalization lets through: sums of many stay bounded,
# as they do in trained nets.
BRANCH = ("_3_bn", "project_bn")
# The first block of a stage in EfficientNets has no other branch.
FIRST = re.compile(r"block\d+a_")


def gain(name, path):
    layer = path.split("/")[-2]
    return next(v for end, v in GAINS.get(name, {"": 2.0}).items() if layer.endswith(end))


def draw_weights(model, name):
    """He-scaled kernels, and batch statistics near those of unit activations: deep random nets
    then neither explode nor die, so that outputs differ between images."""
    import numpy as np

    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for variable in model.variables:
        kind, shape = variable.path.split("/")[-1], tuple(variable.shape)
        if "seed" in kind or kind == "count":
            continue
        if kind in ("kernel", "depthwise_kernel"):
            if any(part in variable.path for part in ("depthwise", "dwconv")):
                fan_in = shape[0] * shape[1]
            else:
                fan_in = int(np.prod(shape[:-1]))
            value = rng.standard_normal(shape) * np.sqrt(gain(name, variable.path) / fan_in)
        elif kind == "gamma":
            layer = variable.path.split("/")[-2]
            branch = layer.endswith(BRANCH) and not FIRST.search(layer)
            value = rng.uniform(0.7, 1.3, shape) * (0.3 if branch else 1.0)
        elif kind in ("beta", "bias"):
            value = rng.normal(0.0, 0.1, shape)
        elif kind == "moving_mean":
            value = rng.normal(0.0, 0.1, shape)
        elif kind == "moving_variance":
            value = rng.uniform(0.8, 1.25, shape)
        elif kind == "mean":
            value = rng.uniform(0.3, 0.6, shape)
        elif kind == "variance":
            value = rng.uniform(0.04, 0.09, shape)
        else:
            raise SystemExit(f"{name}: no rule for the variable {variable.path}")
        variable.assign(value.astype("float32"))


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    out, names = sys.argv[1], sys.argv[2:] or list(MODELS)
    os.makedirs(out, exist_ok=True)
    for name in names:
        path = os.path.join(out, f"{name}.keras")
        if os.path.exists(path):
            continue
        build(name).save(path + ".part.keras")
        os.replace(path + ".part.keras", path)
        print("made", f"{name}.keras", flush=True)


if __name__ == "__main__":
    main()
