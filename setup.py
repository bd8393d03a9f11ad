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
                optional=True,
            )
        ],
        build_dir="build",
    )

setup(ext_modules=extensions)
