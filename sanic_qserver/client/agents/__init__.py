"""`qsctl mcp`: tools for agents, over the Model Context Protocol. What an agent may do is the server's to decide."""
