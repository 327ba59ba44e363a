"""What one request may ask for."""

from dataclasses import dataclass

from daemon.openai_api.errors import RequestRefused
from daemon.openai_api.schemas import MAX_MESSAGES

MAX_BYTES_PER_CHAR = 12  # a character outside the basic plane, escaped as JSON does it
# Beside its contents, a message in JSON takes so many bytes at most.
MESSAGE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one request, and what it gets where it says nothing.

    Attributes:
        max_batch: prompts of a request, each counted as often as it is answered.
        max_prompt_chars: characters of a prompt, or of a conversation's messages together.
        max_new_tokens: the longest answer of `/v1/generate`, in tokens.
        max_completion_tokens: the longest of OpenAI's endpoints; None: the same.
        default_temperature: of OpenAI's endpoints.
    """

    max_batch: int
    max_prompt_chars: int
    max_new_tokens: int
    max_completion_tokens: int | None = None
    default_temperature: float = 0.0

    @property
    def completion_tokens(self) -> int:
        """The longest answer of OpenAI's endpoints, in tokens."""
        return self.max_completion_tokens or self.max_new_tokens

    @property
    def max_body_bytes(self) -> int:
        """The largest body that can hold an allowed request."""
        one_prompt = self.max_prompt_chars * MAX_BYTES_PER_CHAR + MAX_MESSAGES * MESSAGE_BYTES
        return 65_536 + self.max_batch * one_prompt

    def check_chars(self, count: int, *, param: str) -> None:
        """
        Raises:
            RequestRefused: a prompt has too many characters, or token ids.
        """
        if count > self.max_prompt_chars:
            raise RequestRefused(f"a prompt may have {self.max_prompt_chars} characters", param=param)
