"""Vim beside DeiT in every runtime that is installed; see README.md."""
