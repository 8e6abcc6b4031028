"""The browser's files of npm packages go into the wheel, if ``node_modules`` is there when it is built."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MODULES = Path("node_modules")
#: The files of each package that the farm's pages serve, and its licence.
FILES = {
    "socket.io-client": ("package.json", "LICENSE", "dist/*.min.js", "dist/socket.io.js", "dist/*.map"),
    "socket.io-parser": ("package.json",),
    "@socket.io/admin-ui": ("package.json", "LICENSE", "ui/dist/**/*"),
    "@mdi/font": ("package.json", "LICENSE", "css/*.min.css", "fonts/*.woff2"),
    "uplot": ("package.json", "LICENSE", "dist/uPlot.esm.js", "dist/uPlot.min.css"),
}


class BuildWithPackages(build_py):
    """The stock command, which then copies the browser's files."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "webfarm/web/packages")
        shutil.rmtree(target, ignore_errors=True)
        for name, patterns in FILES.items():
            for path in (path for pattern in patterns for path in (MODULES / name).glob(pattern) if path.is_file()):
                copy = target / path.relative_to(MODULES)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)


setup(cmdclass={"build_py": BuildWithPackages})
