"""What people see of records: number formats, tables, charts and the page; never imports torch."""
