"""From archives to prepared, packed audio of one sample rate, divided into splits."""
