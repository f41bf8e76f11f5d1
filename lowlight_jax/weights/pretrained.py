"""What a repository of the hub holds: `save_pretrained`, `push_to_hub`, the model card.

By huggingface_hub's conventions: see `hub`. The weights are copied bit for bit from the
file that they are in, so that what is loaded again gives the same pixels.
"""

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax

from lowlight_jax.models import name_of
from lowlight_jax.runtime.whole_file import write_whole
from lowlight_jax.weights import (
    SHIPPED,
    find_weights,
    hub,
    load_weights,
    read_header,
    shipped_names,
)

_TASK_TAGS = {"brightening": "low-light-image-enhancement", "inpainting": "inpainting"}
_PIPELINE = "image-to-image"

_USE = """
## Use

```
pip install 'lowlight_jax[hub]'
lowlight enhance night.jpg --output night_enhanced.png --model hf:{repo}@REVISION
```

```python
from lowlight_jax import {kind}

{instance} = {kind}.from_pretrained("{repo}", revision="REVISION")
result = {instance}(image)  # [h, w, 3], uint8, uint16 or floating point
```

REVISION is a commit, tag or branch of this repository; a commit never changes.
"""


def save_pretrained(
    source: str | Path,
    folder: str | Path,
    *,
    license: str | None = None,
    card: str | None = None,
) -> None:
    """Writes model.safetensors, config.json and the model card into a folder.

    Args:
      source: what `find_weights` takes.
      folder: made where there is none; what it holds by these names is replaced.
      license: identifier of the hub, like "apache-2.0"; None: that of weights that
        ship, of others "unknown".
      card: the whole text of README.md; None: the card of weights that ship, or what
        the workdir tells of its training.
    Raises:
      WeightsError: there are no such weights.
      HubError: the folder is something else's, a training's workdir, say.
      ImportError: huggingface_hub, which makes cards, is not installed.
      OSError: the folder cannot be written.
    """
    folder = Path(folder)
    config = folder / hub.CONFIG
    if config.exists() and not hub.is_ours(config):
        raise hub.HubError(
            f"{config} is there already and of something else; choose another folder"
        )
    for name, content in _contents(source, "OWNER/NAME", license, card).items():
        write_whole(folder / name, content)


def push_to_hub(
    source: str | Path,
    repo_id: str,
    *,
    license: str | None = None,
    card: str | None = None,
    private: bool | None = None,
    branch: str | None = None,
    message: str = "Upload weights of lowlight_jax",
) -> str:
    """Commits what `save_pretrained` writes to a repository of the hub.

    Args:
      source, license, card: see `save_pretrained`.
      repo_id, private, branch, message: see `hub.push`.
    Returns:
      "hf:OWNER/NAME@COMMIT", for `--model`.
    Raises:
      WeightsError, HubError, ImportError: one plain sentence.
    """
    files = _contents(source, repo_id, license, card)
    return hub.push(repo_id, files, private=private, branch=branch, message=message)


def _contents(
    source: str | Path, repo: str, license: str | None, card: str | None
) -> dict[str, bytes]:
    """The files of a repository; config.json last, without which it is none."""
    file = find_weights(source)
    network, params = load_weights(file)  # an error now is better than after a download
    content = file.read_bytes()
    if card is None:
        card = _card(source, file, network, params, repo, license)
    config = {
        "library_name": hub.LIBRARY,
        "task": network.task.name,
        "model": json.loads(read_header(file)["model"]),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return {
        hub.WEIGHTS: content,
        hub.CARD: card.encode(),
        hub.CONFIG: json.dumps(config, indent=1).encode() + b"\n",
    }


def _card(
    source: str | Path,
    file: Path,
    network: nn.Module,
    params: Any,
    repo: str,
    license: str | None,
) -> str:
    """README.md: YAML for the hub, then prose, then how to use it."""
    library = hub.library()
    if str(source) in shipped_names():
        card = library.ModelCard((SHIPPED / f"{source}.md").read_text("utf-8"))
    else:
        card = _card_of_training(library, file, network, params)
    if license:
        card.data.license = license
        card.data.pop("license_name", None)
    kind = "Repairer" if network.task.needs_mask else "Enhancer"
    use = _USE.format(repo=repo, kind=kind, instance=kind.lower())
    return str(card).rstrip() + "\n" + use


def _card_of_training(library: Any, file: Path, network: nn.Module, params: Any) -> Any:
    name, about = name_of(network), read_header(file)
    scores = _scores(file, name)
    data = library.ModelCardData(
        license="unknown",
        library_name=hub.LIBRARY,
        pipeline_tag=_PIPELINE,
        tags=[_TASK_TAGS.get(network.task.name, network.task.name), "jax", "flax"],
        model_name=name,
        eval_results=[
            library.EvalResult(
                task_type=_PIPELINE,
                dataset_type="held-out",
                dataset_name=f"images held out of training ({images})",
                metric_type=metric,
                metric_value=mean,
            )
            for metric, (mean, images) in scores.items()
        ],
    )
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    design = " ".join(inspect.getdoc(type(network)).split("\n\n")[0].split())
    facts = {key.capitalize(): value for key, value in about.items() if key != "model"}
    if scores:
        means = ", ".join(f"{metric} {mean}" for metric, (mean, _) in scores.items())
        facts["Scores"] = f"means over images held out of training: {means}"
    listing = "\n".join(f"- **{key}**: {facts[key]}" for key in sorted(facts))
    return library.ModelCard(
        f"---\n{data.to_yaml()}\n---\n# {name}\n\n"
        f"Weights for {network.task.name}, trained with lowlight_jax; {parameters:,} "
        f"parameters. The network: {design}\n\n{listing}\n"
    )


def _scores(file: Path, name: str) -> dict[str, tuple[float, int]]:
    """Means, and of how many images, by metric, from the workdir that a file lies in.

    None where the weights were saved after they were scored.
    """
    report = file.with_name("scores.json")
    if not report.exists() or report.stat().st_mtime < file.stat().st_mtime:
        return {}
    methods = json.loads(report.read_text("utf-8")).get("summary", {})
    # As `evaluation.comparison.steps_of` names them.
    scores = methods.get(name) or methods.get("enhancement + denoising") or {}
    return {
        metric: (round(of_metric["mean"], 4), of_metric["images"])
        for metric, of_metric in scores.items()
        if of_metric["mean"] is not None
    }
