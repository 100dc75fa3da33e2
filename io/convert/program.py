"""Code that the converters share: help, messages on stderr, and exit codes (0 done, 1 failed, 2 wrong usage)."""
import argparse
import importlib.util
import os
import secrets
import sys


class Refused(Exception):
    """The reason why a file is not converted; exit code 1."""

    code = 1


class Misused(Refused):
    """A wrong option or configuration: exit code 2."""

    code = 2


def need(*modules):
    """Say which modules are missing, all at once, before they are imported."""
    missing = [module for module in modules if not importlib.util.find_spec(module)]
    if missing:
        sys.exit(f"{sys.executable} has no {', '.join(missing)}; on Debian: apt-get install "
                 f"{' '.join('python3-' + module for module in missing)}, and run it with /usr/bin/python3")


def parser(description, example):
    return argparse.ArgumentParser(description=description, epilog=example, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)


def run(work, arguments):
    """Do the work. If it fails, print the reason and exit."""
    name = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    try:
        work(arguments)
    except Refused as e:
        sys.exit(_say(name, e, e.code))
    except (OSError, MemoryError) as e:
        sys.exit(_say(name, e if str(e) else "out of memory", 1))


def _say(name, what, code):
    print(f"{name}: {what}", file=sys.stderr)
    return code


def listed(lines, most=20):
    """Join lines to a text for a message: the first `most` of them, and how many more there are."""
    more = [] if len(lines) <= most else [f"and {len(lines) - most} more"]
    return "".join(f"\n  {line}" for line in list(lines)[:most] + more)


def refuse_existing(path):
    """Refuse an output that is there already: it may be the input, or a checkpoint of a run."""
    if os.path.lexists(path):
        raise Misused(f"{path} exists: it is not replaced; give another name, or remove it first")


def publish(path, write):
    """Call write(part), which fills a file beside `path`, and rename it to `path` when it is whole and on disk."""
    refuse_existing(path)
    part = f"{path}.{secrets.token_hex(4)}.part"
    try:
        write(part)
        _sync(part)
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.unlink(part)
        raise
    _sync(os.path.dirname(path) or ".")


def _sync(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
