"""The house: what import-linter does not say."""

from graphlib import TopologicalSorter

import grimp


def test_no_module_imports_itself_in_a_circle():
    graph = grimp.build_graph("sanic_qserver")
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imported).prepare()  # Raises CycleError, which names them.
