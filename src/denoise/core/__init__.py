"""What every room needs: files, arrays, tables, errors, settings, process pools."""
