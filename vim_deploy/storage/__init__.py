"""Files at URLs, read and written with fsspec: s3://, gs://, https:// and its other file systems."""

from __future__ import annotations

from vim_deploy.storage.path import StoragePath, file_or_url
from vim_deploy.storage.url import check_url, is_url

__all__ = ["StoragePath", "check_url", "file_or_url", "is_url"]
