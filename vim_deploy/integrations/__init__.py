"""Running and exporting public code that was written for other packages. Nothing changes on import."""
