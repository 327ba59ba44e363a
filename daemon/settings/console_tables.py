"""The table of the settings file that says who opens the console, and where it looks beyond the ledger."""

import ipaddress
from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from daemon.settings.http_tables import MIN_KEY_CHARS
from daemon.settings.tables import Port, SettingsTable

Url = Annotated[str, Field(pattern=r"^https?://[^\s?#@]+$", max_length=1024)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$")]
MIN_SECRET_CHARS = 32


class ConsoleSettings(SettingsTable):
    """The pages for the people on call."""

    enabled: bool = Field(True, description="false: `serve` and `gateway` have no /console")
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="of `upkeep console`; 0.0.0.0 opens it to other machines: set serve.api_keys",
    )
    port: Port = Field(8091, description="of `upkeep console`")
    session_hours: float = Field(
        12.0, gt=0.0, le=720.0, description="after this time a person signs in again"
    )
    secret: SecretStr | None = Field(
        None, description="signs sessions, one for several servers; unset: a new one at each start"
    )
    user_header: HeaderName | None = Field(
        None, description="in which a proxy names the person whom it has signed in"
    )
    proxy_addresses: tuple[str, ...] = Field(
        (), max_length=256, description="of the proxy that may do so: an address or a network"
    )
    proxy_secret: SecretStr | None = Field(
        None,
        validate_default=True,
        description="that the proxy must send as X-Upkeep-Proxy-Secret, too",
    )
    operators: tuple[str, ...] = Field(
        (), max_length=1024, description='persons so named who may act; "*": all of them; the others see'
    )
    server: Url | None = Field(
        None, description="whom `upkeep console` asks for the page Ask; unset: serve.port of this machine"
    )
    server_key: SecretStr | None = Field(
        None, description="its API key; better in the environment: UPKEEP_CONSOLE__SERVER_KEY"
    )
    prometheus: Url | None = Field(None, description="whose firing alerts are shown")
    grafana: Url | None = Field(None, description="where links lead")

    @field_validator("secret", "proxy_secret")
    @classmethod
    def _is_long(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        least = MIN_SECRET_CHARS if info.field_name == "secret" else MIN_KEY_CHARS
        if value is not None and len(value.get_secret_value()) < least:
            raise ValueError(f"needs {least} characters: openssl rand -hex 32 makes one")
        return value

    @field_validator("proxy_addresses")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ValueError("must be addresses or networks, such as 10.0.0.7 or 10.1.0.0/16") from error
        return value

    @field_validator("proxy_secret")
    @classmethod
    def _names_a_proxy(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """Whoever may set the header is whoever it says: it is believed of nobody but a proxy that is known."""
        if info.data.get("user_header") and value is None and not info.data.get("proxy_addresses"):
            raise ValueError(
                "or console.proxy_addresses must say which proxy may set console.user_header: "
                "whoever reaches the port could set it, too"
            )
        return value
