"""The keras.applications models that the tests import, with seeded weights that no framework drew.

usage: python scripts/app_models.py OUT_DIR [NAME...]     writes OUT_DIR/NAME.keras

Needs keras and any backend that can build models (the tests use jax, the golden outputs were made
with TensorFlow): every weight comes from numpy, in the order of the model's variables.
"""
import os
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


def gain(name, path):
    """Variance of a kernel times its fan-in that keeps the signal: 2 before ReLU (He et al. 2015),
    1 / E[silu(x)^2] = 2.8 before SiLU; behind squeeze-and-excite, whose gates are near one half,
    4 times as much."""
    if not name.startswith("efficientnet"):
        return 2.0
    return 8.0 if "project_conv" in path else 2.8


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
            # ResNet's branches end small, as in trained nets; its sums stay bounded.
            value = rng.uniform(0.7, 1.3, shape) * (0.3 if variable.path.endswith("_3_bn/gamma") else 1.0)
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
