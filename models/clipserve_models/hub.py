"""Downloads models from the Hugging Face hub: those of their files that are data, each compared with its digest.

huggingface_hub downloads, into its own cache, so HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE hold. Nothing of
a repository is run: its code is not downloaded, and `pickles` knows nothing but tensors.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from clipserve_models.artifact import sha256_of
from clipserve_models.errors import ModelsError, first_line
from clipserve_models.weights import OPEN_CLIP, TRANSFORMERS

MAIN = constants.DEFAULT_REVISION
_SECONDS = 30.0  # for the list of files
_FACTS = (".json", ".txt", ".model")  # configurations, and the files of tokenizers
# Of its HTTP client: httpx before huggingface_hub 2.0, httpx2 since.
_CLIENT_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]
_FOLDERS = (".", "0_CLIPModel")  # of a repository, that models are in


@dataclass(frozen=True)
class Repository:
    """A repository of the hub at a revision: `org/name`, or `org/name@revision`."""

    name: str
    revision: str = MAIN

    @property
    def url(self) -> str:
        """For people, and for the record."""
        return f"{constants.ENDPOINT}/{self.name}"


@dataclass(frozen=True)
class Download:
    """A folder with the files of one commit. `digests`: the SHA-256 of each, by its path."""

    folder: Path
    commit: str
    licence: str | None
    digests: dict[Path, str]


def download(repository: Repository) -> Download:
    """Download what a reader of layouts may need.

    Raises:
        ModelsError: the hub has no such repository, it has no weights, or the download failed or differs.
    """
    with _told(repository):
        offline = constants.is_offline_mode()
        info = (
            None
            if offline
            else HfApi().model_info(repository.name, revision=repository.revision, timeout=_SECONDS)
        )
        # Offline what is there is taken: the files of another library's download may be a part.
        listed = [] if info is None else [each.rfilename for each in info.siblings or ()]
        names = [] if info is None else _wanted(repository, listed)
        folder = Path(
            snapshot_download(
                repository.name, revision=repository.revision, allow_patterns=names, local_files_only=offline
            )
        )
    if info is not None and folder.name != info.sha:
        raise ModelsError(
            f"{repository.url} changed from {info.sha} to {folder.name} during the download: try again."
        )
    licence = getattr(info and info.card_data, "license", None)
    here = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    paths = [folder / name for name in _wanted(repository, here)]  # others have more of it in their cache
    return Download(
        folder,
        folder.name,
        licence if isinstance(licence, str) else None,
        {path: _checked(path) for path in paths},
    )


def _wanted(repository: Repository, listed: Sequence[str]) -> list[str]:
    """The files to download: of the top, or of sentence-transformers' folder, the facts and one set of weights.

    Raises:
        ModelsError: there are no weights.
    """
    files = sorted(name for name in listed if str(PurePosixPath(name).parent) in _FOLDERS)
    for name in (*OPEN_CLIP, *TRANSFORMERS):
        stem, _, suffix = name.partition(".")
        whole = re.compile(rf"(.*/)?{stem}(-\d+-of-\d+)?\.{suffix}")
        if weights := [each for each in files if whole.fullmatch(each)]:
            return [*(each for each in files if PurePosixPath(each).suffix in _FACTS), *weights]
    found = ", ".join(sorted(listed)[:8]) or "no files"
    raise ModelsError(
        f"{repository.url} at {repository.revision!r} has no {OPEN_CLIP[0]} or {TRANSFORMERS[0]} at its top, "
        f"nor as .bin: it is no CLIP of transformers or open_clip. It has {found}."
    )


def _checked(path: Path) -> str:
    """The SHA-256 of a downloaded file, after a comparison with what the hub has.

    The cache names a file by its ETag: the SHA-256 of a large file, git's SHA-1 of a small one.

    Raises:
        ModelsError: it differs; it is removed, so that the next try downloads it again.
    """
    told = Path(os.readlink(path)).name if path.is_symlink() else ""
    digest = sha256_of(path)
    found = {64: digest, 40: _git_sha1(path) if len(told) == 40 else ""}.get(len(told))
    if found is not None and found != told:
        blob = path.parent / os.readlink(path)
        path.unlink()
        blob.unlink(missing_ok=True)
        raise ModelsError(
            f"the hub says that {path.name} has the digest {told}, and what was downloaded has {found}: it was cut "
            "short or altered on its way, and is removed. Try again; if that does not help, do not use this mirror "
            "or proxy."
        )
    return digest


def _git_sha1(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@contextmanager
def _told(repository: Repository) -> Iterator[None]:
    """Turn the errors of huggingface_hub and its HTTP client into sentences."""
    where = f"{repository.url} at {repository.revision!r}"
    try:
        yield
    except GatedRepoError:
        reason = "asks for consent: accept its conditions on its page, and set HF_TOKEN to a token of your account."
    except RevisionNotFoundError:
        reason = "does not exist: the repository has no such branch, tag, commit or pull request (refs/pr/N)."
    except RepositoryNotFoundError:
        reason = (
            "does not exist, or is private: correct the name, or set HF_TOKEN to a token that may read it."
        )
    except (OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
        offline = constants.is_offline_mode()
        how = "HF_HUB_OFFLINE forbids downloads" if offline else _reason(error.__cause__ or error)
        reason = f"is not in the hub's cache ({constants.HF_HUB_CACHE}), and could not be downloaded: {how}."
    except HfHubHTTPError as error:
        reason = _of_status(error.response.status_code)
    except HFValidationError as error:
        reason = f"cannot be a repository: {_reason(error)}."
    except (
        _CLIENT_ERROR,
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ) as error:  # the last three: no hub answers there
        reason = (
            f"could not be downloaded: {_reason(error)}. Try again. Behind a proxy set HTTPS_PROXY, for a mirror "
            "HF_ENDPOINT; what is in the hub's cache is taken from HF_HOME."
        )
    else:
        return
    raise ModelsError(f"{where} {reason}")


def _of_status(status: int) -> str:
    if status in (401, 403):
        return f"is refused by the hub with {status}: set HF_TOKEN to a valid token that may read it."
    if status == 429:
        return (
            "is refused by the hub with 429, too many requests: wait some minutes, or set HF_TOKEN, for more."
        )
    return f"could not be downloaded: the hub answers {status}. Try again later."


def _reason(error: BaseException) -> str:
    return first_line(error).rstrip(".")
