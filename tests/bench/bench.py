"""Runs the lines of the benchmark, each in its own directory: bench.py [LINE]..."""
import os
import signal
import sys
import time

import figures
import get
import images
import jpeg
import listing
import memory
import put
import ready

LINES = {"put": put.run, "get": get.run, "ready": ready.run, "list": listing.run,
         "memory": memory.run, "jpeg": jpeg.run, "images": images.run}
USUAL = [name for name in LINES if name != "images"]  # that one brings peers and is a target alone


def main():
    wanted = sys.argv[1:] or USUAL
    unknown = [name for name in wanted if name not in LINES]
    if unknown:
        print("bench: no such line: %s (there are %s)" % (" ".join(unknown), " ".join(LINES)))
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started ends too
    failed = []
    began = time.monotonic()
    figures.surroundings()
    for name in wanted:
        os.mkdir(name)
        os.chdir(name)
        try:
            LINES[name]()
        except figures.Unmeasured as e:
            failed.append(name)
            print("%s: NOT MEASURED: %s" % (name, e), flush=True)
        finally:
            figures.end_all()
            os.chdir("..")
    figures.summary()
    print("took %d s" % (time.monotonic() - began))
    return 1 if failed else 0


sys.exit(main())
