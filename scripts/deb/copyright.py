"""Print the file copyright of the Debian package: our licence, and that of every bundled Python package.

python copyright.py SITE-PACKAGES LICENSE
"""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

MAX_LICENCE = 80
"""Characters of a licence's name; some packages put the whole text there."""


def licence_of(package: Distribution) -> str:
    """Return the name of a package's licence, as the package states it."""
    said = package.metadata
    classified = [
        line.rpartition(" :: ")[2] for line in said.get_all("Classifier", []) if line.startswith("License ::")
    ]
    for name in (said.get("License-Expression"), said.get("License"), ", ".join(classified)):
        if name and len(name) <= MAX_LICENCE and "\n" not in name:
            return name
    return "see its files"


def main(site: str, licence: str) -> None:
    """Print the file."""
    packages = sorted(distributions(path=[site]), key=lambda package: package.metadata["Name"].lower())
    print("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/")
    print("Upstream-Name: voiceauthd\n\nFiles: *\nCopyright: the voiceauthd developers\nLicense: Apache-2.0")
    print(" On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.\n")
    print("Comment: The virtual environment contains these Python packages. The text of each licence is in the folder")
    print(" NAME-VERSION.dist-info of the package.")
    for package in packages:
        if package.metadata["Name"] not in {"voiceauthd", "pip"}:
            print(f" {package.metadata['Name']} {package.version}: {licence_of(package)}")
    if "Apache License" not in Path(licence).read_text(encoding="utf-8"):
        sys.exit(f"{licence} is no longer the Apache licence: change scripts/deb/copyright.py")


if __name__ == "__main__":
    main(*sys.argv[1:])
