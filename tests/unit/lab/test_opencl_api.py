"""Finding an OpenCL CPU runtime, and saying what to do when there is none."""

import ctypes

import pytest

from safhost.errors import ConfigError
from safhost.lab import opencl_api
from safhost.lab.opencl_api import INTEL_LIBRARY, OpenClApi, OpenClError, intel_library_folders, load


def test_unknown_choice_is_refused():
    with pytest.raises(ConfigError, match="use auto, intel or icd"):
        load("cuda")


def test_nothing_installed_says_what_was_tried_and_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(opencl_api, "intel_library_folders", lambda: [tmp_path])
    monkeypatch.setattr(opencl_api, "ICD_LIBRARY", str(tmp_path / "libOpenCL.so.1"))
    with pytest.raises(ConfigError) as caught:
        load()
    assert "intel: intel-opencl-rt is not installed" in caught.value.message
    assert "icd: " in caught.value.message
    assert "pip install 'safhost[lab]'" in caught.value.hint
    assert "apt install pocl-opencl-icd" in caught.value.hint


def test_library_that_is_not_opencl_is_passed_over(monkeypatch, tmp_path):
    monkeypatch.setattr(opencl_api, "intel_library_folders", lambda: [tmp_path])
    monkeypatch.setattr(opencl_api, "ICD_LIBRARY", "libc.so.6")
    with pytest.raises(ConfigError, match="icd: clGetPlatformIDs failed"):
        load()
    with pytest.raises(OpenClError):
        OpenClApi(ctypes.CDLL("libc.so.6"))


def test_intel_folders_start_with_the_environment():
    folders = intel_library_folders()
    assert len(folders) == len(set(folders))
    assert folders[0].name == "lib"
    assert any((f / INTEL_LIBRARY).exists() for f in folders)


def test_error_names_call_and_code():
    error = OpenClError("clBuildProgram", -11)
    assert error.code == -11
    assert "BUILD_PROGRAM_FAILURE (-11)" in error.message
