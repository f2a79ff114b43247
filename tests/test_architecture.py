"""Who may import whom (the order of the library's parts), held by reading the source."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path
    for path in [
        *ROOT.glob("*.py"),
        *(ROOT / "pages").rglob("*.py"),
        *(ROOT / "vae").rglob("*.py"),
    ]
}
LIBRARY = sorted(name for name in SOURCES if name.split(".")[0] == "vae")


def imports_of(name: str) -> set[str]:
    """The dotted names that a module imports, however deep in its functions it does."""
    return imported_by(ast.parse(SOURCES[name].read_text(encoding="utf-8")), name)


def imported_by(tree: ast.Module, name: str) -> set[str]:
    package = name if SOURCES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *filter(None, [node.module])])
            # `from vae import gaussian` imports a module, `from vae.core.model import VAE` a name.
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in SOURCES else base)
    return found


def packages_of(name: str) -> set[str]:
    return {imported.split(".")[0] for imported in imports_of(name)}


def inside_vae(name: str) -> set[str]:
    return {i for i in imports_of(name) if i.split(".")[0] == "vae"}


def is_ui(name: str) -> bool:
    return name == "vae.ui" or name.startswith("vae.ui.")


def test_the_sources_are_found():
    assert {"vae", "vae.core.gaussian", "vae.training.trainer", "vae.cli", "vae.__main__"} <= set(
        LIBRARY
    )
    assert {"vae.live.pack", "vae.live.export", "vae.bench.live"} <= set(LIBRARY)
    assert "vae.core.gaussian" in imports_of("vae.core.likelihood")
    assert {"torch", "vae.core.gaussian", "vae.core.model"} <= imports_of("vae.core.elbo")
    assert "sklearn" in packages_of("vae.data.builtin")  # it stands inside a function


# It plays the browser: it reads the messages that Streamlit's server sends to one.
SPEAKS_THE_PROTOCOL = "vae.bench.classroom"


@pytest.mark.parametrize(
    "name", [name for name in LIBRARY if not is_ui(name) and name != SPEAKS_THE_PROTOCOL]
)
def test_the_library_knows_neither_streamlit_nor_the_app(name):
    assert not packages_of(name) & {"streamlit", "pages", "app"}
    assert not any(is_ui(imported) for imported in imports_of(name))


def test_nothing_imports_a_page_or_the_app():
    for name in SOURCES.keys() - {OWN_PROCESSES}:
        assert not packages_of(name) & {"pages", "app"}, name


def test_streamlit_is_imported_by_the_app_its_pages_and_vae_ui_alone():
    users = {name for name in SOURCES if "streamlit" in packages_of(name)}
    assert {i for i in imports_of(SPEAKS_THE_PROTOCOL) if i.startswith("streamlit")} == {
        "streamlit.proto.BackMsg_pb2",
        "streamlit.proto.ForwardMsg_pb2",
    }
    users.remove(SPEAKS_THE_PROTOCOL)
    assert {u for u in users if u != "app" and u.split(".")[0] != "pages" and not is_ui(u)} == set()


# From the ground up: a package knows those before it, and never one behind it.
FLOORS = (
    *("errors", "names", "features", "config", "wording", "plots", "core", "data", "training"),
    *("inference", "analysis", "runs", "formats", "figures", "lessons", "live", "ui", "cli"),
    *("bench",),
)
# What a package may know of the floors below it, where that is not all of them.
KNOWS = {
    "errors": set(),
    "names": set(),
    "features": set(),
    "config": {"errors", "features"},
    "wording": {"config"},
    "core": {"errors", "features", "config", "wording"},
    "data": {"errors", "names", "features", "config"},
    "plots": {"features", "config"},
    "training": {"errors", "config", "wording", "plots", "core", "data"},
    "inference": {"errors", "config", "core", "data", "training"},
    "figures": {"errors", "names", "wording"},
    "ui": set(FLOORS) - {"cli", "bench"},
}


def room_of(name: str) -> str:
    return name.split(".")[1]


def imported_when_run(name: str) -> set[str]:
    """The modules of the library that a module imports, without those that only annotate."""
    tree = ast.parse(SOURCES[name].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return {i for i in imported_by(tree, name) if i.startswith("vae.")}


def test_every_package_has_its_floor():
    assert {room_of(name) for name in LIBRARY if name not in ("vae", "vae.__main__")} == set(FLOORS)


@pytest.mark.parametrize("room", FLOORS)
def test_imports_point_down_the_floors(room):
    allowed = KNOWS.get(room, set(FLOORS[: FLOORS.index(room)])) | {room}
    for name in LIBRARY:
        if name.startswith(f"vae.{room}") and room_of(name) == room:
            above = {i for i in imported_when_run(name) if room_of(i) not in allowed}
            assert not above, f"{name} imports {above}"


def test_no_two_modules_import_each_other_in_a_circle():
    graph = {name: inside_vae(name) - {"vae", name} for name in LIBRARY if name != "vae"}
    order = tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    assert set(LIBRARY) - {"vae"} <= set(order)


@pytest.mark.parametrize("package", ["vae.data", "vae.formats"])
def test_no_two_rooms_of_a_package_need_each_other(package):
    graph: dict[str, set[str]] = {}
    for name in LIBRARY:
        if name.startswith(f"{package}."):
            room, *_ = name.removeprefix(f"{package}.").split(".")
            inside = {i for i in imports_of(name) if i.startswith(f"{package}.")}
            needed = {i.removeprefix(f"{package}.").split(".")[0] for i in inside}
            graph[room] = graph.get(room, set()) | needed - {room}
    assert set(graphlib.TopologicalSorter(graph).static_order()) >= set(graph)


# What makes objects of what a file says. We follow pickles ourselves and call nothing.
LOADERS = {"torch.load", "torch.jit.load", "torch.package.PackageImporter"}
# Sends what is to be computed to processes of its own, and nothing that it was given.
OWN_PROCESSES = "vae.ui.results.workers"


def test_nothing_unpickles():
    for name in SOURCES.keys() - {OWN_PROCESSES}:
        assert not packages_of(name) & {
            "pickle",
            "cloudpickle",
            "dill",
            "joblib",
            "shelve",
            "marshal",
        }, name
        tree = ast.parse(SOURCES[name].read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        called = {ast.unparse(call.func) for call in calls}
        assert not {"np.load", "numpy.load", "eval", "exec"} & called, name
        # However it is reached: as an attribute of anything, by name, or by another name.
        mentions = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not LOADERS & mentions, name
        assert not LOADERS & {
            f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }, name


def test_importing_the_library_loads_neither_streamlit_nor_the_data_sets_libraries():
    code = (
        "import sys, vae, vae.cli, vae.runs.job, vae.runs.queue; "
        "print(*sorted({'streamlit', 'sklearn', 'torchvision', 'pandas'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""


def test_commands_print_in_one_place_which_lets_no_name_steer_the_terminal():
    for name in LIBRARY:
        if name.startswith("vae.cli") and name != "vae.cli.common":
            tree = ast.parse(SOURCES[name].read_text(encoding="utf-8"))
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            assert "print" not in {ast.unparse(call.func) for call in calls}, name
