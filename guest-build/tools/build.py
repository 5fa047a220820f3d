"""Makes a component of a Python plugin. Run by hookmill-guest-build with the project's own
virtual environment:

    PROJECT/.venv/bin/python build.py PROJECT SDK OUT

Says on one line of stderr what is wrong with the plugin; exit code 2 then.
"""

import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
import traceback
from pathlib import Path

try:
    import tomllib
except ImportError:
    # Python before 3.11; pip is in every virtual environment.
    from pip._vendor import tomli as tomllib

PROJECT, SDK, OUT = (Path(argument).resolve() for argument in sys.argv[1:4])
BUILD = PROJECT / ".hookmill" / "build"
STAGED = BUILD / "app"
ENTRY = """\
import hookmill._world

hookmill._world.install()
import plugin
from hookmill._define import defined
from hookmill._guest import guest

WitWorld = guest(defined[0], {name!r}, {version!r}, {summary!r})
"""


def refuse(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def project_table():
    path = PROJECT / "pyproject.toml"
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        try:
            return tomllib.load(file).get("project", {})
        except tomllib.TOMLDecodeError as error:
            refuse(f"{path}: {error}")


def stage():
    """Copies the sources: beside the project's own environment the tool would look into that."""
    shutil.rmtree(STAGED, ignore_errors=True)
    ignored = shutil.ignore_patterns(".*", "__pycache__", "tests", "*.pyc")
    shutil.copytree(PROJECT, STAGED, ignore=ignored)


def look():
    """Imports the plugin here first: a mistake is told in a second instead of half a minute."""
    sys.path[:0] = [str(STAGED), str(SDK)]
    sys.dont_write_bytecode = True
    try:
        importlib.import_module("plugin")
    except Exception:
        traceback.print_exc()
        refuse("the plugin cannot be imported; Python's traceback is above")
    defined = importlib.import_module("hookmill._define").defined
    if len(defined) != 1:
        refuse(
            f"plugin.py has {len(defined)} plugins, expected one function with @filter() or "
            "@transform()"
        )
    return defined[0].kind


table = project_table()
stage()
kind = look()
(STAGED / "hookmill_app.py").write_text(
    ENTRY.format(
        name=table.get("name", ""),
        version=table.get("version", "0.1.0"),
        summary=table.get("description", ""),
    )
)
tool = Path(sysconfig.get_path("scripts")) / "componentize-py"
command = [tool, "-q", "-d", SDK / "wit", "-w", kind, "componentize", "--stub-wasi"]
for path in (STAGED, SDK, Path(sysconfig.get_path("purelib"))):
    command += ["-p", path]
environment = {**os.environ, "PYTHONHASHSEED": "0"}
environment.pop("VIRTUAL_ENV", None)
done = subprocess.run([*command, "hookmill_app", "-o", OUT], env=environment)
if done.returncode != 0:
    refuse("componentize-py could not make a component of it; its words are above")
