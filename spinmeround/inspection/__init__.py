"""What a result looks like and how well it matches: contact sheets, turntables, held-out views."""
