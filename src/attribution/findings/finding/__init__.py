"""Findings: one row per number the report states, with everything a reader needs to judge it."""

from .collector import Findings
from .files import read_documents, read_findings, rounded, to_frame, to_records
from .record import COLUMNS, Finding

__all__ = ["COLUMNS", "Finding", "Findings", "read_documents", "read_findings", "rounded", "to_frame", "to_records"]
