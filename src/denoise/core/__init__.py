"""What every package needs: files, arrays, tables, errors, settings, process pools."""
