"""Download checkpoints from the Hugging Face hub, where timm publishes too. Needs the extra `janus-vit[hub]`."""

from __future__ import annotations

from pathlib import Path

from janus_vit.errors import InputError

HUBS = ("timm:", "hf:")
_FILES = ["*.json", "*.safetensors"]


def fetch(name: str) -> Path:
    """Return the local folder of `timm:NAME` or `hf:ORG/NAME`; download it the first time.

    Raises:
        InputError: the name is malformed or unknown, the extra is missing, or the hub cannot be reached.
    """
    hub, _, model = name.partition(":")
    repository = f"timm/{model}" if hub == "timm" and "/" not in model else model
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise InputError(f"model {name!r} is not a name on the hub: write timm:NAME or hf:ORG/NAME")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise InputError(
            f"model {name!r} is on the hub, and the package to download it is missing: pip install 'janus-vit[hub]'"
        ) from error
    try:
        return Path(snapshot_download(repository, allow_patterns=_FILES))
    except HFValidationError as error:
        raise InputError(
            f"model {name!r} is not a name on the hub ({error}): write timm:NAME or hf:ORG/NAME"
        ) from error
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"model {name!r} was never downloaded and the hub cannot be reached: connect once, or copy its "
            "folder here and give its path"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"model {name!r} cannot be downloaded ({reason}): check the name and your access") from error
