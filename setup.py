"""Builds the optional row renderer; a failed build leaves the pure-Python twin in charge."""

from setuptools import Extension, setup

try:
    from Cython.Build import cythonize
except ImportError:
    extensions = []
else:
    extensions = cythonize(
        [
            Extension(
                "tidewire.protocol.pgoutput._render",
                ["src/tidewire/protocol/pgoutput/_render.pyx"],
            )
        ],
        build_dir="build",
    )
    for extension in extensions:
        # Set here, since cythonize makes extensions of its own and drops the flag.
        extension.optional = True

setup(ext_modules=extensions)
