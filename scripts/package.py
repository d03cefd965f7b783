# ruff: noqa: INP001 (a script; the folder is no package)
"""Pack the plugin: dist/<name>-<version>.difypkg, byte for byte the same from the same files.

Leaves out what .difyignore says, as Dify's packager reads it, and checks what Dify would only refuse at installation,
at the start or in its marketplace. ``python -m scripts.package [PLUGIN_DIR [DIST_DIR]]``
"""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

from scripts.checks import declarations, files, manifest

#: The earliest time a zip archive can hold.
TIMESTAMP = (1980, 1, 1, 0, 0, 0)


class PackageError(Exception):
    """The plugin cannot be packed; the text says why, one reason a line."""


def main() -> None:
    plugin = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    dist = Path(sys.argv[2]) if len(sys.argv) > 2 else plugin / "dist"  # noqa: PLR2004 (the second argument)
    try:
        package = pack(plugin, dist)
    except PackageError as error:
        sys.exit(str(error))
    names = packed_files(plugin)
    for note in (*files.advice(plugin, names), *uncommitted(plugin, names)):
        sys.stdout.write(f"Note: {note}.\n")
    data = package.read_bytes()
    sys.stdout.write(f"{package} ({len(data) / 1024:.0f} KiB, sha256 {hashlib.sha256(data).hexdigest()})\n")


def pack(plugin: Path, dist: Path) -> Path:
    """Write the package into ``dist`` and return its path."""
    names = packed_files(plugin)
    declared = declarations.load(plugin, "manifest.yaml")
    problems = [
        *manifest.problems(declared),
        *declarations.problems(plugin, declared),
        *manifest.permission_problems(declared, declarations.model_calls(plugin, names)),
        *files.problems(plugin, names, declared),
    ]
    if problems:
        raise PackageError("\n".join(problems))

    dist.mkdir(parents=True, exist_ok=True)
    package = dist / f"{declared['name']}-{declared['version']}.difypkg"
    # Stored, not deflated: each build of zlib makes bytes of its own.
    with zipfile.ZipFile(package, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            entry = zipfile.ZipInfo(name, TIMESTAMP)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, on whatever system it is packed
            archive.writestr(entry, (plugin / name).read_bytes())
    return package


def packed_files(plugin: Path) -> list[str]:
    """Return the names of the files that .difyignore leaves, sorted, with forward slashes.

    Dify's packager drops what any line matches; "!" lines never bring anything back, so they are not read.
    """
    lines = (plugin / ".difyignore").read_text(encoding="utf-8").splitlines()
    ignored = GitIgnoreSpec.from_lines(line for line in lines if not line.startswith("!"))
    return sorted(_walk(plugin, plugin, ignored))


def uncommitted(plugin: Path, names: list[str]) -> Iterator[str]:
    """Say which packed files are not as the last commit has them, so that nobody else gets the same package."""
    git = shutil.which("git")
    if git is None or not (plugin / ".git").exists():
        return
    status = subprocess.run(  # noqa: S603 (git, and a folder of the caller's)
        [git, "-C", str(plugin), "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames"],
        check=False,
        capture_output=True,
        text=True,
    )
    changed = {entry[3:] for entry in status.stdout.split("\0") if entry}
    if differing := sorted(changed.intersection(names)):
        rest = f" and {len(differing) - 3} more" if len(differing) > 3 else ""  # noqa: PLR2004 (a line's worth)
        yield f"not as committed: {', '.join(differing[:3])}{rest}"


def _walk(root: Path, folder: Path, ignored: GitIgnoreSpec) -> Iterator[str]:
    for path in folder.iterdir():
        name = path.relative_to(root).as_posix()
        if path.is_dir():
            if not ignored.match_file(f"{name}/"):
                yield from _walk(root, path, ignored)
        elif not ignored.match_file(name):
            yield name


if __name__ == "__main__":
    main()
