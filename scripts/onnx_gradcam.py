"""Compares the Grad-CAM of ONNX imports with one that torch's own gradients make: three architectures
of torchvision with random weights, 32 images each. Prints a table for docs/explaining.md.

usage: VENV/bin/python scripts/onnx_gradcam.py [DERMAL [NETWORK...]]     (target/release/dermal)
Needs the Python of scripts/onnx_architectures.py, and Pillow. Exit 1 if a correlation is below 0.999.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx_architectures as architectures
import PIL.Image
import torch

DERMAL = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/dermal").resolve()
# The module whose output is the last one with rows and columns.
NETWORKS = {"resnet18": "layer4", "mobilenet_v2": "features", "convnext_tiny": "features"}
SIZE = 128
IMAGES = 32


def gradcam(model, layer, x):
    """Relu of the layer's maps, each weighted by the mean gradient of the best logit, after
    https://arxiv.org/abs/1610.02391; and the class."""
    kept = {}

    def keep(_module, _inputs, output):
        output.retain_grad()
        kept["maps"] = output

    hook = model.get_submodule(layer).register_forward_hook(keep)
    logits = model(x)
    best = int(logits.argmax())
    logits[0, best].backward()
    hook.remove()
    maps = kept["maps"]
    weights = maps.grad.mean(dim=(2, 3), keepdim=True)
    return best, torch.relu((weights * maps).sum(dim=1))[0].detach().numpy()


def images(folder):
    x = architectures.noise(np.random.default_rng(9), IMAGES, [SIZE, SIZE, 3])
    bytes_ = np.clip(x * 50 + 128, 0, 255).astype(np.uint8)
    for i, image in enumerate(bytes_):
        PIL.Image.fromarray(image).save(folder / f"{i:02}.png")
    return torch.tensor(bytes_.transpose(0, 3, 1, 2) / 255, dtype=torch.float32)


def main():
    architectures.TORCHVISION |= dict.fromkeys(NETWORKS, SIZE)
    lowest = 1.0
    print(f"torch {torch.__version__}; {IMAGES} images of noise, {SIZE} pixels\n")
    print("| model | exporter | layer | lowest correlation | same shape |")
    print("|---|---|---|--:|--:|")
    for name in sys.argv[2:] or NETWORKS:
        layer = NETWORKS[name]
        model, size = architectures.made("torchvision", name)
        for exporter in ["legacy", "dynamo"]:
            with tempfile.TemporaryDirectory() as made:
                folder = pathlib.Path(made)
                source, artifact = folder / "model.onnx", folder / "model.safetensors"
                photos, maps = folder / "photos", folder / "maps"
                photos.mkdir()
                maps.mkdir()
                x = images(photos)
                architectures.export(model, size, exporter, source)
                run = lambda *args: subprocess.run([DERMAL, *args], check=True, capture_output=True)
                classes = ",".join(f"c{i}" for i in range(7))
                run("import", source, "-o", artifact, "--labels", classes, "--preprocess", "unit",
                    "--head", "softmax")
                correlations, same = [], 0
                for i in range(IMAGES):
                    best, expected = gradcam(model, layer, x[i : i + 1])
                    run("predict", artifact, photos / f"{i:02}.png", "--raw-map",
                        maps / f"{i:02}.npy", "--class", f"c{best}")
                    got = np.maximum(np.load(maps / f"{i:02}.npy"), 0)
                    same += got.shape == expected.shape
                    # A map of zeros has no correlation; both must be that.
                    if expected.max() <= 0 or got.max() <= 0:
                        assert expected.max() <= 1e-6 and got.max() <= 1e-6, (name, i)
                        continue
                    correlations.append(np.corrcoef(got.ravel(), expected.ravel())[0, 1])
                lowest = min(lowest, *correlations)
                print(f"| {name} | {exporter} | {layer} | {min(correlations):.6f} | "
                      f"{same} of {IMAGES} |", flush=True)
    return int(lowest < 0.999)


if __name__ == "__main__":
    sys.exit(main())
