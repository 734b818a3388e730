"""Files that claim or cause more than they weigh, made here: name -> (bytes, how the verdict on their
thumbnails begins). What is not refused costs no more than an honest file.
"""
import io
import struct
import zlib

MB = 1 << 20


# ---- PNG ----

def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, before=b"", rows=None, depth=8, colour=2, interlace=0):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    pixels = (b"\0" + b"\x40\x80\xc0" * width) * height if rows is None else rows
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + before + \
        png_chunk(b"IDAT", zlib.compress(pixels, 9)) + png_chunk(b"IEND", b"")


def zeros(megabytes):
    """So many zeros, deflated: a thousandth of it."""
    c = zlib.compressobj(9)
    return b"".join(c.compress(bytes(MB)) for _ in range(megabytes)) + c.flush()


def claims_ten_gigapixels():
    """661 bytes that say 100000 x 100000."""
    small = png(100000, 100000, rows=b"")
    return png(100000, 100000, png_chunk(b"teXt", bytes(661 - len(small) - 12)), rows=b"")


# ---- JPEG ----

def jpeg(width=64, height=64, **options):
    from PIL import Image
    out = io.BytesIO()
    picture = Image.new("RGB", (width, height), (200, 60, 20))
    picture.paste((20, 60, 200), (0, 0, width // 2, height // 2))
    picture.save(out, "JPEG", **options)
    return out.getvalue()


def jpeg_scans(times):
    data = jpeg(progressive=True)
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * times + b"\xff\xd9"


def jpeg_size(width, height, **options):
    data = bytearray(jpeg(**options))
    at = next(i for i in range(len(data)) if data[i] == 0xff and data[i + 1] in (0xc0, 0xc2))
    data[at + 5:at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


# ---- GIF ----

def gif(width, height, frames, canvas=None):
    """Frames of one colour; LZW: clear, index 1 for the first pixel, end."""
    w, h = canvas or (width, height)
    frame = b"!\xf9\4\0\1\0\0\0," + struct.pack("<HHHH", 0, 0, width, height) + b"\0\2\2L\1\0"
    return b"GIF89a" + struct.pack("<HH", w, h) + b"\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b";"


# ---- TIFF ----

def ifd(entries, following):
    out = struct.pack("<H", len(entries))
    for tag, kind, count, value in sorted(entries):
        out += struct.pack("<HHII", tag, kind, count, value)
    return out + struct.pack("<I", following)


def tiff_entries(width, height, samples=3, **more):
    tags = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 2),
            273: (4, 1, 8), 277: (3, 1, samples), 278: (4, 1, height), 279: (4, 1, 192)}
    tags.update({int(k[1:]): v for k, v in more.items()})
    return [(tag,) + value for tag, value in tags.items() if value is not None]


def tiff(pages=1, loop=False, width=8, height=8, **more):
    pixels = b"\xc8\x3c\x14" * 64
    at = 8 + len(pixels)
    out = [b"II*\0" + struct.pack("<I", at) + pixels]
    for i in range(pages):
        entries = tiff_entries(width, height, **more)
        size = 2 + 12 * len(entries) + 4
        last = i == pages - 1
        out.append(ifd(entries, (8 + len(pixels) if loop else 0) if last else at + size))
        at += size
    return b"".join(out)


# ---- WebP ----

def riff(kind, data):
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)


def webp_still(width=16, height=16):
    from PIL import Image
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 60, 20)).save(out, "WEBP", lossless=True)
    return out.getvalue()[12:]


def u24(v):
    return struct.pack("<I", v)[:3]


def webp_animation(frames, canvas):
    still = webp_still()
    frame = riff(b"ANMF", u24(0) + u24(0) + u24(15) + u24(15) + u24(10) + b"\0" + still)
    body = b"WEBP" + riff(b"VP8X", b"\2\0\0\0" + u24(canvas[0] - 1) + u24(canvas[1] - 1)) + \
        riff(b"ANIM", bytes(6)) + frame * frames
    return b"RIFF" + struct.pack("<I", len(body)) + body


# ---- SVG ----

def svg_laughs():
    entities = "".join('<!ENTITY l%d "%s">' % (i, "&l%d;" % (i - 1) * 10) for i in range(1, 10))
    return ('<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY l0 "ha">%s]>'
            '<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"><text y="50">&l9;</text>'
            '</svg>' % entities).encode()


def svg_uses():
    groups = "".join('<g id="g%d">%s</g>' % (i, '<use href="#g%d"/>' % (i - 1) * 10)
                     for i in range(1, 10))
    return ('<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99">'
            '<defs><rect id="g0" width="9" height="9"/>%s</defs><use href="#g9"/></svg>' % groups).encode()


def svg_size(width, height):
    return ('<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s">'
            '<rect width="10" height="10"/></svg>' % (width, height)).encode()


def svg_deep():
    return b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'>" + \
        b"<g>" * 200000 + b"</g>" * 200000 + b"</svg>"


def text_bomb(kind, head, megabytes, times=1):
    return png(64, 64, png_chunk(kind, head + zeros(megabytes)) * times)


PIXELS = "failed: pixel budget: "
PAGES = "failed: too many "
TEXT = "failed: too much text: "
BAD = "failed: unreadable: "
FINE = "ready"


def png_bombs():
    return {
        "png-661-bytes": (claims_ten_gigapixels(), PIXELS),
        "png-2g": (png(2**31 - 1, 2**31 - 1, rows=b""), BAD),
        "png-no-pixels": (png(0, 0, rows=b""), BAD),
        "png-ztxt": (text_bomb(b"zTXt", b"Comment\0\0", 400), TEXT),
        "png-itxt": (text_bomb(b"iTXt", b"Comment\0\1\0\0\0", 400), TEXT),
        "png-ztxt-many": (text_bomb(b"zTXt", b"Comment\0\0", 40, 40), TEXT),
        "png-iccp": (text_bomb(b"iCCP", b"Profile\0\0", 400), FINE),
        "png-iccp-50": (text_bomb(b"iCCP", b"Profile\0\0", 50), FINE),
        "png-text-many": (png(64, 64, png_chunk(b"tEXt", b"a\0b") * 100000), FINE),
        "png-idat-too-long": (png(64, 64, rows=bytes(100 * MB)), FINE),
    }


def jpeg_bombs():
    start, rest = jpeg()[:2], jpeg()[2:]
    return {
        "jpeg-scans": (jpeg_scans(2000), PAGES),
        "jpeg-65500": (jpeg_size(65500, 65500), PIXELS),
        "jpeg-65500-progressive": (jpeg_size(65500, 65500, progressive=True), PIXELS),
        "jpeg-7000-progressive": (jpeg_size(7000, 7000, progressive=True), "failed: truncated: "),
        "jpeg-segments": (start + b"\xff\xe1\0\2" * 500000 + rest, PAGES),
        "jpeg-icc": (jpeg(icc_profile=bytes(2 * MB)), FINE),
    }


def paged_bombs():
    return {
        "gif-canvas": (gif(1, 1, 1, canvas=(65535, 65535)), FINE),
        "gif-frame": (gif(65535, 65535, 1, canvas=(2, 2)), PIXELS),
        "gif-frames": (gif(1, 1, 100000), FINE),
        "gif-frames-budget": (gif(1, 1, 5000, canvas=(500, 500)), PIXELS),
        "tiff-pages": (tiff(65000), PAGES),
        "tiff-loop": (tiff(3, loop=True), PAGES),
        "tiff-huge": (tiff(width=2**31 - 1, height=2**31 - 1), BAD),
        "tiff-bands": (tiff(width=5000, height=5000, samples=65535), BAD),
        "tiff-tile": (tiff(t322=(4, 1, 1 << 20), t323=(4, 1, 1 << 20), t324=(4, 1, 8),
                           t325=(4, 1, 192)), BAD),
        "tiff-strip": (tiff(width=50000000, height=1), BAD),
        "tiff-icc": (tiff(t34675=(7, 0x7fffffff, 8)), FINE),
        "webp-canvas": (webp_animation(1, (16384, 16384)), BAD),
        "webp-frames": (webp_animation(100000, (16, 16)), PAGES),
        "webp-frames-budget": (webp_animation(2000, (4000, 4000)), PIXELS),
    }
