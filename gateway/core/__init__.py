"""Pure decisions and accounts: no loop, no socket, no clock."""
