"""Programs of others that the image figures are compared with. What is missing is installed when
that is possible; what is not is told once and left out."""
import os
import shutil
import subprocess

import figures

SHARP = "sharp@0.35.5"
SHARP_DIR = os.path.join(figures.TOP, "build", "npm-sharp")
INSTALL_SECONDS = 300
ERROR_BYTES = 200


def left_out(name, why):
    print("  (%s is left out: %s)" % (name, " ".join(why.split())[:ERROR_BYTES]), flush=True)


def run(args):
    """Output of an installer when it failed, else None."""
    try:
        r = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                           stderr=subprocess.STDOUT, timeout=INSTALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as e:
        return str(e)
    return None if r.returncode == 0 else "code %d: %s" % (r.returncode, r.stdout[-ERROR_BYTES:])


def debian(package, *programs):
    """Path of the first of the programs, which belong to a Debian package; None without."""
    def find():
        found = [path for path in ("/usr/bin/" + program for program in programs)
                 if os.access(path, os.X_OK)]
        return found[0] if found else None
    why = None if find() else run([os.path.join(figures.TOP, "tools", "deps.sh"), "peer", package])
    if find() is None:
        left_out(programs[0], why or "not in package " + package)
    return find()


def sharp():
    """A command that answers the requests of images_sharp.cjs, with its environment; None without."""
    mark = os.path.join(SHARP_DIR, "installed")
    if not shutil.which("node") or not shutil.which("npm"):
        left_out("sharp", "node and npm are not installed")
        return None
    if not os.path.exists(mark) or open(mark).read() != SHARP:
        os.makedirs(SHARP_DIR, exist_ok=True)
        why = run(["npm", "install", "--prefix", SHARP_DIR, "--no-audit", "--no-fund", "--no-save",
                   "--ignore-scripts", "--fetch-retries", "1", SHARP])
        if why:
            left_out("sharp", why)
            return None
        with open(mark, "w") as f:
            f.write(SHARP)
    script = os.path.join(figures.TOP, "tests", "bench", "images_sharp.cjs")
    return ["node", script], dict(os.environ, NODE_PATH=os.path.join(SHARP_DIR, "node_modules"))
