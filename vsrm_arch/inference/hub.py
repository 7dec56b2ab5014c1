"""Files of weights on the Hugging Face Hub (the extra ``hub``)."""

import re
from pathlib import Path

from vsrm_arch.errors import UserError, first_line

__all__ = ["fetch", "is_hub_path"]

_PREFIX = "hf://"
_PATH = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[^/@]+))?(?:/(?P<file>[^@]+))?")
_DEFAULT_FILE = "model.safetensors"


def is_hub_path(text: str) -> bool:
    """Whether a text names something on the Hub: it begins with ``hf://``, or looks so and is nothing local.

    Without the prefix that is USER/REPOSITORY or a .safetensors file in it, unless there is a folder USER here.
    """
    if text.startswith(_PREFIX):
        return True
    match = _PATH.fullmatch(text)
    if match is None or Path(text).exists() or Path(Path(text).parts[0]).is_dir():
        return False
    if match["file"] is None:
        return Path(match["repository"]).suffix.lower() not in (".pth", ".pt", ".safetensors")
    return match["file"].endswith(".safetensors")


def fetch(text: str) -> Path:
    """Downloads a file from the Hub into its cache, or finds it there.

    Args:
        text: ``USER/REPOSITORY``, whose ``model.safetensors`` is meant, or ``USER/REPOSITORY/FILE``, with ``hf://``
            before it or not; ``@REVISION`` after the repository names a branch, a tag or a commit.

    Returns:
        The file in the cache.

    Raises:
        UserError: If the path is none, huggingface-hub is not installed, or the file cannot be had.
    """
    match = _PATH.fullmatch(text.removeprefix(_PREFIX))
    if match is None:
        raise UserError(f"weights: {text} is no path on the Hugging Face Hub: give USER/REPOSITORY[@REVISION][/FILE]")
    repository, revision, file = match["repository"], match["revision"], match["file"] or _DEFAULT_FILE
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError:
        raise UserError(
            f"weights: {text} is no file here, and the Hugging Face Hub needs huggingface-hub: "
            "pip install 'vsrm-arch[hub]'"
        ) from None
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except GatedRepoError as error:  # a RepositoryNotFoundError as well
        fault = f"{repository} asks for a permission: request it on its page, then log in with HF_TOKEN=…"
        raise UserError(f"weights: {text}: {fault}") from error
    except RepositoryNotFoundError as error:
        fault = f"no file here, and the Hugging Face Hub shows no repository {repository}"
        raise UserError(f"weights: {text}: {fault}; check the name, or log in with HF_TOKEN=…") from error
    except RevisionNotFoundError as error:
        raise UserError(f"weights: {text}: {repository} has no revision {revision}; check its name") from error
    except LocalEntryNotFoundError as error:  # an EntryNotFoundError as well
        fault = "no file here, not in the cache of the Hugging Face Hub, and no connection to it"
        raise UserError(f"weights: {text}: {fault}; connect, or give a file") from error
    except EntryNotFoundError as error:
        fault = f"{repository} has no file {file}; name one that it has: USER/REPOSITORY/FILE"
        raise UserError(f"weights: {text}: {fault}") from error
    except Exception as error:  # proxies, certificates, a full disk
        fault = f"cannot be had from the Hugging Face Hub ({first_line(error)[:160]})"
        raise UserError(f"weights: {text}: {fault}; mend that, or give a file") from error
