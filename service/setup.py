"""The extension in C, which speeds up what Pillow does. All else is in pyproject.toml."""

import platform

from setuptools import Extension, setup

resample = Extension(
    "clipserve.clip._resample",
    ["clipserve/clip/_resample.c"],
    # Multiplications and additions that are fused would give other weights than Pillow's.
    extra_compile_args=["-O3", "-g0", "-ffp-contract=off"],
    libraries=["m"],
    py_limited_api=True,
    optional=True,  # Pillow resizes where there is no compiler
)

setup(
    # For ARM, Pillow's compiler may have fused them.
    ext_modules=[resample] if platform.machine() in ("x86_64", "AMD64") else [],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},  # one wheel for all versions of Python
)
