"""The package as a whole: its public names, what importing it registers, its storeys and its dependencies."""

import ast
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import vsrm_arch

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vsrm_arch"
SURFACE = Path(__file__).with_name("public_names.txt")
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in SOURCES.items()}

# A part imports from the storeys below its own. Those at the bottom know none of the others.
STOREYS = (
    {"errors", "files", "memory", "plotting", "precision", "sizes", "tables", "weights", "wording"},
    {"config", "distributed", "video"},
    {"ops"},
    {"layers"},
    {"alignments", "graphs"},
    {"propagation"},
    {"archs"},
    {"losses", "metrics", "inference"},
    {"models", "data"},
    {"bench", "evaluation", "figures", "upscaling"},
    # It hands functions of every storey to BasicSR, and no storey imports it.
    {"compat"},
    {"cli"},
)
# They import Triton, which not every machine has, and are imported by functions that need them.
KERNELS = {module for module in SOURCES if module.endswith((".kernels", ".kernel_parts"))}
ABOVE_THE_OPS = {"layers", "alignments", "propagation", "archs"}
KERNEL_PACKAGES = {"triton", "mamba_ssm", "selective_scan_cuda", "causal_conv1d", "causal_conv1d_cuda"}
# Imported name → the distribution that brings it, where they differ.
DISTRIBUTIONS = {
    "cv2": "opencv-python",
    "huggingface_hub": "huggingface-hub",
    "skimage": "scikit-image",
    "tensorboard": "tb-nightly",
    "yaml": "pyyaml",
    "mamba_ssm": "mamba-ssm",
    "selective_scan_cuda": "mamba-ssm",
    "causal_conv1d": "causal-conv1d",
    "causal_conv1d_cuda": "causal-conv1d",
}


def storey(module):
    """Height of a module's storey; the package itself and ``__main__`` are the roof."""
    part = module.split(".")[1] if "." in module else "__init__"
    return next((height for height, parts in enumerate(STOREYS) if part in parts), len(STOREYS))


def imports(tree, top_level_only=False):
    """(module, name or None, line) of every import."""
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: relative import"
            yield from ((node.module, alias.name, node.lineno) for alias in node.names)


def own_imports(module):
    """(imported module of ours, name or None, line); ``from vsrm_arch import config`` is one of the module config."""
    for imported, name, line in imports(TREES[module]):
        if imported.split(".")[0] != "vsrm_arch":
            continue
        if name is not None and f"{imported}.{name}" in SOURCES:
            yield f"{imported}.{name}", None, line
        else:
            yield imported, name, line


def faults(found):
    """Module → what is wrong with it, for those with which something is."""
    return {module: wrong for module, wrong in found if wrong}


class TestStoreys:
    def test_every_part_has_one(self):
        parts = {info.name for info in pkgutil.iter_modules([str(PACKAGE)])} - {"__main__"}
        assert parts == set().union(*STOREYS)

    def test_of_a_module(self):
        assert storey("vsrm_arch.ops.selective_scan.naive") < storey("vsrm_arch.archs") < storey("vsrm_arch.cli.train")
        assert storey("vsrm_arch.data.options") == storey("vsrm_arch.models")
        assert storey("vsrm_arch") == storey("vsrm_arch.__main__") == len(STOREYS)

    def test_imports_come_from_the_storeys_below(self):
        def upward(module):
            for imported, name, line in own_imports(module):
                if storey(imported) > storey(module) and (imported, name) != ("vsrm_arch", "__version__"):
                    yield f"line {line}: {imported}"

        assert faults((module, list(upward(module))) for module in SOURCES) == {}

    def test_private_names_stay_in_their_module(self):
        def private(module):
            for imported, name, line in own_imports(module):
                if name is not None and re.match(r"_(?!_)", name):
                    yield f"line {line}: {imported}.{name}"

        assert faults((module, list(private(module))) for module in SOURCES) == {}


class TestNetworks:
    MODULES = tuple(m for m in SOURCES if m.count(".") and m.split(".")[1] in ABOVE_THE_OPS)

    def test_kernels_are_imported_by_ops_alone(self):
        def kernels(module):
            return [name for name, _, _ in imports(TREES[module]) if name.split(".")[0] in KERNEL_PACKAGES]

        outside = [module for module in SOURCES if not module.startswith("vsrm_arch.ops.")]
        assert faults((module, kernels(module)) for module in outside) == {}
        assert any(kernels(module) for module in SOURCES), "the names of the kernels' packages are out of date"

    def test_know_of_basicsr_its_networks_and_registry_alone(self):
        def stock(module):
            for name, _, line in imports(TREES[module]):
                # What stands for frames beyond the ends of a clip is BasicSR's to say, too.
                allowed = ("basicsr.utils.registry", "basicsr.archs", "basicsr.data.data_util")
                if name.split(".")[0] == "basicsr" and not name.startswith(allowed):
                    yield f"line {line}: {name}"

        assert faults((module, list(stock(module))) for module in self.MODULES) == {}

    def test_take_no_option_dicts(self):
        def arguments(module):
            for node in ast.walk(TREES[module]):
                if isinstance(node, ast.arg) and node.arg in ("opt", "opts", "options"):
                    yield f"line {node.lineno}: {node.arg}"

        assert faults((module, list(arguments(module))) for module in self.MODULES) == {}

    def test_choose_no_device(self):
        def devices(module):
            for node in ast.walk(TREES[module]):
                if isinstance(node, ast.Attribute) and node.attr in ("cuda", "cpu"):
                    yield f"line {node.lineno}: .{node.attr}"

        assert faults((module, list(devices(module))) for module in self.MODULES) == {}


def read_surface():
    """Module → the names that tests/public_names.txt lists for it."""
    lines = SURFACE.read_text(encoding="utf-8").splitlines()
    entries = (line.partition(":") for line in lines if line and not line.startswith("#"))
    return {module: sorted(names.split()) for module, _, names in entries}


class TestPublicNames:
    LOADED: ClassVar = {
        module: importlib.import_module(module)
        for module in SOURCES
        if module not in KERNELS or importlib.util.find_spec("triton")
    }

    def test_every_module_lists_them(self):
        assert [name for name, module in self.LOADED.items() if not hasattr(module, "__all__")] == []

    def test_are_those_of_the_list(self):
        found = {name: sorted(module.__all__) for name, module in self.LOADED.items()}
        assert found == read_surface(), "change tests/public_names.txt, too, if that is meant"

    def test_exist_and_are_documented(self):
        def wrong(module):
            for name in module.__all__:
                value = getattr(module, name, None)
                if value is None or ((inspect.isroutine(value) or inspect.isclass(value)) and not value.__doc__):
                    yield name
            if not module.__doc__:
                yield "the module itself"

        assert faults((name, list(wrong(module))) for name, module in self.LOADED.items()) == {}


def test_importing_the_package_registers_every_part():
    program = (
        "import vsrm_arch; from basicsr.utils import registry as r; "
        "[r.ARCH_REGISTRY.get(n) for n in ('VSRM', 'Bicubic', 'DCA', 'GuidedDeformableAttention')]; "
        "[r.LOSS_REGISTRY.get(n) for n in ('FrequencyCharbonnierLoss', 'FocalFrequencyLoss', 'FourierSpaceLoss', "
        "'WaveletHighFrequencyLoss')]; "
        "[r.METRIC_REGISTRY.get(n) for n in ('calculate_lpips', 'calculate_warping_error')]; "
        "r.MODEL_REGISTRY.get('RecurrentVSRModel'); r.DATASET_REGISTRY.get('VideoClipDataset')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


class TestDependencies:
    @staticmethod
    def declared(extras):
        """Names of the distributions in pyproject.toml; those of extras, too, if asked for."""
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        core = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
        optional = re.search(r"^\[project\.optional-dependencies\]\n(.*?)^\[", text, re.MULTILINE | re.DOTALL)
        blocks = core[1] + (optional[1] if extras else "")
        return set(re.findall(r'"([\w-]+)', blocks))

    @staticmethod
    def third_party(module, top_level_only):
        names = {name.split(".")[0] for name, _, _ in imports(TREES[module], top_level_only)}
        names -= {"vsrm_arch", *sys.stdlib_module_names}
        return {DISTRIBUTIONS.get(name, name) for name in names}

    def test_what_every_import_needs_is_a_dependency_of_the_core(self):
        core = self.declared(extras=False)
        others = SOURCES.keys() - KERNELS
        assert faults((module, self.third_party(module, top_level_only=True) - core) for module in others) == {}
        loaded = {name for module in others for name, _, _ in imports(TREES[module], top_level_only=True)}
        assert not loaded & KERNELS

    def test_what_a_function_imports_is_at_least_an_extra(self):
        all_of_them = self.declared(extras=True)
        assert (
            faults((module, self.third_party(module, top_level_only=False) - all_of_them) for module in SOURCES) == {}
        )

    def test_the_version_is_that_of_the_distribution(self):
        assert importlib.metadata.version("vsrm-arch") == vsrm_arch.__version__
        assert f'version = "{vsrm_arch.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_what_commands_write_is_whole_or_not_there():
    """vsrm_arch.files writes it, and vsrm_arch.plotting the pictures."""

    def written_otherwise(module):
        for node in ast.walk(TREES[module]):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                modes = [value.value for value in node.args if isinstance(value, ast.Constant)]
                opened = node.func.attr == "open" and any(str(mode)[:1] in "wax" for mode in modes)
                if opened or node.func.attr in ("write_text", "write_bytes", "savefig"):
                    yield f"line {node.lineno}: .{node.func.attr}"

    parts = {"cli", "bench", "evaluation", "figures"}
    modules = [module for module in SOURCES if module.count(".") and module.split(".")[1] in parts]
    assert faults((module, list(written_otherwise(module))) for module in modules) == {}
    assert list(written_otherwise("vsrm_arch.plotting"))


class TestTests:
    @staticmethod
    def never_run(tree):
        """Tests that stand within a function, where pytest does not look."""
        functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
        for inner in (node for function in functions for part in function.body for node in ast.walk(part)):
            if isinstance(inner, ast.FunctionDef) and inner.name.startswith("test_"):
                yield f"line {inner.lineno}: {inner.name}"

    def test_one_within_another_is_seen(self):
        text = "class A:\n def test_a(self):\n  if 1:\n   def test_b(): pass\ndef f():\n def g(): pass\n"
        assert list(self.never_run(ast.parse(text))) == ["line 4: test_b"]

    def test_none_stands_within_another(self):
        files = sorted((ROOT / "tests").rglob("*.py"))
        trees = ((file.relative_to(ROOT).as_posix(), ast.parse(file.read_text(encoding="utf-8"))) for file in files)
        assert faults((name, list(self.never_run(tree))) for name, tree in trees) == {}
