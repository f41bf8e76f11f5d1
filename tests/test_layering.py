"""Who imports whom: always from above to below, lazy imports included."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lowlight_jax"
# From the bottom up; what stands in one row does not know of each other.
LAYERS = (
    ("types", "checks", "__init__"),
    ("runtime",),
    ("ops", "images"),
    ("losses", "metrics", "baselines"),
    ("data",),
    ("tasks",),
    ("models",),
    ("config", "weights"),
    ("onnx_graphs",),
    ("inference",),
    ("video",),
    ("evaluation",),
    ("training",),
    ("convert", "reproduce"),
    (
        "main",
        "enhance",
        "evaluate",
        "export",
        "jpeg_sweep",
        "serve",
        "summary",
        "tune",
    ),
    ("cli",),
    ("__main__",),
)
# The package offers its functions by name, `import lowlight_jax` at the top.
ALLOWED = {("__init__", part) for part in ("inference", "enhance", "video")}


FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in FILES
}


def imports(tree):
    """Modules that are imported, but for those that annotations alone need."""
    found = []
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "lowlight_jax":
            found += [f"lowlight_jax.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in below if name in MODULES]
            found += modules or [node.module]
        nodes += ast.iter_child_nodes(node)
    return [name for name in found if name.startswith("lowlight_jax.")]


def part_of(name):
    """The module or folder below the root that a module belongs to."""
    part = name.split(".")[1]
    known = (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file()
    return part if known else "__init__"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_lead_down(file):
    layer = {part: i for i, row in enumerate(LAYERS) for part in row}
    here = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(ast.parse(file.read_text())):
        there = part_of(name)
        if there == here or (here, there) in ALLOWED:
            continue
        assert layer[there] < layer[here], f"{here} imports {name}"


def test_no_circle():
    """Modules by name, each with what it imports; what imports nothing left falls out.

    The package's own face apart: it offers functions of the modules that import it.
    """
    names = {
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts): file
        for file in FILES
        if file.parent != PACKAGE or file.name != "__init__.py"
    }
    names = {name.removesuffix(".__init__"): file for name, file in names.items()}
    left = {
        name: {
            there
            for there in imports(ast.parse(file.read_text()))
            if there in names and there != name
        }
        for name, file in names.items()
    }
    while ready := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in ready:
            del left[name]
    assert not left


def test_no_module_has_the_name_of_a_function():
    import lowlight_jax
    import lowlight_jax.inference.tiles  # fails where a function hides the package

    for name in lowlight_jax.__all__:
        value = getattr(lowlight_jax, name)
        assert not isinstance(value, type(ast)), f"{name} is a module"
