#!/usr/bin/env python3
"""Recomputes with Pillow the pictures that test_picture.c wrote, and compares bytes: pictures.py FILE

FILE has records one after another: op i32, height i32, width i32, box 4 x i32 (left, top, right, bottom), out height
i32, out width i32, argument f64, the picture, the result. op is a vj_picture_op, or 100 for a bilinear and 101 for a
bicubic resize. The exit code is 77 if there is no Pillow.
"""
import struct
import sys

try:
    import PIL
    from PIL import Image, ImageEnhance, ImageOps
except ImportError:
    sys.exit(77)

FILL = (124, 116, 104)
BICUBIC, BILINEAR, AFFINE = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Transform.AFFINE


def affine(p, m):
    return p.transform(p.size, AFFINE, m, resample=BICUBIC, fillcolor=FILL)


def solarize_add(p, a):
    return p.point([min(255, v + a) if v < 128 else v for v in range(256)] * 3)


OPS = [
    lambda p, a: ImageOps.autocontrast(p),
    lambda p, a: ImageOps.equalize(p),
    lambda p, a: ImageOps.invert(p),
    lambda p, a: p.rotate(a, resample=BICUBIC, fillcolor=FILL),
    lambda p, a: ImageOps.posterize(p, int(a)),
    lambda p, a: ImageOps.solarize(p, int(a)),
    lambda p, a: solarize_add(p, int(a)),
    lambda p, a: ImageEnhance.Color(p).enhance(a),
    lambda p, a: ImageEnhance.Contrast(p).enhance(a),
    lambda p, a: ImageEnhance.Brightness(p).enhance(a),
    lambda p, a: ImageEnhance.Sharpness(p).enhance(a),
    lambda p, a: affine(p, (1, a, 0, 0, 1, 0)),
    lambda p, a: affine(p, (1, 0, 0, a, 1, 0)),
    lambda p, a: affine(p, (1, 0, a * p.width, 0, 1, 0)),
    lambda p, a: affine(p, (1, 0, 0, 0, 1, a * p.height)),
]


def expected(op, picture, box, size, argument):
    if op < 100:
        return OPS[op](picture, argument)
    return picture.crop(box).resize(size, BICUBIC if op == 101 else BILINEAR)


def allowed(op, box, size):
    """Return the largest allowed difference of a byte. Versions of Pillow resize the two axes in different orders,
    which changes the rounding between them."""
    both = op >= 100 and size[0] != box[2] - box[0] and size[1] != box[3] - box[1]
    return 1 if both and int(PIL.__version__.split(".")[0]) >= 10 else 0


def main():
    data, at, records, different = open(sys.argv[1], "rb").read(), 0, 0, 0
    head = struct.Struct("<9id")
    while at < len(data):
        op, height, width, left, top, right, bottom, rows, columns, argument = head.unpack_from(data, at)
        at += head.size
        picture = Image.frombytes("RGB", (width, height), data[at : at + 3 * width * height])
        at += 3 * width * height
        got = data[at : at + 3 * rows * columns]
        at += 3 * rows * columns
        want = expected(op, picture, (left, top, right, bottom), (columns, rows), argument).tobytes()
        records += 1
        worst = max(abs(g - w) for g, w in zip(got, want))
        if worst > allowed(op, (left, top, right, bottom), (columns, rows)):
            different += 1
            print(f"op {op}, {width} x {height}, box {left},{top},{right},{bottom} to {columns} x {rows}, argument {argument}: "
                  f"{sum(g != w for g, w in zip(got, want))} bytes of {len(want)} differ, by up to {worst}")
    print(f"{records} pictures, {different} different")
    sys.exit(1 if different or not records else 0)


main()
