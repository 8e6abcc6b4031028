"""The browser's files of npm packages go into the wheel, if ``node_modules`` is there when it is built."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MODULES = Path("node_modules")
_LICENSE = ("package.json", "LICENSE", "license.md")
#: The files that the farm's pages serve, by package; of a package inside the client's script only its licence.
FILES = {
    "socket.io-client": (*_LICENSE, "dist/socket.io.js", "dist/socket.io.min.js", "dist/socket.io.esm.min.js"),
    "socket.io-parser": _LICENSE,  # webfarm doctor reads its version
    "engine.io-client": _LICENSE,
    "engine.io-parser": _LICENSE,
    "@socket.io/component-emitter": _LICENSE,
    "debug": _LICENSE,
    "ms": _LICENSE,
    "@socket.io/admin-ui": (*_LICENSE, "ui/dist/**/*"),
    "@mdi/font": (*_LICENSE, "css/materialdesignicons.min.css", "fonts/*.woff2"),
    "uplot": (*_LICENSE, "dist/uPlot.esm.js", "dist/uPlot.min.css"),
}

_WARNING = (  # pip shows it with -v
    "webfarm: the browser's files are missing in this build: run 'make setup' in the clone and build again,"
    " or 'npm install socket.io-client@4.8.4' in your app's folder."
)


class BuildWithPackages(build_py):
    """The stock command, from an empty folder, which then copies the browser's files."""

    def run(self) -> None:
        if not self.editable_mode:  # else modules that a former build has left would go into the wheel
            shutil.rmtree(Path(self.build_lib, "webfarm"), ignore_errors=True)
        super().run()
        if not self.editable_mode:
            self._copy_browser_files(Path(self.build_lib, "webfarm/web/packages"))

    def _copy_browser_files(self, target: Path) -> None:
        if not (MODULES / "socket.io-client").is_dir():
            self.warn(_WARNING)
        for name, patterns in FILES.items():
            for path in (path for pattern in patterns for path in (MODULES / name).glob(pattern)):
                if path.is_file() and path.suffix != ".map":  # source maps are half of the wheel
                    copy = target / path.relative_to(MODULES)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, copy)


setup(cmdclass={"build_py": BuildWithPackages})
