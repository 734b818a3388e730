"""Listings while a bucket grows a hundredfold: their cost must follow what is returned.

The keys are spread over 256 folders: a page is 1,000 keys from a random place, the folders are the
256 common prefixes of all keys. Answers are read whole; the parsing of XML is the client's.
"""
import http.client
import os
import random
import time

import figures

FOLDERS = 256
KEYS_MAX = int(os.environ.get("BENCH_LIST_KEYS", "1000000"))
CLIENTS = 64
LOOKS = 60
GROWTH_BAR = 2.0  # the tree of a hundred times the keys is one page deeper
PAGE_BAR_MS = 10
FOLDERS_BAR_MS = 10


def grow(s, first, last):
    """Keys number first..last of every folder."""
    for folder in range(FOLDERS):
        figures.program("load", "-p", s.port, "-c", CLIENTS, "-d", 60, "-n", last - first, "-s", 1,
                        "/list/%02x/%d-" % (folder, first),
                        env={"AWS_ACCESS_KEY_ID": s.key, "AWS_SECRET_ACCESS_KEY": s.secret})


def ask(s, connection, query):
    """Milliseconds to the answer's last byte, and the answer."""
    path = "/list?list-type=2&" + query
    headers = s.signed_headers("GET", path)
    began = time.perf_counter()
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    took = (time.perf_counter() - began) * 1000
    if answer.status != 200:
        raise figures.Unmeasured("a listing was answered %d" % answer.status)
    return took, body


def look(s, per_folder):
    """Medians of a page of 1,000 keys and of the 256 folders."""
    connection = http.client.HTTPConnection(s.host, s.port, timeout=60)
    rng = random.Random(1)
    last = FOLDERS - 1000 // per_folder - 1  # a whole page still follows
    pages, folders = [], []
    for _ in range(LOOKS):
        took, body = ask(s, connection, "start-after=%02x%%2F" % rng.randrange(last))
        pages.append(took)
        if body.count(b"<Key>") != 1000:
            raise figures.Unmeasured("a page has %d keys" % body.count(b"<Key>"))
        took, body = ask(s, connection, "delimiter=%2F")
        folders.append(took)
        if body.count(b"<CommonPrefixes>") != FOLDERS:
            raise figures.Unmeasured("%d folders" % body.count(b"<CommonPrefixes>"))
    connection.close()
    return figures.median(pages), figures.median(folders)


def run():
    s = figures.server(data="bare", args=["--bare"])
    s.s3().create_bucket(Bucket="list")
    sizes = [KEYS_MAX // 100, KEYS_MAX // 10, KEYS_MAX]
    seen, have = [], 0
    for size in sizes:
        grow(s, have, size // FOLDERS)
        have = size // FOLDERS
        seen.append(look(s, have))
        figures.line("  of %d keys: a page of 1,000, the 256 folders" % (have * FOLDERS),
                     "%.1f ms" % seen[-1][0], "%.1f ms" % seen[-1][1])
    page, folders = seen[-1]
    figures.within("1,000 of %d keys" % (have * FOLDERS), page, PAGE_BAR_MS)
    figures.within("256 common prefixes of %d keys" % (have * FOLDERS), folders, FOLDERS_BAR_MS)
    figures.line("  growth of both from a hundredth", "%.2fx" % (page / seen[0][0]),
                 "%.2fx" % (folders / seen[0][1]), bar="<= %gx" % GROWTH_BAR,
                 holds=max(page / seen[0][0], folders / seen[0][1]) <= GROWTH_BAR)
