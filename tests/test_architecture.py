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
    path = SOURCES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *filter(None, [node.module])])
            # `from vae import gaussian` imports a module, `from vae.model import VAE` a name.
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
    assert {"vae", "vae.gaussian", "vae.training", "vae.cli", "vae.__main__"} <= set(LIBRARY)
    assert {"vae.live.pack", "vae.live.export", "vae.bench.live"} <= set(LIBRARY)
    assert "vae.gaussian" in imports_of("vae.likelihood")
    assert {"torch", "vae.gaussian", "vae.model"} <= imports_of("vae.elbo")
    assert "sklearn" in packages_of("vae.datasets")  # it stands inside a function


# It plays the browser: it reads the messages that Streamlit's server sends to one.
SPEAKS_THE_PROTOCOL = "vae.bench.classroom"


@pytest.mark.parametrize(
    "name", [name for name in LIBRARY if not is_ui(name) and name != SPEAKS_THE_PROTOCOL]
)
def test_the_library_knows_neither_streamlit_nor_the_app(name):
    assert not packages_of(name) & {"streamlit", "pages", "app"}
    assert not any(is_ui(imported) for imported in imports_of(name))


def test_nothing_imports_a_page_or_the_app():
    for name in SOURCES:
        assert not packages_of(name) & {"pages", "app"}, name


def test_streamlit_is_imported_by_the_app_its_pages_and_vae_ui_alone():
    users = {name for name in SOURCES if "streamlit" in packages_of(name)}
    assert {i for i in imports_of(SPEAKS_THE_PROTOCOL) if i.startswith("streamlit")} == {
        "streamlit.proto.BackMsg_pb2",
        "streamlit.proto.ForwardMsg_pb2",
    }
    users.remove(SPEAKS_THE_PROTOCOL)
    assert {u for u in users if u != "app" and u.split(".")[0] != "pages" and not is_ui(u)} == set()


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("vae.config", set()),
        ("vae.gaussian", set()),
        ("vae.datasets", {"vae.config"}),
        ("vae.own_data", {"vae.datasets"}),
        ("vae.distributed", set()),
        ("vae.likelihood", {"vae.gaussian"}),
        ("vae.model", {"vae.config", "vae.likelihood"}),
        ("vae.elbo", {"vae.gaussian", "vae.likelihood", "vae.model"}),
        ("vae.posterior", {"vae.elbo", "vae.gaussian", "vae.likelihood", "vae.model"}),
        (
            "vae.inference",
            {"vae.elbo", "vae.estimators", "vae.gaussian", "vae.model", "vae.posterior"},
        ),
        (
            "vae.evidence",
            {
                *("vae.annealing", "vae.datasets", "vae.elbo", "vae.embedding", "vae.gaussian"),
                *("vae.model", "vae.posterior"),
            },
        ),
        ("vae.annealing", {"vae.gaussian", "vae.elbo", "vae.model"}),
        ("vae.estimators", {"vae.gaussian", "vae.elbo", "vae.model"}),
        (
            "vae.embedding",
            {"vae.datasets", "vae.distributed", "vae.elbo", "vae.gaussian", "vae.model"},
        ),
        (
            "vae.training",
            {
                *("vae.config", "vae.datasets", "vae.distributed", "vae.elbo", "vae.gaussian"),
                "vae.model",
            },
        ),
        ("vae.checkpoint", {"vae.config", "vae.embedding", "vae.evidence", "vae.model"}),
        (
            "vae.film",
            {"vae.checkpoint", "vae.datasets", "vae.elbo", "vae.gaussian", "vae.model"},
        ),
        ("vae.workbench", {"vae.checkpoint", "vae.job", "vae.training", "vae.uploads"}),
        ("vae.pairs", {"vae.embedding", "vae.gaussian"}),
        ("vae.derivation", {"vae.gaussian", "vae.pairs"}),
        ("vae.gaussian_figures", {"vae.figures"}),
        ("vae.aggregate", {"vae", "vae.gaussian"}),
        (
            "vae.diagnostics",
            {
                *("vae.datasets", "vae.elbo", "vae.embedding", "vae.gaussian", "vae.likelihood"),
                "vae.model",
            },
        ),
        (
            "vae.diagnosis",
            {"vae.aggregate", "vae.config", "vae.diagnostics", "vae.embedding"},
        ),
        ("vae.diagnosis_figures", {"vae.figures"}),
        ("vae.comparison", {"vae.embedding", "vae.evidence"}),
        ("vae.comparison_figures", {"vae.comparison", "vae.embedding", "vae.figures"}),
        ("vae.layout", set()),
        ("vae.traversal", {"vae.elbo", "vae.embedding", "vae.model"}),
        ("vae.traversal_figures", {"vae.embedding", "vae.figures"}),
        ("vae.sheets", {"vae.film"}),
        ("vae.uploads", {"vae.checkpoint", "vae.formats", "vae.formats.tensors"}),
        ("vae.formats.card", {"vae.config"}),
        ("vae.formats.shapes", set()),
        ("vae.formats.tensors", {"vae.checkpoint"}),
        ("vae.formats.layers", {"vae.likelihood"}),
        ("vae.formats.factory", {"vae.formats.tensors"}),
        (
            "vae.formats.given",
            {
                *("vae", "vae.datasets", "vae.own_data", "vae.formats"),
                *("vae.formats.factory", "vae.formats.shapes", "vae.formats.tensors"),
            },
        ),
        (
            "vae.formats.adapt",
            {
                *("vae.checkpoint", "vae.config", "vae.datasets", "vae.likelihood", "vae.model"),
                *("vae.formats.card", "vae.formats.factory", "vae.formats.layers"),
                *("vae.formats.shapes", "vae.formats.tensors"),
            },
        ),
        (
            "vae.formats.run",
            {
                *("vae.checkpoint", "vae.config", "vae.datasets", "vae.embedding", "vae.evidence"),
                *("vae.model", "vae.formats.card", "vae.formats.shapes", "vae.formats.tensors"),
            },
        ),
        (
            "vae.formats.onnx_pair",
            {
                *("vae.checkpoint", "vae.formats.adapt", "vae.formats.run"),
                *("vae.formats.shapes", "vae.formats.tensors"),
            },
        ),
        ("vae.live.program", set()),
        ("vae.live.source", set()),
        ("vae.live.pack", {"vae.embedding", "vae.model", "vae.live.program"}),
        ("vae.live.panel", {"vae", "vae.gaussian", "vae.embedding"}),
    ],
)
def test_the_lower_parts_know_only_what_lies_below_them(name, allowed):
    assert inside_vae(name) <= allowed


def test_no_two_modules_import_each_other_in_a_circle():
    graph = {name: inside_vae(name) - {"vae", name} for name in LIBRARY if name != "vae"}
    order = tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    assert set(LIBRARY) - {"vae"} <= set(order)


# The one module that reads what torch.save wrote, and how it must do so.
READS_TENSORS = "vae.formats.tensors"


def test_nothing_unpickles():
    loads = []
    for name in SOURCES:
        assert not packages_of(name) & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}, name
        tree = ast.parse(SOURCES[name].read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        called = {ast.unparse(call.func) for call in calls}
        assert not {"np.load", "numpy.load", "eval", "exec"} & called, name
        # However it is reached: as an attribute of anything, by name, or by another name.
        loads += [(name, call) for call in calls if ast.unparse(call.func) == "torch.load"]
        mentions = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load"
        ]
        assert len(mentions) == sum(found == name for found, _ in loads), name
        assert "torch.load" not in {
            f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }, name
    ((reader, call),) = loads
    assert reader == READS_TENSORS
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert keywords["weights_only"] == "True"
    assert None not in keywords  # no **options, which could say otherwise


def test_importing_the_library_loads_neither_streamlit_nor_the_data_sets_libraries():
    code = (
        "import sys, vae, vae.cli, vae.job, vae.workbench; "
        "print(*sorted({'streamlit', 'sklearn', 'torchvision', 'pandas'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""


def test_the_film_and_the_job_do_not_know_the_workbench():
    for name in ("vae.film", "vae.job", "vae.checkpoint", "vae.training", "vae.distributed"):
        assert "vae.workbench" not in imports_of(name), name
