"""The sections of REPORT.md and of the page with all results, one file each."""
