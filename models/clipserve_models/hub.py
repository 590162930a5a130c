"""Downloads models from the Hugging Face hub: those of their files that are data, each compared with its digest.

huggingface_hub downloads, into its own cache, so HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE hold. Nothing of
a repository is run: neither pickles nor code are downloaded.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
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
from clipserve_models.weights import PICKLES, STEMS

MAIN = constants.DEFAULT_REVISION
_SECONDS = 30.0  # for the list of files
_FACTS = (".json", ".txt", ".model")  # configurations, and the files of tokenizers
# Of its HTTP client: httpx before huggingface_hub 2.0, httpx2 since.
_CLIENT_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]
_CONVERTER = "SFconvertbot"  # the hub's account that offers safetensors as pull requests


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
    """A folder with the files of one commit. `digests`: the SHA-256 of each, by name."""

    folder: Path
    commit: str
    licence: str | None
    digests: dict[str, str]


@dataclass(frozen=True)
class _Listing:
    revision: str  # its name, which the hub's cache keeps for those who are offline
    commit: str
    names: list[str]  # of files at the top
    licence: str | None


def download(repository: Repository) -> Download:
    """Download what a reader of layouts may need.

    Raises:
        ModelsError: the hub has no such repository, it has no safetensors, or the download failed or differs.
    """
    with _told(repository):
        listing = _listing(repository)
        if not (weights := _weights(listing.names)):
            listing = _converted(repository, listing)
            weights = _weights(listing.names)
        names = [*(name for name in listing.names if _is_fact(name)), *weights]
        if not names or not weights:
            raise ModelsError(_no_weights(repository, listing.names))
        paths = [Path(hf_hub_download(repository.name, name, revision=listing.revision)) for name in names]
    folder = paths[0].parent
    if wrong := {path.parent.name for path in paths} - {listing.commit}:
        raise ModelsError(
            f"{repository.url} changed from {listing.commit} to {wrong.pop()} during the download: try again."
        )
    return Download(folder, listing.commit, listing.licence, {path.name: _checked(path) for path in paths})


def weights_of(repository: Repository) -> tuple[str, str]:
    """The commit of a repository, and the SHA-256 that the hub has of its weights, or of their first shard.

    Raises:
        ModelsError: it is not there, or has no safetensors.
    """
    with _told(repository):
        info = HfApi().model_info(
            repository.name, revision=repository.revision, files_metadata=True, timeout=_SECONDS
        )
        files = {each.rfilename: each for each in info.siblings or ()}
        weights = _weights(sorted(files))
        if not weights or (large := files[weights[0]].lfs) is None:
            raise ModelsError(_no_weights(repository, sorted(files)))
        return str(info.sha), large.sha256


def _listing(repository: Repository) -> _Listing:
    if constants.is_offline_mode():
        folder = Path(snapshot_download(repository.name, revision=repository.revision, local_files_only=True))
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
        return _Listing(repository.revision, folder.name, names, None)
    info = HfApi().model_info(repository.name, revision=repository.revision, timeout=_SECONDS)
    names = sorted(each.rfilename for each in info.siblings or () if "/" not in each.rfilename)
    licence = getattr(info.card_data, "license", None)
    return _Listing(repository.revision, str(info.sha), names, licence if isinstance(licence, str) else None)


def _converted(repository: Repository, listing: _Listing) -> _Listing:
    """The same in the converter's open pull request on top of this very commit, if it has one."""
    if constants.is_offline_mode():
        return listing
    api = HfApi()
    for each in api.get_repo_discussions(
        repository.name, author=_CONVERTER, discussion_type="pull_request", discussion_status="open"
    ):
        if not (
            each.is_pull_request
            and each.author == _CONVERTER
            and each.status == "open"
            and each.git_reference
        ):
            continue
        commits = api.list_repo_commits(repository.name, revision=each.git_reference)
        if len(commits) > 1 and commits[1].commit_id == listing.commit:
            found = _listing(Repository(repository.name, each.git_reference))
            return _Listing(found.revision, found.commit, found.names, listing.licence)
    return listing


def _weights(names: Sequence[str]) -> list[str]:
    for stem in STEMS:
        if f"{stem}.safetensors" in names:
            return [f"{stem}.safetensors"]
        shards = [name for name in names if re.fullmatch(rf"{stem}-\d+-of-\d+\.safetensors", name)]
        if shards:  # their index is among the facts
            return shards
    return []


def _is_fact(name: str) -> bool:
    return PurePosixPath(name).suffix in _FACTS


def _no_weights(repository: Repository, names: Sequence[str]) -> str:
    pickles = [name for name in names if PurePosixPath(name).suffix in PICKLES]
    if pickles:
        return (
            f"{repository.url} at {repository.revision!r} has its weights as {pickles[0]} only, a pickle, which "
            f"may run code. Name a revision with safetensors, {repository.name}@REVISION, or ask its owner."
        )
    wanted = " or ".join(f"{stem}.safetensors" for stem in (STEMS[0], STEMS[-1]))
    return (
        f"{repository.url} at {repository.revision!r} has no {wanted} at its top: it is no CLIP of transformers or "
        f"open_clip. It has {', '.join(names[:8]) or 'no files'}."
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
