"""Every sum under a contract."""
