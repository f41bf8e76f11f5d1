"""Weights on the Hugging Face hub, "hf:OWNER/NAME@REVISION": fetched and pushed.

A repository holds what `pretrained.save_pretrained` writes into a folder:

    model.safetensors  as `weights.save_weights` writes it
    config.json        library_name, the network's name and fields, the weights' SHA-256
    README.md          the model card

Only the first two are ever fetched, by their names: no pickle. huggingface_hub keeps
them in its cache by commit, and has the settings: HF_TOKEN, HF_HUB_OFFLINE, HF_HOME and
HF_ENDPOINT. Not here: what the files say.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

PREFIX = "hf:"
LIBRARY = "lowlight_jax"  # library_name, in config.json and the card
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


class HubError(ValueError):
    """What was named cannot be had, or is something else; one plain sentence."""


def is_address(name: str | Path) -> bool:
    """Whether a name means a repository on the hub."""
    return str(name).startswith(PREFIX)


def find_pretrained(repo_or_dir: str | Path, revision: str | None = None) -> Path:
    """The weights file of a folder that `save_pretrained` wrote, or else of the hub.

    Args:
      repo_or_dir: the folder, "OWNER/NAME", or what `push` returned.
      revision: commit, tag or branch on the hub; None: "main".
    Raises:
      HubError, ImportError: see `fetch` and `check_folder`.
    """
    if not Path(repo_or_dir).is_dir():
        address = PREFIX + str(repo_or_dir).removeprefix(PREFIX)
        return fetch(f"{address}@{revision}" if revision else address)
    if revision:
        raise HubError(
            f"{repo_or_dir} is a folder, which has no revision {revision!r}; leave it "
            "out, or name a repository of the hub"
        )
    return check_folder(Path(repo_or_dir))


def fetch(address: str) -> Path:
    """The weights file of a repository, in the hub's cache; downloaded if need be.

    Args:
      address: "hf:OWNER/NAME@REVISION"; commit, tag or branch, without one "main".
    Raises:
      HubError: there is no such repository or revision, it cannot be reached, it holds
        something else, or the file is not the one that its config.json tells.
      ImportError: huggingface_hub is not installed.
    """
    repo, at, revision = address.removeprefix(PREFIX).partition("@")
    if not repo or (at and not revision):
        raise HubError(f"{address!r}: expected hf:OWNER/NAME@REVISION")
    config = _download(address, repo, CONFIG, revision or None)
    expected = _told_checksum(config, address)
    # Of the same commit, though a branch may have moved: the folder has its name.
    file = _download(address, repo, WEIGHTS, config.parent.name)
    found = _checksum(file)
    if found != expected:
        file.resolve().unlink()  # else it would be found again
        file.unlink(missing_ok=True)
        raise HubError(
            f"{address}: {WEIGHTS} has the checksum {found}, but {CONFIG} says "
            f"{expected}; the file was removed, run again to download it anew"
        )
    return file


def check_folder(folder: Path) -> Path:
    """The weights file of a folder, if it is the one that its config.json tells.

    Raises:
      HubError: it is not, or the folder holds something else.
    """
    expected = _told_checksum(folder / CONFIG, folder)
    file = folder / WEIGHTS
    if not file.is_file():
        raise HubError(f"{folder} has no {WEIGHTS}; expected what save_pretrained left")
    found = _checksum(file)
    if found != expected:
        raise HubError(
            f"{folder}: {WEIGHTS} has the checksum {found}, but {CONFIG} says "
            f"{expected}; get the folder anew"
        )
    return file


def is_ours(config: Path) -> bool:
    """Whether a config.json is there and tells of weights of this package."""
    try:
        return json.loads(config.read_bytes())["library_name"] == LIBRARY
    except (OSError, ValueError, KeyError, TypeError):
        return False


def push(
    repo: str,
    files: Mapping[str, bytes],
    *,
    private: bool | None = None,
    branch: str | None = None,
    message: str,
) -> str:
    """Commits files to a repository, which is made where there is none.

    Args:
      repo: "OWNER/NAME"; without OWNER, whoever is logged in.
      files: content by name; others of the repository stay.
      private: of a new repository; None: as the owner has it set.
      branch: that exists; None: "main".
      message: of the commit.
    Returns:
      "hf:OWNER/NAME@COMMIT", for `--model`.
    Raises:
      HubError: the hub cannot be reached, or does not allow it.
      ImportError: huggingface_hub is not installed.
    """
    hub = library()
    try:
        repo = hub.create_repo(repo, private=private, exist_ok=True).repo_id
        operations = [hub.CommitOperationAdd(*file) for file in files.items()]
        commit = hub.create_commit(
            repo, operations, commit_message=message, revision=branch
        )
    except Exception as error:  # of HTTP, the system, or whatever the hub answers
        raise HubError(
            f"{repo} cannot be pushed to ({_first_line(error)}); expected a token that "
            "may write there, see `hf auth login`, and a hub that can be reached"
        ) from error
    return f"{PREFIX}{repo}@{commit.oid}"


def library() -> ModuleType:
    """huggingface_hub, with its errors.

    Raises:
      ImportError: it is not installed; one plain sentence.
    """
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise ImportError(
            "huggingface_hub is needed for models of the hub: "
            "pip install 'lowlight_jax[hub]'"
        ) from error
    return huggingface_hub


def _download(address: str, repo: str, name: str, revision: str | None) -> Path:
    hub = library()
    try:
        return Path(hub.hf_hub_download(repo, name, revision=revision))
    except Exception as error:  # of HTTP, the system, or whatever the hub answers
        raise HubError(f"{address}: {_why_not(hub, error, name)}") from error


def _why_not(hub: ModuleType, error: Exception, name: str) -> str:
    match error:
        case hub.errors.RepositoryNotFoundError():
            return (
                "there is no such repository, or it is not for everybody; check the "
                "name, or log in with `hf auth login`"
            )
        case hub.errors.RevisionNotFoundError():
            return "it has no such revision; expected a commit, tag or branch of it"
        case hub.errors.LocalEntryNotFoundError() if hub.constants.HF_HUB_OFFLINE:
            return (
                "it is not in the local cache, and HF_HUB_OFFLINE is set; run once "
                "without"
            )
        case hub.errors.LocalEntryNotFoundError():
            return (
                "the hub cannot be reached, and it is not in the local cache; check "
                "the network"
            )
        case hub.errors.EntryNotFoundError():
            return f"it has no {name}; expected a repository of push_to_hub"
        case hub.errors.HFValidationError():
            return f"expected hf:OWNER/NAME@REVISION ({_first_line(error)})"
    return f"{name} cannot be downloaded: {_first_line(error)}"


def _told_checksum(config: Path, where: str | Path) -> str:
    """What a config.json tells of the weights beside it."""
    if not is_ours(config):
        raise HubError(
            f"{where} is no lowlight_jax model: its {CONFIG} is missing or something "
            "else's; expected what save_pretrained or push_to_hub wrote"
        )
    return str(json.loads(config.read_bytes()).get("sha256"))


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
