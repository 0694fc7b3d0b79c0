"""The house: what import-linter does not say."""

import ast
from graphlib import TopologicalSorter

import grimp
from conftest import ROOT


def test_no_module_imports_itself_in_a_circle():
    graph = grimp.build_graph("sanic_qserver")
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imported).prepare()  # Raises CycleError, which names them.


def test_no_enum_has_an_empty_tuple_which_debians_python_makes_an_object_of():
    parsed = [ast.parse(file.read_text("utf-8")) for file in (ROOT / "sanic_qserver").rglob("*.py")]
    enums = [node for tree in parsed for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
             and any("Enum" in ast.unparse(base) for base in node.bases)]  # fmt: skip
    assert enums
    for enum in enums:
        lines = [ast.unparse(line) for line in enum.body]
        assert not any(line.endswith(" = ()") for line in lines) or "def __new__" in "".join(lines), enum.name
