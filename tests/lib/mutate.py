"""Damaged pictures: small pictures of every kind that is read, and what a seeded random number makes
of them. Equal numbers make equal bytes."""
import io
import random
import struct

# What parsers stumble over, at every width and in both byte orders.
NUMBERS = (0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff)
WIDTHS = {1: "B", 2: "H", 4: "I"}
EDITS_MAX = 6
SIDE = 96


def drawn(mode):
    from PIL import Image
    specks = Image.frombytes("RGB", (16, 12), random.Random(1).randbytes(16 * 12 * 3))
    picture = specks.resize((SIDE, SIDE * 3 // 4), Image.BICUBIC)
    picture.paste((200, 40, 30), (10, 10, 50, 40))
    return picture.convert(mode)


def saved(mode, kind, **how):
    out = io.BytesIO()
    drawn(mode).save(out, kind, **how)
    return out.getvalue()


def made():
    """name -> bytes, each small, so that many can be tried."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    tiny = ('<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="40" '
            'height="40"><defs><linearGradient id="g"><stop stop-color="red"/></linearGradient></defs>'
            '<rect id="r" width="20" height="40" fill="url(#g)"/><use xlink:href="#r" x="20"/>'
            '<text x="2" y="20">hello</text></svg>')
    return {
        "baseline.jpg": saved("RGB", "JPEG", exif=exif), "progressive.jpg": saved("RGB", "JPEG", progressive=True),
        "cmyk.jpg": saved("CMYK", "JPEG"), "grey.jpg": saved("L", "JPEG"),
        "rgb.png": saved("RGB", "PNG"), "alpha.png": saved("RGBA", "PNG"), "palette.png": saved("P", "PNG"),
        "bits.png": saved("1", "PNG"), "deep.png": saved("I", "PNG"),
        "lossy.webp": saved("RGB", "WEBP"), "lossless.webp": saved("RGBA", "WEBP", lossless=True),
        "still.gif": saved("P", "GIF"), "plain.tif": saved("RGB", "TIFF"),
        "lzw.tif": saved("RGB", "TIFF", compression="tiff_lzw"),
        "deflate.tif": saved("L", "TIFF", compression="tiff_adobe_deflate"),
        "fax.tif": saved("1", "TIFF", compression="group4"),
        "drawing.svg": tiny.encode(),
    }


class Mutator:
    def __init__(self, seeds, words, seed):
        """`seeds`: name -> bytes; `words`: bytes to be written into pictures here and there."""
        self.seeds, self.words, self.seed = seeds, words, seed
        self.names = sorted(seeds)
        self.edits = (self.flip, self.number, self.word, self.cut, self.drop, self.repeat, self.splice, self.noise)

    def make(self, i):
        """(name of what it was, bytes) of number i."""
        r = random.Random("%s/%d" % (self.seed, i))
        name = self.names[i % len(self.names)]
        data = bytearray(self.seeds[name])
        for _ in range(r.randint(1, EDITS_MAX)):
            if data:
                r.choice(self.edits)(r, data)
        return name, bytes(data) or b"\0"

    @staticmethod
    def place(r, data):
        """Near the beginning as often as anywhere: that is where the headers are."""
        return r.randrange(min(len(data), 256) if r.random() < 0.5 else len(data))

    def flip(self, r, data):
        data[self.place(r, data)] ^= 1 << r.randrange(8)

    def number(self, r, data):
        width, at = r.choice(list(WIDTHS)), self.place(r, data)
        value = r.choice(NUMBERS) & ((1 << 8 * width) - 1)
        data[at:at + width] = struct.pack(r.choice("<>") + WIDTHS[width], value)

    def word(self, r, data):
        at, word = self.place(r, data), r.choice(self.words)
        data[at:at + (len(word) if r.random() < 0.5 else 0)] = word

    def cut(self, r, data):
        del data[self.place(r, data) + 1:]

    def drop(self, r, data):
        at = self.place(r, data)
        del data[at:at + r.randint(1, 64)]

    def repeat(self, r, data):
        at, n = self.place(r, data), r.randint(1, 64)
        data[at:at] = data[at:at + n] * r.randint(1, 8)

    def splice(self, r, data):
        other = self.seeds[r.choice(self.names)]
        at = self.place(r, data)
        data[at:] = other[min(at, len(other)):]

    def noise(self, r, data):
        at, n = self.place(r, data), r.randint(1, 32)
        data[at:at + n] = r.randbytes(n)
