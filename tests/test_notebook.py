"""docs/quickstart.ipynb: every cell runs, on what comes with the package."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FILE = Path(__file__).parents[1] / "docs" / "quickstart.ipynb"


def read():
    return nbformat.read(FILE, as_version=4)


def test_it_is_kept_without_outputs():
    notebook = read()
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.parametrize(
    "steps", ["3", pytest.param("", marks=pytest.mark.slow, id="as it is")]
)
def test_it_runs(steps, tmp_path, monkeypatch):
    """The kernel ends at the first cell that fails, and the error names it."""
    notebook = read()
    settings = {"JAX_PLATFORMS": "cpu", "TMPDIR": str(tmp_path)}
    settings |= {"IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    if steps:
        settings["LOWLIGHT_STEPS"] = steps
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    client = NotebookClient(notebook, timeout=900, kernel_name="python3")
    client.execute(cwd=str(tmp_path))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    pictures = [
        output
        for cell in code
        for output in cell.outputs
        if "image/png" in output.get("data", ())
    ]
    assert len(pictures) == 3
    scores = "".join(output.get("text", "") for cell in code for output in cell.outputs)
    assert "psnr_rgb" in scores and "ssim_rgb" in scores
    assert (next(tmp_path.glob("lowlight_*")) / "run" / "weights.safetensors").exists()
