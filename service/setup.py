"""The extension in C, which speeds up what Pillow does. All else is in pyproject.toml."""

from setuptools import Extension, setup

resample = Extension(
    "clipserve.clip._resample",
    ["clipserve/clip/_resample.c"],
    # The weights are Pillow's: multiplications and additions are fused only where the file says so.
    extra_compile_args=["-O3", "-g0", "-ffp-contract=off"],
    libraries=["m"],
    py_limited_api=True,
    optional=True,  # Pillow resizes where there is no compiler
)

setup(
    ext_modules=[resample],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},  # one wheel for all versions of Python
)
