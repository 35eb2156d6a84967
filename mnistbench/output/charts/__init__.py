"""Pictures of records at the width of a paper's column, for pages and for files."""
