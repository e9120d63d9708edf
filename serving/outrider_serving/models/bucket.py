"""A model in a bucket that speaks S3."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
)

from outrider_serving.models.digest import Digest, Kind
from outrider_serving.models.download import Interrupted, RemoteFile, is_model_file
from outrider_serving.models.fetch import FetchError

SECRET = "in a cluster: keys of the Secret that model.secretRef names"
BROKEN_OFF = (ConnectionError, HTTPClientError, IncompleteReadError)
READ_BYTES = 1 << 16  # of a read that breaks off nothing is kept


class Bucket:
    """The files below `prefix`, not those in folders below it.

    Settings and keys are those of every AWS tool: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
    AWS_ENDPOINT_URL for a server of one's own, AWS_CA_BUNDLE. Without keys the bucket is read as anybody may.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/"
        try:
            session = boto3.session.Session()
            known = session.get_credentials() is not None
            config = Config(
                signature_version=None if known else UNSIGNED,
                connect_timeout=10,
                read_timeout=30,
                retries={"mode": "standard", "total_max_attempts": 4},
                # Files are checked once they are whole, also those that came in several reads.
                response_checksum_validation="when_required",
            )
            self._client = session.client("s3", config=config)
        except (BotoCoreError, ValueError) as error:
            raise FetchError(_unusable(error)) from None

    def files(self) -> list[RemoteFile]:
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix, Delimiter="/"
            )
            keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
            return [self._file(key) for key in keys if is_model_file(key.removeprefix(self._prefix))]
        except ClientError as error:
            raise FetchError(self._refusal(error)) from None
        except BROKEN_OFF as error:
            reason = f"the bucket cannot be reached ({type(error).__name__})"
            raise FetchError(f"{reason}; check AWS_ENDPOINT_URL ({SECRET}) and the network") from None
        except (BotoCoreError, ValueError) as error:
            raise FetchError(_unusable(error)) from None

    def _file(self, key: str) -> RemoteFile:
        head = self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
        return RemoteFile(
            name=key.removeprefix(self._prefix),
            address=key,
            size_bytes=head["ContentLength"],
            version=head["ETag"],
            digest=self._digest(key, head),
        )

    def _digest(self, key: str, head: dict[str, Any]) -> Digest | None:
        if "ChecksumSHA256" in head and head.get("ChecksumType") == "FULL_OBJECT":
            return Digest(Kind.SHA256, base64.b64decode(head["ChecksumSHA256"]).hex())
        if head.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in head:
            return None  # the ETag is then of what is stored, not of what is read
        md5, _, parts = head["ETag"].strip('"').partition("-")
        if not parts:
            return Digest(Kind.MD5, md5)
        part_bytes = self._client.head_object(Bucket=self._bucket, Key=key, PartNumber=1)["ContentLength"]
        # Parts of several sizes are allowed, and nobody makes them: then there is nothing to check by.
        if -(-head["ContentLength"] // part_bytes) != int(parts):
            return None
        return Digest(Kind.MD5_OF_PARTS, md5, part_bytes)

    def read(self, file: RemoteFile, start_bytes: int) -> Iterator[bytes]:
        try:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=file.address, Range=f"bytes={start_bytes}-", IfMatch=file.version
            )
            yield from answer["Body"].iter_chunks(READ_BYTES)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 429 or status >= 500:
                raise Interrupted(f"HTTP {status}") from None
            raise FetchError(f"{file.name}: {self._refusal(error)}") from None
        except BROKEN_OFF as error:
            raise Interrupted(type(error).__name__) from None

    def _refusal(self, error: ClientError) -> str:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        code = error.response["Error"]["Code"]
        if status in (401, 403):
            keys = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            return f"the bucket refuses the keys (HTTP {status}, {code}); check {keys} ({SECRET})"
        if status == 404:
            return f"no bucket {self._bucket} ({code}); check the name and AWS_ENDPOINT_URL ({SECRET})"
        if status == 412:
            return "replaced while it was fetched; start again"
        return f"the bucket answers HTTP {status} ({code}); check AWS_REGION and AWS_ENDPOINT_URL ({SECRET})"


def _unusable(error: Exception) -> str:
    # By its kind alone: some of these messages repeat the keys.
    return f"the settings cannot be used ({type(error).__name__}); check AWS_* ({SECRET})"
