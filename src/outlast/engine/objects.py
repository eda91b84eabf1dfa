"""Packets in an S3-compatible store: clients reach it by presigned addresses.

Needs the `s3` extra. The endpoint comes from the server's settings, never from a client.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from outlast.engine.errors import Unavailable
from outlast.engine.packets import KEPT_DAYS, SECONDS, Packet
from outlast.engine.payloads import MAX_PAYLOAD_BYTES

_MISSING = frozenset({"404", "NoSuchKey"})


class ObjectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which bucket, and how it is reached."""

    bucket: str
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"ObjectSettings(bucket={self.bucket!r}, endpoint={self.endpoint!r})"


class ObjectStore:
    """Packets as objects `<environment>/<path>` of one bucket."""

    def __init__(self, settings: ObjectSettings) -> None:
        from botocore.config import Config  # noqa: PLC0415 - an extra that few servers need
        from botocore.session import Session  # noqa: PLC0415

        self._bucket = settings.bucket
        self._client: Any = Session().create_client(
            "s3",
            region_name=settings.region,
            endpoint_url=settings.endpoint,
            aws_access_key_id=settings.access_key,
            aws_secret_access_key=settings.secret_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                retries={"max_attempts": 2},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    async def save(self, environment: str, path: str, packet: Packet) -> None:
        """Keep a packet. Raises `Unavailable`."""
        await self._call(
            self._client.put_object,
            Key=f"{environment}/{path}",
            Body=packet.data.encode(),
            ContentType=packet.content_type,
        )

    async def find(self, environment: str, path: str) -> Packet | None:
        """Return a packet, None when there is none. Raises `Unavailable`."""
        found = await self._call(self._client.get_object, Key=f"{environment}/{path}")
        if found is None:
            return None
        content_type, data = found
        return Packet(content_type, data)

    def upload_url(self, environment: str, path: str) -> str:
        """Return where a client puts the packet."""
        return self._sign("put_object", environment, path)

    def download_url(self, environment: str, path: str) -> str:
        """Return where a client gets the packet."""
        return self._sign("get_object", environment, path)

    def _sign(self, action: str, environment: str, path: str) -> str:
        key = f"{environment}/{path}"
        signed: str = self._client.generate_presigned_url(
            action, Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=int(SECONDS)
        )
        return signed

    async def prune(self, environments: Sequence[str], *, days: float = KEPT_DAYS) -> int:
        """Delete packets of these environments that are so old; return how many went.

        A trigger copies what it names. Nothing else in the bucket is looked at.
        """
        return sum(
            [
                await asyncio.to_thread(self._prune, environment, days)
                for environment in environments
            ]
        )

    def _prune(self, environment: str, days: float) -> int:
        gone, page = 0, {"Prefix": f"{environment}/"}
        old = datetime.now(UTC) - timedelta(days=days)
        with _translated():
            while True:
                reply = self._client.list_objects_v2(Bucket=self._bucket, **page)
                for found in reply.get("Contents", ()):
                    if found["LastModified"] < old:
                        self._client.delete_object(Bucket=self._bucket, Key=found["Key"])
                        gone += 1
                if not reply.get("IsTruncated"):
                    return gone
                page["ContinuationToken"] = reply["NextContinuationToken"]

    async def _call(self, call: Any, **values: Any) -> tuple[str, str] | None:
        return await asyncio.to_thread(partial(self._read, call, values))

    def _read(self, call: Any, values: dict[str, Any]) -> tuple[str, str] | None:
        from botocore.exceptions import ClientError  # noqa: PLC0415

        with _translated():
            try:
                reply = call(Bucket=self._bucket, **values)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in _MISSING:
                    return None
                raise
            body = reply.get("Body")
            if body is None:
                return None
            return reply["ContentType"], body.read(MAX_PAYLOAD_BYTES + 1).decode()


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the client's errors into the engine's."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        raise Unavailable("the object store refused; see OUTLAST_S3_* settings") from error
    except (BotoCoreError, OSError, UnicodeDecodeError) as error:
        why = type(error).__name__
        raise Unavailable(f"the object store does not answer: {why}") from error
