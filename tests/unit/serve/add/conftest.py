"""A card's role, driven by hand, for kernels that adders generate; and projects written by hls4ml."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "tests/unit/lab"))

from role_bench import close_bench, make_bench  # noqa: E402

from safhost.lab.role_messages import RoleStatus  # noqa: E402
from safhost.plan.image import Image, build_image  # noqa: E402
from safhost.plan.rbf import parse_emulation  # noqa: E402


@pytest.fixture(scope="session")
def bench():
    made = make_bench(max_workers=1)
    yield made
    close_bench(made)


@pytest.fixture
def run_kernel(bench, tmp_path):
    """``run(files, *arrays, option="", **scalars)``: outputs of the one kernel that the files make. Built once each."""
    built = {}

    def run(files, *arrays, option="", **scalars):
        key = (*sorted(files.items()), option)
        if key not in built:
            folder = tmp_path / f"kernel{len(built)}"
            folder.mkdir()
            for name, text in files.items():
                more = f'options: ["{option}"]\n' if name == "kernel.yaml" and option else ""
                (folder / name).write_text(text + more)
            image = build_image(folder, folder / "model.saf")
            built[key] = load(bench, image)
        return launch(bench, built[key], arrays, scalars)
    return run


@pytest.fixture
def run_image(bench):
    """``run(path of a .saf, *arrays)``: outputs of its kernel."""
    return lambda path, *arrays, **scalars: launch(bench, load(bench, Image.open(path)), arrays, scalars)


def load(bench, image):
    key, result = bench.build_found(parse_emulation(image.payload.data))
    assert result.status is RoleStatus.OK, result.error
    kernel, = image.kernels.values()
    return key, kernel


def launch(bench, loaded, arrays, scalars):
    result, out = bench.run(*loaded, *arrays, **scalars)
    assert result.status is RoleStatus.OK, result.error
    return out


@pytest.fixture(scope="session")
def make_script():
    """``make_script("facile")``: the module kernels/facile/make_model.py."""
    def load_script(name):
        module = f"make_model_{name}"
        if module not in sys.modules:
            spec = importlib.util.spec_from_file_location(module, ROOT / "kernels" / name / "make_model.py")
            sys.modules[module] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[module])
        return sys.modules[module]
    return load_script
