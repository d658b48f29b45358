#!/usr/bin/env python3
"""Writes fixtures/golden/preprocess: what Pillow, TensorFlow and Keras make of photos.

Run it with Pillow, TensorFlow and NumPy installed; versions go to `versions.json`:

    pip install tensorflow-cpu 'pillow<13'
    python scripts/golden_preprocess.py

Pillow 2.7 to 12 resize columns first, then rows. Pillow 13 turns that round for pictures that
lose much more height than width, which moves some pixels of tall pictures by one level. Models
are trained with the older order, so the goldens are too.

`tests/library/preprocess_golden.rs` reads the result. Two kinds of files are made:

* `resize.json` with `resize_u8.bin` and `resize_f32.bin`: a case a line and the concatenated
  outputs. Sources are synthetic and made again by the test, by this rule for pixel byte `i` of a
  picture with seed `s` (rows from the top, R G B):

      noise:    the top byte of splitmix64(s * 2**32 + i)
      smooth:   (x * 255 // max(w - 1, 1) + y * 128 // max(h - 1, 1) + 40 * c + noise % 16) % 256
      edges:    255 if (x // 7 + y // 5 + c) % 3 == 0 else 0

* small image files in every pixel format, each with `<name>.rgb`, the bytes of
  `ImageOps.exif_transpose(image).convert("RGB")`, and broken ones that must be refused. One
  exception: Pillow turns 16-bit grey to white (it clips at 255), so TensorFlow's upper byte is
  the golden output.
"""

import io
import json
import os
import struct
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np
import PIL
import tensorflow as tf
from PIL import Image, ImageOps, features

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "fixtures", "golden", "preprocess")
MASK = (1 << 64) - 1


def splitmix64(x):
    x = x.astype(np.uint64)
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def source(pattern, w, h, seed):
    i = np.arange(w * h * 3, dtype=np.uint64) + np.uint64((seed << 32) & MASK)
    noise = (splitmix64(i) >> np.uint64(56)).astype(np.int64).reshape(h, w, 3)
    y, x, c = np.meshgrid(np.arange(h), np.arange(w), np.arange(3), indexing="ij")
    if pattern == "noise":
        v = noise
    elif pattern == "smooth":
        v = (x * 255 // max(w - 1, 1) + y * 128 // max(h - 1, 1) + 40 * c + noise % 16) % 256
    else:
        v = np.where((x // 7 + y // 5 + c) % 3 == 0, 255, 0)
    return v.astype(np.uint8)


PILLOW = {
    "pillow_nearest": Image.NEAREST,
    "pillow_bilinear": Image.BILINEAR,
    "pillow_bicubic": Image.BICUBIC,
    "pillow_lanczos": Image.LANCZOS,
}
TENSORFLOW = {"tensorflow_bilinear": "bilinear", "tensorflow_nearest": "nearest"}


def torchvision_size(w, h, short_side):
    """torchvision.transforms.functional._compute_resized_output_size, for one number."""
    short, long = (w, h) if w <= h else (h, w)
    new_short, new_long = short_side, int(short_side * long / short)
    return (new_short, new_long) if w <= h else (new_long, new_short)


def resize(image, case):
    """What the framework makes of `image` (u8 HWC) for a case."""
    w, h = case["to"]
    mode, name = case["resize"], case["filter"]
    if name in PILLOW:
        pil = Image.fromarray(image)
        if case["gray"]:
            pil = pil.convert("L")
        if mode == "stretch":
            out = pil.resize((w, h), PILLOW[name])
        elif mode == "fit":
            out = ImageOps.fit(pil, (w, h), PILLOW[name])
        elif mode == "crop_to_aspect":
            buffer = io.BytesIO()
            pil.save(buffer, "PNG")
            out = keras.utils.load_img(
                io.BytesIO(buffer.getvalue()),
                color_mode="grayscale" if case["gray"] else "rgb",
                target_size=(h, w),
                interpolation=name.removeprefix("pillow_"),
                keep_aspect_ratio=True,
            )
        else:
            rw, rh = torchvision_size(*pil.size, case["short_side"])
            pil = pil.resize((rw, rh), PILLOW[name])
            # torchvision.transforms.functional.center_crop
            top, left = int(round((rh - h) / 2.0)), int(round((rw - w) / 2.0))
            out = pil.crop((left, top, left + w, top + h))
        return np.asarray(out).reshape(h, w, -1)
    method = TENSORFLOW[name]
    if mode == "stretch":
        out = tf.image.resize(image, (h, w), method=method)
    elif mode == "crop_to_aspect":
        out = keras.preprocessing.image.smart_resize(
            tf.constant(image), (h, w), interpolation=method
        )
    else:
        rw, rh = torchvision_size(image.shape[1], image.shape[0], case["short_side"])
        out = tf.image.resize(image, (rh, rw), method=method)
        top, left = int(round((rh - h) / 2.0)), int(round((rw - w) / 2.0))
        out = out[top : top + h, left : left + w]
    out = np.asarray(out)
    if name == "tensorflow_nearest":
        return out.astype(np.uint8)
    return out.astype(np.float32)


def resize_cases():
    stretch = [
        # pattern, source (w, h), target (w, h)
        ("noise", (97, 61), (32, 32)),
        ("smooth", (100, 75), (48, 48)),
        ("edges", (64, 64), (31, 29)),
        ("noise", (13, 17), (40, 56)),
        ("edges", (9, 7), (33, 20)),
        ("smooth", (32, 32), (32, 32)),
        ("noise", (32, 20), (32, 41)),
        ("noise", (20, 32), (41, 32)),
        ("noise", (1, 1), (5, 4)),
        ("noise", (1, 40), (6, 6)),
        ("noise", (40, 1), (6, 6)),
        ("noise", (2, 3), (1, 1)),
        ("noise", (2, 2), (7, 7)),
        ("noise", (1500, 3), (11, 5)),
        ("noise", (15, 1490), (5, 11)),
        ("smooth", (640, 480), (25, 25)),
    ]
    for n, (pattern, size, to) in enumerate(stretch):
        for name in [*PILLOW, *TENSORFLOW]:
            yield dict(pattern=pattern, seed=n, size=size, to=to, filter=name, resize="stretch")
    crops = [
        ("noise", (60, 45), (24, 24)),
        ("smooth", (45, 61), (24, 24)),
        ("noise", (80, 33), (20, 30)),
        ("noise", (33, 80), (30, 20)),
        ("edges", (12, 10), (24, 25)),
        ("noise", (200, 7), (16, 16)),
    ]
    for n, (pattern, size, to) in enumerate(crops):
        for name in [*PILLOW, *TENSORFLOW]:
            case = dict(pattern=pattern, seed=100 + n, size=size, to=to, filter=name)
            yield dict(case, resize="crop_to_aspect")
            short = max(to) + 1 + n
            yield dict(case, resize="short_side_center_crop", short_side=short)
    # Margins that are even, odd (cut at half pixels) and of other fractions; none; all.
    fits = [
        ("noise", (61, 100), (24, 24)),
        ("noise", (100, 61), (24, 24)),
        ("smooth", (100, 60), (24, 24)),
        ("noise", (50, 49), (48, 48)),
        ("edges", (48, 47), (48, 48)),
        ("noise", (50, 48), (48, 48)),
        ("noise", (48, 48), (48, 48)),
        ("noise", (33, 100), (30, 20)),
        ("noise", (101, 32), (21, 34)),
        ("edges", (12, 10), (25, 24)),
        ("noise", (400, 7), (16, 16)),
        ("noise", (3, 300), (16, 8)),
        ("noise", (2, 1), (5, 5)),
    ]
    for n, (pattern, size, to) in enumerate(fits):
        for name in PILLOW:
            case = dict(pattern=pattern, seed=400 + n, size=size, to=to, filter=name)
            yield dict(case, resize="fit")
    yield dict(
        pattern="noise", seed=420, size=(50, 37), to=(28, 28), filter="pillow_lanczos",
        gray=True, resize="fit",
    )
    for name in ["pillow_nearest", "pillow_bilinear", "pillow_lanczos"]:
        case = dict(pattern="noise", seed=200, size=(50, 37), to=(28, 28), filter=name, gray=True)
        yield dict(case, resize="stretch")
        yield dict(case, resize="crop_to_aspect")


def write_resizes():
    cases, u8, f32 = [], bytearray(), bytearray()
    for case in resize_cases():
        case.setdefault("gray", False)
        out = resize(source(case["pattern"], *case["size"], case["seed"]), case)
        sink = f32 if out.dtype == np.float32 else u8
        case["offset"] = len(sink)
        sink += out.astype(out.dtype.newbyteorder("<")).tobytes()
        case["bytes"] = len(sink) - case["offset"]
        cases.append(case)
    # Large reductions and enlargements, as a checksum only: every byte must agree.
    large = [
        ((1201, 907), (254, 254), "stretch", PILLOW),
        ((211, 157), (600, 450), "stretch", PILLOW),
        ((640, 481), (224, 224), "fit", ["pillow_lanczos"]),
        ((451, 600), (224, 224), "fit", ["pillow_lanczos"]),
        ((2000, 37), (224, 224), "fit", ["pillow_lanczos"]),
    ]
    for n, (size, to, mode, names) in enumerate(large):
        for name in names:
            case = dict(pattern="smooth", seed=300 + n, size=size, to=to, filter=name)
            case |= dict(resize=mode, gray=False)
            out = resize(source(case["pattern"], *size, case["seed"]), case)
            cases.append(dict(case, crc32=zlib.crc32(out.tobytes())))
    with open(os.path.join(OUT, "resize.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
    for name, content in [("resize_u8.bin", u8), ("resize_f32.bin", f32)]:
        with open(os.path.join(OUT, name), "wb") as f:
            f.write(content)
    return len(cases)


def save(name, content, expected=True):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(content)
    if expected:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
        with open(os.path.join(OUT, name + ".rgb"), "wb") as f:
            f.write(struct.pack("<II", *image.size) + image.tobytes())


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind, content):
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png(w, h, depth, color, rows, extra=b""):
    """A PNG of raw rows, for formats that Pillow does not write."""
    header = struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + extra
        + png_chunk(b"IDAT", data)
        + png_chunk(b"IEND", b"")
    )


def tiff(kind, count, value, behind=b"", order=">"):
    """An EXIF block with nothing but an orientation, of any type."""
    mark = b"MM\0*" if order == ">" else b"II*\0"
    entry = struct.pack(order + "HHI", 0x0112, kind, count) + value
    return mark + struct.pack(order + "IH", 8, 1) + entry + bytes(4) + behind


def raw_profile(block):
    """ImageMagick's text form of an EXIF block."""
    digits = (b"Exif\0\0" + block).hex()
    lines = [digits[i : i + 72] for i in range(0, len(digits), 72)]
    return "\nexif\n%8d\n%s\n" % (len(digits) // 2, "\n".join(lines))


def write_orientations(tiny):
    """Orientation 6 in the forms that programs write it, and forms that do not count."""
    six = struct.pack(">HH", 6, 0)
    behind = struct.pack(">I", 8 + 2 + 12 + 4)
    short = tiff(3, 1, six)
    for name, block in {
        "long": tiff(4, 1, struct.pack(">I", 6)),
        "long_little": tiff(4, 1, struct.pack("<I", 6), order="<"),
        "sshort": tiff(8, 1, six),
        "slong": tiff(9, 1, struct.pack(">i", 6)),
        "two": tiff(3, 2, struct.pack(">HH", 6, 3)),
        "rational": tiff(5, 1, behind, struct.pack(">II", 6, 1)),
        "float": tiff(11, 1, struct.pack(">f", 6)),
        "byte": tiff(1, 1, b"\6\0\0\0"),
        "nine": tiff(3, 1, struct.pack(">HH", 9, 0)),
        "outside": tiff(3, 9, struct.pack(">I", 4000)),
    }.items():
        save(f"exif_{name}.jpg", encode(tiny, "JPEG", quality=90, exif=b"Exif\0\0" + block))
    attribute = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6"/></x:xmpmeta>'
    element = b"<x:xmpmeta><tiff:Orientation>8</tiff:Orientation></x:xmpmeta>"
    save("xmp.jpg", encode(tiny, "JPEG", quality=90, xmp=attribute))
    save("xmp_element.jpg", encode(tiny, "JPEG", quality=90, xmp=element))
    upright = b"Exif\0\0" + tiff(3, 1, struct.pack(">HH", 1, 0))
    save("xmp_beside_exif.jpg", encode(tiny, "JPEG", quality=90, xmp=attribute, exif=upright))
    save("xmp.webp", encode(tiny, "WEBP", lossless=True, xmp=attribute))

    plain = encode(tiny, "PNG")
    profile = raw_profile(short).encode()
    key, adobe = b"Raw profile type exif\0", b"XML:com.adobe.xmp\0"
    front, back = 33, len(plain) - 12  # behind IHDR, before IEND
    itxt = lambda flag, text: bytes([flag, 0]) + b"\0\0" + text
    for name, at, chunk in [
        ("exif_end.png", back, png_chunk(b"eXIf", short)),
        ("raw_text.png", front, png_chunk(b"tEXt", key + profile)),
        ("raw_ztxt.png", front, png_chunk(b"zTXt", key + b"\0" + zlib.compress(profile))),
        ("raw_ztxt_end.png", back, png_chunk(b"zTXt", key + b"\0" + zlib.compress(profile))),
        ("raw_itxt.png", front, png_chunk(b"iTXt", key + itxt(0, profile))),
        ("raw_itxt_compressed.png", front, png_chunk(b"iTXt", key + itxt(1, zlib.compress(profile)))),
        ("xmp.png", front, png_chunk(b"iTXt", adobe + itxt(0, attribute))),
        ("xmp_end.png", back, png_chunk(b"iTXt", adobe + itxt(1, zlib.compress(element)))),
    ]:
        save(name, plain[:at] + chunk + plain[at:])


def bmp_16(masks, w=65, h=3, top_down=False, v4=False):
    """A bitmap of 16 bits a pixel with every level of every channel; without masks it is 5-5-5."""
    rows = [
        b"".join(struct.pack("<H", (x * 1021 + y * 0x0421 * x) & 0xFFFF) for x in range(w)) + bytes(w * 2 % 4)
        for y in range(h)
    ]
    fields = struct.pack("<III", *masks) if masks else b""
    extra = (fields or bytes(12)) + bytes(108 - 40 - 12) if v4 else b""
    size = 108 if v4 else 40
    info = struct.pack(
        "<IiiHHIIiiII", size, w, -h if top_down else h, 1, 16, 3 if masks else 0, 0, 0, 0, 0, 0
    )
    head = info + (extra if v4 else fields)
    data = b"".join(rows)
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(data), 0, 0, 14 + len(head)) + head + data


def write_images():
    photo = Image.fromarray(source("smooth", 53, 37, 1))
    tiny = Image.fromarray(source("smooth", 21, 14, 2))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(f"exif_{orientation}.jpg", encode(tiny, "JPEG", quality=90, exif=exif))
    exif = Image.Exif()
    exif[0x0112] = 6
    save("exif_6.png", encode(tiny, "PNG", exif=exif))
    save("exif_6.webp", encode(tiny, "WEBP", lossless=True, exif=exif))
    write_orientations(tiny)
    five, six = (0x7C00, 0x03E0, 0x001F), (0xF800, 0x07E0, 0x001F)
    save("rgb_555.bmp", bmp_16(five))
    save("rgb_565.bmp", bmp_16(six))
    save("rgb_16_bit.bmp", bmp_16(None))
    save("rgb_565_top_down.bmp", bmp_16(six, top_down=True))
    save("rgb_565_v4.bmp", bmp_16(six, v4=True))
    for name, options in {
        "444": dict(subsampling="4:4:4"),
        "422": dict(subsampling="4:2:2"),
        "420": dict(subsampling="4:2:0"),
        "progressive_420": dict(subsampling="4:2:0", progressive=True),
        "progressive_444": dict(subsampling="4:4:4", progressive=True),
        "restart": dict(restart_marker_blocks=3),
        "quality_5": dict(quality=5),
        "quality_100": dict(quality=100, subsampling="4:2:0"),
        "rgb": dict(keep_rgb=True),
    }.items():
        save(f"jpeg_{name}.jpg", encode(photo, "JPEG", **{"quality": 75, **options}))
    # Samplings that Pillow does not write: the luma factors of a file with as many blocks in
    # each MCU, and as many MCUs, are rewritten. The picture is shuffled and as good a test.
    square = Image.fromarray(source("smooth", 32, 32, 9))
    for name, pillows, luma in [
        ("440", "4:2:2", 0x12),
        ("411", "4:2:0", 0x41),
        ("1x4", "4:2:0", 0x14),
    ]:
        content = bytearray(encode(square, "JPEG", quality=75, subsampling=pillows))
        frame = content.index(b"\xff\xc0")
        content[frame + 11] = luma
        save(f"jpeg_{name}.jpg", bytes(content))
    for w, h in [(1, 1), (2, 2), (3, 1), (1, 17), (8, 8), (16, 16), (17, 33), (5, 40)]:
        image = Image.fromarray(source("noise", w, h, 3))
        save(f"jpeg_{w}x{h}.jpg", encode(image, "JPEG", quality=80))
    noise = Image.fromarray(source("noise", 40, 24, 4))
    save("jpeg_noise.jpg", encode(noise, "JPEG", quality=95))
    save("jpeg_noise_progressive.jpg", encode(noise, "JPEG", quality=95, progressive=True))
    save("jpeg_gray.jpg", encode(photo.convert("L"), "JPEG"))
    save("jpeg_gray_progressive.jpg", encode(photo.convert("L"), "JPEG", progressive=True))
    cmyk = Image.merge("CMYK", [Image.fromarray(source("smooth", 30, 20, s)[..., 0]) for s in range(4)])
    save("jpeg_cmyk.jpg", encode(cmyk, "JPEG", quality=90))
    ycck = encode(cmyk, "JPEG", quality=90)
    # The same data read as YCCK: the Adobe marker's transform is 2.
    at = ycck.index(b"Adobe") + 11
    save("jpeg_ycck.jpg", ycck[:at] + b"\x02" + ycck[at + 1 :])

    rgba = np.dstack([source("smooth", 19, 13, 5), source("noise", 19, 13, 6)[..., 0]])
    save("rgba.png", encode(Image.fromarray(rgba), "PNG"))
    save("rgba.webp", encode(Image.fromarray(rgba), "WEBP", lossless=True, exact=True))
    save("la.png", encode(Image.merge("LA", [Image.fromarray(rgba[..., i].copy()) for i in (0, 3)]), "PNG"))
    save("rgb.png", encode(photo, "PNG"))
    save("gray.png", encode(photo.convert("L"), "PNG"))
    save("one_bit.png", encode(photo.convert("1"), "PNG"))
    save("palette.png", encode(photo.quantize(19), "PNG"))
    save("palette_transparent.png", encode(photo.quantize(5), "PNG", transparency=2))
    rows = [bytes((x * 37 + y * 11) % 256 for x in range(5)) for y in range(6)]
    save("gray_2_bit.png", png(20, 6, 2, 0, rows))
    save("gray_4_bit.png", png(10, 6, 4, 0, rows))
    words = lambda n: [source("noise", n, 7, 7 + y)[0].tobytes()[: 2 * n] for y in range(7)]
    save("rgb_16_bit.png", png(5, 7, 16, 2, words(15)))
    save("rgba_16_bit.png", png(5, 7, 16, 6, words(20)))
    save("la_16_bit.png", png(5, 7, 16, 4, words(10)))
    deep = png(5, 7, 16, 0, words(5))
    save("gray_16_bit.png", deep, expected=False)
    pixels = np.asarray(tf.io.decode_png(deep, channels=3))
    with open(os.path.join(OUT, "gray_16_bit.png.rgb"), "wb") as f:
        f.write(struct.pack("<II", 5, 7) + pixels.tobytes())
    save("rgb.bmp", encode(photo, "BMP"))
    save("palette.bmp", encode(photo.quantize(9), "BMP"))
    save("one_bit.bmp", encode(photo.convert("1"), "BMP"))
    save("lossless.webp", encode(photo, "WEBP", lossless=True))
    save("lossy.webp", encode(photo, "WEBP", quality=80))

    # Files that must be refused.
    jpeg, plain = encode(photo, "JPEG"), encode(photo, "PNG")
    bad = {
        "bad_empty.jpg": b"",
        "bad_truncated.jpg": jpeg[: len(jpeg) * 2 // 3],
        "bad_truncated_header.jpg": jpeg[:100],
        "bad_truncated.png": plain[: len(plain) // 2],
        "bad_truncated.webp": encode(photo, "WEBP")[:200],
        "bad_truncated.bmp": encode(photo, "BMP")[:500],
        "bad_checksum.png": plain[:60] + bytes([plain[60] ^ 255]) + plain[61:],
        "bad_bomb.png": png(100_000, 100_000, 8, 2, []),
        "bad_text.jpg": b"This is not a photo.\n",
        "bad_page.jpg": b"<!DOCTYPE html><html><body>404</body></html>",
        "bad_gif.jpg": encode(tiny, "GIF"),
    }
    for name, content in bad.items():
        save(name, content, expected=False)


def main():
    if int(PIL.__version__.split(".")[0]) >= 13:
        raise SystemExit("Pillow 13 resizes tall pictures in another order: pip install 'pillow<13'")
    os.makedirs(OUT, exist_ok=True)
    for name in os.listdir(OUT):
        os.remove(os.path.join(OUT, name))
    n = write_resizes()
    write_images()
    versions = {
        "script": "scripts/golden_preprocess.py",
        "pillow": PIL.__version__,
        "libjpeg_turbo": features.version("libjpeg_turbo"),
        "libwebp": features.version("webp"),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }
    with open(os.path.join(OUT, "versions.json"), "w") as f:
        f.write(json.dumps(versions, indent=1) + "\n")
    total = sum(os.path.getsize(os.path.join(OUT, f)) for f in os.listdir(OUT))
    print(f"{n} resizes, {len(os.listdir(OUT))} files, {total} bytes")


if __name__ == "__main__":
    main()
