"""Settings from the environment: each variable itself, or with `_FILE` behind it the file that holds its value.

UPKEEP_KAFKA__SASL_PASSWORD=...  or  UPKEEP_KAFKA__SASL_PASSWORD_FILE=/run/secrets/kafka_password

That is how Docker and Kubernetes hand secrets over: an environment is seen by every child and in `docker inspect`.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic_settings import EnvSettingsSource

from daemon.settings.complaints import BadSettings

FILE_SUFFIX = "_FILE"
MAX_SECRET_BYTES = 64 << 10


class EnvironmentOrFiles(EnvSettingsSource):
    """pydantic's source of environment variables, which reads `..._FILE` as well."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        values = dict(super()._load_env_vars())
        for name, path in secret_files(self.env_prefix).items():
            del values[f"{name}{FILE_SUFFIX}".lower()]
            values[name.lower()] = _secret(name, path)
        return values


def secret_files(prefix: str) -> dict[str, str]:
    """The file of each setting that is named by one, by the variable without `_FILE`.

    Raises:
        BadSettings: a setting has a value and a file.
    """
    named = {name.upper(): value for name, value in os.environ.items()}
    found = {
        name.removesuffix(FILE_SUFFIX): path
        for name, path in named.items()
        if name.startswith(prefix.upper()) and "__" in name and name.endswith(FILE_SUFFIX)
    }
    if both := sorted(found.keys() & named.keys()):
        raise BadSettings(f"environment variables {both[0]} and {both[0]}{FILE_SUFFIX}: set one of them")
    return found


def _secret(name: str, path: str) -> str:
    """The file's text without the line end that editors and `echo` put behind it."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise BadSettings(
            f"environment variable {name}{FILE_SUFFIX}: {path} cannot be read: {reason}"
        ) from error
    if len(content) > MAX_SECRET_BYTES:
        raise BadSettings(
            f"environment variable {name}{FILE_SUFFIX}: {path} is larger than {MAX_SECRET_BYTES} bytes"
        )
    return text.removesuffix("\n").removesuffix("\r")
