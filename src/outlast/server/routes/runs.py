"""Runs: read, list, cancel, resume, and wait for their end."""

from fastapi import APIRouter

router = APIRouter(tags=["runs"])
