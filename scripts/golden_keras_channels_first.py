"""Writes models with `channels_first` layers: fixtures/keras/channels_first, which
tests/library/keras_golden.rs reads beside the layer zoo of scripts/golden_keras.py.

As there, each model is a row of branches on one input, flattened and concatenated in the file's order;
`golden.json` says which stretch of the output is which branch. Inputs are written channels last, as the
importer turns them; Keras gets them channels first.

Needs Keras 3 with jax, whose convolutions take both formats on CPUs, and h5py (scripts/setup-python.sh):
    KERAS_BACKEND=jax .cache/venv/bin/python scripts/golden_keras_channels_first.py
Versions used are written into golden.json.
"""

import golden_keras_tokens as tokens
import keras
from golden_keras_tokens import Zoo
from keras import layers as L
from keras import ops

tokens.OUT = tokens.OUT.parent / "channels_first"
SHAPE = (3, 9, 8)
FIRST = {"data_format": "channels_first"}


def plain(name, **options):
    """A flattening that takes the file's order."""
    return L.Flatten(data_format="channels_last", name=name, **options)


def windows():
    z = Zoo("first_windows", SHAPE, (".keras", ".h5"), turned=True)
    x = z.x
    z.add("conv", L.Conv2D(5, 3, **FIRST)(x))
    z.add("conv_same", L.Conv2D(4, (3, 2), strides=2, padding="same", activation="relu", **FIRST)(x))
    z.add("conv_dilated", L.Conv2D(2, 3, dilation_rate=2, use_bias=False, **FIRST)(x))
    z.add("conv_groups", L.Conv2D(6, 3, groups=3, **FIRST)(x))
    z.add("depthwise", L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", **FIRST)(x))
    z.add("separable", L.SeparableConv2D(4, 3, padding="same", activation="tanh", **FIRST)(x))
    z.add("max_pool", L.MaxPooling2D(2, **FIRST)(x), True)
    z.add("max_pool_same", L.MaxPooling2D(3, 2, padding="same", **FIRST)(x), True)
    z.add("average_pool", L.AveragePooling2D((2, 3), padding="same", **FIRST)(x))
    z.add("global_average", L.GlobalAveragePooling2D(**FIRST)(x))
    z.add("global_average_kept", L.GlobalAveragePooling2D(keepdims=True, **FIRST)(x))
    z.add("global_max", L.GlobalMaxPooling2D(**FIRST)(x), True)
    z.add("pad", L.ZeroPadding2D(((1, 2), (3, 0)), **FIRST)(x), True)
    z.add("crop", L.Cropping2D(((1, 2), (3, 0)), **FIRST)(x), True)
    z.add("center_crop", L.CenterCrop(5, 4, **FIRST)(x), True)
    z.add("up_nearest", L.UpSampling2D((2, 3), **FIRST)(x), True)
    z.add("up_bilinear", L.UpSampling2D(2, interpolation="bilinear", **FIRST)(x))
    z.add("resizing", L.Resizing(5, 6, **FIRST)(x))
    z.add("channels_last", L.Conv2D(4, 2, data_format="channels_last")(x))
    z.finish(500)


def axes():
    z = Zoo("first_axes", SHAPE, turned=True)
    x = z.x
    z.add("batch_norm", L.BatchNormalization(axis=1)(x))
    z.add("batch_norm_of_columns", L.BatchNormalization(axis=-1)(x))
    z.add("normalization", L.Normalization(axis=1, mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])(x))
    z.add("layer_norm", L.LayerNormalization(axis=1)(x))
    z.add("layer_norm_of_columns", L.LayerNormalization(axis=-1)(x))
    z.add("layer_norm_of_all", L.LayerNormalization(axis=[1, 2, 3])(x))
    z.add("prelu", L.PReLU()(x))
    z.add("prelu_shared", L.PReLU(shared_axes=[2, 3])(x))
    z.add("prelu_of_columns", L.PReLU(shared_axes=[1, 2])(x))
    z.add("softmax_of_channels", L.Softmax(axis=1)(x))
    z.add("softmax_of_columns", L.Activation("softmax")(x))
    z.add("rescaling", L.Rescaling(0.5, 1.0)(x))
    z.add("rescaling_of_columns", L.Rescaling([1.0, 2, 3, 4, 5, 6, 7, 8], 0.0)(x))
    z.add("permute_to_last", L.Permute((2, 3, 1))(x), True)
    z.add("permute_other", L.Permute((3, 1, 2))(x), True)
    z.add("reshape", L.Reshape((9, 24))(x), True)
    z.add("reshape_same", L.Reshape((3, 9, 8))(x), True)
    z.add("dense_of_columns", L.Dense(5)(x))
    up = L.ReLU()(x)
    z.add("concatenate_channels", L.Concatenate(axis=1)([x, up]), True)
    z.add("concatenate_rows", L.Concatenate(axis=2)([x, up]), True)
    z.add("concatenate_columns", L.Concatenate(axis=-1)([x, up]), True)
    gate = L.Reshape((3, 1, 1))(L.Dense(3, activation="sigmoid")(L.GlobalAveragePooling2D(**FIRST)(x)))
    z.add("gated", L.Multiply()([x, gate]))
    z.add("gated_by_conv", L.Multiply()([x, L.Conv2D(3, 1, activation="sigmoid", **FIRST)(gate)]))
    z.add("mixed_order", L.Add()([x, L.Permute((3, 1, 2))(L.Permute((2, 3, 1))(x))]))
    z.finish(501)


def flattening():
    z = Zoo("first_flattening", SHAPE, (".keras", ".h5"), turned=True)
    x = z.x
    map_ = L.MaxPooling2D(2, **FIRST)(L.Conv2D(5, 3, **FIRST)(x))
    flat = plain("flat")(map_)
    z.add("flat", flat)
    z.add("dense", L.Dense(7)(flat))
    dense = L.Dense(4, name="twice")
    z.add("dropout_relu_dense", dense(L.ReLU()(L.Dropout(0.5)(flat))))
    turned = L.Flatten(name="turned", **FIRST)(map_)
    z.add("turned", turned)
    z.add("turned_dense", dense(turned))
    z.add("norm_dense", L.Dense(4)(L.BatchNormalization()(flat)))
    z.add("prelu_dense", L.Dense(4)(L.PReLU()(flat)))
    z.add("both", L.Add()([flat, turned]))
    z.add("joined", L.Dense(3)(L.Concatenate()([flat, flat])))
    z.add("global", L.Dense(4)(plain("one")(L.GlobalAveragePooling2D(keepdims=True, **FIRST)(map_))))
    z.finish(502)


def network():
    """A small classifier as people write them, with a nested backbone and an input of channels last."""
    inner = L.Input((3, 12, 10))
    y = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False, **FIRST)(inner)
    y = L.BatchNormalization(axis=1)(y)
    y = L.Activation("swish")(y)
    left = L.SeparableConv2D(8, 3, padding="same", **FIRST)(y)
    y = L.Add()([y, L.SpatialDropout2D(0.2, **FIRST)(left)])
    y = L.Concatenate(axis=1)([y, left])
    y = L.AveragePooling2D(2, **FIRST)(y)
    backbone = keras.Model(inner, y, name="backbone")
    z = Zoo("first_network", (12, 10, 3))
    first = L.Permute((3, 1, 2), name="to_first")(z.x)
    features = z.add("features", backbone(first))
    z.add("again", backbone(L.Rescaling(0.5)(first)))
    z.add("head", L.Dense(5, activation="softmax")(plain("head_flat")(features)))
    z.add("last", L.Conv2D(4, 1, data_format="channels_last")(L.Permute((2, 3, 1))(features)))
    z.add("function", ops.add(ops.multiply(first, 2.0), L.ReLU()(first)))
    z.finish(503)


def classifier():
    """No element has to move in it: the flattening in the file's order is in the dense layer's rows."""
    z = Zoo("first_classifier", SHAPE, turned=True)
    y = z.x
    for filters in (4, 6):
        y = L.Conv2D(filters, 3, padding="same", use_bias=False, **FIRST)(y)
        y = L.ReLU()(L.BatchNormalization(axis=1)(y))
        y = L.Concatenate(axis=1)([y, L.MaxPooling2D(3, 1, padding="same", **FIRST)(y)])
        y = L.MaxPooling2D(2, **FIRST)(y)
    z.add("classes", L.Dense(5, activation="softmax")(L.Dropout(0.2)(plain("flat")(y))))
    z.finish(504)


if __name__ == "__main__":
    tokens.main((windows, axes, flattening, network, classifier))
