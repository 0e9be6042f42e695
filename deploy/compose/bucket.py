"""In the container `bucket`: make the bucket of the workspace, once the store answers.

python bucket.py URL NAME
"""

from __future__ import annotations

import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_SECONDS = 60.0
_THERE = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


def main(url: str, name: str) -> int:
    """0 when the bucket is there; else 1, with the reason."""
    options = Config(
        s3={"addressing_style": "path"}, connect_timeout=3, retries={"max_attempts": 1}
    )
    client = boto3.client("s3", endpoint_url=url, config=options)
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            client.create_bucket(Bucket=name)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            said = f"the store at {url} refuses: {code}"
            if code in _THERE:
                sys.stdout.write(f"The bucket {name} is there.\n")
                return 0
        except BotoCoreError as error:
            said = f"the store at {url} does not answer: {type(error).__name__}"
        else:
            sys.stdout.write(f"The bucket {name} was made.\n")
            return 0
        if time.monotonic() > deadline:
            sys.stderr.write(f"{said}\n")
            return 1
        time.sleep(0.5)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
